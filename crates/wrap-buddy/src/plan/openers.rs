//! Finds the files that contain the name of a library among their strings, as those do that open it with dlopen.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::AhoCorasick;
use object::elf;

use elf_file::{Elf, Source, is_called, sections};

/// Bytes to search at a time.
const CHUNK: u64 = 1 << 20;

/// Finds out which of the given libraries a file names. Each file is read once.
pub struct Openers {
    paths: Vec<PathBuf>,
    /// Finds all names; `None` if there are none.
    finder: Option<AhoCorasick>,
    /// The index of the library of each name.
    of_name: Vec<usize>,
    /// Length of the longest name.
    longest: usize,
    known: RwLock<HashMap<PathBuf, Arc<BTreeSet<usize>>>>,
}

impl Openers {
    /// `libraries`: the path of each, free of symbolic links, and its DT_SONAME.
    pub fn new<'l>(libraries: impl IntoIterator<Item = (&'l Path, Option<&'l [u8]>)>) -> Self {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut of_name = Vec::new();
        let mut paths = Vec::new();
        for (library, (path, soname)) in libraries.into_iter().enumerate() {
            paths.push(path.to_owned());
            let file_name = path.file_name().map(OsStrExt::as_bytes);
            let own = [file_name, soname].into_iter().flatten();
            for name in own.filter(|name| !name.is_empty()) {
                names.push(name.to_vec());
                of_name.push(library);
            }
        }
        Self {
            paths,
            longest: names.iter().map(Vec::len).max().unwrap_or(0),
            // This fails only for more names than fit into memory.
            finder: AhoCorasick::new(&names).ok().filter(|_| !names.is_empty()),
            of_name,
            known: RwLock::default(),
        }
    }

    /// Indices of the libraries that are named by the program `elf`, by one of the `libraries` that it loads, or by one of the libraries
    /// found like this.
    pub fn named_by<'l>(
        &self,
        elf: &Elf,
        source: &mut Source,
        libraries: impl IntoIterator<Item = &'l Path>,
    ) -> BTreeSet<usize> {
        if self.finder.is_none() {
            return BTreeSet::new();
        }
        let mut all = self.in_file(elf, source);
        for library in libraries {
            all.extend(self.named_in(library).iter());
        }
        let mut read = BTreeSet::new();
        while let Some(&library) = all.difference(&read).next() {
            read.insert(library);
            all.extend(self.named_in(&self.paths[library]).iter());
        }
        all
    }

    /// Indices of the libraries that the ELF file at `path` names.
    pub fn named_in(&self, path: &Path) -> Arc<BTreeSet<usize>> {
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

    /// An unreadable file names nothing.
    fn in_file(&self, elf: &Elf, source: &mut Source) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for (start, end) in places_of_strings(elf, source) {
            let mut at = start;
            while at < end {
                // Each name that begins in this chunk is complete, with the bytes around it.
                let from = at.saturating_sub(1).max(start);
                let until = end.min(at + CHUNK + self.longest as u64 + 1);
                let Ok(text) = source.read(from, until - from) else {
                    break;
                };
                let begins = (at - from) as usize..(at - from + CHUNK) as usize;
                found.extend(self.in_text(&text, &begins));
                at += CHUNK;
            }
        }
        found
    }

    /// The libraries whose names begin in the range `begins` of `text` and are not part of a longer name.
    fn in_text(&self, text: &[u8], begins: &Range<usize>) -> impl Iterator<Item = usize> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(byte);
        let all = self
            .finder
            .iter()
            .flat_map(move |one| one.find_overlapping_iter(text));
        let whole = all.filter(move |one| {
            let before = one.start().checked_sub(1).and_then(|at| text.get(at));
            let mut around = [before, text.get(one.end())].into_iter().flatten();
            begins.contains(&one.start()) && !around.any(is_part)
        });
        whole.map(|one| self.of_name[one.pattern().as_usize()])
    }
}

/// Ranges of the file that may have names to open. Only loaded data: a payload after the segments contains other files. Without section
/// headers, everything that is loaded.
fn places_of_strings(file: &Elf, source: &mut Source) -> Vec<(u64, u64)> {
    let sections = sections(file, source).unwrap_or_default();
    let data = sections.iter().filter(|section| {
        let flags = section.flags & u64::from(elf::SHF_ALLOC | elf::SHF_EXECINSTR);
        flags == u64::from(elf::SHF_ALLOC)
            && matches!(section.kind, elf::SHT_PROGBITS | elf::SHT_NOTE)
            && !is_called(section, b".eh_frame", &sections, file, source)
    });
    let mut ranges: Vec<(u64, u64)> = data
        .map(|section| (section.offset, section.offset.saturating_add(section.len)))
        .collect();
    if ranges.is_empty() {
        ranges.extend(file.loads().map(|load| (load.offset, load.file_end())));
    }
    for (_, end) in &mut ranges {
        *end = source.file_len().min(*end);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_is_another() {
        let openers = Openers::new([(Path::new("/app/lib/ext.so"), None)]);
        let names = |text: &[u8]| openers.in_text(text, &(0..text.len())).next().is_some();
        assert!(names(b"ext.so"));
        assert!(names(b"\0/app/lib/ext.so\0"));
        assert!(names(b"[\"ext.so\"]"));
        assert!(names(b"next.so ext.so"));
        assert!(!names(b"next.so"));
        assert!(!names(b"ext.so.1"));
        assert!(!names(b"ext.s"));
    }
}
