//! What became of each file that was wrapped or restored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use crate::plan::reason::Reason;
use crate::plan::search::Missing;
use crate::plan::{Method, Plan};

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is wrapped now.
    Wrapped,
    /// It would be, were this not a dry run.
    WouldWrap,
    /// It is edited in place now.
    Edited,
    /// It would be, were this not a dry run.
    WouldEdit,
    /// It is what it was before any run.
    Restored,
    /// It would be, were this not a dry run.
    WouldRestore,
    /// It was left as it is, and that is as it should be.
    Skipped,
    /// It was left as it is, and that is not.
    Failed,
}

impl Status {
    /// In words.
    pub fn done(self) -> &'static str {
        match self {
            Self::Wrapped => "wrapped",
            Self::WouldWrap => "would be wrapped",
            Self::Edited => "edited in place",
            Self::WouldEdit => "would be edited in place",
            Self::Restored => "restored",
            Self::WouldRestore => "would be restored",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing was written yet.
    pub fn is_dry(self) -> bool {
        matches!(self, Self::WouldWrap | Self::WouldEdit | Self::WouldRestore)
    }
}

/// One file.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// As the user named it, or below what the user named.
    pub path: PathBuf,
    /// What became of it.
    pub status: Status,
    /// Why it was skipped or has failed.
    pub reason: Option<Reason>,
    /// What was, or would be, done.
    pub plan: Option<Box<Plan>>,
    /// What else there is to say of it, each with a label.
    pub details: Vec<(&'static str, String)>,
    /// Libraries that get what they need by way of this program, which loads it or has a search path they inherit.
    pub serves: Vec<PathBuf>,
    /// Libraries that this program opens and that do not find what they need by way of it.
    pub fails: Vec<PathBuf>,
    /// Libraries it lacks.
    pub missing: Vec<Missing>,
    /// What it needs that would not be moved along with it.
    pub outside: Vec<PathBuf>,
    /// What came up while it was written.
    pub notes: Vec<String>,
}

/// All files.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether nothing was written on purpose.
    pub dry_run: bool,
    /// Whether files were made what they were.
    pub restoring: bool,
    /// The directory above all files, if they were to be made relocatable.
    pub tree: PathBuf,
    /// In the order in which they were looked at.
    pub files: Vec<FileReport>,
    /// Loaders that were installed.
    pub installed: Vec<PathBuf>,
    /// What concerns no single file.
    pub warnings: Vec<String>,
    /// What makes the whole run a failure, and concerns no single file.
    pub errors: Vec<String>,
    /// The signal that ended the run before all files were done.
    pub stopped: Option<&'static str>,
}

impl FileReport {
    /// What is planned for it.
    pub fn planned(path: PathBuf, plan: Plan) -> Self {
        let status = match &plan.method {
            Method::Stub(_) => Status::WouldWrap,
            Method::InPlace(_) => Status::WouldEdit,
        };
        Self {
            plan: Some(Box::new(plan)),
            ..Self::new(path, status, None)
        }
    }

    /// A report without details.
    pub fn new(path: PathBuf, status: Status, reason: Option<Reason>) -> Self {
        Self {
            path,
            status,
            reason,
            plan: None,
            details: Vec::new(),
            serves: Vec::new(),
            fails: Vec::new(),
            missing: Vec::new(),
            outside: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Left as it is.
    pub fn skipped(path: PathBuf, reason: impl Into<Reason>) -> Self {
        Self::new(path, Status::Skipped, Some(reason.into()))
    }

    /// Left as it is, wrongly.
    pub fn failed(path: PathBuf, reason: impl Into<Reason>) -> Self {
        Self::new(path, Status::Failed, Some(reason.into()))
    }
}

impl Report {
    /// Whether any file has failed.
    pub fn failed(&self) -> bool {
        !self.errors.is_empty() || self.count(Status::Failed) > 0
    }

    /// How many files became that.
    pub fn count(&self, status: Status) -> usize {
        let with_status = self.files.iter().filter(|file| file.status == status);
        with_status.count()
    }

    /// Every file that is outside of the tree to be moved, sorted.
    pub fn outside(&self) -> BTreeSet<&Path> {
        let outside = self.files.iter().flat_map(|file| &file.outside);
        outside.map(PathBuf::as_path).collect()
    }

    /// Every library that is missing of files that have `failed`, or of others, which are libraries that nothing here loads:
    /// each once, sorted, with all the files that need it.
    pub fn missing(&self, failed: bool) -> Vec<Missing> {
        let mut all: Vec<Missing> = Vec::new();
        let files = self.files.iter();
        let files = files.filter(|file| (file.status == Status::Failed) == failed);
        for missing in files.flat_map(|file| &file.missing) {
            match all.iter_mut().find(|known| known.soname == missing.soname) {
                Some(known) => {
                    extend_unique(&mut known.needed_by, &missing.needed_by);
                    extend_unique(&mut known.hints, &missing.hints);
                }
                None => all.push(missing.clone()),
            }
        }
        all.sort_by(|one, other| one.soname.cmp(&other.soname));
        all
    }
}

fn extend_unique<T: Clone + PartialEq>(list: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}
