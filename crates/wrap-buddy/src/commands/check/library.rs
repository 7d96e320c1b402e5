//! Where there are libraries: the directories that are searched for the user.

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

/// How deep below `--find-in` there may be libraries.
const DEPTH: usize = 8;

/// Libraries in the directories that are searched for the user.
#[derive(Debug)]
pub struct Library {
    root: Root,
    /// Directories that the user named.
    pub libs: Vec<PathBuf>,
    /// Directories that files to be checked are in.
    checked: Vec<PathBuf>,
    find_in: Vec<PathBuf>,
    index: OnceLock<Index>,
}

/// What is in the directories that are searched.
#[derive(Debug)]
struct Index {
    directories: Vec<(PathBuf, Vec<IndexEntry>)>,
    /// Libraries by their file name: the directory and the library, each by its number.
    names: HashMap<OsString, Vec<(usize, usize)>>,
    /// Those that have another DT_SONAME, by that.
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

    /// The `places` of libraries for a machine and class.
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
    /// Nothing is looked at yet. `libs` and `checked` are searched as they are, `find_in` with all below.
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

    /// Directories of libraries below `top`, sorted. In a store, packages have them in `lib`; elsewhere anything may.
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

    /// Directories with a library that is called `name`, for what `wanted` is: those that the user named, then those of the
    /// files that are checked, the nearest to `from` first, then all others.
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

    /// A library whose DT_SONAME is `soname`, although its file is called differently.
    pub fn called_differently(&self, soname: &str, target: ElfTarget) -> Option<PathBuf> {
        let index = self.index();
        let found = index.sonames.get(OsStr::new(soname));
        let (directory, entry) = index.at(found, target).next()?;
        Some(directory.join(&entry.name))
    }
}
