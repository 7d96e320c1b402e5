//! Finds this system's own dynamic executables.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};
use walkdir::{DirEntry, WalkDir};

const PLACES: &[&str] = &["/usr/bin", "/usr/sbin", "/usr/libexec", "/usr/lib"];

/// Larger programs only make copying slow, because wrapping reads a few hundred bytes of each.
const LARGEST: u64 = 8_000_000;

/// Dynamic 64-bit executables of this architecture, at most `count`.
pub fn programs(count: usize) -> Vec<PathBuf> {
    PLACES
        .iter()
        .flat_map(|place| WalkDir::new(place).sort_by_file_name())
        .filter_map(Result::ok)
        .filter(is_small_program)
        .map(DirEntry::into_path)
        .filter(|path| has_interpreter(path).unwrap_or(false))
        .take(count)
        .collect()
}

fn is_small_program(entry: &DirEntry) -> bool {
    entry.metadata().is_ok_and(|metadata| {
        metadata.is_file()
            && metadata.permissions().mode() & 0o111 != 0
            && metadata.len() <= LARGEST
            // libc.so.6 and some others can be started, but are libraries.
            && !entry.file_name().to_string_lossy().contains(".so")
    })
}

fn has_interpreter(path: &Path) -> Option<bool> {
    let file = ReadCache::new(File::open(path).ok()?);
    let header = elf::FileHeader64::<Endianness>::parse(&file).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, &file).ok()?;
    Some(
        header.e_machine(endian) == e2e::Arch::host().machine()
            && segments
                .iter()
                .any(|segment| segment.p_type(endian) == elf::PT_INTERP),
    )
}
