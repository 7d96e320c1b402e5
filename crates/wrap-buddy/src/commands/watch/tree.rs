//! Directories watched by inotify. It watches single directories: those of a tree are added one by one, and followed as they
//! appear, move and go.

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
    /// The kernel had more to tell than it can keep: anything may have happened.
    Overflow,
    /// A root, or a directory above one, has appeared, moved or gone.
    Roots,
    /// A directory has appeared, or has this name now.
    DirectoryAppeared(PathBuf),
    /// A file has appeared, was closed after writing, or has this name now.
    FileChanged(PathBuf),
    /// A file or directory has another name now, or is elsewhere.
    Moved(PathBuf),
    /// A file or directory was removed.
    Removed(PathBuf),
}

/// The kernel will not watch more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// No more directories: fs.inotify.max_user_watches.
    Watches,
    /// No more programs that watch: fs.inotify.max_user_instances.
    Instances,
}

/// The directories that are watched.
#[derive(Debug)]
pub struct Tree {
    inotify: Inotify,
    watched: HashMap<WatchDescriptor, Watched>,
    by_path: BTreeMap<Arc<Path>, WatchDescriptor>,
    /// Paths whose appearance concerns a root.
    awaited: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Watched {
    path: Arc<Path>,
    /// Whether what happens in it is of interest, because it is in a root.
    inside: bool,
    /// Whether what happens to it is of interest, because it is a root or above one.
    anchor: bool,
}

/// What happens to a directory itself.
const SELF: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF.union(AddWatchFlags::IN_MOVE_SELF);

/// Something appears in it.
const APPEARS: AddWatchFlags = AddWatchFlags::IN_CREATE.union(AddWatchFlags::IN_MOVED_TO);

/// All that matters in a root. Not writing itself, which a large file has thousands of: a file is of no interest before it is
/// closed.
const INSIDE: AddWatchFlags = APPEARS
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE);

/// What is watched for already stays, and files that are open but have no name any more are of no interest.
const MORE: AddWatchFlags =
    AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD | libc::IN_EXCL_UNLINK);

impl Tree {
    /// Nothing is watched yet.
    ///
    /// # Errors
    /// When the kernel has no more inotify instances for this user.
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

    /// Readable when there is something to [`Tree::read`].
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// How many directories are watched.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Watches what happens in `directory`, which is in a root; not what happens below its directories. Says whether it is there.
    ///
    /// # Errors
    /// When the kernel will not watch more.
    pub fn watch(&mut self, directory: &Path) -> Result<bool, Exhausted> {
        let found = self.add(directory, INSIDE)?;
        if let Some(watched) = found {
            watched.inside = true;
        }
        Ok(self.by_path.contains_key(directory))
    }

    /// Watches for `path`, a root, to appear, move or go, and for the directories above it.
    ///
    /// # Errors
    /// When the kernel will not watch more.
    pub fn await_root(&mut self, path: &Path) -> Result<(), Exhausted> {
        let mut below = path;
        let mut is_nearest = true;
        let mut was_missing = false;
        for above in path.ancestors().skip(1) {
            let real = fs::canonicalize(above).ok().filter(|real| real.is_dir());
            let is_missing = real.is_none();
            if let (Some(real), Some(name)) = (real, below.file_name()) {
                // What the nearest one gets is what is waited for; of the others, only that they stay where they are.
                let mask = if is_nearest { SELF | APPEARS } else { SELF };
                let watched = self.add(&real, mask)?;
                if let Some(watched) = watched {
                    watched.anchor = true;
                    if is_nearest {
                        self.awaited.insert(real.join(name));
                    }
                    // It may have appeared before that was watched for.
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
        // It is gone already, or not to be opened, or there is a symbolic link on the way by now.
        let Ok(opened) = Directory::open(directory) else {
            return Ok(None);
        };
        let flags = AddWatchFlags::IN_ONLYDIR | MORE;
        let mut added = self.inotify.add_watch(&opened.by_handle(), mask | flags);
        if added == Err(Errno::ENOENT) {
            // Without /proc. What happens in another directory than that is only noise: files are opened without following links.
            let flags = flags | AddWatchFlags::IN_DONT_FOLLOW;
            added = self.inotify.add_watch(directory, mask | flags);
        }
        let descriptor = match added {
            Ok(descriptor) => descriptor,
            Err(Errno::ENOSPC | Errno::ENOMEM) => return Err(Exhausted::Watches),
            // It is gone already, or is none, or is not ours to read.
            Err(_) => return Ok(None),
        };
        let path: Arc<Path> = directory.into();
        // The same directory is known by another path, if that is no longer its path or there are two.
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

    /// Watches `path` no longer, nor what is below.
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

    /// What has happened since the last call.
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
