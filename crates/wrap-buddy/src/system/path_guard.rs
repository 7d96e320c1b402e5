//! Which users can change where a path leads.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use ldso::Root;
use sidecar::ownership::STICKY;

/// The kernel's limit on symbolic links in a path.
const MAX_LINKS: usize = 40;

/// The first part of `path`, absolute in `root`, that users who are not in `trusted` can replace, write to, or create. Symbolic links are
/// followed one by one. `others`: the permission bits of the users who are not trusted.
///
/// In a sticky directory, other users cannot replace the files of a trusted user, but they can create files that do not exist yet.
pub fn weak_part(root: &Root, path: &Path, trusted: &[u32], others: u32) -> Option<PathBuf> {
    let guard = Guard {
        root,
        trusted,
        others,
    };
    match guard.walk(path) {
        Ok((at, here)) => {
            let weak = !guard.is_trusted(&here) || guard.is_writable(&here);
            weak.then_some(at)
        }
        Err(part) => part,
    }
}

/// Like [`weak_part`], for the directory of a trusted user's file: in a sticky directory, others may create files of their own.
pub fn weak_directory(root: &Root, path: &Path, trusted: &[u32], others: u32) -> Option<PathBuf> {
    let guard = Guard {
        root,
        trusted,
        others,
    };
    match guard.walk(path) {
        Ok((at, here)) => (!guard.is_guarded(&here)).then_some(at),
        Err(part) => part,
    }
}

struct Guard<'a> {
    root: &'a Root,
    trusted: &'a [u32],
    others: u32,
}

impl Guard<'_> {
    fn is_trusted(&self, metadata: &Metadata) -> bool {
        self.trusted.contains(&metadata.uid())
    }

    fn is_writable(&self, metadata: &Metadata) -> bool {
        metadata.mode() & self.others != 0
    }

    fn is_guarded(&self, metadata: &Metadata) -> bool {
        let sticky = metadata.is_dir() && metadata.mode() & STICKY != 0;
        self.is_trusted(metadata) && (sticky || !self.is_writable(metadata))
    }

    /// The real path and its metadata, if only trusted users can change where `path` leads. Otherwise the part that others can change;
    /// `None` if the path does not exist and others cannot create it.
    fn walk(&self, path: &Path) -> Result<(PathBuf, Metadata), Option<PathBuf>> {
        let mut at = PathBuf::from("/");
        let mut here = fs::metadata(self.root.real_on_host(&at)).map_err(|_| None)?;
        let mut left = parts(path);
        let mut links = 0;
        while let Some(part) = left.pop() {
            if !self.is_guarded(&here) {
                return Err(Some(at));
            }
            let next = match part.as_encoded_bytes() {
                b"/" => PathBuf::from("/"),
                b".." => at.parent().unwrap_or(&at).to_owned(),
                _ => at.join(&part),
            };
            let on_host = self.root.real_on_host(&next);
            match fs::symlink_metadata(&on_host) {
                Ok(link) if link.is_symlink() => {
                    links += 1;
                    // Nobody can change a link's content, but in a sticky directory its owner can replace it.
                    let replaceable = self.is_writable(&here) && !self.is_trusted(&link);
                    let target = fs::read_link(&on_host).ok();
                    let Some(target) = target.filter(|_| !replaceable && links <= MAX_LINKS) else {
                        return Err(Some(next));
                    };
                    left.extend(parts(&target));
                }
                Ok(metadata) => (at, here) = (next, metadata),
                Err(error) => {
                    let gone =
                        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
                    return Err(match gone {
                        true => self.is_writable(&here).then_some(at),
                        false => Some(next),
                    });
                }
            }
        }
        Ok((at, here))
    }
}

/// The components of a path, last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    let mut parts: Vec<OsString> = parts.map(|part| part.as_os_str().to_owned()).collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidecar::ownership::BY_OTHERS;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    const MALLORY: u32 = 1000;

    /// Only root can change the owner of a file.
    fn is_root() -> bool {
        nix::unistd::geteuid().is_root()
    }

    struct TestDir(tempfile::TempDir);

    impl TestDir {
        fn directory(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.0.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        }

        fn weak(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
            let path = self.0.path().join(path);
            weak_part(
                &Root::default(),
                &path,
                &[nix::unistd::geteuid().as_raw(), 0],
                BY_OTHERS,
            )
        }
    }

    fn give(path: &Path) {
        lchown(path, Some(MALLORY), Some(MALLORY)).unwrap();
    }

    fn dir() -> TestDir {
        let dir = TestDir(tempfile::tempdir().unwrap());
        fs::set_permissions(dir.0.path(), Permissions::from_mode(0o755)).unwrap();
        dir
    }

    #[test]
    fn every_part_counts() {
        let dir = dir();
        let open = dir.directory("open", 0o777);
        fs::create_dir(open.join("own")).unwrap();
        assert_eq!(dir.weak("open/own"), Some(open.clone()));
        assert_eq!(dir.weak("open"), Some(open));
        let closed = dir.directory("closed", 0o755);
        assert_eq!(dir.weak("closed"), None);
        assert_eq!(dir.weak("closed/../closed/./"), None);
        fs::write(closed.join("file"), "x").unwrap();
        assert_eq!(dir.weak("closed/file"), None);
        fs::set_permissions(closed.join("file"), Permissions::from_mode(0o664)).unwrap();
        assert_eq!(dir.weak("closed/file"), Some(closed.join("file")));
    }

    #[test]
    fn what_is_not_there_others_may_create() {
        let dir = dir();
        let sticky = dir.directory("sticky", 0o1777);
        dir.directory("closed", 0o755);
        assert_eq!(dir.weak("closed/new/lib"), None);
        assert_eq!(dir.weak("sticky/new/lib"), Some(sticky.clone()));
        // The existing directory is where they can put their libraries.
        assert_eq!(dir.weak("sticky"), Some(sticky.clone()));
        fs::create_dir(sticky.join("own")).unwrap();
        assert_eq!(dir.weak("sticky/own"), None);
        let weak_directory = |name: &str| {
            let path = dir.0.path().join(name);
            weak_directory(
                &Root::default(),
                &path,
                &[nix::unistd::geteuid().as_raw(), 0],
                BY_OTHERS,
            )
        };
        assert_eq!(weak_directory("sticky"), None);
        let open = dir.directory("open", 0o777);
        assert_eq!(weak_directory("open"), Some(open));
        symlink(sticky.join("new"), dir.0.path().join("closed/link")).unwrap();
        assert_eq!(dir.weak("closed/link/lib"), Some(sticky));
    }

    #[test]
    fn links_are_followed_one_by_one() {
        if !is_root() {
            return;
        }
        let dir = dir();
        let sticky = dir.directory("sticky", 0o1777);
        let closed = dir.directory("closed", 0o755);
        let theirs = sticky.join("theirs");
        symlink(&closed, &theirs).unwrap();
        give(&theirs);
        assert_eq!(dir.weak("sticky/theirs"), Some(theirs.clone()));
        // Through a link that root owns.
        symlink("../sticky/theirs", closed.join("link")).unwrap();
        assert_eq!(dir.weak("closed/link"), Some(theirs.clone()));
        // If only root can replace a link, its owner does not matter.
        symlink(&closed, closed.join("moved")).unwrap();
        give(&closed.join("moved"));
        assert_eq!(dir.weak("closed/moved"), None);
        symlink("round", closed.join("round")).unwrap();
        assert_eq!(dir.weak("closed/round"), Some(closed.join("round")));
        give(&closed);
        assert_eq!(dir.weak("closed/link"), Some(closed));
    }
}
