//! Files edited in place: libraries and programs of all linkers, their mappings in memory afterwards, and other tools on them.

mod hostile;
mod layouts;
mod memory;
mod other_tools;
mod patch_space;
mod runs;
mod subjects;
