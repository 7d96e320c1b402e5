//! What surrounds a place where a stub might go: unused bytes behind a segment, and relocations.

use std::ops::Range;

use anyhow::{Result, ensure};
use object::elf;

use super::{Elf, Segment, Source};

/// Kernels map at least whole pages of this size.
pub const PAGE: u64 = 4096;

/// Relative relocations in compressed form (gABI); not among the constants of `object`.
const DT_RELR: u32 = 36;

/// Bytes of a relocation table read at once.
const CHUNK: u64 = 64 << 10;

/// Counts the zero bytes behind the file bytes of PT_LOAD `segment` that are mapped with it all the same and belong to
/// nothing: up to the end of its last page, the next section or segment, or the file.
pub fn zeros_behind(elf: &Elf, segment: &Segment, source: &mut Source) -> Result<u64> {
    let congruent = segment.offset % PAGE == segment.address % PAGE;
    // With more memory than file bytes the kernel clears what follows.
    if segment.memory_len != segment.file_len || !congruent {
        return Ok(0);
    }
    let start = segment.file_end();
    let page_end = start.checked_next_multiple_of(PAGE).unwrap_or(start);
    let mut end = page_end.min(elf.file_len);
    let last_page = segment.address.saturating_add(segment.file_len) / PAGE;
    for other in elf.segments.iter().filter(|other| *other != segment) {
        // The page of a later segment is mapped over this one's.
        if other.kind == elf::PT_LOAD && other.address / PAGE == last_page {
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
    let behind = source.read(start, end.saturating_sub(start))?;
    Ok(behind.iter().take_while(|&&byte| byte == 0).count() as u64)
}

/// File ranges of the sections that have bytes in the file.
fn section_ranges(elf: &Elf, source: &mut Source) -> Result<Vec<(u64, u64)>> {
    let (shoff, entry_len, count) = elf.sections;
    let wide = elf.class == 2;
    let expected = if wide { 64 } else { 40 };
    if shoff == 0 || count == 0 {
        return Ok(Vec::new());
    }
    ensure!(
        entry_len == expected,
        "its e_shentsize is {entry_len}, not {expected}"
    );
    let table = source.read(shoff, entry_len * count)?;
    let u32_at = |entry: &[u8], at: usize| {
        u64::from(u32::from_le_bytes(std::array::from_fn(|n| entry[at + n])))
    };
    let u64_at =
        |entry: &[u8], at: usize| u64::from_le_bytes(std::array::from_fn(|n| entry[at + n]));
    let ranges = table.chunks_exact(expected as usize).filter_map(|entry| {
        let kind = u32_at(entry, 4) as u32;
        let range = if wide {
            (u64_at(entry, 24), u64_at(entry, 32))
        } else {
            (u32_at(entry, 16), u32_at(entry, 20))
        };
        let in_file = kind != elf::SHT_NULL && kind != elf::SHT_NOBITS && range.1 > 0;
        in_file.then_some(range)
    });
    Ok(ranges.collect())
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
    let word = if elf.class == 2 { 8 } else { 4 };
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
