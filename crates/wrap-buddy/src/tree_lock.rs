//! One run at a time on a tree: what a run has decided of a file must still be so when it writes.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};

/// Locks on the directories that were named, or that hold the files that were named, until this is dropped.
pub struct TreeLock {
    _held: Vec<File>,
}

impl TreeLock {
    /// Waits for other runs that hold one of them, and says so unless told to be `quiet`. A directory that cannot be locked (it
    /// is not there, its file system has no locks) is passed over: each file is locked again before it is written to.
    pub fn on(paths: &[PathBuf], quiet: bool) -> Self {
        // In one order for all, so that no two runs wait for each other.
        let directories: BTreeSet<PathBuf> =
            paths.iter().filter_map(|path| directory(path)).collect();
        let held = directories.iter().filter_map(|directory| {
            let file = File::open(directory).ok()?;
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                if !quiet {
                    let _ = writeln!(
                        stderr(),
                        "wrap-buddy: waiting for another run that works on {}",
                        directory.display()
                    );
                }
                file.lock().ok()?;
            }
            Some(file)
        });
        Self {
            _held: held.collect(),
        }
    }
}

fn directory(path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    match real.is_dir() {
        true => Some(real),
        false => real.parent().map(Path::to_owned),
    }
}
