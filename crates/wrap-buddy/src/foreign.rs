//! Programs wrapped by the first wrap-buddy, which is another program: its sidecars have the same name and no magic.
//!
//! What is known of them is their outline: a header of 22 bytes (14 for 32-bit programs), the interpreter's path, the search
//! path, the original bytes of the entry point. The header's size says that it is two words and three halves of 16 bits; which
//! is which is not assumed. A sidecar is taken for one of these if all readings that fit the program mean the same: the lengths add
//! up to the file, the strings are what they ought to be, the program has no PT_INTERP but a PT_NULL where one was, and other
//! bytes than the original ones at its entry point.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use object::elf;
use sidecar::EditKind;

use crate::earlier::PastEdit;
use crate::inspect::{Elf, Segment, Source};

/// Longest interpreter's path.
const PATH_MAX: usize = 4096;

/// What was done to the program `elf` that has the sidecar `bytes`.
pub fn edits_of_another_tool(
    bytes: &[u8],
    elf: &Elf,
    source: &mut Source,
) -> Option<Vec<PastEdit>> {
    let interp = former_interp(elf, source)?;
    let word = elf.word();
    let halves = |n: usize| -> Option<usize> {
        let field = bytes.get(2 * word + 2 * n..)?.first_chunk()?;
        Some(usize::from(u16::from_le_bytes(*field)))
    };
    let words = |n: usize| -> Option<u64> {
        let field = bytes.get(n * word..(n + 1) * word)?;
        Some(
            field
                .iter()
                .rev()
                .fold(0, |value, &byte| value << 8 | u64::from(byte)),
        )
    };
    let body = bytes.get(2 * word + 6..)?;
    let mut readings: Vec<Vec<PastEdit>> = Vec::new();
    for (one, other) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
        let (interpreter_len, search_len) = (halves(one)?, halves(other)?);
        let Some((interpreter, rest)) = body.split_at_checked(interpreter_len) else {
            continue;
        };
        let Some((search, original)) = rest.split_at_checked(search_len) else {
            continue;
        };
        // Some other field says how many original bytes there are.
        let len = original.len() as u64;
        let third = halves(3 - one - other)? as u64;
        let sized = [Some(third), words(0), words(1)].contains(&Some(len));
        let strings = text(search).is_some() && text(interpreter).is_some_and(is_interpreter);
        if !sized || !strings {
            continue;
        }
        let reading = edits(elf, original, [words(0)?, words(1)?], interp, source);
        // Where one string ends and the other begins does not matter to what follows them.
        readings.extend(reading.filter(|reading| !readings.contains(reading)));
    }
    match <[Vec<PastEdit>; 1]>::try_from(readings) {
        Ok([reading]) => Some(reading),
        Err(_) => None,
    }
}

/// A string, with or without the NUL that ends it.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let text = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    (!text.contains(&0)).then_some(text)
}

fn is_interpreter(path: &[u8]) -> bool {
    let path = Path::new(OsStr::from_bytes(path));
    path.is_absolute() && path.as_os_str().len() < PATH_MAX
}

/// The program header that was a PT_INTERP: one of type PT_NULL that still describes a dynamic linker's path.
fn former_interp(elf: &Elf, source: &mut Source) -> Option<usize> {
    if elf.interp.is_some() {
        return None;
    }
    let described = |segment: &Segment, source: &mut Source| {
        let len = segment.file_len;
        let sized = (2..=PATH_MAX as u64).contains(&len);
        let bytes = sized.then(|| source.read(segment.offset, len).ok())?;
        text(&bytes?).is_some_and(is_interpreter).then_some(())
    };
    let mut found = elf.segments.iter().enumerate().filter(|(_, segment)| {
        segment.kind == elf::PT_NULL && described(segment, source).is_some()
    });
    let (index, _) = found.next()?;
    found.next().is_none().then_some(index)
}

fn edits(
    elf: &Elf,
    original: &[u8],
    words: [u64; 2],
    interp: usize,
    source: &mut Source,
) -> Option<Vec<PastEdit>> {
    // One of the words is the entry point, which the program still has.
    let offset = elf
        .offset_of(elf.entry)
        .filter(|_| words.contains(&elf.entry))?;
    let now = source.read(offset, original.len() as u64).ok()?;
    let changed = !original.is_empty() && now != original;
    let entry_len = elf.program_headers.len() / elf.segments.len().max(1);
    let slot = PastEdit {
        kind: EditKind::Slot,
        offset,
        original: original.to_vec(),
        written: Some(now),
    };
    let interp = PastEdit {
        kind: EditKind::Interp,
        offset: elf.phoff + (interp * entry_len) as u64,
        original: elf::PT_INTERP.to_le_bytes().to_vec(),
        written: Some(elf::PT_NULL.to_le_bytes().to_vec()),
    };
    changed.then(|| vec![slot, interp])
}
