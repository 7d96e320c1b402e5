//! Section headers. ld.so ignores them, but they describe bytes that are in use, and other tools rely on them.

use anyhow::{Context, Result, ensure};
use object::LittleEndian;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod;
use object::read::elf::{FileHeader, SectionHeader};

use super::{Elf, LE, Source};

/// A section header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// The index in the table.
    pub index: usize,
    /// The file offset of the header itself.
    pub header_at: u64,
    /// `sh_name`.
    pub name: u32,
    /// `sh_type`.
    pub kind: u32,
    /// `sh_flags`.
    pub flags: u64,
    /// `sh_addr`.
    pub address: u64,
    /// `sh_offset`.
    pub offset: u64,
    /// `sh_size`.
    pub len: u64,
    /// `sh_link`.
    pub link: u32,
}

/// Reads every section header; empty if the file has no table.
///
/// # Errors
/// If the table is not where the ELF header says, or not of the file's class.
pub fn sections(elf: &Elf, source: &mut Source) -> Result<Vec<Section>> {
    match elf.word() {
        8 => of_class::<FileHeader64<LittleEndian>>(elf, source),
        _ => of_class::<FileHeader32<LittleEndian>>(elf, source),
    }
}

fn of_class<H: FileHeader<Endian = LittleEndian>>(
    elf: &Elf,
    source: &mut Source,
) -> Result<Vec<Section>> {
    let (shoff, entry_len, count) = elf.sections;
    let expected = size_of::<H::SectionHeader>();
    if shoff == 0 || count == 0 {
        return Ok(Vec::new());
    }
    ensure!(
        entry_len == expected as u64,
        "its e_shentsize is {entry_len}, not {expected}"
    );
    let table = source
        .read(shoff, entry_len * count)
        .context("the section headers")?;
    let table = pod::slice_from_all_bytes::<H::SectionHeader>(&table)
        .map_err(|()| anyhow::anyhow!("the section headers"))?;
    let sections = table.iter().enumerate().map(|(index, header)| Section {
        index,
        header_at: shoff + (index * expected) as u64,
        name: header.sh_name(LE),
        kind: header.sh_type(LE),
        flags: header.sh_flags(LE).into(),
        address: header.sh_addr(LE).into(),
        offset: header.sh_offset(LE).into(),
        len: header.sh_size(LE).into(),
        link: header.sh_link(LE),
    });
    Ok(sections.collect())
}

/// Whether `section` has this `name` in the string table at `e_shstrndx`.
pub fn is_called(
    section: &Section,
    name: &[u8],
    sections: &[Section],
    elf: &Elf,
    source: &mut Source,
) -> bool {
    // The last field of the ELF header in either class.
    let names = elf
        .header
        .last_chunk()
        .map(|field| u16::from_le_bytes(*field));
    let names = names.and_then(|index| sections.get(usize::from(index)));
    let Some(names) = names.filter(|names| names.kind == elf::SHT_STRTAB) else {
        return false;
    };
    let (at, end) = (
        names.offset.saturating_add(u64::from(section.name)),
        names.offset.saturating_add(names.len),
    );
    // Most names differ, so a mismatch is not an error, which would cost an allocation.
    let mut found = vec![0; name.len() + 1];
    end.saturating_sub(at) >= found.len() as u64
        && source.read_into(at, &mut found).is_ok()
        && found.strip_suffix(b"\0") == Some(name)
}
