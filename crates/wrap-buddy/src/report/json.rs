//! The report for programs: one JSON document. Paths that are not UTF-8 have replacement characters in them.

use std::ffi::OsStr;
use std::io::{self, Write};

use serde::Serialize;
use sidecar::EditKind;

use super::{FileReport, Report, Status};
use crate::hex::hex;
use crate::plan::{FileEdit, Links, Plan, StubPlan, Way};
use crate::resolve::Missing;
use crate::slot::Place;

#[derive(Serialize)]
struct Document {
    dry_run: bool,
    files: Vec<File>,
    missing: Vec<MissingLibrary>,
    missing_of_libraries: Vec<MissingLibrary>,
    installed: Vec<String>,
    warnings: Vec<String>,
    summary: Summary,
}

#[derive(Serialize)]
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

#[derive(Serialize)]
struct File {
    path: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<MissingLibrary>,
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
    class: u8,
    position_independent: bool,
    file_len: u64,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    asks_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interpreter: Option<String>,
    #[serde(flatten)]
    stub: Option<StubDetails>,
    sidecar: SidecarDetails,
    undo_first: Vec<EditDetails>,
    edits: Vec<EditDetails>,
    search_path: Vec<String>,
    links: Vec<Link>,
    needed: Vec<Needed>,
    ignored: Vec<String>,
    libraries: Vec<Library>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct StubDetails {
    entry: u64,
    entry_offset: u64,
    room_at_entry: u64,
    slot: SlotDetails,
    loader: String,
}

#[derive(Serialize)]
struct Link {
    path: String,
    target: String,
}

#[derive(Serialize)]
struct SlotDetails {
    place: &'static str,
    offset: u64,
    address: u64,
    len: u64,
    room: u64,
    stub_len: usize,
}

#[derive(Serialize)]
struct SidecarDetails {
    path: String,
    len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_trailer: Option<String>,
}

#[derive(Serialize)]
struct EditDetails {
    kind: &'static str,
    offset: u64,
    before: String,
    after: String,
}

#[derive(Serialize)]
struct Needed {
    soname: String,
    needed_by: Option<String>,
}

#[derive(Serialize)]
struct Library {
    soname: String,
    path: String,
}

#[derive(Serialize)]
struct MissingLibrary {
    soname: String,
    needed_by: Vec<String>,
    hints: Vec<String>,
}

/// Writes the whole report.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let document = Document {
        dry_run: report.dry_run,
        files: report.files.iter().map(File::from).collect(),
        missing: report
            .missing(true)
            .iter()
            .map(MissingLibrary::from)
            .collect(),
        missing_of_libraries: report
            .missing(false)
            .iter()
            .map(MissingLibrary::from)
            .collect(),
        installed: report.installed.iter().map(text).collect(),
        warnings: report.warnings.clone(),
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
    };
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    out.write_all(&bytes)?;
    out.flush()
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
            status: match file.status {
                Status::Wrapped => "wrapped",
                Status::WouldWrap => "would-wrap",
                Status::Edited => "edited",
                Status::WouldEdit => "would-edit",
                Status::Restored => "restored",
                Status::WouldRestore => "would-restore",
                Status::Skipped => "skipped",
                Status::Failed => "failed",
            },
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
            strategy: match &plan.way {
                Way::Stub(_) => "stub",
                Way::InPlace(_) => "inplace",
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
            ignored: resolution.ignored.iter().map(text).collect(),
            libraries: resolution
                .found
                .iter()
                .map(|(soname, path)| Library {
                    soname: text(soname),
                    path: text(path),
                })
                .collect(),
            warnings: resolution.unmet.iter().map(ToString::to_string).collect(),
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
                place: match stub.slot.place {
                    Place::Entry => "entry",
                    Place::SegmentEnd => "segment-end",
                },
                offset: stub.slot.offset,
                address: stub.slot.address,
                len: stub.slot.len,
                room: stub.slot.room,
                stub_len: stub.stub_len,
            },
            loader: text(&stub.loader.path),
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
            kind: match edit.kind {
                EditKind::Slot => "slot",
                EditKind::Entry => "entry",
                EditKind::Interp => "interp",
                EditKind::Text => "text",
                EditKind::Dynamic => "dynamic",
                EditKind::Segment => "segment",
                EditKind::Section => "section",
            },
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
