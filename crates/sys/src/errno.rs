//! Results of system calls.

/// No such file.
pub const ENOENT: usize = 2;
pub const EINTR: usize = 4;
pub const EACCES: usize = 13;
pub const EEXIST: usize = 17;
pub const ENOSPC: usize = 28;
pub const EROFS: usize = 30;
pub const EDQUOT: usize = 122;

pub const ENODATA: usize = 61;

/// The file system has no extended attributes.
pub const EOPNOTSUPP: usize = 95;

/// A value or, in the last 4095 values, a negated error number (asm-generic/errno-base.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(pub usize);

impl Outcome {
    /// The error number; 0 for success.
    #[inline(always)]
    pub fn errno(self) -> usize {
        if self.0 > usize::MAX - 4095 {
            self.0.wrapping_neg()
        } else {
            0
        }
    }
}
