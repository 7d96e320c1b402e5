//! Padding after segments, and the addresses that ld.so relocates.

use std::ops::Range;

use anyhow::{Result, ensure};
use object::elf;

use super::{Elf, Segment, Source, sections};
use crate::imports::names_symbols;

/// The smallest page size. Kernels map whole pages.
pub const PAGE: u64 = 4096;

/// Compressed relative relocations (gABI). `object` has no constant for it.
pub(super) const DT_RELR: u32 = 36;

/// Number of bytes that are read at a time.
const CHUNK: u64 = 64 << 10;

/// Counts the mapped zero bytes after the file bytes of PT_LOAD `segment` that belong to nothing else: up to the end of its last
/// page, the next section or segment, or the end of the file.
pub fn zeros_after(elf: &Elf, segment: &Segment, source: &mut Source) -> Result<u64> {
    let start = segment.file_end();
    let mut end = segment.loaded_end().min(elf.file_len);
    let after = segment.address.saturating_add(segment.file_len);
    for other in elf.segments.iter().filter(|other| *other != segment) {
        // The page of a later segment is mapped over this one.
        if other.kind == elf::PT_LOAD && other.begins_on_page_of(after) {
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
    // The header tables often follow the last section.
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

/// Bytes of a file that are free for other data when it is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// The file offset.
    pub offset: u64,
    /// The virtual address.
    pub address: u64,
    /// The length in bytes.
    pub len: u64,
}

/// The zero bytes after the read-only segments of `elf`.
///
/// A kernel with larger pages maps more after a segment, never less. A later segment is mapped over these bytes only if it shares a
/// page with this one. Then both segments have the same bytes of the file at the same addresses, because they are congruent modulo
/// that page, or they could not be loaded.
///
/// # Errors
/// If section headers or relocations, which describe the use of the bytes, are invalid.
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
            len: zeros_after(elf, load, source)?,
        };
        let addresses = padding.address..padding.address.saturating_add(padding.len);
        if padding.len > 0 && !(text_relocations && relocates(elf, &addresses, source)?) {
            paddings.push(padding);
        }
    }
    Ok(paddings)
}

/// The bytes of the search path that ld.so uses for `elf`, with the NUL, if no other string shares them. Linkers store a string that ends
/// another one only once. `None` also if that cannot be found out.
pub fn own_search_path(elf: &Elf, source: &mut Source) -> Option<Padding> {
    let dynamic = elf.dynamic.as_ref()?;
    let text = dynamic.search_path()?;
    let (_, at) = *dynamic.tags().get(dynamic.search_entry()?)?;
    let len = text.len() as u64;
    // A reference to the NUL is an empty string, which stays.
    let range = at..at.checked_add(len)?;
    let names = [
        elf::DT_NEEDED,
        elf::DT_SONAME,
        elf::DT_FILTER,
        elf::DT_AUXILIARY,
        elf::DT_AUDIT,
        elf::DT_DEPAUDIT,
        elf::DT_CONFIG,
    ];
    let in_dynamic = dynamic.tags().iter().any(|(tag, value)| {
        names.iter().any(|name| *tag == u64::from(*name)) && range.contains(value)
    });
    let required = dynamic.requires.iter();
    let versions = required
        .flat_map(|one| one.versions.iter().chain([&one.library]))
        .chain(&dynamic.defines);
    let bytes = text.as_encoded_bytes();
    let mut versions = versions.map(|version| version.as_encoded_bytes());
    if len == 0
        || in_dynamic
        || versions.any(|version| bytes.ends_with(version))
        || names_symbols(elf, source, &range)?
    {
        return None;
    }
    let address = dynamic.value(elf::DT_STRTAB)?.checked_add(at)?;
    let offset = elf.offset_of(address)?;
    let is_there = elf.offset_of(address.checked_add(len)?)? == offset + len;
    is_there.then_some(Padding {
        offset,
        address,
        len: len + 1,
    })
}

/// The bytes after p_type of a program header that a library does not need: a PT_NULL, or PT_PHDR, once it is a PT_NULL. ld.so finds the
/// program headers of a library by e_phoff too (glibc elf/dl-map-segments.h, musl ldso/dynlink.c `map_library`), as in libraries by GNU
/// ld, which have no PT_PHDR.
pub fn unused_header(elf: &Elf) -> Option<Padding> {
    if elf.kind != elf::ET_DYN || elf.interp.is_some() {
        return None;
    }
    let unused = [elf::PT_NULL, elf::PT_PHDR];
    let index = (elf.segments.iter()).position(|one| unused.contains(&one.kind))?;
    let header_len = (elf.program_headers.len() / elf.segments.len()) as u64;
    let type_len = size_of::<u32>() as u64;
    let offset = elf.phoff + index as u64 * header_len + type_len;
    let len = header_len - type_len;
    let load =
        (elf.loads()).find(|load| load.offset <= offset && offset + len <= load.file_end())?;
    let address = load.address.checked_add(offset - load.offset)?;
    // No other segment is mapped over it.
    (elf.offset_of(address) == Some(offset)).then_some(Padding {
        offset,
        address,
        len,
    })
}

/// Whether bytes other than zeros follow all that the headers of `elf` describe. The file may read them by their offset.
///
/// # Errors
/// If section headers are invalid, or the file cannot be read.
pub fn has_appended_data(elf: &Elf, source: &mut Source) -> Result<bool> {
    let (shoff, shentsize, shnum) = elf.sections;
    let tables = [
        (shoff, shentsize * shnum),
        (elf.phoff, elf.program_headers.len() as u64),
    ];
    let segments = elf.segments.iter().filter(|one| one.kind != elf::PT_NULL);
    let segments = segments.map(Segment::file_end);
    let sections = section_ranges(elf, source)?.into_iter().chain(tables);
    let ends = sections.map(|(offset, len)| offset.saturating_add(len));
    let mut start = ends.chain(segments).max().unwrap_or(0);
    while start < elf.file_len {
        let len = CHUNK.min(elf.file_len - start);
        if source.read(start, len)?.iter().any(|&byte| byte != 0) {
            return Ok(true);
        }
        start += len;
    }
    Ok(false)
}

/// The file ranges of the sections that have bytes in the file.
fn section_ranges(elf: &Elf, source: &mut Source) -> Result<Vec<(u64, u64)>> {
    let sections = sections(elf, source)?;
    let in_file = sections.iter().filter(|section| {
        section.kind != elf::SHT_NULL && section.kind != elf::SHT_NOBITS && section.len > 0
    });
    Ok(in_file
        .map(|section| (section.offset, section.len))
        .collect())
}

/// Whether ld.so writes to an address in `range` when it relocates the file.
///
/// # Errors
/// If a relocation table cannot be read, or has a form that is used for data only.
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
                // A relocation writes at most 16 bytes.
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
