//! The GNU property note, as far as it decides how the kernel protects code.

use anyhow::Result;
use object::elf;

use super::{Elf, Source};
use sys::arch::BranchProtection;

/// Bytes of a note read at most; what matters is in front.
const MAX_NOTE: u64 = 4096;

/// NT_GNU_PROPERTY_TYPE_0.
const PROPERTY_NOTE: u32 = 5;

/// Whether the program is marked as made for `wanted`.
pub fn has_property(elf: &Elf, wanted: &BranchProtection, source: &mut Source) -> Result<bool> {
    let mut segments = elf.segments.iter();
    let Some(note) = segments.find(|segment| segment.kind == elf::PT_GNU_PROPERTY) else {
        return Ok(false);
    };
    let bytes = source.read(note.offset, note.file_len.min(MAX_NOTE))?;
    Ok(in_note(&bytes, elf.class, wanted).unwrap_or(false))
}

/// Nothing where the note ends early: the kernel takes that for no property.
fn in_note(note: &[u8], class: u8, wanted: &BranchProtection) -> Option<bool> {
    let word = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let is_property = word(note, 8)? == PROPERTY_NOTE && note.get(12..16)? == b"GNU\0";
    let mut rest = note.get(16..)?.get(..word(note, 4)? as usize)?;
    if word(note, 0)? != 4 || !is_property {
        return Some(false);
    }
    let align = if class == 2 { 8 } else { 4 };
    while !rest.is_empty() {
        let len = word(rest, 4)? as usize;
        if word(rest, 0)? == wanted.property {
            return Some(word(rest, 8)? & wanted.bit != 0);
        }
        rest = rest.get(8 + len.checked_next_multiple_of(align)?..)?;
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
        assert_eq!(in_note(&note(&bti), 2, &BTI), Some(true));
        assert_eq!(in_note(&note(&bti[..4]), 2, &BTI), Some(false));
        assert_eq!(
            in_note(&note(&[0xc000_0000, 4, 2, 0]), 2, &BTI),
            Some(false)
        );
    }

    #[test]
    fn a_damaged_note_has_no_property() {
        let whole = note(&[0xc000_0000, 4, 1, 0]);
        for len in 0..whole.len() {
            assert_eq!(in_note(&whole[..len], 2, &BTI), None, "{len}");
        }
        assert_eq!(in_note(&note(&[7, u32::MAX, 0, 0]), 2, &BTI), None);
    }
}
