//! Recognizes files that are edited in place.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use object::elf;
use sidecar::{Edit, EditKind, InPlace, Written};

use crate::state::identity::identity_in_place;
use crate::state::past_edit::PastEdit;
use crate::state::prior::{Method, PriorWrap, Progress};
use crate::state::settings::Settings;
use elf_file::{Elf, Source};

/// Lays the original bytes over a file edited in place; `None` if the sidecar is not one of such a file, or belongs to another.
pub(super) fn in_place(
    sidecar_path: &Path,
    elf: &Elf,
    source: &mut Source,
    bytes: &[u8],
) -> Option<PriorWrap> {
    let record = InPlace::parse(bytes).ok()?;
    if (record.machine, record.class) != (elf.machine, elf.class) {
        return None;
    }
    for written in record.edits() {
        source.lay_over(written.edit.offset, written.edit.original);
    }
    // The identity covers these bytes: it proves that they belong to this file.
    let original = Elf::read(source);
    let settings = match &original {
        Ok(original) => Settings::of_file(elf, original),
        Err(_) => Settings::default(),
    };
    let id = original.and_then(|original| identity_in_place(&original, source));
    let same = id.is_ok_and(|id| id == record.id);
    let rewritten = !same && lay_over_entries(&record, elf, source);
    if !same && !rewritten {
        source.uncover();
        return None;
    }
    let past = record.edits().map(|one| PastEdit {
        kind: one.edit.kind,
        offset: one.edit.offset,
        original: one.edit.original.to_vec(),
        written: Some(one.written.to_vec()),
    });
    let edits: Vec<PastEdit> = past.collect();
    let progress = Progress::of(&edits, source, |_, _| false);
    let links = record
        .links()
        .map(|name| OsStr::from_bytes(name).to_owned());
    Some(PriorWrap {
        progress,
        rewritten,
        is_next_to_file: true,
        id: record.id,
        links: links.collect(),
        tool: record.tool,
        sidecar: bytes.to_vec(),
        ..PriorWrap::new(Method::InPlace, sidecar_path.to_owned(), settings, edits)
    })
}

/// Lays the originals over those entries of .dynamic and strings that are still as they were written. Returns true if there are such
/// entries: the file is then the same one, rewritten by another tool.
fn lay_over_entries(record: &InPlace<'_>, elf: &Elf, source: &mut Source) -> bool {
    source.uncover();
    // PT_INTERP still describes the new path, so that string is in use.
    let mut segments = elf.segments.iter();
    let interp = segments.find(|segment| segment.kind == elf::PT_INTERP);
    let in_use = |edit: &Edit<'_>| {
        interp.is_some_and(|interp| {
            let end = edit.end().unwrap_or(u64::MAX);
            edit.offset < interp.file_end() && interp.offset < end
        })
    };
    let mut ours = false;
    for Written { edit, written } in record.edits() {
        let there = source.read_raw(edit.offset, written.len() as u64);
        let left = there.is_ok_and(|there| there == written);
        let kind = matches!(edit.kind, EditKind::Dynamic | EditKind::Text);
        if left && kind && !in_use(&edit) {
            source.lay_over(edit.offset, edit.original);
            // A search path in the place of the file's own needs no change of .dynamic.
            let is_replaced = edit.original.iter().any(|&byte| byte != 0);
            ours |= edit.kind == EditKind::Dynamic || is_replaced;
        }
    }
    ours && Elf::read(source).is_ok()
}
