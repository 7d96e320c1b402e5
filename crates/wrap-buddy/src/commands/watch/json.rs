//! JSON of `watch`: one line for each event.

use serde::Serialize;

use crate::commands::wrap::json::File;
use crate::plan::outcome::Status;

/// One line of output.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Line {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub time: f64,
    #[serde(flatten)]
    pub event: Event,
}

/// An event.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// All directories are watched from now on.
    Watching {
        /// The directories.
        paths: Vec<String>,
        /// The directories that are scanned at intervals.
        polled: Vec<String>,
        /// Number of watched directories, with subdirectories.
        directories: usize,
    },
    /// The result for a file, as in the report of a single run.
    File(Box<File>),
    /// A loader was installed.
    Installed {
        /// Its path.
        path: String,
    },
    /// A warning that concerns no single file.
    Warning {
        /// The text of the warning.
        reason: String,
    },
    /// Files that settled could not be processed.
    Error {
        /// The text of the error.
        reason: String,
    },
    /// The sidecar of a removed library was removed.
    Removed {
        /// Its path.
        path: String,
    },
    /// Files that settled together have been processed.
    Batch {
        /// Number of files that were wrapped.
        wrapped: usize,
        /// Number of files that were edited in place.
        edited: usize,
        /// Number of files that need no change.
        skipped: usize,
        /// Number of files with errors.
        failed: usize,
        /// Duration.
        seconds: f64,
    },
    /// The watch ends.
    Stopped {
        /// Why it ends.
        reason: String,
    },
}

impl Event {
    /// Whether it is printed with `--quiet`.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Error { .. } => true,
            Self::File(file) => file.status == Status::Failed,
            _ => false,
        }
    }
}
