//! Where something might go: unused bytes behind a segment, and which places ld.so relocates.

use std::ops::Range;

use anyhow::{Result, ensure};
use object::elf;

use super::{Elf, Segment, Source, sections};

/// Kernels map at least whole pages of this size.
pub const PAGE: u64 = 4096;

/// Relative relocations in compressed form (gABI); not among the constants of `object`.
pub(super) const DT_RELR: u32 = 36;

/// Bytes of a relocation table read at once.
const CHUNK: u64 = 64 << 10;

/// Counts the zero bytes behind the file bytes of PT_LOAD `segment` that are mapped with it all the same and belong to
/// nothing: up to the end of its last page, the next section or segment, or the file.
pub fn zeros_behind(elf: &Elf, segment: &Segment, source: &mut Source) -> Result<u64> {
    let start = segment.file_end();
    let mut end = segment.loaded_end().min(elf.file_len);
    let behind = segment.address.saturating_add(segment.file_len);
    for other in elf.segments.iter().filter(|other| *other != segment) {
        // The page of a later segment is mapped over this one's.
        if other.kind == elf::PT_LOAD && other.begins_on_page_of(behind) {
            return Ok(0);
        }
        if other.file_len > 0 && other.file_end() > start {
            end = end.min(other.offset.max(start));
        }
    }
    for (offset, len) in section_ranges(elf, source)? {
        if offset.saturating_add(len) > start {
            end = end.min(offset.max(start));
        }
    }
    // The tables themselves often stand behind the last section.
    let (shoff, shentsize, shnum) = elf.sections;
    for (offset, len) in [
        (shoff, shentsize * shnum),
        (elf.phoff, elf.program_headers.len() as u64),
    ] {
        if len > 0 && offset.saturating_add(len) > start {
            end = end.min(offset.max(start));
        }
    }
    let unused = source.read(start, end.saturating_sub(start))?;
    Ok(unused.iter().take_while(|&&byte| byte == 0).count() as u64)
}

/// Unused bytes of a file that are mapped with it, and only for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Offset in the file.
    pub offset: u64,
    /// Virtual address in the file.
    pub address: u64,
    /// Length in bytes.
    pub len: u64,
}

/// The zero bytes behind the read-only segments of `elf`.
///
/// On a kernel with larger pages more is mapped behind a segment, never less. A later segment is mapped over that only if it
/// shares a page with this one; then both are congruent modulo that page, or neither could be loaded there, so that the same
/// bytes of the file come to lie at the same addresses.
///
/// # Errors
/// When section headers or relocations, which say what the bytes belong to, make no sense.
pub fn paddings(elf: &Elf, source: &mut Source) -> Result<Vec<Padding>> {
    let text_relocations = elf
        .dynamic
        .as_ref()
        .is_some_and(|dynamic| dynamic.text_relocations);
    let mut paddings = Vec::new();
    for load in elf.loads() {
        if load.flags & (elf::PF_R | elf::PF_W) != elf::PF_R {
            continue;
        }
        let padding = Padding {
            offset: load.file_end(),
            address: load.address.saturating_add(load.file_len),
            len: zeros_behind(elf, load, source)?,
        };
        let addresses = padding.address..padding.address.saturating_add(padding.len);
        if padding.len > 0 && !(text_relocations && relocates(elf, &addresses, source)?) {
            paddings.push(padding);
        }
    }
    Ok(paddings)
}

/// File ranges of the sections that have bytes in the file.
fn section_ranges(elf: &Elf, source: &mut Source) -> Result<Vec<(u64, u64)>> {
    let sections = sections(elf, source)?;
    let in_file = sections.iter().filter(|section| {
        section.kind != elf::SHT_NULL && section.kind != elf::SHT_NOBITS && section.len > 0
    });
    Ok(in_file
        .map(|section| (section.offset, section.len))
        .collect())
}

/// Whether ld.so writes to any of the addresses in `range` while it relocates the file.
///
/// # Errors
/// When a relocation table cannot be read, or is of a form only used for data.
pub fn relocates(elf: &Elf, range: &Range<u64>, source: &mut Source) -> Result<bool> {
    let Some(dynamic) = &elf.dynamic else {
        return Ok(false);
    };
    ensure!(
        dynamic.value(DT_RELR).is_none(),
        "it has both code that is relocated and DT_RELR"
    );
    let word = elf.word() as u64;
    let plt_entry = match dynamic.value(elf::DT_PLTREL) {
        Some(kind) if kind == u64::from(elf::DT_REL) => 2 * word,
        _ => 3 * word,
    };
    for (table, size, entry_len) in [
        (elf::DT_RELA, elf::DT_RELASZ, 3 * word),
        (elf::DT_REL, elf::DT_RELSZ, 2 * word),
        (elf::DT_JMPREL, elf::DT_PLTRELSZ, plt_entry),
    ] {
        let (Some(address), Some(size)) = (dynamic.value(table), dynamic.value(size)) else {
            continue;
        };
        let Some(mut at) = elf.offset_of(address) else {
            continue;
        };
        let mut left = size / entry_len * entry_len;
        while left > 0 {
            let bytes = source.read(at, left.min(CHUNK / entry_len * entry_len))?;
            for entry in bytes.chunks_exact(entry_len as usize) {
                let mut place = [0; 8];
                place[..word as usize].copy_from_slice(&entry[..word as usize]);
                let place = u64::from_le_bytes(place);
                // No relocation writes more than 16 bytes.
                if place < range.end && place.saturating_add(16) > range.start {
                    return Ok(true);
                }
            }
            at += bytes.len() as u64;
            left -= bytes.len() as u64;
        }
    }
    Ok(false)
}
