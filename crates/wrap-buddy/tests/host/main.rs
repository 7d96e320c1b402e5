//! The host tool on programs made by gcc: what it writes, what it leaves alone, and what it says.
//!
//! The stages here are made up: nothing wrapped in these tests is run.

mod command_line;
mod fixture;
mod hostile;
mod libraries;
mod loading;
mod skipping;
mod wrapping;
mod writing;
