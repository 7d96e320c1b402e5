//! The directory of symbolic links beside a library whose search path does not fit into it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::plan::{Links, points_to};

/// What was made, to be taken back when a later step fails.
#[derive(Debug, Default)]
pub(super) struct Made {
    directory: Option<PathBuf>,
    links: Vec<PathBuf>,
}

impl Made {
    /// Takes it back.
    pub(super) fn undo(&self) {
        for link in &self.links {
            let _ = fs::remove_file(link);
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Makes the links that are not there, each complete when it gets its name. With `durable` they are on disk.
pub(super) fn make(links: &Links, made: &mut Made, durable: bool) -> io::Result<()> {
    match fs::create_dir(&links.directory) {
        Ok(()) => made.directory = Some(links.directory.clone()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    for (name, target) in &links.links {
        let path = links.directory.join(name);
        if points_to(&path, target) {
            continue;
        }
        match symlink(target, &path) {
            Ok(()) => made.links.push(path),
            // What an earlier run left, for other libraries.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let fresh = links.directory.join(".wrapbuddy-new");
                let _ = fs::remove_file(&fresh);
                symlink(target, &fresh)?;
                fs::rename(&fresh, &path)?;
            }
            Err(error) => return Err(error),
        }
    }
    match durable {
        true => File::open(&links.directory)?.sync_all(),
        false => Ok(()),
    }
}

/// Removes files, links and, behind these, directories that are of no use any more; says what cannot be removed.
pub(super) fn remove(unused: &[PathBuf]) -> Vec<String> {
    let failed = unused.iter().filter_map(|path| {
        let is_directory = path.is_dir() && !path.is_symlink();
        let done = if is_directory {
            fs::remove_dir(path)
        } else {
            fs::remove_file(path)
        };
        let error = done.err()?;
        let gone = error.kind() == io::ErrorKind::NotFound;
        (!gone).then(|| cannot_be_removed(path, &error))
    });
    failed.collect()
}

/// What there is to say of a file that stays at `path`.
pub(super) fn cannot_be_removed(path: &Path, error: &io::Error) -> String {
    format!(
        "{} is of no use any more, and cannot be removed: {error}",
        path.display()
    )
}
