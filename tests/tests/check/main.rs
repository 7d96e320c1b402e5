//! `wrap-buddy check`: a tree is broken in one way, the diagnosis names exactly that, and what it says to type repairs it.

mod cases;
mod checking;
mod diagnoses;
mod files;
mod libraries;
mod openers;
mod surroundings;
