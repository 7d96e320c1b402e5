//! Which files name a library among their strings, as those do that open it with dlopen.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::bytes;
use crate::inspect::{Elf, Source};

/// Bytes that are searched at a time.
const CHUNK: u64 = 1 << 20;

/// Finds out which of some libraries a file names. Each file is read once.
pub struct Openers {
    paths: Vec<PathBuf>,
    /// The names that each library is known by.
    names: Vec<Vec<Vec<u8>>>,
    known: RwLock<HashMap<PathBuf, Arc<BTreeSet<usize>>>>,
}

impl Openers {
    /// `libraries` are the path of each, free of symbolic links, and its DT_SONAME.
    pub fn new<'l>(libraries: impl IntoIterator<Item = (&'l Path, Option<&'l [u8]>)>) -> Self {
        let libraries = libraries.into_iter().map(|(path, soname)| {
            let file_name = path.file_name().map(OsStrExt::as_bytes);
            let mut names: Vec<Vec<u8>> = [file_name, soname]
                .into_iter()
                .flatten()
                .filter(|name| !name.is_empty())
                .map(<[u8]>::to_vec)
                .collect();
            names.dedup();
            (path.to_owned(), names)
        });
        let (paths, names) = libraries.unzip();
        Self {
            paths,
            names,
            known: RwLock::default(),
        }
    }

    /// The libraries, by their numbers, that the program `elf` names, or one of the `libraries` that it loads, or one of those
    /// named so.
    pub fn named_by<'l>(
        &self,
        elf: &Elf,
        source: &mut Source,
        libraries: impl IntoIterator<Item = &'l Path>,
    ) -> BTreeSet<usize> {
        if self.names.is_empty() {
            return BTreeSet::new();
        }
        let mut all = self.in_file(elf, source);
        for library in libraries {
            all.extend(self.of_library(library).iter());
        }
        let mut read = BTreeSet::new();
        while let Some(&library) = all.difference(&read).next() {
            read.insert(library);
            all.extend(self.of_library(&self.paths[library]).iter());
        }
        all
    }

    fn of_library(&self, path: &Path) -> Arc<BTreeSet<usize>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(path) {
            return Arc::clone(known);
        }
        drop(known);
        let opened = Source::open(path).ok();
        let found = opened.and_then(|mut source| {
            let elf = Elf::read(&mut source).ok()?;
            Some(self.in_file(&elf, &mut source))
        });
        let found = Arc::new(found.unwrap_or_default());
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(path.to_owned(), Arc::clone(&found));
        found
    }

    /// Strings are loaded: a payload after the segments has files of its own. What cannot be read names nothing.
    fn in_file(&self, elf: &Elf, source: &mut Source) -> BTreeSet<usize> {
        let longest = self.names.iter().flatten().map(Vec::len).max().unwrap_or(0);
        let mut found = BTreeSet::new();
        for load in elf.loads() {
            let (mut at, end) = (load.offset, load.file_end().min(source.file_len()));
            while at < end {
                // A name that begins in this chunk, whole, with the bytes around it.
                let from = at.saturating_sub(1).max(load.offset);
                let until = end.min(at + CHUNK + longest as u64 + 1);
                let Ok(text) = source.read(from, until - from) else {
                    break;
                };
                let begins = (at - from) as usize..(at - from + CHUNK) as usize;
                let names_it = |name: &Vec<u8>| names_it(&text, name, &begins);
                let names = self.names.iter().enumerate();
                let new = names.filter(|(_, names)| names.iter().any(names_it));
                found.extend(new.map(|(index, _)| index));
                at += CHUNK;
            }
        }
        found
    }
}

/// Whether the file name `name` begins at a place of `text` that `begins` has, and is not a part of another.
fn names_it(text: &[u8], name: &[u8], begins: &Range<usize>) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    bytes::occurrences(text, name).any(|at| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        let after = text.get(at + name.len());
        begins.contains(&at)
            && [before, after]
                .into_iter()
                .flatten()
                .all(|&byte| !is_part(byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_is_another() {
        let names = |text: &[u8]| names_it(text, b"ext.so", &(0..text.len()));
        assert!(names(b"ext.so"));
        assert!(names(b"\0/app/lib/ext.so\0"));
        assert!(names(b"[\"ext.so\"]"));
        assert!(names(b"next.so ext.so"));
        assert!(!names(b"next.so"));
        assert!(!names(b"ext.so.1"));
        assert!(!names(b"ext.s"));
    }
}
