//! What a watch says while it goes on, a line for each thing.

use schemars::JsonSchema;
use serde::Serialize;

use crate::commands::wrap::json::File;
use crate::plan::outcome::Status;

/// One line of a watch.
#[derive(Serialize, JsonSchema)]
pub struct Line {
    /// Seconds since 1970.
    pub time: f64,
    /// What has happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What has happened.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// All directories are watched from now on.
    Watching {
        /// The directories.
        paths: Vec<String>,
        /// Those of them that are looked through at intervals.
        polled: Vec<String>,
        /// How many there are with all below them.
        directories: usize,
    },
    /// What became of a file, as in the report of a single run.
    File(Box<File>),
    /// A loader was installed.
    Installed {
        /// Its path.
        path: String,
    },
    /// What concerns no single file.
    Warning {
        /// In words.
        reason: String,
    },
    /// Nothing came of files that have settled.
    Error {
        /// In words.
        reason: String,
    },
    /// What was left of a library that is gone was removed.
    Removed {
        /// Its path.
        path: String,
    },
    /// Files that settled together are done with.
    Batch {
        /// How many were wrapped.
        wrapped: usize,
        /// How many were edited in place.
        edited: usize,
        /// How many were left as they are, as they should be.
        skipped: usize,
        /// How many were left as they are, and should not be.
        failed: usize,
        /// How long it took.
        seconds: f64,
    },
    /// The watch ends.
    Stopped {
        /// In words.
        reason: String,
    },
}

impl Event {
    /// Whether somebody who wants to hear only of errors hears of it.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Error { .. } => true,
            Self::File(file) => file.status == Status::Failed,
            _ => false,
        }
    }
}
