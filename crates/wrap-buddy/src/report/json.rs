//! The report for programs: one JSON document. Paths that are not UTF-8 have replacement characters in them.

use std::ffi::OsStr;
use std::io::{self, Write};

use serde::Serialize;
use sidecar::EditKind;

use super::{FileReport, Report, Status};
use crate::hex::hex;
use crate::plan::{FileEdit, Plan};
use crate::resolve::Missing;
use crate::slot::Place;

#[derive(Serialize)]
struct Document {
    dry_run: bool,
    files: Vec<File>,
    missing: Vec<MissingLibrary>,
    installed: Vec<String>,
    warnings: Vec<String>,
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    wrapped: usize,
    would_wrap: usize,
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
    machine: &'static str,
    class: u8,
    position_independent: bool,
    file_len: u64,
    id: String,
    asks_for: String,
    interpreter: String,
    entry: u64,
    entry_offset: u64,
    room_at_entry: u64,
    slot: SlotDetails,
    loader: String,
    sidecar: SidecarDetails,
    edits: Vec<EditDetails>,
    search_path: Vec<String>,
    needed: Vec<Needed>,
    ignored: Vec<String>,
    libraries: Vec<Library>,
    warnings: Vec<String>,
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
    in_trailer: String,
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
        missing: report.missing().iter().map(MissingLibrary::from).collect(),
        installed: report.installed.iter().map(text).collect(),
        warnings: report.warnings.clone(),
        summary: Summary {
            wrapped: report.count(Status::Wrapped),
            would_wrap: report.count(Status::WouldWrap),
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
            machine: plan.arch.name,
            class: if plan.arch.class == 2 { 64 } else { 32 },
            position_independent: plan.position_independent,
            file_len: plan.file_len,
            id: hex(&plan.id),
            asks_for: text(&plan.asks_for),
            interpreter: text(&plan.interpreter),
            entry: plan.entry,
            entry_offset: plan.entry_offset,
            room_at_entry: plan.room_at_entry,
            slot: SlotDetails {
                place: match plan.slot.place {
                    Place::Entry => "entry",
                    Place::SegmentEnd => "segment-end",
                },
                offset: plan.slot.offset,
                address: plan.slot.address,
                len: plan.slot.len,
                room: plan.slot.room,
                stub_len: plan.stub_len,
            },
            loader: text(&plan.loader.path),
            sidecar: SidecarDetails {
                path: text(&plan.sidecar_path),
                len: plan.sidecar.len(),
                in_trailer: text(&plan.sidecar_in_trailer),
            },
            edits: plan.edits.iter().map(EditDetails::from).collect(),
            search_path: plan.search.iter().map(text).collect(),
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
            warnings: resolution.warnings.clone(),
        }
    }
}

impl From<&FileEdit> for EditDetails {
    fn from(edit: &FileEdit) -> Self {
        Self {
            kind: match edit.kind {
                EditKind::Slot => "slot",
                EditKind::Entry => "entry",
                EditKind::Interp => "interp",
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
