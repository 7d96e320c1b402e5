//! Finds the files to look at.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::naming::is_sidecar_name;

/// A file that may be a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// As the user named it, or below what the user named.
    pub shown: PathBuf,
    /// Absolute and free of symbolic links: the sidecar goes beside it.
    pub path: PathBuf,
    /// Named by the user, not met in a directory.
    pub named: bool,
}

/// A path that cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The path.
    pub path: PathBuf,
    /// Why not.
    pub reason: String,
}

/// Everything below `paths`, in the order given, names sorted within a directory.
pub fn scan(paths: &[PathBuf], recurse: bool) -> (Vec<Candidate>, Vec<Unreadable>) {
    let mut found = Vec::new();
    let mut unreadable = Vec::new();
    for path in paths {
        match fs::canonicalize(path).and_then(|real| Ok((fs::metadata(&real)?, real))) {
            Ok((metadata, real)) if metadata.is_dir() => {
                walk(path, &real, recurse, &mut found, &mut unreadable);
            }
            Ok((_, real)) => found.push(Candidate {
                shown: path.clone(),
                path: real,
                named: true,
            }),
            Err(error) => unreadable.push(Unreadable {
                path: path.clone(),
                reason: io_reason(&error),
            }),
        }
    }
    (found, unreadable)
}

fn walk(
    shown: &Path,
    real: &Path,
    recurse: bool,
    found: &mut Vec<Candidate>,
    unreadable: &mut Vec<Unreadable>,
) {
    let depth = if recurse { usize::MAX } else { 1 };
    for entry in WalkDir::new(real).max_depth(depth).sort_by_file_name() {
        match entry {
            // Symbolic links are not followed; what they point to is met on its own, or is not ours.
            Ok(entry) if entry.file_type().is_file() && !is_sidecar_name(entry.file_name()) => {
                let below = entry.path().strip_prefix(real).unwrap_or(entry.path());
                found.push(Candidate {
                    shown: shown.join(below),
                    path: entry.into_path(),
                    named: false,
                });
            }
            Ok(_) => {}
            Err(error) => unreadable.push(Unreadable {
                path: error.path().unwrap_or(real).to_owned(),
                reason: error
                    .io_error()
                    .map_or_else(|| error.to_string(), io_reason),
            }),
        }
    }
}

/// A path that was named and also met, or named twice, is one file.
pub fn without_duplicates(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut seen: HashMap<PathBuf, usize> = HashMap::new();
    let mut unique: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        match seen.get(&candidate.path) {
            Some(&first) => unique[first].named |= candidate.named,
            None => {
                seen.insert(candidate.path.clone(), unique.len());
                unique.push(candidate);
            }
        }
    }
    unique
}

/// The directories that `candidates` are in, as they are shown and as they are, each once.
pub fn directories(candidates: &[Candidate]) -> Vec<(PathBuf, PathBuf)> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for candidate in candidates {
        let (Some(shown), Some(real)) = (candidate.shown.parent(), candidate.path.parent()) else {
            continue;
        };
        if seen.insert(real) {
            // `--paths program` is in a directory that has no name.
            let named = !shown.as_os_str().is_empty();
            let shown = if named { shown } else { Path::new(".") };
            found.push((shown.to_owned(), real.to_owned()));
        }
    }
    found
}

/// What an error of the operating system means for the user.
pub fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "is on a read-only file system".to_owned(),
        io::ErrorKind::ExecutableFileBusy => "is running: stop it first".to_owned(),
        io::ErrorKind::StorageFull => "no space left on the file system".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_only_when_named() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        for name in ["b", "a", ".a.wrapbuddy", "sub/c"] {
            fs::write(root.join(name), name).unwrap();
        }
        symlink("a", root.join("link")).unwrap();
        let names = |paths: &[PathBuf], recurse| -> Vec<PathBuf> {
            let found = scan(paths, recurse).0.into_iter();
            let below = found.map(|one| one.path.strip_prefix(&root).unwrap().to_owned());
            below.collect()
        };
        let tree = [root.clone()];
        assert_eq!(names(&tree, true), ["a", "b", "sub/c"].map(PathBuf::from));
        assert_eq!(names(&tree, false), ["a", "b"].map(PathBuf::from));
        assert_eq!(names(&[root.join("link")], true), [PathBuf::from("a")]);

        let (_, unreadable) = scan(&[root.join("none")], true);
        assert_eq!(unreadable[0].reason, "does not exist");
    }
}
