//! The output of `watch` while it runs: a line for each event, for people or as JSON.

use std::ffi::OsStr;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::commands::watch::json::{Event, Line};
use crate::plan::outcome::{FileReport, Report, Status};
use crate::report::Page;
use crate::report::{Format, Output};

#[derive(Clone, Copy, Debug)]
pub struct EventLog {
    output: Output,
}

impl EventLog {
    pub fn new(output: Output) -> Self {
        Self { output }
    }

    /// All directories are watched. `polled`: those that are scanned at intervals.
    pub fn watching(self, paths: &[PathBuf], polled: &[PathBuf], directories: usize) {
        let list = |paths: &[PathBuf]| paths.iter().map(text).collect::<Vec<_>>();
        let (paths, polled) = (list(paths), list(polled));
        if self.is_json() {
            self.line(Event::Watching {
                paths,
                polled,
                directories,
            });
        } else if !self.output.quiet {
            let polled = match polled.is_empty() {
                true => String::new(),
                false => format!(" (scanning at intervals: {})", polled.join(", ")),
            };
            say(format!("watching {}{polled}", paths.join(", ")));
        }
    }

    /// The results for files that settled together. For people, skipped files are left out unless `--verbose` is set.
    pub fn batch(self, report: &Report, took: Duration) {
        if self.is_json() {
            for path in &report.installed {
                self.line(Event::Installed { path: text(path) });
            }
            for file in &report.files {
                self.line(Event::File(Box::new(file.into())));
            }
            for reason in &report.warnings {
                self.line(Event::Warning {
                    reason: reason.to_owned(),
                });
            }
            self.line(Event::Batch {
                wrapped: report.count(Status::Wrapped) + report.count(Status::WouldWrap),
                edited: report.count(Status::Edited) + report.count(Status::WouldEdit),
                skipped: report.count(Status::Skipped),
                failed: report.count(Status::Failed),
                seconds: took.as_secs_f64(),
            });
            return;
        }
        let (mut out, mut errors) = (Page::default(), Page::default());
        for path in &report.installed {
            out.line(format!("installed the loader {}", path.display()));
        }
        for file in &report.files {
            let path = file.path.display();
            let reason = reason(file);
            match file.status {
                Status::Failed => errors.line(format!("error: {path}: {reason}")),
                Status::Skipped if self.output.verbose => {
                    out.line(format!("{path}: skipped: {reason}"));
                }
                Status::Skipped => {}
                status => out.line(format!("{path}: {}", status.done())),
            }
            for note in notes(file).filter(|_| !self.output.quiet) {
                errors.line(format!("warning: {path}: {note}"));
            }
        }
        for warning in report.warnings.iter().filter(|_| !self.output.quiet) {
            errors.line(format!("warning: {warning}"));
        }
        if !self.output.quiet {
            let _ = out.write_to(&mut stdout());
        }
        let _ = errors.write_to(&mut stderr());
    }

    /// A warning. The watch continues.
    pub fn warning(self, reason: &str) {
        if self.is_json() {
            self.line(Event::Warning {
                reason: reason.to_owned(),
            });
        } else if !self.output.quiet {
            complain(format!("warning: {reason}"));
        }
    }

    /// Files that settled could not be processed. The watch continues.
    pub fn error(self, reason: &str) {
        if self.is_json() {
            self.line(Event::Error {
                reason: reason.to_owned(),
            });
        } else {
            complain(format!("error: {reason}"));
        }
    }

    /// The sidecar of a removed library was removed.
    pub fn removed(self, path: &Path) {
        if self.is_json() {
            self.line(Event::Removed { path: text(path) });
        } else if self.output.verbose {
            say(format!(
                "{}: removed, because its library is gone",
                path.display()
            ));
        }
    }

    pub fn stopped(self, reason: &str) {
        if self.is_json() {
            self.line(Event::Stopped {
                reason: reason.to_owned(),
            });
        } else if self.output.verbose {
            say(format!("stopped: {reason}"));
        }
    }

    /// `watch` writes lines for both JSON formats: there is no end at which to write a document.
    fn is_json(self) -> bool {
        self.output.format != Format::Human
    }

    fn line(self, event: Event) {
        if self.output.quiet && !event.is_trouble() {
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = since.unwrap_or_default().as_millis() as f64 / 1000.0;
        // Serializing an event cannot fail.
        if let Ok(mut line) = serde_json::to_string(&Line { time, event }) {
            line.push('\n');
            let mut out = stdout();
            let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        }
    }
}

// Write errors are ignored: if the reader has closed the pipe, wrapping goes on.
fn say(line: String) {
    let _ = one(line).write_to(&mut stdout());
}

fn complain(line: String) {
    let _ = one(line).write_to(&mut stderr());
}

fn one(line: String) -> Page {
    let mut page = Page::default();
    page.line(line);
    page
}

fn text(path: impl AsRef<OsStr>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// Why a file was skipped or failed, with its missing libraries.
fn reason(file: &FileReport) -> String {
    let reason = file.reason.as_ref().map(ToString::to_string);
    let mut reason = reason.unwrap_or_default();
    for (n, missing) in file.missing.iter().enumerate() {
        reason += if n == 0 { ": " } else { ", " };
        reason += &missing.soname.to_string_lossy();
    }
    reason
}

fn notes(file: &FileReport) -> impl Iterator<Item = &String> {
    let planned = file.plan.iter().flat_map(|plan| &plan.notes);
    file.notes.iter().chain(planned)
}
