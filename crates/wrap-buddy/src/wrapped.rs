//! Recognises files that an earlier run has worked on, or that a stopped run left half done.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sidecar::{Edit, EditKind, Id, InPlace, Sidecar, Trailer, Written};
use stages::Stage;

use crate::inspect::{Elf, PAGE, Segment, Source};
use crate::naming::{identity, identity_in_place, sidecar_name};

/// Bytes of stub looked through for the trailer behind it.
const MAX_STUB: u64 = 4096;

/// A sidecar is a few kilobytes; nothing larger is one.
const MAX_SIDECAR: u64 = 16 << 20;

/// How far a program is wrapped.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// Not at all, or the original bytes are known all the same: [`Source::lay_over`] has been told of them.
    Original,
    /// Wrapped, and its sidecar is at hand.
    Wrapped,
    /// Edited in place: [`Source::lay_over`] has been told of the original bytes.
    InPlace(Earlier),
    /// Wrapped, but no sidecar with its identity is where it will be looked for.
    Orphan {
        /// The first place where it will be.
        sidecar: PathBuf,
    },
}

/// What an earlier run has left of editing a file in place.
#[derive(Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The sidecar, which parses.
    pub sidecar: Vec<u8>,
    /// Whether the file was rewritten since by something that keeps .dynamic, such as strip: it is another file now, with
    /// entries of ours in it and, mostly, without the strings.
    pub rewritten: bool,
}

/// Finds out how far the file at `path`, absolute, is wrapped.
pub fn state(path: &Path, elf: &Elf, source: &mut Source, stages: &[Stage]) -> State {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let beside = directory.join(sidecar_name(path.file_name().unwrap_or_default()));
    if let Some(earlier) = read(&beside).and_then(|sidecar| earlier(elf, source, sidecar)) {
        return State::InPlace(earlier);
    }
    let stub = stub_at_entry(elf, source, stages);
    if elf.interp.is_none() {
        let Some((id, named)) = stub.or_else(|| described_by(&beside, source)) else {
            return State::Original;
        };
        // As the loader looks for it: a path that is absolute replaces the directory.
        let in_directory = directory.join(named.file_name().unwrap_or_default());
        let named = directory.join(named);
        let found = [&named, &in_directory]
            .into_iter()
            .any(|sidecar| read(sidecar).is_some_and(|bytes| has_id(&bytes, id)));
        return if found {
            State::Wrapped
        } else {
            State::Orphan { sidecar: named }
        };
    }
    // PT_INTERP is the last thing a run changes: with it, a stub is what a stopped run left.
    let undone = read(&beside).is_some_and(|bytes| {
        Sidecar::parse(&bytes).is_ok_and(|sidecar| undo(elf, source, &sidecar))
    });
    match stub {
        Some((_, named)) if !undone => State::Orphan {
            sidecar: directory.join(named),
        },
        _ => State::Original,
    }
}

/// Lays the original bytes of a file edited in place over it; nothing if the sidecar is not such a file's, or another's.
fn earlier(elf: &Elf, source: &mut Source, sidecar: Vec<u8>) -> Option<Earlier> {
    let record = InPlace::parse(&sidecar).ok()?;
    if (record.machine, record.class) != (elf.machine, elf.class) {
        return None;
    }
    for written in record.edits() {
        source.lay_over(written.edit.offset, written.edit.original);
    }
    // The identity covers what matters of these bytes: it says whether they are this file's.
    let original = Elf::read(source);
    let id = original.and_then(|original| identity_in_place(&original, source));
    if id.is_ok_and(|id| id == record.id) {
        return Some(Earlier {
            sidecar,
            rewritten: false,
        });
    }
    source.uncover();
    // What is left of it tells that the file is the same, rewritten; strings that are left are in nobody's way.
    let mut ours = false;
    for Written { edit, written } in record.edits() {
        let there = source.read_raw(edit.offset, written.len() as u64);
        let left = there.is_ok_and(|there| there == written);
        if left && matches!(edit.kind, EditKind::Dynamic | EditKind::Text) {
            source.lay_over(edit.offset, edit.original);
            ours |= edit.kind == EditKind::Dynamic;
        }
    }
    let whole = ours && Elf::read(source).is_ok();
    if !whole {
        source.uncover();
    }
    whole.then_some(Earlier {
        sidecar,
        rewritten: true,
    })
}

fn has_id(bytes: &[u8], id: Id) -> bool {
    Sidecar::parse(bytes).is_ok_and(|sidecar| sidecar.header().id == id)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= MAX_SIDECAR).then(|| fs::read(path).ok())?
}

/// The identity and the sidecar's path in the trailer behind a stub of this build at the entry point.
fn stub_at_entry(elf: &Elf, source: &mut Source, stages: &[Stage]) -> Option<(Id, PathBuf)> {
    let at = entry_offset(elf)?;
    let mut codes: Vec<&[u8]> = Vec::new();
    for stage in stages.iter().filter(|stage| stage.machine == elf.machine) {
        codes.extend([stage.stub, stage.relocatable_stub]);
    }
    codes.into_iter().find_map(|code| {
        let found = source.read(at, code.len() as u64).ok()?;
        (!code.is_empty() && found == code).then(|| trailer_at(source, at + code.len() as u64))?
    })
}

/// Where in the file the entry point is, which may be moved into the unused bytes behind a segment's own.
fn entry_offset(elf: &Elf) -> Option<u64> {
    let behind = |load: &Segment| {
        let into = elf.entry.checked_sub(load.address)?;
        let end = load.file_end().checked_next_multiple_of(PAGE)?;
        let offset = load.offset.checked_add(into)?;
        (offset < end).then_some(offset)
    };
    elf.offset_of(elf.entry)
        .or_else(|| elf.loads().find_map(behind))
}

fn trailer_at(source: &mut Source, at: u64) -> Option<(Id, PathBuf)> {
    // Two paths of PATH_MAX and the fixed part.
    let most = 2 * 4096 + sidecar::LOADER_OFFSET as u64;
    let bytes = source
        .read(at, most.min(source.file_len().checked_sub(at)?))
        .ok()?;
    let trailer = Trailer::parse(&bytes).ok()?;
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(trailer.sidecar));
    Some((trailer.id, path))
}

/// The same, of a stub of any build, when the sidecar beside the program says where it is.
fn described_by(beside: &Path, source: &mut Source) -> Option<(Id, PathBuf)> {
    let bytes = read(beside)?;
    let sidecar = Sidecar::parse(&bytes).ok()?;
    let slot = sidecar
        .edits()
        .flatten()
        .find(|edit| edit.kind == EditKind::Slot)?;
    let stub_len = u64::from(sidecar.header().stub_len);
    let trailer = (stub_len <= MAX_STUB).then(|| slot.offset.checked_add(stub_len))??;
    let (id, path) = trailer_at(source, trailer)?;
    (id == sidecar.header().id).then_some((id, path))
}

/// Lays a sidecar's original bytes over the file, if they are this file's.
fn undo(elf: &Elf, source: &mut Source, sidecar: &Sidecar<'_>) -> bool {
    let Ok(edits) = sidecar.edits().collect::<Result<Vec<_>, _>>() else {
        return false;
    };
    let table = elf.phoff..elf.phoff + elf.program_headers.len() as u64;
    let mut original = elf.clone();
    for edit in &edits {
        let Some(end) = edit.offset.checked_add(edit.original.len() as u64) else {
            return false;
        };
        let place = match edit.kind {
            EditKind::Slot => edit.original == sidecar.slot() && end <= elf.file_len,
            EditKind::Entry => end <= elf.header.len() as u64,
            EditKind::Interp => table.contains(&edit.offset) && end <= table.end,
            // Not in a sidecar of a wrapped program.
            EditKind::Text | EditKind::Dynamic | EditKind::Segment | EditKind::Section => false,
        };
        if !place {
            return false;
        }
        lay_over(&mut original.header, 0, edit);
        lay_over(&mut original.program_headers, elf.phoff, edit);
    }
    // The identity covers all these bytes: it says whether they are this file's.
    let header = sidecar.header();
    let same_kind = (header.machine, header.class) == (elf.machine, elf.class);
    let same = same_kind && identity(&original, sidecar.slot()) == sidecar.header().id;
    if same {
        for edit in &edits {
            source.lay_over(edit.offset, edit.original);
        }
    }
    same
}

/// Puts the original bytes of `edit` into a table that is at `start` in the file, as far as they belong there.
fn lay_over(table: &mut [u8], start: u64, edit: &Edit<'_>) {
    for (at, &byte) in (edit.offset..).zip(edit.original) {
        let index = at
            .checked_sub(start)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(place) = index.and_then(|index| table.get_mut(index)) {
            *place = byte;
        }
    }
}
