//! Writes a small file in one go: whoever opens it sees all of it, or what was there before.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::SystemTime;

use sidecar::ownership::BY_GROUP;

use crate::system::directory::Directory;
use crate::system::trust::give;

/// What a file is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content<'a> {
    pub bytes: &'a [u8],
    /// Exactly this mode.
    pub mode: u32,
    /// User and group, where that can be.
    pub owner: Option<(u32, u32)>,
    /// Time of modification.
    pub modified: Option<SystemTime>,
}

/// Writes `content` to the file called `name`, whether something is there already or not. With `durable` it is on disk. `fresh`: what
/// it is called at first if something is there.
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

/// Writes a file that is not there yet. It is written in place: nothing refers to it yet, so that a part of it, left by a crash,
/// is the same as none.
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

/// Replaces what is there by a file that nobody sees before.
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
    // Root wraps the files of others, who are to be able to read what belongs to them.
    if let Some((user, group)) = content.owner
        && (now.uid(), now.gid()) != (user, group)
        && give(file, user, group).is_err()
        && now.gid() != group
    {
        // Another group is not to write what this one may.
        mode &= !BY_GROUP;
    }
    // The umask was taken from it.
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
