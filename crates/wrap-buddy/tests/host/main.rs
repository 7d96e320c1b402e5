//! The host tool on programs made by gcc: what it writes, what it leaves alone, and what it says.
//!
//! Except in `running`, the stages are made up: nothing wrapped with them is run.

mod command_line;
mod fixture;
mod handles;
mod hostile;
mod imports;
mod in_place;
mod json;
mod kinds;
mod libraries;
mod lifecycle;
mod loading;
mod prior;
mod running;
mod showing;
mod skipping;
mod snapshots;
mod terminal;
mod versions;
mod wrapping;
mod writing;
