use sidecar::EditKind;

/// An edit that an earlier run has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEdit {
    pub kind: EditKind,
    /// File offset.
    pub offset: u64,
    /// The original bytes.
    pub original: Vec<u8>,
    /// The new bytes; `None` for a stub.
    pub written: Option<Vec<u8>>,
}
