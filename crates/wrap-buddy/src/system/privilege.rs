//! Programs that start with more power than whoever starts them: set-id bits, file capabilities. What such a program
//! trusts must be out of reach of all who do not have that power already.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sidecar::ownership::BY_OTHERS;
use xattr::FileExt;

use crate::system::path_guard::weak_part;

/// File capabilities: the kernel drops them when a file is written to.
pub const CAPABILITY: &str = "security.capability";

const SET_ID: u32 = 0o6000;
const SET_UID: u32 = 0o4000;

/// What a program has beyond its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// Who else than root has it already: the owner of a set-user-id file. The owner of a set-group-id file, or of one with
    /// capabilities, has not.
    shared_with: Option<(u32, u32)>,
}

impl Privilege {
    /// What the file has; none: nothing.
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

    /// Who has to own the sidecar: user and group.
    pub fn sidecar_owner(&self) -> (u32, u32) {
        self.shared_with.unwrap_or((0, 0))
    }

    /// The first part of `path`, an absolute one, that somebody without this power could replace, write to, or create.
    pub fn weak_part(&self, path: &Path) -> Option<PathBuf> {
        let owner = self.shared_with.map_or(0, |(user, _)| user);
        weak_part(path, &[0, owner], BY_OTHERS)
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
