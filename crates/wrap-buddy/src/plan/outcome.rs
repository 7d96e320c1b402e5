use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::plan::reason::{Reason, Refusal, SkipReason};
use crate::plan::search::Missing;
use crate::plan::{Method, Plan};

/// The result for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It has been wrapped.
    Wrapped,
    /// A dry run would wrap it.
    WouldWrap,
    /// It has been edited in place.
    Edited,
    /// A dry run would edit it in place.
    WouldEdit,
    /// It has been restored.
    Restored,
    /// A dry run would restore it.
    WouldRestore,
    /// It needs no change.
    Skipped,
    /// An error prevented the change.
    Failed,
}

impl Status {
    /// The status as a phrase.
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

    /// Whether the change is planned but not written.
    pub fn is_dry(self) -> bool {
        matches!(self, Self::WouldWrap | Self::WouldEdit | Self::WouldRestore)
    }
}

/// The result for one file.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// As the user named it, or a file below a directory that the user named.
    pub path: PathBuf,
    pub status: Status,
    /// Why it was skipped or failed.
    pub reason: Option<Reason>,
    /// The plan, if there is one.
    pub plan: Option<Box<Plan>>,
    /// Labelled details for the report.
    pub details: Vec<(&'static str, String)>,
    /// Libraries that find their dependencies because of this program: it loads them, or they inherit its search path.
    pub serves: Vec<PathBuf>,
    /// Libraries that this program opens and that do not find their dependencies.
    pub fails: Vec<PathBuf>,
    /// Libraries that it needs and that are missing.
    pub missing: Vec<Missing>,
    /// Files that it needs outside of the tree to be moved.
    pub outside: Vec<PathBuf>,
    /// For a library without room for the search path that it needs.
    pub no_room: Option<Box<NoSearchPath>>,
    /// Notes of the run.
    pub notes: Vec<String>,
}

/// A library without room for the search path that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSearchPath {
    /// Free of symbolic links.
    pub path: PathBuf,
    /// The search path that it needs.
    pub search: Vec<OsString>,
    /// Whether that has to be a DT_RPATH, which libraries inherit.
    pub is_inherited: bool,
    /// Whether bytes follow all that its headers describe. It may read them by their offset in the file.
    pub has_appended_data: bool,
    /// Programs with which it finds its dependencies.
    pub served_by: Vec<PathBuf>,
    /// Programs that open it, and with which it does not find them.
    pub opened_by: Vec<PathBuf>,
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether nothing was written, as requested.
    pub dry_run: bool,
    /// Whether it is a run of `restore`.
    pub restoring: bool,
    /// With `--relocatable`, the nearest directory above all files.
    pub tree: PathBuf,
    /// In the order of the scan.
    pub files: Vec<FileReport>,
    /// Loaders that were installed.
    pub installed: Vec<PathBuf>,
    /// Warnings that concern no single file.
    pub warnings: Vec<String>,
    /// Errors that concern no single file and make the run fail.
    pub errors: Vec<String>,
    /// The signal that stopped the run before all files were done.
    pub stopped: Option<&'static str>,
}

impl FileReport {
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
            no_room: None,
            notes: Vec::new(),
        }
    }

    /// Whether it does not start without a library, a symbol version or a dynamic linker that may exist elsewhere.
    pub fn lacks_dependencies(&self) -> bool {
        let no_interpreter = matches!(
            &self.reason,
            Some(
                Reason::Refusal(Refusal::NoInterpreter(_))
                    | Reason::Skip(
                        SkipReason::ProgramOfOtherLibc { .. }
                            | SkipReason::ProgramOfOtherArchitecture { .. }
                    )
            )
        );
        let no_library = self.status == Status::Failed && !self.missing.is_empty();
        let plan = self.plan.as_ref();
        let no_version = plan.is_some_and(|plan| !plan.resolution.unmet_versions.is_empty());
        no_interpreter || no_library || no_version
    }

    pub fn skipped(path: PathBuf, reason: impl Into<Reason>) -> Self {
        Self::new(path, Status::Skipped, Some(reason.into()))
    }

    pub fn failed(path: PathBuf, reason: impl Into<Reason>) -> Self {
        Self::new(path, Status::Failed, Some(reason.into()))
    }
}

impl Report {
    /// Whether there is any error.
    pub fn failed(&self) -> bool {
        !self.errors.is_empty() || self.count(Status::Failed) > 0
    }

    /// Whether there is any warning.
    pub fn has_warnings(&self) -> bool {
        let of_file = |file: &FileReport| {
            let lacks = file.status != Status::Failed && !file.missing.is_empty();
            let resolution = file.plan.as_ref().map(|plan| &plan.resolution);
            let of_plan = resolution.is_some_and(|resolution| {
                !resolution.unmet_versions.is_empty()
                    || !resolution.unversioned_relr.is_empty()
                    || !resolution.unstable_paths.is_empty()
            });
            lacks || of_plan || !file.notes.is_empty()
        };
        !self.warnings.is_empty() || self.files.iter().any(of_file)
    }

    /// The libraries that programs open and that do not find their dependencies then.
    pub fn opened_in_vain(&self) -> impl Iterator<Item = &NoSearchPath> {
        let libraries = self.files.iter().filter_map(|file| file.no_room.as_deref());
        libraries.filter(|library| !library.opened_by.is_empty())
    }

    pub fn count(&self, status: Status) -> usize {
        let with_status = self.files.iter().filter(|file| file.status == status);
        with_status.count()
    }

    /// The files outside of the tree to be moved, sorted.
    pub fn outside(&self) -> BTreeSet<&Path> {
        let outside = self.files.iter().flat_map(|file| &file.outside);
        outside.map(PathBuf::as_path).collect()
    }

    /// The missing libraries of files that failed, or with `failed` false of the others, which are libraries that no program here loads.
    /// Each once, sorted, with all the files that need it.
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
