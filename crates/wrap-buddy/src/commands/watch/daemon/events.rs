//! Finds files that exist or change, by events or scans, and hands them to the debounce.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Daemon;
use crate::commands::watch::cleanup;
use crate::commands::watch::polling::Snapshot;
use crate::commands::watch::roots::{self, is_own_name};
use crate::commands::watch::tree::{Event, Exhausted, Tree};
use crate::scan::may_be_elf;
use crate::system::directory::{Directory, EntryKind};

impl Daemon<'_> {
    pub(super) fn watch_anew(&mut self, now: Instant) -> Result<(), Exhausted> {
        self.tree = None;
        if self.roots.iter().all(|root| root.polled) {
            return Ok(());
        }
        self.tree = Some(Tree::new()?);
        self.silent.clear();
        for root in &mut self.roots {
            root.there = None;
        }
        self.visit_roots(now)
    }

    /// Continues by scanning, after a limit of inotify was reached.
    pub(super) fn fall_back(&mut self, exhausted: Exhausted, now: Instant) {
        let setting = match exhausted {
            Exhausted::Watches => "fs.inotify.max_user_watches",
            Exhausted::Instances => "fs.inotify.max_user_instances",
        };
        let path = Path::new("/proc/sys").join(setting.replace('.', "/"));
        let value = fs::read_to_string(path).unwrap_or_default();
        self.event_log.warning(&format!(
            "inotify limit reached ({setting} = {}); raise it (sysctl -w {setting}=NUMBER) and start again. Until then \
             all directories are scanned every {} s",
            value.trim(),
            self.interval.as_secs_f64()
        ));
        self.tree = None;
        self.processed.distrust(Path::new("/"));
        self.silent.clear();
        for root in &mut self.roots {
            root.polled = true;
        }
        self.snapshot = Snapshot::default();
        self.next_poll = Some(now);
    }

    /// Updates the locations of all roots, and watches those that have appeared.
    pub(super) fn visit_roots(&mut self, now: Instant) -> Result<(), Exhausted> {
        for index in 0..self.roots.len() {
            let Some(tree) = &mut self.tree else {
                return Ok(());
            };
            let root = &mut self.roots[index];
            if root.polled {
                continue;
            }
            // Watch first, so that no change is missed.
            tree.await_root(&root.path)?;
            let before = root.real().map(Path::to_owned);
            if !root.refresh() {
                continue;
            }
            if let Some(before) = before {
                tree.forget(&before);
                // It may be below the new location.
                tree.await_root(&root.path)?;
                self.debounce.forget(&before);
                self.processed.forget(&before);
            }
            // Another root may have been watched as a part of this one.
            let there = self.roots.iter().filter(|root| !root.polled);
            let there: Vec<PathBuf> = there
                .filter_map(|root| root.real().map(Path::to_owned))
                .collect();
            for real in there {
                self.enter(real, false, now)?;
            }
        }
        Ok(())
    }

    /// Watches a directory with its subdirectories and collects their files. If it `appeared`, they form one unit.
    fn enter(&mut self, directory: PathBuf, appeared: bool, now: Instant) -> Result<(), Exhausted> {
        let mut directories = vec![directory];
        while let Some(directory) = directories.pop() {
            let Some(tree) = &mut self.tree else {
                return Ok(());
            };
            // Watch first, so that no change is missed.
            if !roots::enters(&self.roots, false, &directory) {
                continue;
            }
            if self.mounts.is_point(&directory) && roots::is_on_silent(&directory) {
                self.silent.insert(directory);
                self.next_poll = Some(now);
                continue;
            }
            if !tree.watch(&directory)? {
                continue;
            }
            if appeared {
                self.debounce.directory_appeared(&directory, now);
            }
            let Ok(opened) = Directory::open_listed(&directory) else {
                continue;
            };
            for (name, is_directory) in entries(&opened) {
                let path = directory.join(name);
                if is_directory {
                    directories.push(path);
                } else if roots::wants(&self.roots, false, &path)
                    && !self.processed.knows(&path)
                    // A file that is still being written will be closed later and is checked then.
                    && may_be_elf(&path)
                {
                    self.debounce.file_changed(&path, now);
                }
            }
        }
        Ok(())
    }

    pub(super) fn take_events(&mut self, now: Instant) {
        let Some(tree) = &mut self.tree else {
            return;
        };
        let events = tree.read();
        let (mut is_lost, mut is_about_roots) = (false, false);
        let mut result = Ok(());
        for event in events {
            match event {
                Event::Overflow => is_lost = true,
                Event::Roots => is_about_roots = true,
                Event::DirectoryAppeared(path) => {
                    result = result.and_then(|()| self.enter(path, true, now));
                }
                Event::FileChanged(path) => self.changed(&path, now),
                Event::Moved(path) => self.gone(&path, now),
                Event::Removed(path) => {
                    self.gone(&path, now);
                    if cleanup::has_any(&path) {
                        self.changed(&path, now);
                    }
                }
            }
        }
        if is_lost {
            self.event_log.warning(
                "inotify queue overflowed (fs.inotify.max_queued_events); scanning all directories again",
            );
            result = result.and_then(|()| self.watch_anew(now));
        } else if is_about_roots {
            result = result.and_then(|()| self.visit_roots(now));
        }
        if let Err(exhausted) = result {
            self.fall_back(exhausted, now);
        }
    }

    /// Handles mounts and unmounts: other files are visible there now.
    pub(super) fn take_mounts(&mut self, now: Instant) {
        let changed = self.mounts.changed();
        if changed.is_empty() {
            return;
        }
        let mut result = self.visit_roots(now);
        for point in changed {
            self.silent.remove(&point);
            if let Some(tree) = &mut self.tree
                && roots::enters(&self.roots, false, &point)
            {
                tree.forget(&point);
                self.debounce.forget(&point);
                self.debounce_of_polls.forget(&point);
                self.processed.forget(&point);
                result = result.and_then(|()| self.enter(point, true, now));
            }
        }
        if let Err(exhausted) = result {
            self.fall_back(exhausted, now);
        }
    }

    fn changed(&mut self, path: &Path, now: Instant) {
        if roots::wants(&self.roots, false, path) {
            self.debounce.file_changed(path, now);
        } else {
            let directory = path.parent().unwrap_or(path);
            self.debounce.touched(directory, now);
        }
    }

    fn gone(&mut self, path: &Path, now: Instant) {
        self.debounce.forget(path);
        self.processed.forget(path);
        self.debounce.touched(path.parent().unwrap_or(path), now);
    }

    /// Scans the polled roots, if it is time.
    pub(super) fn poll_again(&mut self, now: Instant) {
        if self.next_poll.is_none_or(|time| now < time) {
            return;
        }
        let silent = std::mem::take(&mut self.silent);
        let has_some = !silent.is_empty() || self.roots.iter().any(|root| root.polled);
        self.next_poll = has_some.then_some(now + self.interval);
        let is_silent = |path: &Path| path.ancestors().any(|above| silent.contains(above));
        let mut directories: Vec<PathBuf> = silent.iter().cloned().collect();
        for root in self.roots.iter_mut().filter(|root| root.polled) {
            root.refresh();
            directories.extend(root.real().map(Path::to_owned));
        }
        while let Some(directory) = directories.pop() {
            let Ok(opened) = Directory::open_listed(&directory) else {
                continue;
            };
            let Ok(metadata) = opened.metadata() else {
                continue;
            };
            let wanted = roots::enters(&self.roots, true, &directory)
                || (is_silent(&directory) && roots::enters(&self.roots, false, &directory));
            if !wanted {
                continue;
            }
            if self.snapshot.is_news(&directory, &metadata) {
                self.debounce_of_polls.directory_appeared(&directory, now);
            }
            for (name, is_directory) in entries(&opened) {
                let path = directory.join(&name);
                if is_directory {
                    directories.push(path);
                    continue;
                }
                let Ok(metadata) = opened.metadata_of(&name) else {
                    continue;
                };
                if metadata.is_file()
                    && (roots::wants(&self.roots, true, &path)
                        || (is_silent(&path) && roots::wants(&self.roots, false, &path)))
                    && self.snapshot.is_news(&path, &metadata)
                    && !self.processed.knows(&path)
                    && may_be_elf(&path)
                {
                    self.debounce_of_polls.file_changed(&path, now);
                }
            }
        }
        self.snapshot.next();
        self.silent = silent;
    }
}

/// The names in a directory, and whether each is a directory, without symbolic links and files of this tool.
fn entries(directory: &Directory) -> Vec<(OsString, bool)> {
    let mut entries = Vec::new();
    // After an error, use the names that were read.
    let _ = directory.list(|name, kind| {
        let is_directory = kind == EntryKind::Directory;
        if (is_directory || kind == EntryKind::File) && !is_own_name(name) {
            entries.push((name.to_owned(), is_directory));
        }
        true
    });
    entries
}
