//! The reasons why a file cannot be changed: it cannot be read, or its sidecar cannot be used.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::state::found_sidecar::UnknownSidecar;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadFailure {
    #[error("cannot be opened: {0}")]
    Unopenable(String),
    #[error("malformed ELF file: {0}")]
    Malformed(String),
}

impl ReadFailure {
    pub fn malformed(error: &anyhow::Error) -> Self {
        Self::Malformed(format!("{error:#}"))
    }
}

/// Why a file that was wrapped can be neither wrapped nor restored, and what the user can do: words that follow its name. The path is the
/// sidecar's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unusable {
    /// It starts without a change.
    #[error(
        "derived from a wrapped program, with another segment in place of PT_INTERP; it starts with the sidecar {}, but can be neither wrapped nor restored",
        .0.display()
    )]
    InterpReused(PathBuf),
    /// Its sidecar describes another file.
    #[error(
        "was changed after it was wrapped (strip, an update?), and its sidecar {} no longer matches; download or build the program again",
        .0.display()
    )]
    Changed(PathBuf),
    /// No sidecar with its identity is at the paths where the stub looks for it; this is the first of them.
    #[error(
        "is wrapped, but its sidecar {} is gone or belongs to another program; put it back, or download or build the program again",
        .0.display()
    )]
    Orphan(PathBuf),
    /// Users who cannot write the file can write the sidecar, so its content must not get into the file.
    #[error(
        "users who cannot write the file can write its sidecar {}; remove the sidecar if it is not yours, otherwise give it the file's owner and mode",
        .0.display()
    )]
    Untrusted(PathBuf),
    /// The file is not a valid sidecar, or would not give a valid program. It may be the only copy of the program's first instructions, so
    /// no command removes or replaces it.
    #[error(
        "its sidecar {} cannot be used: it {reason}. It may be the only copy of the program's first instructions, so nothing is changed. Restore the program with the tool that wrapped it, or put an intact sidecar back; if the program is an original, move the sidecar away",
        .sidecar.display()
    )]
    UnknownSidecar {
        sidecar: PathBuf,
        reason: UnknownSidecar,
    },
}

impl Unusable {
    /// The path of the sidecar.
    pub fn sidecar(&self) -> &Path {
        match self {
            Self::InterpReused(sidecar)
            | Self::Changed(sidecar)
            | Self::Orphan(sidecar)
            | Self::Untrusted(sidecar)
            | Self::UnknownSidecar { sidecar, .. } => sidecar,
        }
    }
}
