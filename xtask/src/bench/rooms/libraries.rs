//! Finds shared libraries.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, elf};
use walkdir::{DirEntry, WalkDir};

/// Those of `paths` that are libraries, and the libraries below the others, each directory sorted by file names.
pub fn below(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths
        .iter()
        .flat_map(|path| WalkDir::new(follow(path)).sort_by_file_name())
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(DirEntry::into_path)
        .filter(|path| is_library(path).unwrap_or(false))
        .collect()
}

/// Follows links in arguments, but not in directories.
fn follow(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn is_library(path: &Path) -> Option<bool> {
    let file = ReadCache::new(File::open(path).ok()?);
    let has_name = path.file_name()?.to_string_lossy().contains(".so");
    let ident = file.read_bytes_at(0, 16).ok()?;
    let (is_shared, has_interpreter) = match ident.get(4)? {
        1 => kind::<elf::FileHeader32<Endianness>>(&file)?,
        _ => kind::<elf::FileHeader64<Endianness>>(&file)?,
    };
    // Some can be started, such as libc.so.6.
    Some(is_shared && (has_name || !has_interpreter))
}

/// Whether it is ET_DYN, and whether it has a PT_INTERP.
fn kind<H: FileHeader<Endian = Endianness>>(file: &ReadCache<File>) -> Option<(bool, bool)> {
    let header = H::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, file).ok()?;
    let mut segments = segments.iter();
    let interpreter = segments.any(|segment| segment.p_type(endian) == elf::PT_INTERP);
    Some((header.e_type(endian) == elf::ET_DYN, interpreter))
}
