//! An edit that an earlier run has made.

use sidecar::EditKind;

/// An edit of an earlier run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEdit {
    /// What it was for.
    pub kind: EditKind,
    /// Offset in the file.
    pub offset: u64,
    /// What stood there before.
    pub original: Vec<u8>,
    /// What was written; not known of a stub.
    pub written: Option<Vec<u8>>,
}
