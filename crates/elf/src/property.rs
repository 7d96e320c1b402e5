//! The GNU property note, as far as it decides how the kernel protects code.

use anyhow::Result;
use object::LittleEndian;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, NoteIterator};

use super::{Elf, LE, Source};
use sys::arch::BranchProtection;

/// Maximum number of bytes of a note that are read. The properties used here come first.
const MAX_NOTE: u64 = 4096;

/// Whether the program is marked as made for `wanted`.
pub fn has_property(elf: &Elf, wanted: &BranchProtection, source: &mut Source) -> Result<bool> {
    let mut segments = elf.segments.iter();
    let Some(note) = segments.find(|segment| segment.kind == elf::PT_GNU_PROPERTY) else {
        return Ok(false);
    };
    let bytes = source.read(note.offset, note.file_len.min(MAX_NOTE))?;
    let found = match elf.class {
        elf::ELFCLASS64 => in_note::<FileHeader64<LittleEndian>>(&bytes, 8, wanted),
        _ => in_note::<FileHeader32<LittleEndian>>(&bytes, 4, wanted),
    };
    Ok(found.unwrap_or(false))
}

/// `None` if the note is incomplete: the kernel then assumes no property.
fn in_note<H: FileHeader<Endian = LittleEndian>>(
    note: &[u8],
    align: H::Word,
    wanted: &BranchProtection,
) -> Option<bool> {
    let mut notes = NoteIterator::<H>::new(LE, align, note).ok()?;
    // The kernel reads only the first note (fs/binfmt_elf.c, parse_elf_properties).
    let mut properties = notes.next().ok()??.gnu_properties(LE)?;
    while let Some(property) = properties.next().ok()? {
        if property.pr_type() == wanted.property {
            return Some(property.data_u32(LE).ok()? & wanted.bit != 0);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BTI: BranchProtection = BranchProtection {
        property: 0xc000_0000,
        bit: 1,
        protection: 0x10,
    };

    fn found(note: &[u8], wanted: &BranchProtection) -> Option<bool> {
        in_note::<FileHeader64<LittleEndian>>(note, 8, wanted)
    }

    fn note(properties: &[u32]) -> Vec<u8> {
        let words = [
            4,
            properties.len() as u32 * 4,
            5,
            u32::from_le_bytes(*b"GNU\0"),
        ];
        let words = words.iter().chain(properties);
        words.flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn finds_the_property_among_others() {
        let bti = [1, 4, 0, 0, 0xc000_0000, 4, 3, 0];
        assert_eq!(found(&note(&bti), &BTI), Some(true));
        assert_eq!(found(&note(&bti[..4]), &BTI), Some(false));
        assert_eq!(found(&note(&[0xc000_0000, 4, 2, 0]), &BTI), Some(false));
    }

    #[test]
    fn a_damaged_note_has_no_property() {
        let whole = note(&[0xc000_0000, 4, 1, 0]);
        for len in 0..whole.len() {
            assert_eq!(found(&whole[..len], &BTI), None, "{len}");
        }
        assert_eq!(found(&note(&[7, u32::MAX, 0, 0]), &BTI), None);
    }
}
