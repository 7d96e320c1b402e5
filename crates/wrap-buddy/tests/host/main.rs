//! Tests of the host tool on programs made by gcc: its changes, its reports, and the files that it leaves alone.
//!
//! Except in `running`, the stages are dummies, and no wrapped program is run.

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
mod reasons;
mod running;
mod showing;
mod skipping;
mod snapshots;
mod terminal;
mod versions;
mod wrapping;
mod writing;
