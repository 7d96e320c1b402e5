//! What wrapping and restoring say of themselves. Paths that are not UTF-8 have replacement characters in them.

use std::ffi::OsStr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::commands::show::kind_name;
use crate::plan::outcome::{FileReport, Report, Status};
use crate::plan::search::Missing;
use crate::plan::slot::SlotPosition;
use crate::plan::{FileEdit, Links, Method, Plan, StubPlan, frozen};
use crate::system::hex::hex;

/// A run that changes files.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Run {
    /// Every file that was looked at and is of interest, in order.
    pub files: Vec<File>,
    /// What concerns all of them.
    #[serde(flatten)]
    pub end: RunEnd,
}

/// What concerns all files of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunEnd {
    /// Whether nothing was written on purpose.
    dry_run: bool,
    /// Libraries that files which have failed lack, each once.
    missing: Vec<MissingLibrary>,
    /// Libraries that only shared libraries lack which nothing here loads.
    missing_of_libraries: Vec<MissingLibrary>,
    /// Loaders that were installed.
    installed: Vec<String>,
    /// What concerns no single file.
    warnings: Vec<String>,
    /// What makes the whole run a failure, and concerns no single file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    /// The signal that ended the run before all files were done: `SIGINT`, `SIGTERM` or `SIGHUP`. Files that are not listed are as
    /// they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<&'static str>,
    /// How many files became what.
    summary: Summary,
}

/// How many files became what.
#[derive(Debug, Serialize, JsonSchema)]
struct Summary {
    wrapped: usize,
    would_wrap: usize,
    edited: usize,
    would_edit: usize,
    restored: usize,
    would_restore: usize,
    skipped: usize,
    failed: usize,
}

/// One file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct File {
    /// As the user named it, or below what the user named.
    path: String,
    /// What became of it.
    pub(crate) status: Status,
    /// Why it was skipped or has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Libraries it lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    missing: Vec<MissingLibrary>,
    /// What the user may want to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    /// What was, or would be, done; not where nothing is.
    #[serde(flatten)]
    details: Option<Details>,
}

/// What was, or would be, done to a file.
#[derive(Debug, Serialize, JsonSchema)]
struct Details {
    /// Absolute and free of symbolic links.
    real_path: String,
    /// `program` or `library`.
    kind: &'static str,
    /// `stub` or `inplace`.
    strategy: &'static str,
    /// `x86_64`, `aarch64` or `i686`.
    machine: &'static str,
    /// 32 or 64.
    class: u8,
    /// Whether it is position-independent.
    position_independent: bool,
    /// Length of the file in bytes.
    file_len: u64,
    /// What ties file and sidecar together, in hexadecimal.
    id: String,
    /// The dynamic linker in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    asks_for: Option<String>,
    /// The one it gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    interpreter: Option<String>,
    /// What there is of a stub.
    #[serde(flatten)]
    stub: Option<StubDetails>,
    /// The sidecar.
    sidecar: SidecarDetails,
    /// What is taken back first: a stub made for other settings.
    undo_first: Vec<EditDetails>,
    /// What changes in the file, in the order in which it is written.
    edits: Vec<EditDetails>,
    /// Settings that differ from those of the run before; empty where there was none.
    settings_changed: Vec<SettingChange>,
    /// The search path it is to have; empty where its own will do.
    search_path: Vec<String>,
    /// Symbolic links beside it, by which libraries are found.
    links: Vec<Link>,
    /// What is loaded in addition.
    needed: Vec<Needed>,
    /// Libraries that are loaded by their paths, in this order.
    frozen: Vec<String>,
    /// Those of them that are neither in a store nor in a directory that was given.
    movable: Vec<String>,
    /// Libraries that are missing and may be.
    ignored: Vec<String>,
    /// Libraries that were found.
    libraries: Vec<Library>,
    /// What came up in finding libraries.
    warnings: Vec<String>,
}

/// What there is of a stub.
#[derive(Debug, Serialize, JsonSchema)]
struct StubDetails {
    /// The original e_entry.
    entry: u64,
    /// Where in the file that is.
    entry_offset: u64,
    /// Bytes from there to the end of the segment in the file.
    room_at_entry: u64,
    /// Where the stub goes.
    slot: SlotDetails,
    /// What the stub starts; absent where that is in the sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    loader: Option<String>,
    /// Whether the loader is in the sidecar.
    self_contained: bool,
}

/// A symbolic link.
#[derive(Debug, Serialize, JsonSchema)]
struct Link {
    path: String,
    target: String,
}

/// Where a stub goes.
#[derive(Debug, Serialize, JsonSchema)]
struct SlotDetails {
    /// `entry` or `segment-end`.
    place: &'static str,
    /// In the file.
    offset: u64,
    /// Virtual address in the file.
    address: u64,
    /// Bytes of stub and trailer.
    len: u64,
    /// Bytes that could have been used.
    room: u64,
    /// Bytes of the stub's code.
    stub_len: usize,
}

/// A sidecar.
#[derive(Debug, Serialize, JsonSchema)]
struct SidecarDetails {
    path: String,
    /// Bytes.
    len: usize,
    /// The path to it that the trailer has.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_trailer: Option<String>,
}

/// An edit.
#[derive(Debug, Serialize, JsonSchema)]
struct EditDetails {
    /// `slot`, `interp`, `entry`, `text`, `dynamic`, `segment` or `section`.
    kind: &'static str,
    /// In the file.
    offset: u64,
    /// What stands there in the original, in hexadecimal.
    before: String,
    /// What is to stand there, in hexadecimal.
    after: String,
}

/// A setting that differs from that of the run before.
#[derive(Debug, Serialize, JsonSchema)]
struct SettingChange {
    /// `interpreter`, `search path`, `added DT_NEEDED`, `relocatable` or `loader`.
    setting: &'static str,
    /// What it was.
    before: String,
    /// What it is now.
    after: String,
}

/// A library that is loaded in addition.
#[derive(Debug, Serialize, JsonSchema)]
struct Needed {
    soname: String,
    /// The library that cannot find it by itself; null: the user asked for it.
    needed_by: Option<String>,
}

/// A library that was found.
#[derive(Debug, Serialize, JsonSchema)]
struct Library {
    soname: String,
    path: String,
}

/// A library that is missing.
#[derive(Debug, Serialize, JsonSchema)]
struct MissingLibrary {
    soname: String,
    /// Files that need it.
    needed_by: Vec<String>,
    /// What may help.
    hints: Vec<String>,
}

impl From<&Report> for Run {
    fn from(report: &Report) -> Self {
        Self {
            files: report.files.iter().map(File::from).collect(),
            end: RunEnd::from(report),
        }
    }
}

impl From<&Report> for RunEnd {
    fn from(report: &Report) -> Self {
        let missing = |failed: bool| -> Vec<MissingLibrary> {
            let missing = report.missing(failed);
            missing.iter().map(MissingLibrary::from).collect()
        };
        Self {
            dry_run: report.dry_run,
            missing: missing(true),
            missing_of_libraries: missing(false),
            installed: report.installed.iter().map(text).collect(),
            warnings: report.warnings.clone(),
            errors: report.errors.clone(),
            stopped: report.stopped,
            summary: Summary {
                wrapped: report.count(Status::Wrapped),
                would_wrap: report.count(Status::WouldWrap),
                edited: report.count(Status::Edited),
                would_edit: report.count(Status::WouldEdit),
                restored: report.count(Status::Restored),
                would_restore: report.count(Status::WouldRestore),
                skipped: report.count(Status::Skipped),
                failed: report.count(Status::Failed),
            },
        }
    }
}

fn text(path: impl AsRef<OsStr>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

impl From<&FileReport> for File {
    fn from(file: &FileReport) -> Self {
        let mut notes = file.notes.clone();
        notes.extend(file.plan.iter().flat_map(|plan| plan.notes.clone()));
        Self {
            path: text(&file.path),
            status: file.status,
            reason: file.reason.clone(),
            missing: file.missing.iter().map(MissingLibrary::from).collect(),
            notes,
            details: file.plan.as_deref().map(Details::from),
        }
    }
}

impl From<&Plan> for Details {
    fn from(plan: &Plan) -> Self {
        let resolution = &plan.resolution;
        Self {
            real_path: text(&plan.path),
            kind: if plan.is_library() {
                "library"
            } else {
                "program"
            },
            strategy: match &plan.method {
                Method::Stub(_) => "stub",
                Method::InPlace(_) => "inplace",
            },
            machine: plan.arch.name,
            class: if plan.arch.class == 2 { 64 } else { 32 },
            position_independent: plan.position_independent,
            file_len: plan.file_len,
            id: hex(&plan.id),
            asks_for: plan.interpreter().map(|(asks_for, _)| text(asks_for)),
            interpreter: plan.interpreter().map(|(_, given)| text(given)),
            stub: plan.stub().map(StubDetails::from),
            sidecar: SidecarDetails {
                path: text(&plan.sidecar_path),
                len: plan.sidecar.len(),
                in_trailer: plan.stub().map(|stub| text(&stub.sidecar_in_trailer)),
            },
            undo_first: plan.undo_first.iter().map(EditDetails::from).collect(),
            edits: plan.edits.iter().map(EditDetails::from).collect(),
            settings_changed: plan
                .settings_changed
                .iter()
                .map(|change| SettingChange {
                    setting: change.name,
                    before: change.before.clone(),
                    after: change.after.clone(),
                })
                .collect(),
            search_path: plan.search.iter().map(text).collect(),
            links: plan.links().map(links).unwrap_or_default(),
            needed: resolution
                .added
                .iter()
                .map(|added| Needed {
                    soname: text(&added.soname),
                    needed_by: added.needed_by.as_ref().map(text),
                })
                .collect(),
            frozen: frozen(resolution).map(text).collect(),
            movable: resolution.unstable_paths.iter().map(text).collect(),
            ignored: resolution.ignored.iter().map(text).collect(),
            libraries: resolution
                .found
                .iter()
                .map(|(soname, path)| Library {
                    soname: text(soname),
                    path: text(path),
                })
                .collect(),
            warnings: {
                let unmet_versions = resolution.unmet_versions.iter().map(ToString::to_string);
                let refused = resolution.unversioned_relr.iter();
                unmet_versions
                    .chain(refused.map(ToString::to_string))
                    .collect()
            },
        }
    }
}

impl From<&StubPlan> for StubDetails {
    fn from(stub: &StubPlan) -> Self {
        Self {
            entry: stub.entry,
            entry_offset: stub.entry_offset,
            room_at_entry: stub.room_at_entry,
            slot: SlotDetails {
                place: match stub.slot.position {
                    SlotPosition::Entry => "entry",
                    SlotPosition::SegmentEnd => "segment-end",
                },
                offset: stub.slot.offset,
                address: stub.slot.address,
                len: stub.slot.len,
                room: stub.slot.room,
                stub_len: stub.stub_len,
            },
            loader: stub.loader.as_ref().map(|loader| text(&loader.path)),
            self_contained: stub.loader.is_none(),
        }
    }
}

fn links(links: &Links) -> Vec<Link> {
    let list = links.links.iter();
    list.map(|(name, target)| Link {
        path: text(links.directory.join(name)),
        target: text(target),
    })
    .collect()
}

impl From<&FileEdit> for EditDetails {
    fn from(edit: &FileEdit) -> Self {
        Self {
            kind: kind_name(edit.kind),
            offset: edit.offset,
            before: hex(&edit.original),
            after: hex(&edit.after),
        }
    }
}

impl From<&Missing> for MissingLibrary {
    fn from(missing: &Missing) -> Self {
        Self {
            soname: text(&missing.soname),
            needed_by: missing.needed_by.iter().map(text).collect(),
            hints: missing.hints.clone(),
        }
    }
}
