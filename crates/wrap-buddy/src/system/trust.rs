//! Which users can write to a file. Files are written with no more rights than these users have.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgroups, setfsgid, setfsuid, setgroups};
use sidecar::ownership::{BY_ALL, BY_GROUP, STICKY};
use thiserror::Error;

/// "nogroup", for a user who is not in the user database.
const NO_GROUP: u32 = 65534;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership(sidecar::Ownership);

/// A user or group who can write to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    User(u32),
    Group(u32),
    All,
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "the user {user}"),
            Self::Group(group) => write!(f, "the group {group}"),
            Self::All => f.write_str("everybody"),
        }
    }
}

impl From<&Metadata> for Ownership {
    fn from(metadata: &Metadata) -> Self {
        Self(sidecar::Ownership {
            user: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode(),
        })
    }
}

impl Ownership {
    /// Whether everybody who can write to this file can write to `other` anyway. Root and the caller always can.
    pub fn is_no_weaker_than(self, other: Self) -> bool {
        self.0.is_no_weaker_than(other.0, geteuid().as_raw())
    }

    /// Whether the self-contained stub of `program`, started by the caller, takes its loader from this file.
    pub fn is_believed_by_stub(self, program: Self) -> bool {
        self.0.is_believed_by_stub(program.0, geteuid().as_raw())
    }

    /// The same, with the owner of another file.
    pub fn with_owner_of(self, other: &Metadata) -> Self {
        Self(sidecar::Ownership {
            user: other.uid(),
            ..self.0
        })
    }

    /// Whether only root can create names in this directory.
    pub fn is_roots_alone(self) -> bool {
        self.others(0).is_none()
    }

    /// Who, apart from root and `user`, can create names in this directory.
    fn others(self, user: u32) -> Option<Other> {
        if ![0, user].contains(&self.0.user) {
            return Some(Other::User(self.0.user));
        }
        if self.0.mode & BY_ALL != 0 {
            return Some(Other::All);
        }
        (self.0.mode & BY_GROUP != 0 && self.0.group != 0).then_some(Other::Group(self.0.group))
    }

    /// Who can remove names of root, `user` or others from this directory.
    fn others_at_names(self, user: u32) -> Option<Other> {
        let others = self.others(user);
        let guarded = self.0.mode & STICKY != 0 && !matches!(others, Some(Other::User(_)));
        others.filter(|_| !guarded)
    }
}

/// Why root does not touch a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Exposed {
    #[error(
        "root owns this file, but {0} can write to its directory and could replace it; let only root write to the directory, or pass --trust-tree if no other user writes there"
    )]
    Replaceable(Other),
    #[error(
        "this file has {links} names (hard links), and {by} can write to its directory and could have created this one; pass --trust-tree if no other user writes there"
    )]
    Linked { links: u64, by: Other },
}

/// With whose rights a file is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// For operations on the open file.
    pub file: Writer,
    /// For operations on names in its directory.
    pub directory: Writer,
}

impl Rights {
    /// The rights for a file with `links` names in `directory`. Only for root as the caller.
    ///
    /// # Errors
    /// If root does not touch the file.
    pub fn of(file: Ownership, links: u64, directory: Ownership) -> Result<Self, Exposed> {
        let owner = file.0.user;
        if owner == 0
            && let Some(other) = directory.others_at_names(0)
        {
            return Err(Exposed::Replaceable(other));
        }
        if links > 1
            && let Some(by) = directory.others(owner)
        {
            return Err(Exposed::Linked { links, by });
        }
        Ok(Self {
            file: Writer::owner(owner),
            directory: match directory.others_at_names(0) {
                Some(_) => Writer::owner(owner),
                None => Writer::Caller,
            },
        })
    }

    pub const CALLER: Self = Self {
        file: Writer::Caller,
        directory: Writer::Caller,
    };

    /// Whether the caller works with the rights of each file's owner: root does, unless `trust_tree`.
    pub fn are_left(trust_tree: bool) -> bool {
        !trust_tree && geteuid().is_root()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    Caller,
    /// The rights of this user, which root takes instead of its own.
    Owner(u32),
}

impl Writer {
    /// For root: the rights of the owner `user`.
    pub fn owner(user: u32) -> Self {
        match user {
            0 => Self::Caller,
            user => Self::Owner(user),
        }
    }

    /// Gives this thread these rights for file access until the result is dropped.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn act(self) -> io::Result<Acting> {
        let Self::Owner(user) = self else {
            return Ok(Acting { left: false });
        };
        leave_groups()?;
        // From here on, dropping `acting` restores the caller's rights.
        let acting = Acting { left: true };
        let (group, user_id) = (Gid::from_raw(group_of(user)), Uid::from_raw(user));
        setfsgid(group);
        setfsuid(user_id);
        // setfsuid(2) does not report failure: it returns the previous ID. A call with -1 changes nothing.
        let nobody = (Gid::from_raw(u32::MAX), Uid::from_raw(u32::MAX));
        match (setfsgid(nobody.0), setfsuid(nobody.1)) == (group, user_id) {
            true => Ok(acting),
            false => Err(not_theirs(user)),
        }
    }
}

/// The rights of another user, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Acting {
    left: bool,
}

impl Drop for Acting {
    fn drop(&mut self) {
        if self.left {
            setfsuid(geteuid());
            setfsgid(getegid());
        }
    }
}

/// Changes the owner of a file that this process has just created, with the caller's rights: no other process has it open.
pub fn give(file: &File, user: u32, group: u32) -> io::Result<()> {
    let given = fchown(file, Some(user), Some(group));
    if given.is_ok() || !geteuid().is_root() {
        return given;
    }
    let left = setfsuid(geteuid());
    let given = fchown(file, Some(user), Some(group));
    setfsuid(left);
    given
}

fn not_theirs(user: u32) -> io::Error {
    io::Error::other(format!(
        "the user {user} owns this file, and this process cannot take that user's rights (it needs CAP_SETUID and CAP_SETGID, and the user must exist in its user namespace); run wrap-buddy as that user, or pass --trust-tree if no other user writes there"
    ))
}

/// Leaves root's supplementary groups, for the whole process: the user whose rights it takes may not be in them.
fn leave_groups() -> io::Result<()> {
    static LEFT: OnceLock<bool> = OnceLock::new();
    let left = LEFT.get_or_init(|| {
        let none = || getgroups().is_ok_and(|groups| groups.is_empty());
        none() || setgroups(&[]).is_ok()
    });
    match left {
        true => Ok(()),
        false => Err(io::Error::other(
            "another user owns this file, and this process cannot leave its groups (setgroups) to take that user's rights; run wrap-buddy as that user, or pass --trust-tree if no other user writes there",
        )),
    }
}

/// The primary group of `user`. A file's owner need not be in the file's group.
fn group_of(user: u32) -> u32 {
    static KNOWN: OnceLock<Mutex<HashMap<u32, u32>>> = OnceLock::new();
    let mut known = KNOWN
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    *known.entry(user).or_insert_with(|| {
        let found = User::from_uid(Uid::from_raw(user)).ok().flatten();
        found.map_or(NO_GROUP, |found| found.gid.as_raw())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(user: u32, group: u32, mode: u32) -> Ownership {
        Ownership(sidecar::Ownership { user, group, mode })
    }

    #[test]
    fn root_leaves_what_others_can_replace() {
        let rights = |file, links, directory| Rights::of(file, links, directory).ok();
        let (of_root, of_user) = (owned(0, 0, 0o755), owned(12, 34, 0o755));
        let as_user = Writer::Owner(12);
        let of = |file, directory| Some(Rights { file, directory });
        let caller = Writer::Caller;
        for (file, links, directory, expected) in [
            (of_root, 1, of_root, of(caller, caller)),
            (of_root, 2, of_root, of(caller, caller)),
            // Group 0 counts as root.
            (of_root, 1, owned(0, 0, 0o775), of(caller, caller)),
            (of_root, 1, owned(0, 50, 0o2775), None),
            (of_root, 1, owned(0, 0, 0o777), None),
            (of_root, 1, of_user, None),
            // In /tmp others can neither replace nor remove it, but may have made a link.
            (of_root, 1, owned(0, 0, 0o1777), of(caller, caller)),
            (of_root, 2, owned(0, 0, 0o1777), None),
            (of_root, 1, owned(12, 34, 0o1755), None),
            (of_user, 1, of_user, of(as_user, as_user)),
            (of_user, 2, of_user, of(as_user, as_user)),
            (of_user, 2, owned(12, 34, 0o775), None),
            (of_user, 1, owned(12, 34, 0o777), of(as_user, as_user)),
            // COPY --chown into a directory that WORKDIR has made.
            (of_user, 1, of_root, of(as_user, caller)),
            (of_user, 1, owned(0, 0, 0o1777), of(as_user, caller)),
            (of_user, 1, owned(13, 34, 0o755), of(as_user, as_user)),
            (of_user, 2, owned(13, 34, 0o755), None),
        ] {
            assert_eq!(
                rights(file, links, directory),
                expected,
                "{file:?} {directory:?}"
            );
        }
    }

    #[test]
    fn rights_are_taken_and_given_back() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        {
            let _acting = Writer::Owner(12345).act().unwrap();
            assert!(File::create(&path).is_err());
        }
        File::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), 0);
    }
}
