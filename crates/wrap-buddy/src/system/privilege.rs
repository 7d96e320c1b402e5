//! Programs that run with more rights than their caller: set-id bits, file capabilities. Nobody without these rights may be able to
//! change a file that such a program trusts.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ldso::Root;
use sidecar::ownership::BY_OTHERS;
use xattr::FileExt;

use crate::system::path_guard::{weak_directory, weak_part};

/// The extended attribute of file capabilities. The kernel removes it when the file is written to.
pub const CAPABILITY: &str = "security.capability";

const SET_ID: u32 = 0o6000;
const SET_UID: u32 = 0o4000;

/// The rights that a program has beyond its caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// User and group, apart from root, who have these rights anyway: the owner of a set-user-ID file. The owner of a set-group-ID file,
    /// or of one with capabilities, does not have them.
    shared_with: Option<(u32, u32)>,
}

impl Privilege {
    /// `None` if the file gives no additional rights.
    pub fn of(file: &File, metadata: &Metadata) -> Option<Self> {
        let capable = file
            .get_xattr(CAPABILITY)
            .is_ok_and(|value| value.is_some());
        let set_id = metadata.mode() & SET_ID;
        if set_id == 0 && !capable {
            return None;
        }
        let owner = (metadata.uid(), metadata.gid());
        let shared = set_id == SET_UID && !capable;
        Some(Self {
            shared_with: shared.then_some(owner),
        })
    }

    /// The user and group who have to own the sidecar.
    pub fn sidecar_owner(&self) -> (u32, u32) {
        self.shared_with.unwrap_or((0, 0))
    }

    /// The first part of `path`, absolute in `root`, that somebody without these rights can replace, write to, or create.
    pub fn weak_part(&self, root: &Root, path: &Path) -> Option<PathBuf> {
        weak_part(root, path, &self.trusted(), BY_OTHERS)
    }

    /// Like [`weak_part`](Self::weak_part), for the directory of the sidecar.
    pub fn weak_directory(&self, root: &Root, path: &Path) -> Option<PathBuf> {
        weak_directory(root, path, &self.trusted(), BY_OTHERS)
    }

    fn trusted(&self) -> [u32; 2] {
        [0, self.shared_with.map_or(0, |(user, _)| user)]
    }

    /// The message about the weak `part` of `path`, which such a program trusts.
    pub fn complaint(path: &Path, part: &Path) -> String {
        format!(
            "it is set-id or has file capabilities and trusts {}, but others can change {}",
            path.display(),
            part.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn with_mode(mode: u32) -> (tempfile::TempDir, Option<Privilege>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let file = File::open(&path).unwrap();
        let metadata = file.metadata().unwrap();
        (directory, Privilege::of(&file, &metadata))
    }

    #[test]
    fn only_the_owner_of_a_set_user_id_file_shares_it() {
        assert_eq!(with_mode(0o755).1, None);
        let (_directory, set_uid) = with_mode(0o4755);
        assert!(set_uid.unwrap().shared_with.is_some());
        for mode in [0o2755, 0o6755] {
            let (_directory, set_gid) = with_mode(mode);
            assert_eq!(set_gid.unwrap().sidecar_owner(), (0, 0));
        }
    }
}
