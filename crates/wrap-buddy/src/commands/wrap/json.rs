//! JSON of `wrap` and `restore`. Invalid UTF-8 in paths is replaced by replacement characters.

use std::ffi::OsStr;

use serde::Serialize;

use crate::commands::show::kind_name;
use crate::plan::outcome::{FileReport, NoSearchPath, Report, Status};
use crate::plan::search::Missing;
use crate::plan::slot::SlotPosition;
use crate::plan::{FileEdit, Links, Method, Plan, StubPlan, frozen};
use crate::system::hex::hex;

/// The result of `wrap` or `restore`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Run {
    /// Every processed file of interest, in order.
    pub files: Vec<File>,
    /// Totals.
    #[serde(flatten)]
    pub end: RunEnd,
}

/// Results that concern the whole run.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunEnd {
    /// Whether the run was a `--dry-run`.
    dry_run: bool,
    /// Missing libraries because of which files failed, each once.
    missing: Vec<MissingLibrary>,
    /// Missing libraries that only shared libraries need which no program here loads.
    missing_of_libraries: Vec<MissingLibrary>,
    /// Loaders that were installed.
    installed: Vec<String>,
    /// Warnings that concern no single file.
    warnings: Vec<String>,
    /// Errors that concern no single file and make the run fail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    /// The signal that stopped the run before all files were done: `SIGINT`, `SIGTERM` or `SIGHUP`. Files that are not listed are
    /// unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<&'static str>,
    /// Number of files by status.
    summary: Summary,
}

/// Number of files by status.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// The result for one file.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct File {
    /// As you named it, or a file below a directory that you named.
    path: String,
    /// What was done to it.
    pub(crate) status: Status,
    /// Why it was skipped or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Libraries that it needs and that are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    missing: Vec<MissingLibrary>,
    /// Notes for the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    /// For a library without room for the search path that it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_room: Option<NoRoom>,
    /// The plan, if there is one.
    #[serde(flatten)]
    details: Option<Details>,
}

/// A library without room for the search path that it needs.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct NoRoom {
    /// Absolute and free of symbolic links.
    real_path: String,
    /// The search path that it needs.
    search_path: Vec<String>,
    /// `DT_RUNPATH`, or `DT_RPATH` if it has that, which libraries inherit.
    tag: &'static str,
    /// Whether bytes follow all that its headers describe. It may read them by their offset in the file, so other tools must not move
    /// them.
    appended_data: bool,
    /// Programs with which it finds its dependencies.
    served_by: Vec<String>,
    /// Programs that open it, and with which it does not find them.
    opened_by: Vec<String>,
}

/// The plan for a file.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Details {
    /// Absolute and free of symbolic links; with `--root`, inside the root.
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
    /// The identity that file and sidecar share, in hexadecimal.
    id: String,
    /// PT_INTERP of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    asks_for: Option<String>,
    /// The dynamic linker that will run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    interpreter: Option<String>,
    /// The stub, if the plan has one.
    #[serde(flatten)]
    stub: Option<StubDetails>,
    sidecar: SidecarDetails,
    /// Edits that undo an earlier stub first.
    undo_first: Vec<EditDetails>,
    /// Edits of the file, in the order in which they are written.
    edits: Vec<EditDetails>,
    /// Settings that differ from those of the previous run; empty if there was none.
    settings_changed: Vec<SettingChange>,
    /// Its new search path; empty if its own is sufficient.
    search_path: Vec<String>,
    /// Whether only ld.so finds the strings that the edits add, and tools such as patchelf and readelf do not.
    hidden: bool,
    /// Symbolic links to libraries, in a directory next to the file.
    links: Vec<Link>,
    /// Additional libraries to load.
    needed: Vec<Needed>,
    /// Libraries that are loaded by absolute path, in this order.
    frozen: Vec<String>,
    /// Frozen libraries that are neither in a store nor in a directory that you named.
    movable: Vec<String>,
    /// Missing libraries that may be missing.
    ignored: Vec<String>,
    /// Libraries that were found.
    libraries: Vec<Library>,
    /// Warnings about the libraries.
    warnings: Vec<String>,
}

/// The stub of a plan.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct StubDetails {
    /// The original e_entry.
    entry: u64,
    /// File offset of the entry point.
    entry_offset: u64,
    /// Bytes from there to the end of the segment in the file.
    room_at_entry: u64,
    /// The bytes that the stub takes.
    slot: SlotDetails,
    /// The loader that the stub starts; absent if it is in the sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    loader: Option<String>,
    /// Whether the loader is in the sidecar.
    self_contained: bool,
    /// Whether the settings follow the stub, so that the program starts without its sidecar.
    embedded: bool,
}

/// A symbolic link.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Link {
    path: String,
    target: String,
}

/// The bytes that a stub takes.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct SlotDetails {
    /// `entry`, `after-start` or `segment-end`.
    place: &'static str,
    /// File offset.
    offset: u64,
    /// Virtual address in the file.
    address: u64,
    /// Bytes of stub and trailer.
    len: u64,
    /// Bytes available.
    room: u64,
    /// Bytes of the stub's code.
    stub_len: usize,
}

/// A sidecar.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct SidecarDetails {
    path: String,
    /// Bytes.
    len: usize,
    /// The path to it in the trailer.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_trailer: Option<String>,
}

/// An edit.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct EditDetails {
    /// `slot`, `interp`, `entry`, `text`, `dynamic`, `segment` or `section`.
    kind: &'static str,
    /// File offset.
    offset: u64,
    /// The original bytes, in hexadecimal.
    before: String,
    /// The new bytes, in hexadecimal.
    after: String,
}

/// A setting that differs from that of the previous run.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct SettingChange {
    /// `interpreter`, `search path`, `added DT_NEEDED`, `relocatable` or `loader`.
    setting: &'static str,
    /// The previous value.
    before: String,
    /// The new value.
    after: String,
}

/// An additional library.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Needed {
    soname: String,
    /// The library that needs it and cannot find it; null if you asked for it.
    needed_by: Option<String>,
}

/// A library that was found.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Library {
    soname: String,
    path: String,
}

/// A library that is missing.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct MissingLibrary {
    soname: String,
    /// Files that need it.
    needed_by: Vec<String>,
    /// Suggestions.
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
            reason: file.reason.as_ref().map(ToString::to_string),
            missing: file.missing.iter().map(MissingLibrary::from).collect(),
            notes,
            no_room: file.no_room.as_deref().map(NoRoom::from),
            details: file.plan.as_deref().map(Details::from),
        }
    }
}

impl From<&NoSearchPath> for NoRoom {
    fn from(library: &NoSearchPath) -> Self {
        Self {
            real_path: text(&library.path),
            search_path: library.search.iter().map(text).collect(),
            tag: match library.is_inherited {
                true => "DT_RPATH",
                false => "DT_RUNPATH",
            },
            appended_data: library.has_appended_data,
            served_by: library.served_by.iter().map(text).collect(),
            opened_by: library.opened_by.iter().map(text).collect(),
        }
    }
}

impl From<&Plan> for Details {
    fn from(plan: &Plan) -> Self {
        let resolution = &plan.resolution;
        Self {
            real_path: text(&plan.file.path),
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
            file_len: plan.file.len,
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
            hidden: plan.in_place().is_some_and(|plan| plan.hidden),
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
                    SlotPosition::AfterStart => "after-start",
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
            embedded: stub.has_record,
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
