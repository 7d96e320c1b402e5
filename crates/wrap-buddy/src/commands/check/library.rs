//! Searches directories for libraries, to propose them.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::plan::search::steps;
use crate::system::directory::EntryKind;
use crate::system::walk::{Next, walk};
use elf_file::{Elf, ElfTarget};
use ldso::Root;
use ldso::index::{self, IndexEntry};

/// Deepest level below `--find-in` to search.
const DEPTH: usize = 8;

/// The libraries in the searched directories.
#[derive(Debug)]
pub struct Library {
    root: Root,
    /// Directories that the user named.
    pub libs: Vec<PathBuf>,
    /// Directories of the checked files.
    checked: Vec<PathBuf>,
    find_in: Vec<PathBuf>,
    index: OnceLock<Index>,
}

#[derive(Debug)]
struct Index {
    directories: Vec<(PathBuf, Vec<IndexEntry>)>,
    /// By file name: index of the directory, index of the library in it.
    names: HashMap<OsString, Vec<(usize, usize)>>,
    /// By DT_SONAME, for libraries whose file name is different.
    sonames: HashMap<OsString, Vec<(usize, usize)>>,
}

impl Index {
    fn new(directories: Vec<(PathBuf, Vec<IndexEntry>)>) -> Self {
        let mut names: HashMap<OsString, Vec<(usize, usize)>> = HashMap::new();
        let mut sonames = names.clone();
        for (directory, (_, entries)) in directories.iter().enumerate() {
            for (number, entry) in entries.iter().enumerate() {
                let of_name = names.entry(entry.name.clone()).or_default();
                of_name.push((directory, number));
                let soname = entry
                    .soname
                    .as_ref()
                    .filter(|soname| **soname != entry.name);
                if let Some(soname) = soname {
                    let of_soname = sonames.entry(soname.clone()).or_default();
                    of_soname.push((directory, number));
                }
            }
        }
        Self {
            directories,
            names,
            sonames,
        }
    }

    /// The libraries of `entries` for `target`.
    fn at<'i>(
        &'i self,
        entries: Option<&'i Vec<(usize, usize)>>,
        target: ElfTarget,
    ) -> impl Iterator<Item = (&'i Path, &'i IndexEntry)> {
        let entries = entries.into_iter().flatten().map(|&(directory, entry)| {
            let (directory, entries) = &self.directories[directory];
            (directory.as_path(), &entries[entry])
        });
        entries.filter(move |(_, entry)| entry.target == target)
    }
}

impl Library {
    /// The search happens at the first use. `libs` and `checked` are searched without, `find_in` with subdirectories.
    pub fn new(
        root: Root,
        libs: Vec<PathBuf>,
        checked: Vec<PathBuf>,
        find_in: Vec<PathBuf>,
    ) -> Self {
        Self {
            root,
            libs,
            checked,
            find_in,
            index: OnceLock::new(),
        }
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let below = self.find_in.iter().flat_map(|one| self.below(one));
            let mut seen = BTreeSet::new();
            let named = self.libs.iter().chain(&self.checked).cloned();
            let all = named.chain(below);
            let all: Vec<PathBuf> = all.filter(|one| seen.insert(one.clone())).collect();
            let on_host: Vec<PathBuf> = all.iter().map(|one| self.root.on_host(one)).collect();
            Index::new(all.into_iter().zip(index::directories(&on_host)).collect())
        })
    }

    /// Directories below `top` that may have libraries, sorted. In a store these are `lib*` of each package, elsewhere all.
    fn below(&self, top: &Path) -> Vec<PathBuf> {
        let on_host = self.root.on_host(top);
        let is_store = top.ends_with("store") && fs::read_dir(&on_host).is_ok();
        let deepest = if is_store { 3 } else { DEPTH };
        let Ok(real) = fs::canonicalize(&on_host) else {
            return Vec::new();
        };
        let found = Mutex::new(match is_store {
            true => Vec::new(),
            false => vec![top.to_owned()],
        });
        walk(&real, NonZero::new(1), &|entry| {
            let Ok(entry) = entry else {
                return Next::Pass;
            };
            let is_package = is_store && entry.depth == 1;
            if entry.kind != EntryKind::Directory
                || (is_store && entry.depth == 2 && !entry.name.as_bytes().starts_with(b"lib"))
            {
                return Next::Pass;
            }
            if !is_package && let Ok(below) = entry.path().strip_prefix(&real) {
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.push(top.join(below));
            }
            if entry.depth < deepest {
                Next::Enter
            } else {
                Next::Pass
            }
        });
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_unstable();
        found
    }

    /// Directories with a library called `name` for the target of `wanted`: first those that the user named, then those of the checked
    /// files with the nearest to `from` first, then all others.
    pub fn with(&self, name: &str, wanted: &Elf, from: &Path) -> Vec<&Path> {
        let index = self.index();
        let found = index.names.get(OsStr::new(name));
        let found = index.at(found, wanted.target());
        let mut directories: Vec<&Path> = found.map(|(directory, _)| directory).collect();
        let origin = from.parent().unwrap_or(Path::new("/"));
        directories.sort_by_key(|directory| {
            let is_in = |all: &[PathBuf]| all.iter().any(|one| one == directory);
            match (is_in(&self.libs), is_in(&self.checked)) {
                (true, _) => (0, 0),
                (false, true) => (1, steps(origin, directory)),
                (false, false) => (2, 0),
            }
        });
        directories
    }

    /// A library with the DT_SONAME `soname` and another file name.
    pub fn called_differently(&self, soname: &str, target: ElfTarget) -> Option<PathBuf> {
        let index = self.index();
        let found = index.sonames.get(OsStr::new(soname));
        let (directory, entry) = index.at(found, target).next()?;
        Some(directory.join(&entry.name))
    }
}
