//! `wrap-buddy check`: each tree has one fault. The diagnosis names exactly that, and the proposed command repairs it.

mod cases;
mod checking;
mod diagnoses;
mod files;
mod fix;
mod libraries;
mod openers;
mod reports;
mod settings;
mod surroundings;
mod trees;
