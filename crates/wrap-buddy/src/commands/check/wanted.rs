//! A file whose libraries are looked for.

use std::path::Path;

use super::State;
use elf_file::Elf;

/// A file that is to find what it needs.
pub struct Wanted<'a> {
    /// As ld.so sees it.
    pub elf: &'a Elf,
    /// Its path inside the root.
    pub inside: &'a Path,
    pub is_library: bool,
    /// What was done to it.
    pub state: State,
    /// The dynamic linker it asks for.
    pub interpreter: Option<&'a Path>,
    /// What it was wrapped with, and would no longer be without saying so.
    pub flag: Option<&'static str>,
    /// Whether its dynamic linker and search path are relative to its directory because it was wrapped so.
    pub is_relocatable: bool,
}
