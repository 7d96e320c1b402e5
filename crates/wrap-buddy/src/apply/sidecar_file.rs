//! Writes a small file in one go: whoever opens it sees all of it, or what was there before.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::time::SystemTime;

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

/// Writes `content` to `path`, whether something is there already or not. With `durable` it is on disk.
pub(super) fn write(path: &Path, content: &Content<'_>, durable: bool) -> io::Result<()> {
    match create(path, content, durable) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            replace(path, content, durable)
        }
        created => created,
    }
}

/// Writes a file that is not there yet. It is written in place: nothing refers to it yet, so that a part of it, left by a crash,
/// is the same as none.
pub(super) fn create(path: &Path, content: &Content<'_>, durable: bool) -> io::Result<()> {
    let mut create = File::options();
    create.write(true).create_new(true).mode(content.mode);
    let file = create.open(path)?;
    fill(&file, content, durable).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// Replaces what is there, by way of a file beside it, of a name that the next run takes again if this one is stopped.
pub(super) fn replace(path: &Path, content: &Content<'_>, durable: bool) -> io::Result<()> {
    let fresh = path.with_extension("wrapbuddy-new");
    let _ = fs::remove_file(&fresh);
    create(&fresh, content, durable)?;
    fs::rename(&fresh, path).inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })
}

fn fill(mut file: &File, content: &Content<'_>, durable: bool) -> io::Result<()> {
    file.write_all(content.bytes)?;
    let now = file.metadata()?;
    // Root wraps the files of others, who are to be able to read what belongs to them.
    if let Some((user, group)) = content.owner
        && (now.uid(), now.gid()) != (user, group)
    {
        let _ = fchown(file, Some(user), Some(group));
    }
    // The umask was taken from it.
    if now.mode() & 0o7777 != content.mode {
        file.set_permissions(Permissions::from_mode(content.mode))?;
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
    use std::time::Duration;

    #[test]
    fn there_or_not_it_has_the_content_and_the_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let modified = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 7);
        for content in ["first", "second"] {
            let wanted = Content {
                bytes: content.as_bytes(),
                mode: 0o666,
                owner: None,
                modified: Some(modified),
            };
            write(&path, &wanted, true).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified);
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o666);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_directory_in_its_place_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::create_dir(&path).unwrap();
        let content = Content {
            bytes: b"x",
            mode: 0o644,
            owner: None,
            modified: None,
        };
        assert!(write(&path, &content, false).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
