//! Results of system calls.

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
