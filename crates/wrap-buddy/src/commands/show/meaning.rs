//! Descriptions of edits and patches.

use object::elf;
use sidecar::{EditKind, Patch};

use elf_file::Elf;

/// Describes an edit of `elf`, the original, from `before` to `after`.
pub fn of_edit(kind: EditKind, offset: u64, before: &[u8], after: &[u8], elf: &Elf) -> String {
    let word = elf.word();
    match kind {
        EditKind::Slot => "the stub and its trailer".to_owned(),
        EditKind::Interp => match number_of(offset, elf.phoff, segment_len(elf)) {
            Some(index) => format!("program header {index}: PT_INTERP → PT_NULL"),
            None => "PT_INTERP → PT_NULL".to_owned(),
        },
        EditKind::Entry => format!("e_entry: {:#x} → {:#x}", number(before), number(after)),
        EditKind::Text => {
            let text = after.split(|&byte| byte == 0).find(|text| !text.is_empty());
            let text = text.unwrap_or_default();
            format!("\"{}\" in unused bytes", text.escape_ascii())
        }
        EditKind::Dynamic => {
            let entries = |bytes: &[u8]| -> Vec<String> {
                let entries = bytes.chunks_exact(2 * word);
                entries.map(|entry| dynamic_entry(entry, word)).collect()
            };
            let (before, after) = (entries(before), entries(after));
            let changes = before
                .iter()
                .zip(&after)
                .filter(|(one, other)| one != other);
            let changes: Vec<String> = changes
                .map(|(one, other)| format!("{one} → {other}"))
                .collect();
            format!(".dynamic: {}", changes.join("; "))
        }
        EditKind::Segment => {
            let index = number_of(offset, elf.phoff, segment_len(elf));
            let segment = index.and_then(|index| elf.segments.get(index as usize));
            let what = match segment.map(|segment| segment.kind) {
                Some(elf::PT_INTERP) => "PT_INTERP, moved path",
                Some(elf::PT_LOAD) => "PT_LOAD, extended to cover the path",
                _ => "segment's position",
            };
            match index {
                Some(index) => format!("program header {index}: {what}"),
                None => format!("a program header: {what}"),
            }
        }
        EditKind::Section => {
            let (start, len, _) = elf.sections;
            match number_of(offset, start, len) {
                Some(index) => format!("section header {index}, for tools such as readelf"),
                None => "a section header, for tools such as readelf".to_owned(),
            }
        }
    }
}

/// Describes a word that the loader writes to .dynamic; `word`: its size in bytes.
pub fn of_patch(patch: &Patch, word: usize) -> String {
    let (index, into) = (
        patch.offset as usize / (2 * word),
        patch.offset as usize % (2 * word),
    );
    match into {
        0 => format!("entry {index}: {}", tag_name(patch.value)),
        _ => format!("entry {index}: its value"),
    }
}

fn segment_len(elf: &Elf) -> u64 {
    (elf.program_headers.len() / elf.segments.len().max(1)) as u64
}

/// The index of the table element that contains the byte at `offset`. The table is at `start`, its elements have `len` bytes.
fn number_of(offset: u64, start: u64, len: u64) -> Option<u64> {
    offset.checked_sub(start)?.checked_div(len)
}

fn number(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().take(8).rev();
    bytes.fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn dynamic_entry(entry: &[u8], word: usize) -> String {
    let (tag, value) = entry.split_at(word);
    match number(tag) {
        0 => tag_name(0),
        tag => format!("{} {:#x}", tag_name(tag), number(value)),
    }
}

/// The names of the gABI and of glibc's elf.h.
fn tag_name(tag: u64) -> String {
    let name = match u32::try_from(tag) {
        Ok(elf::DT_NULL) => "DT_NULL",
        Ok(elf::DT_NEEDED) => "DT_NEEDED",
        Ok(elf::DT_STRSZ) => "DT_STRSZ",
        Ok(elf::DT_STRTAB) => "DT_STRTAB",
        Ok(elf::DT_SONAME) => "DT_SONAME",
        Ok(elf::DT_RPATH) => "DT_RPATH",
        Ok(elf::DT_RUNPATH) => "DT_RUNPATH",
        Ok(elf::DT_DEBUG) => "DT_DEBUG",
        Ok(elf::DT_RELACOUNT) => "DT_RELACOUNT",
        Ok(elf::DT_RELCOUNT) => "DT_RELCOUNT",
        _ => return format!("{tag:#x}"),
    };
    name.to_owned()
}
