//! Recognizes programs with a stub by their sidecar, and takes their original bytes from it.

use std::mem::offset_of;
use std::ops::Range;
use std::path::Path;

use object::{LittleEndian, elf};
use sidecar::{Edit, EditKind, Sidecar};

use crate::state::identity::identity;
use crate::state::legacy;
use crate::state::limits::check_loader_takes;
use crate::state::past_edit::PastEdit;
use crate::state::prior::{Method, PriorWrap, Progress};
use crate::state::settings::Settings;
use crate::state::stub::{self, Stub};
use elf_file::{Elf, Source};

/// Lays the original bytes over a wrapped program, if the sidecar `bytes` belongs to it.
pub(super) fn known(
    sidecar_path: &Path,
    is_next_to_file: bool,
    elf: &Elf,
    source: &mut Source,
    bytes: &[u8],
) -> Option<PriorWrap> {
    let sidecar = Sidecar::parse(bytes).ok()?;
    let edits = undo(elf, source, &sidecar)?;
    Some(by_stub(
        sidecar_path,
        is_next_to_file,
        source,
        bytes,
        &sidecar,
        edits,
    ))
}

/// The same for a derived program: the sidecar was written for another file, but e_entry leads to the stub, and PT_INTERP has become
/// PT_NULL.
pub(super) fn known_of_derived(
    code: &Range<u64>,
    sidecar_path: &Path,
    is_next_to_file: bool,
    elf: &Elf,
    source: &mut Source,
    bytes: &[u8],
) -> Option<PriorWrap> {
    let sidecar = Sidecar::parse(bytes).ok()?;
    let is_its_place = sidecar.header().slot_offset == code.start;
    let original = is_its_place.then(|| sidecar.slot().to_vec())?;
    let (interp, edits) = edits_at_entry(code, original, &sidecar, elf, source)?;
    let prior = by_stub(
        sidecar_path,
        is_next_to_file,
        source,
        bytes,
        &sidecar,
        edits,
    );
    Some(PriorWrap {
        derived: true,
        without_interp: interp.is_none(),
        ..prior
    })
}

/// The same for a program without a sidecar that has its settings after the stub. The slot is in padding, which was zero.
pub(super) fn known_by_record(
    code: &Range<u64>,
    stub: &Stub,
    sidecar_path: &Path,
    adjacent: &Path,
    elf: &Elf,
    source: &mut Source,
) -> Option<PriorWrap> {
    let record = Sidecar::parse(&stub.record).ok()?;
    let (id, stub_len) = (record.header().id, record.header().stub_len);
    let slot_len = code.end - code.start + stub.trailer_len;
    let original = vec![0; usize::try_from(slot_len).ok()?];
    let is_its = id == stub.id;
    let (interp, edits) = is_its
        .then(|| edits_at_entry(code, original.clone(), &record, elf, source))
        .flatten()?;
    let is_same = Elf::read(source).is_ok_and(|elf| identity(&elf, &original, stub_len) == id);
    let prior = by_stub(
        sidecar_path,
        sidecar_path == adjacent,
        source,
        &[],
        &record,
        edits,
    );
    Some(PriorWrap {
        derived: !is_same,
        without_interp: interp.is_none(),
        ..prior
    })
}

/// Lays the original bytes over a program whose e_entry leads to the stub that `sidecar` describes. Returns the program header that was
/// PT_INTERP, if there is still one, and the edits. `original`: the bytes of the slot.
fn edits_at_entry(
    code: &Range<u64>,
    original: Vec<u8>,
    sidecar: &Sidecar<'_>,
    elf: &Elf,
    source: &mut Source,
) -> Option<(Option<usize>, Vec<PastEdit>)> {
    let header = sidecar.header();
    let slot = code.start..code.start.checked_add(original.len() as u64)?;
    let same = (header.machine, header.class) == (elf.machine, elf.class)
        && header.slot_address == elf.entry_address()
        && u64::from(header.stub_len) == code.end - code.start
        && elf.offset_of(elf.entry_address()) == Some(slot.start)
        && slot.end <= elf.file_len;
    let interp = legacy::former_interp(elf, source);
    let starts = || is_interp_reused(elf, sidecar) && check_loader_takes(elf, sidecar).is_ok();
    if !same || interp.is_none() && !starts() {
        return None;
    }
    let edits = edits_of_stub(slot.start, original, header.entry, interp, elf);
    for edit in &edits {
        source.lay_over(edit.offset, &edit.original);
    }
    Some((interp, edits))
}

/// Whether the program header that was PT_INTERP according to the sidecar is used for something else.
fn is_interp_reused(elf: &Elf, sidecar: &Sidecar<'_>) -> bool {
    let header_len = elf.program_headers.len() / elf.segments.len().max(1);
    let mut edits = sidecar.edits().flatten();
    let edit = edits.find(|edit| edit.kind == EditKind::Interp);
    let at = edit.and_then(|edit| edit.offset.checked_sub(elf.phoff));
    let index = at.map(|at| at as usize / header_len.max(1));
    let header = index.and_then(|index| elf.segments.get(index));
    elf.interp.is_none() && header.is_some_and(|header| header.kind != elf::PT_NULL)
}

/// The edits of a program with a stub, in the order in which they are made. `entry`: the original e_entry.
pub(super) fn edits_of_stub(
    offset: u64,
    original: Vec<u8>,
    entry: u64,
    interp: Option<usize>,
    elf: &Elf,
) -> Vec<PastEdit> {
    let slot = PastEdit {
        kind: EditKind::Slot,
        offset,
        original,
        written: None,
    };
    // e_entry follows e_ident, e_type, e_machine and e_version in both classes.
    let word = |address: u64| address.to_le_bytes()[..elf.word()].to_vec();
    let moved = (entry != elf.entry).then(|| PastEdit {
        kind: EditKind::Entry,
        offset: offset_of!(elf::FileHeader64<LittleEndian>, e_entry) as u64,
        original: word(entry),
        written: Some(word(elf.entry)),
    });
    let edits = [slot].into_iter().chain(moved);
    let interp = interp.map(|interp| legacy::interp_edit(elf, interp));
    edits.chain(interp).collect()
}

/// The result for a program with a stub. `edits` have its original bytes.
fn by_stub(
    sidecar_path: &Path,
    is_next_to_file: bool,
    source: &mut Source,
    bytes: &[u8],
    sidecar: &Sidecar<'_>,
    edits: Vec<PastEdit>,
) -> PriorWrap {
    let id = sidecar.header().id;
    let trailer_at = |edit: &PastEdit, source: &mut Source| {
        let stub_len = u64::from(sidecar.header().stub_len);
        stub::trailer_at(source, edit.offset.checked_add(stub_len)?)
    };
    let progress = Progress::of(&edits, source, |slot, source| {
        trailer_at(slot, source).is_some_and(|found| found.id == id)
    });
    let mut slots = edits.iter().filter(|edit| edit.kind == EditKind::Slot);
    let stub = slots.find_map(|slot| trailer_at(slot, source));
    let loader = stub.as_ref().and_then(|stub| stub.loader.clone());
    let record = stub.as_ref().map(|stub| stub.record.clone());
    let record = record.unwrap_or_default();
    let used = Sidecar::parse(&record);
    let settings = Settings::of_sidecar(
        used.as_ref().unwrap_or(sidecar),
        loader.as_deref(),
        !record.is_empty(),
    );
    PriorWrap {
        progress,
        is_next_to_file,
        id,
        tool: sidecar.header().tool,
        has_stub: stub.is_some(),
        own_sidecar: stub
            .filter(|stub| stub.loader.is_none())
            .map(|stub| stub.sidecar),
        loader,
        sidecar: bytes.to_vec(),
        record,
        ..PriorWrap::new(Method::Stub, sidecar_path.to_owned(), settings, edits)
    }
}

/// Lays the sidecar's original bytes over the file, if they belong to it.
fn undo(elf: &Elf, source: &mut Source, sidecar: &Sidecar<'_>) -> Option<Vec<PastEdit>> {
    let edits = sidecar.edits().collect::<Result<Vec<_>, _>>().ok()?;
    let table = elf.phoff..elf.phoff + elf.program_headers.len() as u64;
    let mut original = elf.clone();
    for edit in &edits {
        let end = edit.offset.checked_add(edit.original.len() as u64)?;
        let sidecar_path = match edit.kind {
            EditKind::Slot => edit.original == sidecar.slot() && end <= elf.file_len,
            EditKind::Entry => end <= elf.header.len() as u64,
            EditKind::Interp => table.contains(&edit.offset) && end <= table.end,
            // These kinds do not occur in the sidecar of a wrapped program.
            EditKind::Text | EditKind::Dynamic | EditKind::Segment | EditKind::Section => false,
        };
        if !sidecar_path {
            return None;
        }
        lay_over(&mut original.header, 0, edit);
        lay_over(&mut original.program_headers, elf.phoff, edit);
    }
    // The identity covers these bytes: it proves that they belong to this file.
    let header = sidecar.header();
    let same_kind = (header.machine, header.class) == (elf.machine, elf.class);
    let same = same_kind && identity(&original, sidecar.slot(), header.stub_len) == header.id;
    if !same {
        return None;
    }
    let arch = elf.target().arch()?;
    let past = edits.iter().map(|edit| {
        source.lay_over(edit.offset, edit.original);
        PastEdit {
            kind: edit.kind,
            offset: edit.offset,
            original: edit.original.to_vec(),
            written: match edit.kind {
                EditKind::Interp => Some(elf::PT_NULL.to_le_bytes().to_vec()),
                EditKind::Entry => {
                    let entry = arch
                        .entry_at(header.slot_address, header.entry)
                        .to_le_bytes();
                    entry.get(..edit.original.len()).map(<[u8]>::to_vec)
                }
                _ => None,
            },
        }
    });
    Some(past.collect())
}

/// Writes the original bytes of `edit` into a table that begins at file offset `start`, as far as they are in it.
fn lay_over(table: &mut [u8], start: u64, edit: &Edit<'_>) {
    for (at, &byte) in (edit.offset..).zip(edit.original) {
        let index = at
            .checked_sub(start)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(sidecar_path) = index.and_then(|index| table.get_mut(index)) {
            *sidecar_path = byte;
        }
    }
}
