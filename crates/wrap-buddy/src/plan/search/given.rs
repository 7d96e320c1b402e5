//! The trees to be processed: their libraries are available to their programs.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::system::directory::EntryKind;
use crate::system::sidecar_path::is_links_name;
use crate::system::walk::{Next, walk};
use ldso::Root;

/// The paths to be processed, free of symbolic links in their root. Nothing is read until a library is missing.
#[derive(Debug, Default)]
pub struct Given {
    root: Root,
    paths: Vec<PathBuf>,
    recurse: bool,
    /// The files below them, if they have been listed before.
    listed: Option<Vec<PathBuf>>,
    /// The directories of each file name, symbolic links included, sorted.
    names: OnceLock<Names>,
}

/// Directories by file name. The files of a directory share its path, because there may be very many.
type Names = HashMap<OsString, Vec<Arc<Path>>>;

impl Given {
    /// `paths`: single files, and directories with or without subdirectories, as the user named them.
    pub fn new(root: &Root, paths: &[PathBuf], recurse: bool) -> Self {
        let real = paths.iter().filter_map(|path| root.locate(path).ok());
        Self {
            root: root.clone(),
            paths: real.collect(),
            recurse,
            listed: None,
            names: OnceLock::new(),
        }
    }

    /// Sets the list of files: all symbolic links and ELF files. Their directories are free of symbolic links.
    pub fn listed(self, files: Vec<PathBuf>) -> Self {
        Self {
            listed: Some(files),
            ..self
        }
    }

    /// The directories with a file called `name`: those in the same tree as the directory `from` first, then by distance from it, then by
    /// path.
    pub fn with(&self, name: &OsStr, from: &Path) -> Vec<&Path> {
        let directories = self.names().get(name).map_or(&[][..], Vec::as_slice);
        let mut directories: Vec<&Path> = directories.iter().map(AsRef::as_ref).collect();
        directories.sort_by_key(|directory| (!self.joins(directory, from), steps(from, directory)));
        directories
    }

    /// The files whose names begin with `name` and a dot, sorted: a library usually has its DT_SONAME and a version as its file name.
    pub fn with_longer_name(&self, name: &OsStr) -> Vec<PathBuf> {
        let is_longer = |one: &OsStr| {
            let rest = one.as_bytes().strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"."))
        };
        let names = self.names().iter().filter(|(one, _)| is_longer(one));
        let paths = names.flat_map(|(name, all)| all.iter().map(move |one| one.join(name)));
        let mut paths: Vec<PathBuf> = paths.collect();
        paths.sort_unstable();
        paths
    }

    /// Whether both are in the same tree.
    pub fn joins(&self, one: &Path, other: &Path) -> bool {
        let mut paths = self.paths.iter();
        paths.any(|path| one.starts_with(path) && other.starts_with(path))
    }

    fn names(&self) -> &Names {
        self.names.get_or_init(|| match &self.listed {
            Some(files) => names(files.iter().map(PathBuf::as_path)),
            None => names(self.paths.iter().flat_map(|path| self.below(path))),
        })
    }

    fn below(&self, path: &Path) -> Vec<PathBuf> {
        let on_host = self.root.real_on_host(path);
        if !on_host.is_dir() {
            return vec![path.to_owned()];
        }
        let found = Mutex::new(Vec::new());
        walk(&on_host, NonZero::new(1), &|entry| {
            if let Ok(entry) = entry
                && entry.kind != EntryKind::Directory
            {
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.push(self.root.of_host(&entry.path()));
            }
            if self.recurse {
                Next::Enter
            } else {
                Next::Pass
            }
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(files: impl Iterator<Item = impl AsRef<Path>>) -> Names {
    let mut names = Names::new();
    let mut last: Arc<Path> = Arc::from(Path::new(""));
    for file in files {
        let file = file.as_ref();
        let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else {
            continue;
        };
        if directory.file_name().is_some_and(is_links_name) {
            continue;
        }
        if *last != *directory {
            last = Arc::from(directory);
        }
        let known = names.entry(name.to_owned()).or_default();
        known.push(Arc::clone(&last));
    }
    for directories in names.values_mut() {
        directories.sort_unstable();
        directories.dedup();
    }
    names
}

/// The number of directories to leave and enter on the way from the directory `from` to `to`.
pub fn steps(from: &Path, to: &Path) -> usize {
    let (mut from, mut to) = (from.components(), to.components());
    let same = |one: &std::path::Components<'_>, other: &std::path::Components<'_>| {
        let (one, other) = (one.clone().next(), other.clone().next());
        one.is_some() && one == other
    };
    while same(&from, &to) {
        from.next();
        to.next();
    }
    from.count() + to.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_nearest_directory_comes_first() {
        let steps = |from: &str, to: &str| steps(Path::new(from), Path::new(to));
        assert_eq!(steps("/a/bin", "/a/bin"), 0);
        assert_eq!(steps("/a/bin", "/a/lib"), 2);
        assert_eq!(steps("/a/bin", "/a/bin/x/y"), 2);
        assert_eq!(steps("/a/b/c", "/"), 3);

        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        for name in ["b/lib", "a/lib", "a/bin", "b/.x.wrapbuddy.d"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["b/lib/x", "b/.x.wrapbuddy.d/x", "x"] {
            fs::write(root.join(name), "").unwrap();
        }
        symlink("/none", root.join("a/lib/x")).unwrap();
        let with = |given: &Given, from: &str| -> Vec<PathBuf> {
            let found = given.with(OsStr::new("x"), &root.join(from)).into_iter();
            found
                .map(|one| one.strip_prefix(&root).unwrap().to_owned())
                .collect()
        };
        let all = Given::new(&Root::default(), std::slice::from_ref(&root), true);
        assert_eq!(
            with(&all, "a/bin"),
            ["", "a/lib", "b/lib"].map(PathBuf::from)
        );
        assert_eq!(
            with(&all, "b/lib"),
            ["b/lib", "", "a/lib"].map(PathBuf::from)
        );
        let flat = Given::new(&Root::default(), std::slice::from_ref(&root), false);
        assert_eq!(with(&flat, "a/bin"), [PathBuf::from("")]);

        let trees = Given::new(&Root::default(), &[root.join("a"), root.join("b")], true);
        assert_eq!(with(&trees, "a/bin"), ["a/lib", "b/lib"].map(PathBuf::from));
        assert!(trees.joins(&root.join("a/lib"), &root.join("a/bin")));
        assert!(!trees.joins(&root.join("a/lib"), &root.join("b/bin")));
    }
}
