//! Indexes the libraries in a directory by file name and DT_SONAME.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use elf_file::{Elf, ElfTarget, Identity, Source, identify};
use object::elf;
use rayon::prelude::*;

/// A library in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The file name.
    pub name: OsString,
    /// DT_SONAME.
    pub soname: Option<OsString>,
    /// The machine, class and ABI.
    pub target: ElfTarget,
}

/// Calls [`directory`] for each of `all`.
pub fn directories(all: &[PathBuf]) -> Vec<Vec<IndexEntry>> {
    all.par_iter().map(|one| directory(one)).collect()
}

/// The libraries directly in `directory`, sorted by name. Uses all processors.
pub fn directory(directory: &Path) -> Vec<IndexEntry> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut names: Vec<OsString> = entries
        .flatten()
        .filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name())
        .collect();
    names.sort_unstable();
    let entries = names.into_par_iter().with_min_len(32);
    entries
        .filter_map(|name| {
            let elf = read_library(&directory.join(&name))?;
            Some(IndexEntry {
                name,
                soname: elf.soname().cloned(),
                target: elf.target(),
            })
        })
        .collect()
}

/// Reads the shared library at `path`. Returns `None` for any other file.
fn read_library(path: &Path) -> Option<Elf> {
    let mut source = Source::open(path).ok()?;
    let Identity::Elf {
        little_endian: true,
        ..
    } = identify(&mut source).ok()?
    else {
        return None;
    };
    let elf = Elf::read(&mut source).ok()?;
    (elf.kind == elf::ET_DYN).then_some(elf)
}
