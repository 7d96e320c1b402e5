use std::path::Path;

use super::State;
use elf_file::Elf;

/// A file whose dependencies are to be resolved.
pub struct Wanted<'a> {
    /// As ld.so sees it.
    pub elf: &'a Elf,
    /// Its path inside the root.
    pub inside: &'a Path,
    pub is_library: bool,
    pub state: State,
    /// Its own dynamic linker.
    pub interpreter: Option<&'a Path>,
    /// The flag that it was wrapped with, and that a new command has to repeat.
    pub flag: Option<&'static str>,
    /// Whether it was wrapped with paths relative to its directory.
    pub is_relocatable: bool,
}
