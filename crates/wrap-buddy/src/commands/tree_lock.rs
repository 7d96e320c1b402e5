//! Locks directories, so that only one run at a time works on a tree: plans must still hold when they are carried out.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::stderr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::{Page, Style, styled};
use crate::system::directory::real_directory;
use crate::system::lock::Holder;
use crate::system::workers::Stop;
use ldso::Root;

/// Locks on the directories that were named, and on those of the files that were named.
pub struct TreeLock {
    _held: Vec<File>,
}

/// Interval between attempts.
const AGAIN: Duration = Duration::from_millis(50);

/// How long to wait for a lock of a process that does not belong to root or the caller: everybody who can read a directory can lock it
/// for ever.
const PATIENCE: Duration = Duration::from_secs(10);

impl TreeLock {
    /// Waits until no other run holds any of the locks; announces that unless `quiet`. `None` if `stop` returned true. A directory that
    /// cannot be locked (missing, file system without locks, locked by another user) is skipped: each file is locked and compared again
    /// before it is written.
    pub fn on(root: &Root, paths: &[PathBuf], quiet: bool, stop: &Stop<'_>) -> Option<Self> {
        let mut held = Vec::new();
        for directory in directories(root, paths) {
            let Ok(file) = File::open(&directory) else {
                continue;
            };
            let locked = wait(&directory, &file, quiet, stop)?;
            if locked {
                held.push(file);
            }
        }
        Some(Self { _held: held })
    }
}

/// Locks `directory`, open as `file`. Returns false if that was given up, `None` if `stop` returned true.
fn wait(directory: &Path, file: &File, quiet: bool, stop: &Stop<'_>) -> Option<bool> {
    let began = Instant::now();
    let mut holder = None;
    while let Err(TryLockError::WouldBlock) = file.try_lock() {
        if stop() {
            return None;
        }
        let seen = || {
            file.metadata()
                .map_or(Holder::Unknown, |file| Holder::of(&file))
        };
        if holder.is_none() {
            let seen = holder.insert(seen());
            if !quiet {
                let directory = directory.display();
                warn(format!("waiting for {seen}, which works on {directory}"));
            }
        }
        // The holder may have changed.
        if began.elapsed() >= PATIENCE && !seen().is_trusted() {
            let (holder, directory) = (seen(), directory.display());
            warn(format!(
                "{directory}: {holder} keeps it locked; continuing without the lock"
            ));
            return Some(false);
        }
        thread::sleep(AGAIN);
    }
    Some(true)
}

fn warn(what: String) {
    let mut page = Page::default();
    page.line(format!("{}: {what}", styled("warning", Style::Warning)));
    let _ = page.write_to(&mut stderr());
}

// All runs lock in this order, so that no two wait for each other.
fn directories(root: &Root, paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let real = paths.iter().filter_map(|path| root.locate(path).ok());
    let on_host = real.map(|real| root.real_on_host(&real));
    on_host.filter_map(|path| real_directory(&path)).collect()
}
