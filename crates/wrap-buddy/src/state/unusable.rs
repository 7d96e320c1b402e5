//! Why nothing can be done to a file: it cannot be read, or what earlier runs have left of it is not known.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::state::found_sidecar::UnknownSidecar;

/// Why a file cannot be looked at.
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

/// Why a file that an earlier run has changed can be neither wrapped nor restored, and what you can do, in words that follow its
/// name. The path is the sidecar's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unusable {
    /// It starts as it is.
    #[error(
        "was made out of a wrapped program, and has something else where that had its PT_INTERP: it starts with the sidecar {}, and can be neither wrapped nor restored",
        .0.display()
    )]
    InterpReused(PathBuf),
    /// Its sidecar describes another file.
    #[error(
        "was changed since it was wrapped (strip, an update?), and its sidecar {} does not describe it any more: get the program again from where it came",
        .0.display()
    )]
    Changed(PathBuf),
    /// No sidecar with its identity is where it will be looked for, this path first.
    #[error(
        "is wrapped, but its sidecar {} is gone, or is another program's: put it back, or get the program again from where it came",
        .0.display()
    )]
    Orphan(PathBuf),
    /// A user who can write the sidecar could not write the file: nothing of it must get there.
    #[error(
        "its sidecar {} can be written by somebody who cannot write the file: remove it if it is not yours, else give it the file's owner and mode",
        .0.display()
    )]
    Untrusted(PathBuf),
    /// The sidecar is not understood to its end, or would not give a program: it may be the only copy of the program's first
    /// instructions, and no command removes or replaces it.
    #[error(
        "this wrap-buddy does not know its sidecar {}: it {reason}. It may be the only copy of the program's first instructions, so nothing is touched: restore the program with the tool that wrapped it, or put an intact sidecar back; if the file is an original, move the sidecar away",
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
