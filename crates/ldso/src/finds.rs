//! Caches search results for the whole run: many files need the same names from the same directories.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::found::{Found, NearMiss, SearchList, Step};
use crate::interpreter::Libc;
use crate::surroundings::Surroundings;
use elf_file::ElfTarget;

/// The inputs of a search other than names and directories: a dynamic linker and its surroundings.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Finder {
    pub interpreter: PathBuf,
    pub target: ElfTarget,
    pub libc: Libc,
    pub surroundings: Surroundings,
}

/// The searched directories: the numbers of their lists, and whether the default directories follow.
type SearchKey = (Vec<usize>, bool);

type Result = std::result::Result<Found, Arc<[NearMiss]>>;

/// The search results of one dynamic linker.
#[derive(Debug, Default)]
pub(crate) struct Finds {
    search_list: RwLock<HashMap<Vec<Step>, Arc<SearchList>>>,
    results: RwLock<HashMap<SearchKey, HashMap<OsString, Result>>>,
}

impl Finds {
    /// Returns the one shared list for these steps.
    pub fn search_list(&self, steps: Vec<Step>) -> Arc<SearchList> {
        let read = self
            .search_list
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(search_list) = read.get(&steps) {
            return Arc::clone(search_list);
        }
        drop(read);
        let mut write = self
            .search_list
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let number = write.len();
        let search_list = write.entry(steps).or_insert_with_key(|steps| {
            Arc::new(SearchList {
                number,
                steps: steps.clone(),
            })
        });
        Arc::clone(search_list)
    }

    /// Returns the cached result for `name`, or calls `search`. Two threads may both call it.
    pub fn remembered(
        &self,
        name: &OsStr,
        search_list: &[&SearchList],
        has_defaults: bool,
        search: impl FnOnce() -> Result,
    ) -> Result {
        let numbers = search_list.iter().map(|search_list| search_list.number);
        let key = (numbers.collect(), has_defaults);
        let read = self.results.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(&key).and_then(|names| names.get(name)) {
            return known.clone();
        }
        drop(read);
        let result = search();
        let mut write = self.results.write().unwrap_or_else(PoisonError::into_inner);
        let names = write.entry(key).or_default();
        names.insert(name.to_owned(), result.clone());
        result
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use object::elf;

    use super::*;
    use crate::interpreter::Interpreter;
    use crate::root::Root;
    use crate::{Dependent, Linker, ProbeCache, Tree};
    use elf_file::{Elf, Source};

    /// A library for x86_64 with these strings in its .dynamic, each with its tag.
    fn library(entries: impl IntoIterator<Item = (u32, String)>) -> Vec<u8> {
        let mut strings = vec![0];
        let mut dynamic: Vec<u64> = Vec::new();
        for (tag, text) in entries {
            dynamic.extend([u64::from(tag), strings.len() as u64]);
            strings.extend(text.bytes().chain([0]));
        }
        let table = 64 + 2 * 56;
        let len = 8 * (dynamic.len() as u64 + 4);
        dynamic.extend([u64::from(elf::DT_STRTAB), table + len, 0, 0]);
        let end = table + len + strings.len() as u64;
        let words = |words: &[u64]| -> Vec<u8> {
            let bytes = words.iter().flat_map(|word| word.to_le_bytes());
            bytes.collect()
        };
        let header = |kind: u32, offset, len| {
            words(&[u64::from(kind) | 6 << 32, offset, offset, 0, len, len, 4096])
        };
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend([3, 0, 62, 0, 1, 0, 0, 0]);
        bytes.extend(words(&[0, 64, 0]));
        bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]);
        bytes.extend(header(elf::PT_LOAD, 0, end));
        bytes.extend(header(elf::PT_DYNAMIC, table, len));
        bytes.extend(words(&dynamic));
        bytes.extend(strings);
        bytes
    }

    /// Each of 40 libraries loads all the others, and each has ten filtees that do not exist.
    #[test]
    fn missing_library_is_searched_for_once() {
        const LIBRARIES: usize = 40;
        const FILTEES: usize = 10;
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path()).unwrap();
        for number in 0..LIBRARIES {
            let next = format!("{}.so", (number + 1) % LIBRARIES);
            let filtees = (0..FILTEES).map(|one| format!("{number}-{one}.so"));
            let filtees = filtees.map(|name| (elf::DT_AUXILIARY, name));
            let own = [
                (elf::DT_NEEDED, next),
                (elf::DT_RUNPATH, "$ORIGIN".to_owned()),
            ];
            let bytes = library(own.into_iter().chain(filtees));
            fs::write(directory.path().join(format!("{number}.so")), bytes).unwrap();
        }
        let probe_cache = ProbeCache::new(root.clone(), Vec::new());
        let surroundings = Surroundings::default();
        for number in 0..LIBRARIES {
            let path = format!("/{number}.so");
            let path = Path::new(&path);
            let mut source = Source::open(&root.on_host(path)).unwrap();
            let elf = Elf::read(&mut source).unwrap();
            let interpreter = Interpreter::presumed(&root, None, Libc::Glibc, &elf).unwrap();
            let linker = Linker::new(&interpreter, &probe_cache, &surroundings).unwrap();
            let tree = Tree::of(&linker, Dependent { path, elf: &elf }, None);
            assert_eq!(tree.nodes.len(), LIBRARIES - 1);
            assert_eq!(tree.optional.len(), LIBRARIES * FILTEES);
        }
        // Once in the library's own directory, and once in each default directory.
        let most = LIBRARIES * (FILTEES + 1) * 8;
        let probed = probe_cache.probed.load(Ordering::Relaxed);
        assert!(probed <= most, "{probed} instead of {most}");
    }

    #[test]
    fn number_of_listed_missing_libraries_is_limited() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path()).unwrap();
        let names = (0..1100).map(|one| (elf::DT_NEEDED, format!("{one}.so")));
        fs::write(directory.path().join("library.so"), library(names)).unwrap();
        let probe_cache = ProbeCache::new(root.clone(), Vec::new());
        let surroundings = Surroundings::default();
        let path = Path::new("/library.so");
        let mut source = Source::open(&root.on_host(path)).unwrap();
        let elf = Elf::read(&mut source).unwrap();
        let interpreter = Interpreter::presumed(&root, None, Libc::Glibc, &elf).unwrap();
        let linker = Linker::new(&interpreter, &probe_cache, &surroundings).unwrap();
        let tree = Tree::of(&linker, Dependent { path, elf: &elf }, None);
        assert_eq!((tree.missing.len(), tree.more_missing), (1000, 100));
    }
}
