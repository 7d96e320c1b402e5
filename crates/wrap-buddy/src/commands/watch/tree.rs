//! Directory trees watched by inotify. inotify watches single directories: subdirectories are added one by one as they appear, move and
//! disappear.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::ops::Bound::{Included, Unbounded};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::roots::is_own_name;
use crate::system::directory::Directory;

#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel's queue overflowed: events were lost.
    Overflow,
    /// A root, or an ancestor of one, appeared, moved or disappeared.
    Roots,
    /// A directory appeared, or was renamed to this path.
    DirectoryAppeared(PathBuf),
    /// A file appeared, was closed after writing, or was renamed to this path.
    FileChanged(PathBuf),
    /// A file or directory was renamed or moved away from this path.
    Moved(PathBuf),
    Removed(PathBuf),
}

/// A limit of the kernel was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// fs.inotify.max_user_watches.
    Watches,
    /// fs.inotify.max_user_instances.
    Instances,
}

#[derive(Debug)]
pub struct Tree {
    inotify: Inotify,
    watched: HashMap<WatchDescriptor, Watched>,
    by_path: BTreeMap<Arc<Path>, WatchDescriptor>,
    /// Paths that are roots, or ancestors of roots, and do not exist yet.
    awaited: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Watched {
    path: Arc<Path>,
    /// Whether events in it are of interest, because it is in a root.
    inside: bool,
    /// Whether events of the directory itself are of interest, because it is a root or an ancestor of one.
    anchor: bool,
}

/// Events of a directory itself.
const SELF: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF.union(AddWatchFlags::IN_MOVE_SELF);

/// A new name in a directory.
const APPEARS: AddWatchFlags = AddWatchFlags::IN_CREATE.union(AddWatchFlags::IN_MOVED_TO);

/// Events in a root. Not IN_MODIFY, of which a large file has thousands: a file is of no interest before it is closed.
const INSIDE: AddWatchFlags = APPEARS
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE);

/// Add to an existing watch, and ignore open files that have been removed.
const MORE: AddWatchFlags =
    AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD | libc::IN_EXCL_UNLINK);

impl Tree {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If the user has no inotify instances left.
    pub fn new() -> Result<Self, Exhausted> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags).map_err(|_| Exhausted::Instances)?;
        Ok(Self {
            inotify,
            watched: HashMap::new(),
            by_path: BTreeMap::new(),
            awaited: BTreeSet::new(),
        })
    }

    /// It is readable when there are events.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Number of watched directories.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Watches events in `directory`, which is in a root, without subdirectories. Returns false if it does not exist.
    pub fn watch(&mut self, directory: &Path) -> Result<bool, Exhausted> {
        let found = self.add(directory, INSIDE)?;
        if let Some(watched) = found {
            watched.inside = true;
        }
        Ok(self.by_path.contains_key(directory))
    }

    /// Watches for the root `path` to appear, move or disappear, and for its ancestors.
    pub fn await_root(&mut self, path: &Path) -> Result<(), Exhausted> {
        let mut below = path;
        let mut is_nearest = true;
        let mut was_missing = false;
        for above in path.ancestors().skip(1) {
            let real = fs::canonicalize(above).ok().filter(|real| real.is_dir());
            let is_missing = real.is_none();
            if let (Some(real), Some(name)) = (real, below.file_name()) {
                // Only the nearest existing ancestor is watched for new names; the others are watched for moves.
                let mask = if is_nearest { SELF | APPEARS } else { SELF };
                let watched = self.add(&real, mask)?;
                if let Some(watched) = watched {
                    watched.anchor = true;
                    if is_nearest {
                        self.awaited.insert(real.join(name));
                    }
                    // It may have appeared before the watch was added.
                    if was_missing && below.is_dir() {
                        return self.await_root(path);
                    }
                    is_nearest = false;
                }
            }
            was_missing = is_missing;
            below = above;
        }
        if let Ok(real) = fs::canonicalize(path)
            && let Some(watched) = self.add(&real, SELF)?
        {
            watched.anchor = true;
        }
        Ok(())
    }

    fn add(
        &mut self,
        directory: &Path,
        mask: AddWatchFlags,
    ) -> Result<Option<&mut Watched>, Exhausted> {
        // It has disappeared, cannot be opened, or a symbolic link has replaced part of the path.
        let Ok(opened) = Directory::open(directory) else {
            return Ok(None);
        };
        let flags = AddWatchFlags::IN_ONLYDIR | MORE;
        let mut added = self.inotify.add_watch(&opened.by_handle(), mask | flags);
        if added == Err(Errno::ENOENT) {
            // Without /proc, watch by path. If that is another directory by now, its events do no harm: files are opened without following
            // links.
            let flags = flags | AddWatchFlags::IN_DONT_FOLLOW;
            added = self.inotify.add_watch(directory, mask | flags);
        }
        let descriptor = match added {
            Ok(descriptor) => descriptor,
            Err(Errno::ENOSPC | Errno::ENOMEM) => return Err(Exhausted::Watches),
            // It has disappeared, is not a directory, or is not readable.
            Err(_) => return Ok(None),
        };
        let path: Arc<Path> = directory.into();
        // The directory is known by another path: it was moved, or has two.
        if let Some(known) = self.watched.get_mut(&descriptor)
            && known.path != path
        {
            self.by_path.remove(&known.path);
            known.path = Arc::clone(&path);
        }
        self.by_path.insert(Arc::clone(&path), descriptor);
        Ok(Some(self.watched.entry(descriptor).or_insert(Watched {
            path,
            inside: false,
            anchor: false,
        })))
    }

    /// Stops watching `path` and everything below.
    pub fn forget(&mut self, path: &Path) {
        let below = self.by_path.range::<Path, _>((Included(path), Unbounded));
        let below = below.take_while(|(known, _)| known.starts_with(path));
        let below: Vec<_> = below.map(|(path, wd)| (Arc::clone(path), *wd)).collect();
        for (path, descriptor) in below {
            self.by_path.remove(&path);
            self.watched.remove(&descriptor);
            let _ = self.inotify.rm_watch(descriptor);
        }
    }

    /// The events since the last call.
    pub fn read(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.inotify.read_events() {
                Ok(read) => {
                    for event in &read {
                        self.take(event, &mut events);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) => return events,
            }
        }
    }

    fn take(&mut self, event: &InotifyEvent, events: &mut Vec<Event>) {
        let mask = event.mask;
        if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            events.push(Event::Overflow);
            return;
        }
        let Some(watched) = self.watched.get(&event.wd) else {
            return;
        };
        let directory = Arc::clone(&watched.path);
        let (inside, anchor) = (watched.inside, watched.anchor);
        if mask.contains(AddWatchFlags::IN_IGNORED) {
            self.watched.remove(&event.wd);
            if self.by_path.get(&directory) == Some(&event.wd) {
                self.by_path.remove(&directory);
            }
        }
        if mask.intersects(SELF | AddWatchFlags::IN_UNMOUNT) && anchor {
            events.push(Event::Roots);
        }
        let Some(name) = event.name.as_deref() else {
            return;
        };
        let path = directory.join(name);
        if anchor && mask.intersects(APPEARS) && self.awaited.contains(&path) {
            events.push(Event::Roots);
        }
        if !inside || is_own_name(name) {
            return;
        }
        let is_directory = mask.contains(AddWatchFlags::IN_ISDIR);
        let gone = mask.intersects(AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_DELETE);
        if is_directory && gone {
            self.forget(&path);
        }
        events.push(match (gone, is_directory) {
            (true, _) if mask.contains(AddWatchFlags::IN_DELETE) => Event::Removed(path),
            (true, _) => Event::Moved(path),
            (false, true) => Event::DirectoryAppeared(path),
            (false, false) => Event::FileChanged(path),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_followed_and_a_root_is_awaited() {
        let directory = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(directory.path()).unwrap();
        let root = home.join("above/root");
        let mut tree = Tree::new().unwrap();
        tree.await_root(&root).unwrap();
        assert!(tree.read().is_empty());
        fs::write(home.join("other"), "").unwrap();
        assert!(tree.read().is_empty());
        fs::create_dir_all(&root).unwrap();
        assert_eq!(tree.read(), [Event::Roots]);
        tree.await_root(&root).unwrap();
        assert!(tree.watch(&root).unwrap());

        let (one, two) = (root.join("one"), root.join("two"));
        fs::create_dir(&one).unwrap();
        assert_eq!(tree.read(), [Event::DirectoryAppeared(one.clone())]);
        assert!(tree.watch(&one).unwrap());
        let count = tree.len();
        fs::rename(&one, &two).unwrap();
        let moved = [
            Event::Moved(one.clone()),
            Event::DirectoryAppeared(two.clone()),
        ];
        assert_eq!(tree.read(), moved);
        assert_eq!(tree.len(), count - 1);
        assert!(tree.watch(&two).unwrap() && !tree.watch(&one).unwrap());
        fs::write(two.join("file"), "").unwrap();
        fs::write(two.join(".file.wrapbuddy"), "").unwrap();
        let file = two.join("file");
        let written = [
            Event::FileChanged(file.clone()),
            Event::FileChanged(file.clone()),
        ];
        assert_eq!(tree.read(), written);
        fs::remove_dir_all(&root).unwrap();
        let events = tree.read();
        assert!(events.contains(&Event::Removed(file)) && events.contains(&Event::Roots));
        assert!(!tree.watch(&two).unwrap());
        fs::rename(home.join("above"), home.join("aside")).unwrap();
        assert!(tree.read().contains(&Event::Roots));
    }
}
