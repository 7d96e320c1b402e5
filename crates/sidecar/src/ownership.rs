//! Which sidecars are trusted: one rule for the loader, when a program starts, and for the host tool, when it restores a file.

/// S_IWGRP.
pub const BY_GROUP: u32 = 0o020;
/// S_IWOTH.
pub const BY_ALL: u32 = 0o002;
pub const BY_OTHERS: u32 = BY_GROUP | BY_ALL;
/// S_ISVTX: only owners remove and rename files in the directory.
pub const STICKY: u32 = 0o1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    pub user: u32,
    pub group: u32,
    /// File type and permission bits.
    pub mode: u32,
}

impl Ownership {
    /// Whether each user who can write to this file can also write to `other`, or is root or `caller`. Root's group has no
    /// privilege: in containers that run under any user id, every user is in it.
    #[inline]
    pub fn is_no_weaker_than(self, other: Self, caller: u32) -> bool {
        let mut writable = other.mode;
        if self.group != other.group && writable & BY_ALL == 0 {
            writable &= !BY_GROUP;
        }
        let known = self.user == 0 || self.user == other.user || self.user == caller;
        known && self.mode & BY_OTHERS & !writable == 0
    }

    /// Whether the stub of `program`, started by `caller`, takes its loader from this file. The assembly in `sys` has no room for
    /// more than this part of the rule.
    pub fn is_believed_by_stub(self, program: Self, caller: u32) -> bool {
        let alone = self.mode & BY_OTHERS == 0 && (self.user == 0 || self.user == caller);
        let same = (self.user, self.group) == (program.user, program.group);
        alone || same && self.mode & BY_OTHERS & !program.mode == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: u32 = 99;

    fn owned(user: u32, group: u32, mode: u32) -> Ownership {
        Ownership { user, group, mode }
    }

    #[test]
    fn user_and_group_are_judged() {
        let (open, closed) = (owned(12, 34, 0o775), owned(12, 34, 0o755));
        // Whether the whole rule, and the stub's part of it, trust the file.
        for (sidecar, program, expected) in [
            (owned(12, 34, 0o644), open, [true, true]),
            (owned(0, 0, 0o644), open, [true, true]),
            (owned(CALLER, 9, 0o644), open, [true, true]),
            (owned(13, 34, 0o644), open, [false, false]),
            (owned(12, 34, 0o664), open, [true, true]),
            (owned(12, 34, 0o664), closed, [false, false]),
            (owned(12, 34, 0o666), open, [false, false]),
            // Another group may write than the program's.
            (owned(12, 35, 0o664), open, [false, false]),
            (owned(12, 35, 0o644), open, [true, false]),
            (owned(12, 35, 0o666), owned(12, 34, 0o777), [true, false]),
            (owned(12, 34, 0o666), owned(12, 34, 0o777), [true, true]),
            (owned(0, 34, 0o664), open, [true, false]),
            // Everybody but the group may write to the program.
            (owned(12, 34, 0o664), owned(12, 34, 0o757), [false, false]),
        ] {
            let judged = [
                sidecar.is_no_weaker_than(program, CALLER),
                sidecar.is_believed_by_stub(program, CALLER),
            ];
            assert_eq!(judged, expected, "{sidecar:?} {program:?}");
        }
    }
}
