//! Reports files while others are still being processed.

use std::collections::HashSet;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::json::{self, FileLine, Reported};
use super::output::{Format, Output};
use super::progress::Progress;

/// With `--format json-lines`, writes a line for each finished file, from any thread; for people, drives the progress bar.
#[derive(Debug, Default)]
pub struct Reporter {
    /// Paths that have been reported; `None` unless the format is JSON Lines.
    reported: Option<Mutex<HashSet<PathBuf>>>,
    progress: Option<Progress>,
}

impl Reporter {
    pub fn new(output: Output) -> Self {
        Self {
            reported: (output.format == Format::JsonLines).then(Mutex::default),
            progress: (output.format == Format::Human && !output.quiet).then(Progress::new),
        }
    }

    pub fn found(&self) {
        if let Some(progress) = &self.progress {
            progress.found();
        }
    }

    /// Announces the number of files to process.
    pub fn expect(&self, files: usize) {
        if let Some(progress) = &self.progress {
            progress.expect(files);
        }
    }

    /// Counts a planned file.
    pub fn step(&self) {
        if let Some(progress) = &self.progress {
            progress.step();
        }
    }

    /// All files are planned; writing begins.
    pub fn writing(&self) {
        if let Some(progress) = &self.progress {
            progress.writing();
        }
    }

    /// Prints the line of a finished file, unless it has been printed.
    pub fn finished(&self, file: &impl FileLine) {
        let Some(reported) = &self.reported else {
            return;
        };
        // Serialize before taking the lock: this is the slow part.
        let line = file.line();
        let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.insert(file.path().to_owned()) {
            // If the reader has closed the pipe, the work goes on.
            let _ = json::write_line(&line, &mut stdout());
        }
    }

    /// Prints the lines that have not been printed, and the last line.
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
