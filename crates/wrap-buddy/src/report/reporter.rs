//! Tells of files while others are still worked on.

use std::collections::HashSet;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::json::{self, FileLine, Reported};
use super::output::{Format, Output};
use super::progress::Progress;

/// Writes a line of JSON for each file that is finished, from whatever thread, each line whole; or shows people how far it is.
#[derive(Debug, Default)]
pub struct Reporter {
    /// The files that were told of, where lines are wanted.
    reported: Option<Mutex<HashSet<PathBuf>>>,
    /// For people.
    progress: Option<Progress>,
}

impl Reporter {
    /// One that says what `output` asks for.
    pub fn new(output: Output) -> Self {
        Self {
            reported: (output.format == Format::JsonLines).then(Mutex::default),
            progress: (output.format == Format::Human && !output.quiet).then(Progress::new),
        }
    }

    /// A walk has come to one more.
    pub fn met(&self) {
        if let Some(progress) = &self.progress {
            progress.met();
        }
    }

    /// There are that many files to look at.
    pub fn expect(&self, files: usize) {
        if let Some(progress) = &self.progress {
            progress.expect(files);
        }
    }

    /// It is decided what becomes of one more.
    pub fn step(&self) {
        if let Some(progress) = &self.progress {
            progress.step();
        }
    }

    /// It is decided of all, and they are written now.
    pub fn write(&self) {
        if let Some(progress) = &self.progress {
            progress.write();
        }
    }

    /// Prints the line of a file that is finished, once.
    pub fn finished(&self, file: &impl FileLine) {
        let Some(reported) = &self.reported else {
            return;
        };
        // Made before the lock is taken: that is the work.
        let line = file.line();
        let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.insert(file.path().to_owned()) {
            // A reader that went away is no reason to stop.
            let _ = json::write_line(&line, &mut stdout());
        }
    }

    /// Tells of all files that it has not told of, and of the end.
    pub fn end(self, all: &impl Reported) {
        let Some(reported) = self.reported else {
            return;
        };
        let reported = reported
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut out = stdout().lock();
        for line in all.lines(&reported) {
            let _ = json::write_line(&line, &mut out);
        }
        let _ = json::write_line(&all.end(), &mut out).and_then(|()| out.flush());
    }
}
