//! What a system call gives back.

/// No such attribute.
pub const ENODATA: usize = 61;

/// Not supported: attributes, by this file system.
pub const EOPNOTSUPP: usize = 95;

/// A value, or a negated error number: the last 4095 values (asm-generic/errno-base.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(pub usize);

impl Outcome {
    /// The error number, 0 for none.
    #[inline(always)]
    pub fn errno(self) -> usize {
        if self.0 > usize::MAX - 4095 {
            self.0.wrapping_neg()
        } else {
            0
        }
    }
}
