//! Files edited in place: libraries and programs of all linkers, what ld.so finds in memory afterwards, and what other tools
//! make of them.

mod hostile;
mod layouts;
mod memory;
mod other_tools;
mod patch_space;
mod runs;
mod subjects;
