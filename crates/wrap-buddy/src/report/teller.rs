//! Tells of files while others are still worked on.

use std::collections::HashSet;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::json::{self, Line, Told};
use crate::cli::{Format, Output};

/// Writes a line for each file that is finished, from whatever thread, each line whole; or nothing.
#[derive(Debug, Default)]
pub struct Teller {
    /// The files that were told of, where lines are wanted.
    told: Option<Mutex<HashSet<PathBuf>>>,
}

impl Teller {
    /// One that says what `output` asks for.
    pub fn new(output: Output) -> Self {
        Self {
            told: (output.format == Format::JsonLines).then(Mutex::default),
        }
    }

    /// Tells of the file at `path`, as it is shown, of which nothing else will become; once.
    pub fn finished(&self, path: &Path, line: impl FnOnce() -> Line) {
        let Some(told) = &self.told else {
            return;
        };
        // Made before the lock is taken: that is the work.
        let line = line();
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(path.to_owned()) {
            // A reader that went away is no reason to stop.
            let _ = json::write_line(&line, &mut stdout());
        }
    }

    /// Tells of all files that it has not told of, and of the end.
    pub fn end(self, all: &impl Told) {
        let Some(told) = self.told else {
            return;
        };
        let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut out = stdout().lock();
        for line in all.lines(&told) {
            let _ = json::write_line(&line, &mut out);
        }
        let _ = json::write_line(&all.end(), &mut out).and_then(|()| out.flush());
    }
}
