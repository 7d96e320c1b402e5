//! Writes a small file atomically: others see all of it, or the previous file.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::SystemTime;

use sidecar::ownership::BY_GROUP;

use crate::system::directory::Directory;
use crate::system::trust::give;

#[derive(Clone, Copy, Debug)]
pub(super) struct Content<'a> {
    pub bytes: &'a [u8],
    /// The exact mode.
    pub mode: u32,
    /// User and group, if they can be set.
    pub owner: Option<(u32, u32)>,
    pub modified: Option<SystemTime>,
}

/// Writes `content` to `name`, whether it exists or not. With `durable` it is flushed to disk. `fresh`: a temporary name in case it exists.
pub(super) fn write(
    directory: &Directory,
    name: &OsStr,
    fresh: OsString,
    content: &Content<'_>,
    durable: bool,
) -> io::Result<()> {
    match create(directory, name, content, durable) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            replace(directory, name, fresh, content, durable)
        }
        created => created,
    }
}

/// Creates a file. It is written in place: nothing refers to it yet, and readers treat the partial file that a crash may leave as none.
pub(super) fn create(
    directory: &Directory,
    name: &OsStr,
    content: &Content<'_>,
    durable: bool,
) -> io::Result<()> {
    let file = directory.create(name, content.mode)?;
    fill(&file, content, durable).inspect_err(|_| {
        let _ = directory.remove_file(name);
    })
}

/// Replaces a file by a new one.
pub(super) fn replace(
    directory: &Directory,
    name: &OsStr,
    fresh: OsString,
    content: &Content<'_>,
    durable: bool,
) -> io::Result<()> {
    let fresh = directory.temporary(fresh)?;
    fill(fresh.file(), content, durable)?;
    fresh.replace(name).map(drop)
}

fn fill(mut file: &File, content: &Content<'_>, durable: bool) -> io::Result<()> {
    file.write_all(content.bytes)?;
    let now = file.metadata()?;
    let mut mode = content.mode;
    // Root wraps other users' files, and these users must be able to read the sidecars.
    if let Some((user, group)) = content.owner
        && (now.uid(), now.gid()) != (user, group)
        && give(file, user, group).is_err()
        && now.gid() != group
    {
        // The file has another group than intended, which must not get its rights.
        mode &= !BY_GROUP;
    }
    // Undo the umask.
    if now.mode() & 0o7777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    if let Some(modified) = content.modified {
        file.set_modified(modified)?;
    }
    if durable {
        file.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    fn directory() -> (tempfile::TempDir, Directory) {
        let directory = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(directory.path()).unwrap();
        (directory, Directory::open(&real).unwrap())
    }

    #[test]
    fn there_or_not_it_has_the_content_and_the_mode() {
        let (above, directory) = directory();
        let path = above.path().join("file");
        let modified = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 7);
        for content in ["first", "second"] {
            let wanted = Content {
                bytes: content.as_bytes(),
                mode: 0o666,
                owner: None,
                modified: Some(modified),
            };
            write(&directory, OsStr::new("file"), "new".into(), &wanted, true).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified);
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o666);
            assert_eq!(fs::read_dir(above.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_directory_in_its_place_is_an_error() {
        let (above, directory) = directory();
        fs::create_dir(above.path().join("file")).unwrap();
        let content = Content {
            bytes: b"x",
            mode: 0o644,
            owner: None,
            modified: None,
        };
        assert!(
            write(
                &directory,
                OsStr::new("file"),
                "new".into(),
                &content,
                false
            )
            .is_err()
        );
        assert_eq!(fs::read_dir(above.path()).unwrap().count(), 1);
    }
}
