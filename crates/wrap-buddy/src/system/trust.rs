//! Who can write to what: files are written with no more rights than whoever can write to them anyway.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Result, bail};
use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgroups, setfsgid, setfsuid, setgroups};
use sidecar::ownership::{BY_ALL, BY_GROUP, STICKY};

/// The group of a user that no database of users knows: "nogroup", which nothing belongs to.
const NO_GROUP: u32 = 65534;

/// Who owns something, and who can write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership(sidecar::Ownership);

/// Somebody who can write to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Its owner.
    User(u32),
    /// Who is in its group.
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
    /// Whether whoever can write to this can write to `other` anyway: root and the caller can do what this tool does.
    pub fn is_no_weaker_than(self, other: Self) -> bool {
        self.0.is_no_weaker_than(other.0, geteuid().as_raw())
    }

    /// Whether the self-contained stub of `program`, started by the caller, takes its loader from this file.
    pub fn is_believed_by_stub(self, program: Self) -> bool {
        self.0.is_believed_by_stub(program.0, geteuid().as_raw())
    }

    /// The same, with the user who owns another file.
    pub fn with_owner_of(self, other: &Metadata) -> Self {
        Self(sidecar::Ownership {
            user: other.uid(),
            ..self.0
        })
    }

    /// Whether nobody but root can give names in this directory.
    pub fn is_roots_alone(self) -> bool {
        self.others(0).is_none()
    }

    /// Who can give names in this directory, besides root and `user`.
    fn others(self, user: u32) -> Option<Other> {
        if ![0, user].contains(&self.0.user) {
            return Some(Other::User(self.0.user));
        }
        if self.0.mode & BY_ALL != 0 {
            return Some(Other::All);
        }
        (self.0.mode & BY_GROUP != 0 && self.0.group != 0).then_some(Other::Group(self.0.group))
    }

    /// Who can take names away from root and `user` in this directory, or from others who have some in it.
    fn others_at_names(self, user: u32) -> Option<Other> {
        let others = self.others(user);
        let guarded = self.0.mode & STICKY != 0 && !matches!(others, Some(Other::User(_)));
        others.filter(|_| !guarded)
    }
}

/// With whose rights a file is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// What goes by the open file.
    pub file: Writer,
    /// What goes by names in its directory.
    pub directory: Writer,
}

impl Rights {
    /// What is done to a file, which has `links` names, in `directory`. Only root has rights to leave.
    ///
    /// # Errors
    /// Says why root does not touch it.
    pub fn of(file: Ownership, links: u64, directory: Ownership) -> Result<Self> {
        let owner = file.0.user;
        if owner == 0
            && let Some(other) = directory.others_at_names(0)
        {
            bail!(
                "belongs to root, but {other} can write to its directory and so replace it: left alone; make the directory root's alone, or pass --trust-tree where nobody else is at work"
            );
        }
        if links > 1
            && let Some(other) = directory.others(owner)
        {
            bail!(
                "has {links} names (hard links), and {other} can write to its directory and so have made this one: left alone; pass --trust-tree where nobody else is at work"
            );
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

    /// Whether the caller has rights that others have not, and leaves them: root, unless `trust_tree`.
    pub fn are_left(trust_tree: bool) -> bool {
        !trust_tree && geteuid().is_root()
    }
}

/// Whose rights something is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    Caller,
    /// Those of this user, which the caller, root, takes instead of its own.
    Owner(u32),
}

impl Writer {
    /// Of what belongs to `user`, for root.
    pub fn owner(user: u32) -> Self {
        match user {
            0 => Self::Caller,
            user => Self::Owner(user),
        }
    }

    /// Gives this thread these rights at files until the result is dropped.
    ///
    /// # Errors
    /// Where the system does not let it.
    pub fn act(self) -> io::Result<Acting> {
        let Self::Owner(user) = self else {
            return Ok(Acting { left: false });
        };
        leave_groups()?;
        // From here on, dropping it brings the caller's rights back.
        let acting = Acting { left: true };
        let (group, user_id) = (Gid::from_raw(group_of(user)), Uid::from_raw(user));
        setfsgid(group);
        setfsuid(user_id);
        // Neither says whether it was done, but what was before (setfsuid(2)).
        let nobody = (Gid::from_raw(u32::MAX), Uid::from_raw(u32::MAX));
        match (setfsgid(nobody.0), setfsuid(nobody.1)) == (group, user_id) {
            true => Ok(acting),
            false => Err(not_theirs(user)),
        }
    }
}

/// Somebody else's rights, as long as it is there.
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

/// Gives a file that this process has just created to `user` and `group`, with the rights of the caller: nobody else has it.
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
        "belongs to the user {user}, with whose rights it would be written, which this process cannot take (it needs CAP_SETUID and CAP_SETGID, and the user to be known in its user namespace): run wrap-buddy as that user, or pass --trust-tree where nobody else is at work"
    ))
}

/// Has the process leave the groups that root is in besides its own: whoever's rights it takes may not be in them.
fn leave_groups() -> io::Result<()> {
    static LEFT: OnceLock<bool> = OnceLock::new();
    let left = LEFT.get_or_init(|| {
        let none = || getgroups().is_ok_and(|groups| groups.is_empty());
        none() || setgroups(&[]).is_ok()
    });
    match left {
        true => Ok(()),
        false => Err(io::Error::other(
            "belongs to another user, and this process cannot leave its groups (setgroups) to write it with that user's rights: run wrap-buddy as that user, or pass --trust-tree where nobody else is at work",
        )),
    }
}

/// The group that `user` logs in with. Not the file's: who owns a file is not always in its group.
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
            // The group of root is root.
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
