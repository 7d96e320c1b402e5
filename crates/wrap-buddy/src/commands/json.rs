//! JSON output: one document, or JSON Lines with a line for each file and a last line. `docs/schema.json` is generated from these types;
//! `docs/json.md` explains them.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::commands::bundle::json::{Bundle, File as BundleFile, Summary as BundleSummary};
use crate::commands::check::json::{Checks, ChecksEnd};
use crate::commands::check::{self, Checked, FileCheck};
use crate::commands::restore::Restored;
use crate::commands::settings::Settings;
use crate::commands::settings::json::AllSettings;
use crate::commands::show::view::View;
use crate::commands::status::{Condition, FileStatus};
use crate::commands::wrap::json::{File, Run, RunEnd};
use crate::plan::outcome::{FileReport, Report};
use crate::report::{FileLine as Finished, Reported};

/// Increased when a field changes its meaning. New fields do not increase it.
pub const SCHEMA_VERSION: u32 = 1;

/// Output of a command: a document with `--format json`, lines with `--format json-lines`; `watch` writes lines with both.
#[cfg(feature = "schema")]
#[derive(Serialize, schemars::JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "the root of the schema")]
enum Output {
    Document(Document),
    Line(Line),
    Watch(crate::commands::watch::json::Line),
}

/// The result of a command.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Document {
    /// Version of this schema: 1.
    schema_version: u32,
    #[serde(flatten)]
    result: Outcome,
}

/// The result, by command.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "command", rename_all = "kebab-case")]
enum Outcome {
    /// `wrap-buddy --paths …`
    Wrap(Run),
    /// `wrap-buddy restore`
    Restore(Run),
    /// `wrap-buddy status`
    Status(Statuses),
    /// `wrap-buddy show`
    Show(Views),
    /// `wrap-buddy check`
    Check(Checks),
    /// `wrap-buddy check --settings`
    Settings(AllSettings),
    /// `wrap-buddy bundle`
    Bundle(Bundle),
}

/// The state of files.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Statuses {
    /// Every file of interest, in order.
    files: Vec<FileStatus>,
    summary: Conditions,
}

/// Details of files.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Views {
    /// Every file of interest, in order.
    files: Vec<View>,
    summary: Conditions,
}

/// Number of files by state.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Conditions {
    /// Each state that occurs, with the number of files in it.
    states: BTreeMap<Condition, usize>,
    /// Number of files that you have to act on.
    need_attention: usize,
}

/// A line of output.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Line {
    /// One file, as soon as it is finished, in any order.
    File(FileLine),
    /// The last line.
    Summary(SummaryLine),
}

/// The result for one file.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum FileLine {
    /// What was done to it.
    Wrap(Box<File>),
    /// What was done to it.
    Restore(Box<File>),
    /// Its state.
    Status(FileStatus),
    /// Its details.
    Show(Box<View>),
    /// The libraries that it loads, and its problems.
    Check(Box<check::json::File>),
    /// Why it is in the bundle.
    Bundle(BundleFile),
}

/// The last line.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryLine {
    /// Version of this schema: 1.
    schema_version: u32,
    #[serde(flatten)]
    end: End,
}

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "command", rename_all = "kebab-case")]
enum End {
    Wrap(RunEnd),
    Restore(RunEnd),
    Status(LookEnd),
    Show(LookEnd),
    Check(ChecksEnd),
    Settings(AllSettings),
    Bundle(BundleEnd),
}

/// The result of `bundle` without its files.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct BundleEnd {
    /// The directory or archive.
    output: String,
    /// Whether nothing was written, as requested.
    dry_run: bool,
    /// Warnings.
    notes: Vec<String>,
    summary: BundleSummary,
}

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct LookEnd {
    summary: Conditions,
}

/// The JSON Schema of documents and lines.
#[cfg(feature = "schema")]
pub fn schema() -> schemars::Schema {
    let mut schema = schemars::schema_for!(Output);
    schema.insert("title".to_owned(), "wrap-buddy".into());
    schema
}

impl Reported for Report {
    fn document(&self) -> impl Serialize {
        let run = Run::from(self);
        Document::new(match self.restoring {
            true => Outcome::Restore(run),
            false => Outcome::Wrap(run),
        })
    }

    fn lines(&self, reported: &HashSet<PathBuf>) -> impl Iterator<Item = impl Serialize> {
        let files = self
            .files
            .iter()
            .filter(|file| !reported.contains(&file.path));
        files.map(|file| match self.restoring {
            true => Line::restored(file),
            false => Line::wrapped(file),
        })
    }

    fn end(&self) -> impl Serialize {
        let end = RunEnd::from(self);
        Line::summary(match self.restoring {
            true => End::Restore(end),
            false => End::Wrap(end),
        })
    }
}

impl Reported for Vec<FileStatus> {
    fn document(&self) -> impl Serialize {
        Document::new(Outcome::Status(Statuses {
            files: self.clone(),
            summary: Conditions::of_statuses(self),
        }))
    }

    fn lines(&self, reported: &HashSet<PathBuf>) -> impl Iterator<Item = impl Serialize> {
        let files = self.iter().filter(|file| !reported.contains(&file.path));
        files.map(Line::status)
    }

    fn end(&self) -> impl Serialize {
        let summary = Conditions::of_statuses(self);
        Line::summary(End::Status(LookEnd { summary }))
    }
}

impl Reported for Vec<View> {
    fn document(&self) -> impl Serialize {
        Document::new(Outcome::Show(Views {
            files: self.clone(),
            summary: Conditions::of_views(self),
        }))
    }

    fn lines(&self, reported: &HashSet<PathBuf>) -> impl Iterator<Item = impl Serialize> {
        let files = self
            .iter()
            .filter(|view| !reported.contains(Path::new(&view.path)));
        files.map(Line::view)
    }

    fn end(&self) -> impl Serialize {
        let summary = Conditions::of_views(self);
        Line::summary(End::Show(LookEnd { summary }))
    }
}

impl Reported for Checked {
    fn document(&self) -> impl Serialize {
        Document::new(Outcome::Check(Checks::from(self)))
    }

    fn lines(&self, reported: &HashSet<PathBuf>) -> impl Iterator<Item = impl Serialize> {
        let files = self
            .files
            .iter()
            .filter(|file| !reported.contains(&file.path));
        files.map(Line::checked)
    }

    fn end(&self) -> impl Serialize {
        Line::summary(End::Check(self.into()))
    }
}

impl Reported for Settings {
    fn document(&self) -> impl Serialize {
        Document::new(Outcome::Settings(self.into()))
    }

    fn lines(&self, _: &HashSet<PathBuf>) -> impl Iterator<Item = impl Serialize> {
        std::iter::empty::<Line>()
    }

    fn end(&self) -> impl Serialize {
        Line::summary(End::Settings(self.into()))
    }
}

impl Reported for Bundle {
    fn document(&self) -> impl Serialize {
        Document::new(Outcome::Bundle(self.clone()))
    }

    fn lines(&self, _: &HashSet<PathBuf>) -> impl Iterator<Item = impl Serialize> {
        let files = self.files.iter().cloned();
        files.map(|file| Line::File(FileLine::Bundle(file)))
    }

    fn end(&self) -> impl Serialize {
        Line::summary(End::Bundle(BundleEnd {
            output: self.output.clone(),
            dry_run: self.dry_run,
            notes: self.notes.clone(),
            summary: self.summary,
        }))
    }
}

impl Finished for FileReport {
    fn path(&self) -> &Path {
        &self.path
    }

    fn line(&self) -> impl Serialize {
        Line::wrapped(self)
    }
}

impl Finished for Restored<'_> {
    fn path(&self) -> &Path {
        &self.0.path
    }

    fn line(&self) -> impl Serialize {
        Line::restored(self.0)
    }
}

impl Finished for FileStatus {
    fn path(&self) -> &Path {
        &self.path
    }

    fn line(&self) -> impl Serialize {
        Line::status(self)
    }
}

impl Finished for View {
    fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    fn line(&self) -> impl Serialize {
        Line::view(self)
    }
}

impl Finished for FileCheck {
    fn path(&self) -> &Path {
        &self.path
    }

    fn line(&self) -> impl Serialize {
        Line::checked(self)
    }
}

impl Line {
    fn wrapped(file: &FileReport) -> Self {
        Self::File(FileLine::Wrap(Box::new(File::from(file))))
    }

    fn restored(file: &FileReport) -> Self {
        Self::File(FileLine::Restore(Box::new(File::from(file))))
    }

    fn status(file: &FileStatus) -> Self {
        Self::File(FileLine::Status(file.clone()))
    }

    fn checked(file: &FileCheck) -> Self {
        Self::File(FileLine::Check(Box::new(file.into())))
    }

    fn view(view: &View) -> Self {
        Self::File(FileLine::Show(Box::new(view.clone())))
    }

    fn summary(end: End) -> Self {
        Self::Summary(SummaryLine {
            schema_version: SCHEMA_VERSION,
            end,
        })
    }
}

impl Document {
    fn new(result: Outcome) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            result,
        }
    }
}

impl Conditions {
    fn of_statuses(files: &[FileStatus]) -> Self {
        Self::of(
            files
                .iter()
                .map(|file| (file.state, file.needs_attention())),
        )
    }

    fn of_views(views: &[View]) -> Self {
        Self::of(views.iter().map(|view| (view.state, view.failed())))
    }

    fn of(files: impl Iterator<Item = (Condition, bool)>) -> Self {
        let mut all = Self {
            states: BTreeMap::new(),
            need_attention: 0,
        };
        for (state, attention) in files {
            *all.states.entry(state).or_default() += 1;
            all.need_attention += usize::from(attention);
        }
        all
    }
}
