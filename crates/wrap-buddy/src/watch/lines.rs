//! What a watch says while it goes on: a line for each thing, for people or as JSON.

use std::ffi::OsStr;
use std::io::{Write, stderr, stdout};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::cli::{Format, Output};
use crate::plan::{Plan, Way};
use crate::report::{FileReport, Report, Status};

/// One line of JSON. Paths that are not UTF-8 have replacement characters in them.
#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since 1970.
    time: f64,
    #[serde(flatten)]
    event: Event<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event<'a> {
    /// All directories are watched from now on.
    Watching {
        paths: Vec<String>,
        polled: Vec<String>,
        directories: usize,
    },
    /// What became of a file.
    File(Box<File>),
    /// A loader was installed.
    Installed { path: String },
    /// What concerns no single file.
    Warning { reason: &'a str },
    /// Nothing came of files that have settled.
    Error { reason: &'a str },
    /// What was left of a library that is gone was removed.
    Removed { path: String },
    /// Files that settled together are done with.
    Batch {
        wrapped: usize,
        edited: usize,
        skipped: usize,
        failed: usize,
        seconds: f64,
    },
    /// The watch ends.
    Stopped { reason: &'a str },
}

/// As in the report of a single run.
#[derive(Serialize)]
struct File {
    path: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(flatten)]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    real_path: String,
    kind: &'static str,
    strategy: &'static str,
    machine: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    interpreter: Option<String>,
    sidecar: String,
    search_path: Vec<String>,
}

/// Says what happens.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    output: Output,
}

impl Lines {
    /// In the way that was asked for.
    pub fn new(output: Output) -> Self {
        Self { output }
    }

    /// All directories are watched: `paths`, of which `polled` are looked through at intervals.
    pub fn watching(self, paths: &[&Path], polled: &[&Path], directories: usize) {
        let list = |paths: &[&Path]| paths.iter().map(text).collect::<Vec<_>>();
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
                false => format!(" (by looking at intervals: {})", polled.join(", ")),
            };
            say(&format!("watching {}{polled}\n", paths.join(", ")));
        }
    }

    /// What became of files that settled together, in `took`. Files that are as they should be are left out for people.
    pub fn batch(self, report: &Report, took: Duration) {
        if self.is_json() {
            for path in &report.installed {
                self.line(Event::Installed { path: text(path) });
            }
            for file in &report.files {
                self.line(Event::File(Box::new(File::from(file))));
            }
            for reason in &report.warnings {
                self.line(Event::Warning { reason });
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
        let (mut out, mut errors) = (String::new(), String::new());
        for path in &report.installed {
            out += &format!("installed the loader {}\n", path.display());
        }
        for file in &report.files {
            let path = file.path.display();
            let reason = reason(file);
            match file.status {
                Status::Failed => errors += &format!("error: {path}: {reason}\n"),
                Status::Skipped if self.output.verbose => {
                    out += &format!("{path}: skipped: {reason}\n");
                }
                Status::Skipped => {}
                status => out += &format!("{path}: {}\n", done(status).replace('-', " ")),
            }
            for note in notes(file) {
                errors += &format!("warning: {path}: {note}\n");
            }
        }
        for warning in &report.warnings {
            errors += &format!("warning: {warning}\n");
        }
        if self.output.quiet {
            errors = errors
                .split_inclusive('\n')
                .filter(|line| line.starts_with("error"))
                .collect();
        } else {
            say(&out);
        }
        complain(&errors);
    }

    /// Something the user should know; the watch goes on.
    pub fn warning(self, reason: &str) {
        if self.is_json() {
            self.line(Event::Warning { reason });
        } else if !self.output.quiet {
            complain(&format!("warning: {reason}\n"));
        }
    }

    /// Nothing could be done with files that have settled; the watch goes on.
    pub fn error(self, reason: &str) {
        if self.is_json() {
            self.line(Event::Error { reason });
        } else {
            complain(&format!("error: {reason}\n"));
        }
    }

    /// What was left of a library that is gone was removed.
    pub fn removed(self, path: &Path) {
        if self.is_json() {
            self.line(Event::Removed { path: text(path) });
        } else if self.output.verbose {
            say(&format!("{}: removed, its file is gone\n", path.display()));
        }
    }

    /// The watch ends.
    pub fn stopped(self, reason: &str) {
        if self.is_json() {
            self.line(Event::Stopped { reason });
        } else if self.output.verbose {
            say(&format!("stopped: {reason}\n"));
        }
    }

    /// Any other format than the one for people is lines here: there is no end at which to write a document.
    fn is_json(self) -> bool {
        self.output.format != Format::Human
    }

    fn line(self, event: Event<'_>) {
        if self.output.quiet && !event.is_trouble() {
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = since.unwrap_or_default().as_millis() as f64 / 1000.0;
        // Nothing of it can fail to be JSON.
        if let Ok(mut line) = serde_json::to_string(&Line { time, event }) {
            line.push('\n');
            say(&line);
        }
    }
}

impl Event<'_> {
    fn is_trouble(&self) -> bool {
        match self {
            Self::Error { .. } => true,
            Self::File(file) => file.status == "failed",
            _ => false,
        }
    }
}

/// A reader that went away is no reason to stop wrapping.
fn say(text: &str) {
    let mut out = stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn complain(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

fn text(path: impl AsRef<OsStr>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// Why a file was skipped or has failed, with the names of libraries it lacks.
fn reason(file: &FileReport) -> String {
    let mut reason = file.reason.clone().unwrap_or_default();
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

fn done(status: Status) -> &'static str {
    match status {
        Status::Wrapped => "wrapped",
        Status::WouldWrap => "would-wrap",
        Status::Edited => "edited",
        Status::WouldEdit => "would-edit",
        Status::Restored => "restored",
        Status::WouldRestore => "would-restore",
        Status::Skipped => "skipped",
        Status::Failed => "failed",
    }
}

impl From<&FileReport> for File {
    fn from(file: &FileReport) -> Self {
        Self {
            path: text(&file.path),
            status: done(file.status),
            reason: file.reason.clone(),
            missing: file
                .missing
                .iter()
                .map(|missing| text(&missing.soname))
                .collect(),
            notes: notes(file).cloned().collect(),
            details: file.plan.as_deref().map(Details::from),
        }
    }
}

impl From<&Plan> for Details {
    fn from(plan: &Plan) -> Self {
        Self {
            real_path: text(&plan.path),
            kind: if plan.is_library() {
                "library"
            } else {
                "program"
            },
            strategy: match &plan.way {
                Way::Stub(_) => "stub",
                Way::InPlace(_) => "inplace",
            },
            machine: plan.arch.name,
            interpreter: plan.interpreter().map(|(_, given)| text(given)),
            sidecar: text(&plan.sidecar_path),
            search_path: plan.search.iter().map(text).collect(),
        }
    }
}
