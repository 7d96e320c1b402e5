//! One run at a time on a tree: what a run has decided of a file must still be so when it writes.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::stderr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::crew::Stop;
use crate::report::Page;

/// Locks on the directories that were named, or that hold the files that were named, until this is dropped.
pub struct TreeLock {
    _held: Vec<File>,
}

/// How often a lock that another run holds is tried.
const AGAIN: Duration = Duration::from_millis(50);

impl TreeLock {
    /// Waits for other runs that hold one of them, and says so unless told to be `quiet`; none once `stop` says so. A directory that
    /// cannot be locked (it is not there, its file system has no locks) is passed over: each file is locked again before it is
    /// written to.
    pub fn on(paths: &[PathBuf], quiet: bool, stop: &Stop<'_>) -> Option<Self> {
        let mut held = Vec::new();
        for directory in directories(paths) {
            let Ok(file) = File::open(&directory) else {
                continue;
            };
            let mut quiet = quiet;
            while let Err(TryLockError::WouldBlock) = file.try_lock() {
                if stop() {
                    return None;
                }
                if !quiet {
                    quiet = true;
                    let mut page = Page::default();
                    let directory = directory.display();
                    page.line(format!(
                        "wrap-buddy: waiting for another run that works on {directory}"
                    ));
                    let _ = page.write_to(&mut stderr());
                }
                thread::sleep(AGAIN);
            }
            held.push(file);
        }
        Some(Self { _held: held })
    }
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
