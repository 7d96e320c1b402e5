//! One run at a time on a tree: what a run has decided of a file must still be so when it writes.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::stderr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::Page;
use crate::system::lock::Holder;
use crate::system::workers::Stop;

/// Locks on the directories that were named, or that hold the files that were named, until this is dropped.
pub struct TreeLock {
    _held: Vec<File>,
}

/// How often a lock that another run holds is tried.
const AGAIN: Duration = Duration::from_millis(50);

/// How long one is waited for that somebody else than root and the caller holds, or nobody knows who: anybody who can read a
/// directory can lock it for ever.
const PATIENCE: Duration = Duration::from_secs(10);

impl TreeLock {
    /// Waits for other runs that hold one of them, and says so unless told to be `quiet`; none once `stop` says so. A directory that
    /// cannot be locked (it is not there, its file system has no locks, somebody else keeps it locked) is passed over: each file is
    /// locked again before it is written to, and compared.
    pub fn on(paths: &[PathBuf], quiet: bool, stop: &Stop<'_>) -> Option<Self> {
        let mut held = Vec::new();
        for directory in directories(paths) {
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

/// Locks `directory`, open as `file`; whether it could be, none once `stop` says so.
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
                warn(format!("waiting for {seen} that works on {directory}"));
            }
        }
        // The one that holds it now may be another.
        if began.elapsed() >= PATIENCE && !seen().is_trusted() {
            let (holder, directory) = (seen(), directory.display());
            warn(format!(
                "{holder} keeps {directory} locked: going on without that lock"
            ));
            return Some(false);
        }
        thread::sleep(AGAIN);
    }
    Some(true)
}

fn warn(what: String) {
    let mut page = Page::default();
    page.line(format!("wrap-buddy: {what}"));
    let _ = page.write_to(&mut stderr());
}

/// In one order for all, so that no two runs wait for each other.
fn directories(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    paths.iter().filter_map(|path| directory(path)).collect()
}

fn directory(path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    match real.is_dir() {
        true => Some(real),
        false => real.parent().map(Path::to_owned),
    }
}
