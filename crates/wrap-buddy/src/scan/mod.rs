//! Finds the files to process.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use object::elf;

use elf_file::{FileId, io_reason};
use ldso::Root;

use crate::system::directory::{EntryKind, open_file};
use crate::system::open_files;
use crate::system::sidecar_path::is_own_file_name;
use crate::system::walk::{Entry, Next, walk};

/// A file that may be a program.
#[derive(Debug)]
pub struct Target {
    /// As the user named it, or below a directory that the user named.
    pub shown: PathBuf,
    /// Absolute in `root` and free of symbolic links: the sidecar is next to this path.
    pub path: PathBuf,
    pub root: Root,
    /// Named by the user, not found in a directory.
    pub named: bool,
    /// The open file, kept from one phase of the run for the next.
    kept: Mutex<Option<File>>,
    /// Whether the file may be kept open: the number of open files is limited.
    may_be_kept: bool,
}

impl Target {
    /// A file in the machine's own root.
    pub fn new(shown: PathBuf, path: PathBuf, named: bool) -> Self {
        Self {
            shown,
            path,
            root: Root::default(),
            named,
            kept: Mutex::default(),
            may_be_kept: false,
        }
    }

    /// Opens the file for reading, or returns it if it was kept open. The caller checks that it is a regular file.
    pub fn open(&self) -> io::Result<File> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take().map_or_else(|| open_file(&self.on_host()), Ok)
    }

    /// Its path on this machine.
    pub fn on_host(&self) -> PathBuf {
        self.root.real_on_host(&self.path)
    }

    /// Keeps the file open for the next call of [`open`](Self::open).
    pub fn keep(&self, file: File) {
        if self.may_be_kept {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            *kept = Some(file);
        }
    }
}

/// The file of a plan, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFile {
    /// Absolute and free of symbolic links, in the root that its programs will have.
    pub path: PathBuf,
    /// The same file, absolute and free of symbolic links on this machine.
    pub on_host: PathBuf,
    pub id: FileId,
    /// Number of names (hard links).
    pub names: u64,
    pub len: u64,
}

impl TargetFile {
    /// The file at `path` in `root`.
    pub fn new(root: &Root, path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            on_host: root.real_on_host(path),
            id: FileId::from(metadata),
            names: metadata.nlink(),
            len: metadata.len(),
        }
    }

    /// The path on this machine of `path`, which is in the directory of this file or below.
    pub fn neighbour(&self, path: &Path) -> PathBuf {
        let directories = (self.path.parent(), self.on_host.parent());
        let below = |own: &Path| path.strip_prefix(own).ok().map(Path::to_owned);
        match directories {
            (Some(own), Some(on_host)) => {
                below(own).map_or(path.to_owned(), |one| on_host.join(one))
            }
            _ => path.to_owned(),
        }
    }

    /// Whether a file with this `metadata` is still the same.
    pub fn is(&self, metadata: &Metadata) -> bool {
        FileId::from(metadata) == self.id
    }
}

/// A path that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub path: PathBuf,
    pub reason: String,
}

/// Which files of a directory to process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    /// ELF files, and files that cannot be read.
    Elf,
    ElfOrScript,
}

/// The files below `paths` in `root` that are `wanted`, and those that are named, each once: in the order of `paths`, and below a directory
/// sorted by path. `threads`: `None` means the number of processors.
pub fn scan(
    root: &Root,
    paths: &[PathBuf],
    recurse: bool,
    wanted: Wanted,
    threads: Option<NonZero<usize>>,
) -> (Vec<Target>, Vec<Unreadable>) {
    scan_observed(root, paths, recurse, wanted, threads, &|_| true)
}

/// Like [`scan`]. Calls `observe`, from several threads, with every entry of a directory, wanted or not, and with `None` for a directory
/// that cannot be read. The scan stops when `observe` returns false.
pub fn scan_observed(
    root: &Root,
    paths: &[PathBuf],
    recurse: bool,
    wanted: Wanted,
    threads: Option<NonZero<usize>>,
    observe: &(dyn Fn(Option<&Entry<'_>>) -> bool + Sync),
) -> (Vec<Target>, Vec<Unreadable>) {
    let mut found = Vec::new();
    let mut unreadable = Vec::new();
    let room = AtomicUsize::new(open_files::to_spare());
    let new = |shown: PathBuf, path: PathBuf, named: bool, file: Option<File>| {
        let less = |room: usize| room.checked_sub(1);
        let room = room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let may_be_kept = room.is_ok();
        Target {
            kept: Mutex::new(file.filter(|_| may_be_kept)),
            may_be_kept,
            root: root.clone(),
            ..Target::new(shown, root.of_host(&path), named)
        }
    };
    for path in paths {
        let on_host = root.locate(path).map(|real| root.real_on_host(&real));
        match on_host.and_then(|real| Ok((fs::symlink_metadata(&real)?, real))) {
            Ok((metadata, real)) if metadata.is_dir() => {
                open_files::make_room();
                let target = |below: PathBuf, file| {
                    let shown = path.join(below.strip_prefix(&real).unwrap_or(&below));
                    new(shown, below, false, file)
                };
                let (below, unreadable_below) =
                    files_below(&real, recurse, wanted, threads, observe, &target);
                found.extend(below);
                unreadable.extend(unreadable_below);
            }
            Ok((_, real)) => found.push(new(path.clone(), real, true, None)),
            Err(error) => unreadable.push(Unreadable {
                path: path.clone(),
                reason: io_reason(&error),
            }),
        }
    }
    // Duplicates are possible only with several paths.
    match paths {
        [_] => (found, unreadable),
        _ => (without_duplicates(found), unreadable),
    }
}

/// The results of `target` for the files below `top`, sorted by path. Symbolic links are not followed: their targets are found on their
/// own, or are outside of `top`.
fn files_below(
    top: &Path,
    recurse: bool,
    wanted: Wanted,
    threads: Option<NonZero<usize>>,
    observe: &(dyn Fn(Option<&Entry<'_>>) -> bool + Sync),
    target: &(dyn Fn(PathBuf, Option<File>) -> Target + Sync),
) -> (impl Iterator<Item = Target> + use<>, Vec<Unreadable>) {
    let (sender, receiver) = mpsc::channel();
    walk(top, threads, &|entry| {
        if !observe(entry.as_ref().ok().copied()) {
            return Next::Stop;
        }
        let below = match entry {
            Ok(entry) => look_for(wanted, entry).map(|file| {
                let path = entry.path();
                Ok((by_parts(&path), target(path, file)))
            }),
            Err((path, error)) => Some(Err(Unreadable {
                path: path.to_owned(),
                reason: io_reason(&error),
            })),
        };
        // The receiver lives until all threads are done, so sending cannot fail.
        let _ = below.map(|below| sender.send(below));
        if recurse { Next::Enter } else { Next::Pass }
    });
    drop(sender);
    let (mut found, mut unreadable_below) = (Vec::new(), Vec::new());
    for below in receiver {
        match below {
            Ok(target) => found.push(target),
            Err(unreadable) => unreadable_below.push(unreadable),
        }
    }
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    unreadable_below.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    (
        found.into_iter().map(|(_, target)| target),
        unreadable_below,
    )
}

/// A key that sorts like `path`. Comparing paths themselves would split them into components each time.
fn by_parts(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes().iter();
    bytes
        .map(|&byte| if byte == b'/' { 0 } else { byte })
        .collect()
}

/// `None` if `entry` is not wanted; otherwise its file, if that had to be opened to find out.
fn look_for(wanted: Wanted, entry: &Entry<'_>) -> Option<Option<File>> {
    if entry.kind != EntryKind::File || is_own_file_name(entry.name) {
        return None;
    }
    if wanted == Wanted::All {
        return Some(None);
    }
    let Some((file, magic)) = magic(entry.open().map(|(file, _)| file)) else {
        return Some(None);
    };
    let is_script = || wanted == Wanted::ElfOrScript && magic.starts_with(b"#!");
    (magic == elf::ELFMAG || is_script()).then_some(Some(file))
}

/// Whether a file is an ELF file, or cannot be read.
pub fn may_be_elf(path: &Path) -> bool {
    magic(open_file(path)).is_none_or(|(_, magic)| magic == elf::ELFMAG)
}

/// Opens a file and reads its first bytes. Bytes after its end are zero.
fn magic(file: io::Result<File>) -> Option<(File, [u8; 4])> {
    let mut magic = [0; 4];
    let file = file.ok()?;
    file.read_at(&mut magic, 0).ok()?;
    Some((file, magic))
}

/// Removes duplicates of paths that are named twice, or named and also found in a directory.
fn without_duplicates(targets: Vec<Target>) -> Vec<Target> {
    let mut seen: HashMap<PathBuf, usize> = HashMap::new();
    let mut unique: Vec<Target> = Vec::new();
    for target in targets {
        match seen.get(&target.path) {
            Some(&first) => unique[first].named |= target.named,
            None => {
                seen.insert(target.path.clone(), unique.len());
                unique.push(target);
            }
        }
    }
    unique
}

/// The directories of `targets`, each once: as shown and as real path.
pub fn directories(targets: &[Target]) -> Vec<(PathBuf, PathBuf)> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for target in targets {
        let (Some(shown), Some(real)) = (target.shown.parent(), target.path.parent()) else {
            continue;
        };
        if seen.insert(real) {
            // The parent of the relative path `program` is empty.
            let named = !shown.as_os_str().is_empty();
            let shown = if named { shown } else { Path::new(".") };
            found.push((shown.to_owned(), real.to_owned()));
        }
    }
    found
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
        for name in ["b", "a", ".a.wrapbuddy", "sub/c", ".hidden"] {
            fs::write(root.join(name), name).unwrap();
        }
        symlink("a", root.join("link")).unwrap();
        let names = |paths: &[PathBuf], recurse| -> Vec<PathBuf> {
            let found = scan(&Root::default(), paths, recurse, Wanted::All, None)
                .0
                .into_iter();
            let below = found.map(|one| one.path.strip_prefix(&root).unwrap().to_owned());
            below.collect()
        };
        let tree = [root.clone()];
        let all = [".hidden", "a", "b", "sub/c"].map(PathBuf::from);
        assert_eq!(names(&tree, true), all);
        assert_eq!(names(&tree, false), all[..3]);
        assert_eq!(names(&[root.join("link")], true), [PathBuf::from("a")]);

        let (_, unreadable) = scan(
            &Root::default(),
            &[root.join("none")],
            true,
            Wanted::All,
            None,
        );
        assert_eq!(unreadable[0].reason, "does not exist");
    }

    #[test]
    fn paths_sort_by_their_parts() {
        let mut paths =
            ["/a/b", "/a-b", "/a", "/a/b/c", "/a/b-c", "/a.b/c", "/ab"].map(PathBuf::from);
        paths.sort_by_cached_key(|path| by_parts(path));
        let mut expected = paths.clone();
        expected.sort();
        assert_eq!(paths, expected);
    }

    #[test]
    fn only_files_of_the_wanted_kind_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        for (name, bytes) in [
            ("elf", "\x7fELF"),
            ("script", "#!/bin/sh\n"),
            ("short", "\x7fEL"),
            ("text", "text"),
        ] {
            fs::write(root.join(name), bytes).unwrap();
        }
        let names = |wanted, paths: &[PathBuf]| -> Vec<PathBuf> {
            let found = scan(&Root::default(), paths, true, wanted, NonZero::new(1))
                .0
                .into_iter();
            found.map(|one| one.path).collect()
        };
        let tree = [root.clone()];
        let elf = root.join("elf");
        assert_eq!(names(Wanted::Elf, &tree), std::slice::from_ref(&elf));
        assert_eq!(
            names(Wanted::ElfOrScript, &tree),
            [elf, root.join("script")]
        );
        assert_eq!(names(Wanted::All, &tree).len(), 4);
        // A file that you name is always reported.
        let text = root.join("text");
        assert_eq!(names(Wanted::Elf, std::slice::from_ref(&text)), [text]);
    }

    #[test]
    fn every_entry_is_observed() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::write(directory.path().join(name), "text").unwrap();
        }
        let count = std::sync::atomic::AtomicUsize::new(0);
        let below = |_: Option<&Entry<'_>>| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            true
        };
        let tree = [directory.path().to_owned()];
        let (found, _) = scan_observed(&Root::default(), &tree, true, Wanted::Elf, None, &below);
        assert_eq!((found.len(), count.into_inner()), (0, 2));
    }

    #[test]
    fn an_unreadable_directory_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let vanished = directory.path().join("vanished");
        let (mut found, unreadable) =
            files_below(&vanished, true, Wanted::All, None, &|_| true, &|_, _| {
                unreachable!("nothing is there")
            });
        assert!(found.next().is_none());
        let expected = Unreadable {
            path: vanished,
            reason: "does not exist".to_owned(),
        };
        assert_eq!(unreadable, [expected]);
    }
}
