//! Directories that their owner made read-only: they are made writable for as long as files are worked on in them.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Directories that were made writable, and the modes they had.
pub(super) struct Directories(Vec<(PathBuf, u32)>);

impl Directories {
    /// Makes the directories of `files` writable where only their own mode is in the way. Where that cannot be, the first file
    /// in it will say so.
    pub(super) fn lift<'a>(files: impl Iterator<Item = &'a Path>) -> Self {
        let directories: BTreeSet<&Path> = files.filter_map(Path::parent).collect();
        let lifted = directories.into_iter().filter_map(|directory| {
            let mode = fs::metadata(directory).ok()?.mode() & 0o7777;
            let closed = mode & 0o200 == 0 && access(directory, AccessFlags::W_OK).is_err();
            let open = Permissions::from_mode(mode | 0o200);
            let lifted = closed && fs::set_permissions(directory, open).is_ok();
            lifted.then(|| (directory.to_owned(), mode))
        });
        Self(lifted.collect())
    }

    /// Gives them their modes again.
    pub(super) fn put_back(&mut self) {
        for (directory, mode) in self.0.drain(..) {
            let _ = fs::set_permissions(directory, Permissions::from_mode(mode));
        }
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        self.put_back();
    }
}
