//! The directory of links next to a library that has no room for a search path.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::target_directories::{TargetDirectory, parent};
use crate::plan::Links;
use crate::system::directory::Directory;
use crate::system::sidecar_path::is_links_name;
use crate::system::trust::Ownership;

/// What was created, to be removed if a later step fails.
#[derive(Debug, Default)]
pub(super) struct Made {
    directory: Option<OsString>,
    links: Vec<(Directory, OsString)>,
}

impl Made {
    pub(super) fn undo(&self, target_directory: &TargetDirectory) {
        for (directory, link) in &self.links {
            let _ = directory.unlink(link);
        }
        if let Some(name) = &self.directory {
            let _ = target_directory.directory.remove_directory(name);
        }
    }
}

/// Creates the missing links. With `durable` they are flushed to disk.
pub(super) fn make(
    links: &Links,
    target_directory: &TargetDirectory,
    file: Ownership,
    made: &mut Made,
    durable: bool,
) -> io::Result<()> {
    let name = links.directory.file_name().unwrap_or_default();
    if target_directory.directory.make_directory(name)? {
        made.directory = Some(name.to_owned());
    }
    let directory = target_directory
        .directory
        .subdirectory(name)
        .map_err(not_followed)?;
    let ownership = Ownership::from(&directory.metadata()?);
    if ![file, target_directory.ownership()]
        .iter()
        .any(|other| ownership.is_no_weaker_than(*other))
    {
        return Err(io::Error::other(
            "a user who cannot write the file owns it or can write to it; remove it if it is not yours",
        ));
    }
    for (name, target) in &links.links {
        if directory
            .link_target(name)
            .is_ok_and(|found| found == *target)
        {
            continue;
        }
        match directory.symlink(name, target) {
            Ok(()) => made.links.push((directory.clone(), name.clone())),
            // An earlier run left a link to another library.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                directory.replace_by_symlink(name, target)?;
            }
            Err(error) => return Err(error),
        }
    }
    match durable {
        true => directory.sync(),
        false => Ok(()),
    }
}

/// Symbolic links are not followed: they may lead to files that are not the tool's.
fn not_followed(error: io::Error) -> io::Error {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP | Errno::ENOTDIR | Errno::EXDEV) => {
            io::Error::other("it is a symbolic link or not a directory; remove it")
        }
        _ => error,
    }
}

/// Removes files and links, and then directories, that `file` no longer uses. They are next to `file` in `target_directory`, or in its
/// directory of links. Returns a note for each that cannot be removed.
pub(super) fn remove(
    unused: &[PathBuf],
    file: &Path,
    target_directory: &TargetDirectory,
) -> Vec<String> {
    let mut opened: Option<(&Path, io::Result<Directory>)> = None;
    let mut failed = Vec::new();
    for path in unused {
        let name = path.file_name().unwrap_or_default();
        let above = parent(path);
        let is_link = above != parent(file);
        let removed = match is_link {
            true => {
                if opened.as_ref().is_none_or(|(known, _)| *known != above) {
                    let name = above.file_name().unwrap_or_default();
                    let directory = target_directory.directory.subdirectory(name);
                    opened = Some((above, directory.map_err(not_followed)));
                }
                match &opened {
                    Some((_, Ok(directory))) => remove_link(directory, name),
                    Some((_, Err(error))) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                    Some((_, Err(error))) => Err(io::Error::other(error.to_string())),
                    None => Ok(false),
                }
            }
            false if is_links_name(name) => {
                remove_directory(&target_directory.directory, name).map_err(not_followed)
            }
            false => target_directory.directory.remove_file(name),
        };
        if let Err(error) = removed {
            failed.push(cannot_be_removed(path, &error));
        }
    }
    failed
}

fn remove_directory(above: &Directory, name: &OsStr) -> io::Result<bool> {
    match above.remove_directory(name) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            above.subdirectory(name)?.remove_fresh_symlink()?;
            above.remove_directory(name)
        }
        removed => removed,
    }
}

/// Removes a link as this tool creates them: to a file of the same name. A forged sidecar can therefore not remove other files.
fn remove_link(directory: &Directory, name: &OsStr) -> io::Result<bool> {
    match directory.link_target(name) {
        Ok(target) if target.file_name() == Some(name) => directory.unlink(name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        _ => Err(io::Error::other("wrap-buddy did not create it")),
    }
}

pub(super) fn cannot_be_removed(path: &Path, error: &io::Error) -> String {
    format!(
        "{} is no longer used, and cannot be removed: {error}",
        path.display()
    )
}
