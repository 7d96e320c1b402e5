//! Parallel walks through directory trees by handles and names. If a directory is renamed or replaced by a symbolic link during the walk,
//! the walk stays in the tree. Symbolic links are not followed.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::fcntl::OFlag;

use crate::system::directory::{Directory, EntryKind};

/// A name found in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'w> {
    directory: &'w Directory,
    above: &'w Path,
    pub name: &'w OsStr,
    pub kind: EntryKind,
    /// Levels below the start: 1 for a name directly in it.
    pub depth: usize,
}

impl Entry<'_> {
    pub fn path(&self) -> PathBuf {
        self.above.join(self.name)
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// As `open(2)`; an error for anything but a regular file.
    pub fn open(&self) -> io::Result<(File, Metadata)> {
        self.directory.file(self.name, OFlag::O_RDONLY)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Continue; if the entry is a directory, list it too.
    Enter,
    /// Continue without listing the entry.
    Pass,
    Stop,
}

/// Calls `visitor`, from several threads, with each name below `top`, and with each directory that cannot be read. `top` must be absolute
/// and free of symbolic links. `threads`: `None` means the number of processors.
pub fn walk(top: &Path, threads: Option<NonZero<usize>>, visitor: &Visitor<'_>) {
    let walk = Walk {
        visitor,
        stopped: AtomicBool::new(false),
        queue: Mutex::default(),
        changed: Condvar::new(),
    };
    walk.list(Directory::open_listed(top), top, 1);
    let below = walk.queue().pending.len();
    if below == 0 {
        return;
    }
    let threads = threads.or_else(|| thread::available_parallelism().ok());
    let helpers = threads.map_or(1, NonZero::get).min(below) - 1;
    thread::scope(|scope| {
        for _ in 0..helpers {
            // If no thread can be started, this one does all the work.
            let _ = thread::Builder::new().spawn_scoped(scope, || walk.work());
        }
        walk.work();
    });
}

/// Called with a name, or with a directory that cannot be read.
pub type Visitor<'m> = dyn Fn(Result<&Entry<'_>, (&Path, io::Error)>) -> Next + Sync + 'm;

struct Walk<'w> {
    visitor: &'w Visitor<'w>,
    stopped: AtomicBool,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// A stack: depth first, so that few directories are open at a time.
    pending: Vec<Pending>,
    /// Threads that are listing a directory and may add to `pending`.
    busy: usize,
}

/// A directory to list.
struct Pending {
    above: Directory,
    name: OsString,
    path: PathBuf,
    depth: usize,
}

impl Walk<'_> {
    fn work(&self) {
        while let Some(next) = self.take() {
            let directory = next.above.subdirectory_listed(&next.name);
            self.list(directory, &next.path, next.depth);
            self.queue().busy -= 1;
            self.changed.notify_all();
        }
    }

    fn take(&self) -> Option<Pending> {
        let mut queue = self.queue();
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(next) = queue.pending.pop() {
                queue.busy += 1;
                return Some(next);
            }
            if queue.busy == 0 {
                return None;
            }
            let waited = self.changed.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn list(&self, directory: io::Result<Directory>, path: &Path, depth: usize) {
        let mut below = Vec::new();
        let listed = directory.and_then(|directory| {
            directory.list(|name, kind| {
                let entry = Entry {
                    directory: &directory,
                    above: path,
                    name,
                    kind,
                    depth,
                };
                let next = self.visit(Ok(&entry));
                if next == Next::Enter && kind == EntryKind::Directory {
                    below.push(Pending {
                        above: directory.clone(),
                        name: name.to_owned(),
                        path: entry.path(),
                        depth: depth + 1,
                    });
                }
                next != Next::Stop
            })
        });
        if let Err(error) = listed {
            self.visit(Err((path, error)));
        }
        if !below.is_empty() {
            self.queue().pending.append(&mut below);
            self.changed.notify_all();
        }
    }

    fn visit(&self, entry: Result<&Entry<'_>, (&Path, io::Error)>) -> Next {
        let next = match self.stopped.load(Ordering::Relaxed) {
            true => Next::Stop,
            false => (self.visitor)(entry),
        };
        if next == Next::Stop {
            self.stopped.store(true, Ordering::Relaxed);
        }
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn names(top: &Path, threads: usize, next: impl Fn(&Entry<'_>) -> Next + Sync) -> Vec<PathBuf> {
        let names = Mutex::new(Vec::new());
        walk(top, NonZero::new(threads), &|found| match found {
            Ok(entry) => {
                names.lock().unwrap().push(entry.path());
                next(entry)
            }
            Err((path, _)) => {
                names.lock().unwrap().push(path.join("unreadable"));
                Next::Pass
            }
        });
        let mut names = names.into_inner().unwrap();
        names.sort();
        let below = names
            .into_iter()
            .map(|path| path.strip_prefix(top).unwrap().to_owned());
        below.collect()
    }

    #[test]
    fn every_name_is_visited_once() {
        let directory = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(directory.path()).unwrap();
        let mut expected = Vec::new();
        for one in 0..20 {
            for other in 0..20 {
                let path = format!("{one}/{other}");
                fs::create_dir_all(top.join(&path)).unwrap();
                fs::write(top.join(&path).join("file"), "").unwrap();
                symlink("/usr", top.join(&path).join("link")).unwrap();
                expected.extend(["/file", "/link", ""].map(|name| format!("{path}{name}")));
            }
            expected.push(one.to_string());
        }
        let mut expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
        expected.sort();
        for threads in [1, 2, 7] {
            assert_eq!(names(&top, threads, |_| Next::Enter), expected);
        }
        assert_eq!(names(&top, 2, |_| Next::Pass).len(), 20);
        assert_eq!(names(&top, 2, |_| Next::Stop).len(), 1);
    }

    #[test]
    fn a_directory_replaced_by_a_link_during_the_walk_is_not_entered() {
        let directory = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(directory.path()).unwrap();
        for name in ["tree/sub/below", "outside/below/secret"] {
            fs::create_dir_all(top.join(name)).unwrap();
        }
        let tree = top.join("tree");
        let found = names(&tree, 1, |entry| {
            if entry.name == "below" {
                fs::rename(tree.join("sub"), top.join("aside")).unwrap();
                symlink("../outside", tree.join("sub")).unwrap();
            }
            Next::Enter
        });
        // The entries are still those of the directory that was opened.
        assert_eq!(found, ["sub", "sub/below"].map(PathBuf::from));
        let found = names(&tree, 1, |_| Next::Enter);
        assert_eq!(found, [PathBuf::from("sub")]);
        fs::remove_file(tree.join("sub")).unwrap();
        fs::create_dir(tree.join("sub")).unwrap();
        let found = names(&tree, 1, |entry| {
            if entry.name == "sub" {
                fs::remove_dir(tree.join("sub")).unwrap();
                symlink("../outside", tree.join("sub")).unwrap();
            }
            Next::Enter
        });
        assert_eq!(found, ["sub", "sub/unreadable"].map(PathBuf::from));
    }
}
