//! Programs that were wrapped by the first wrap-buddy, another program whose sidecar ([`Legacy`]) has the same name.
//!
//! It put a stub over the program's entry point, left e_entry unchanged, and changed the type of PT_INTERP to PT_NULL. The other fields of
//! that header still describe the string.

use sidecar::{EditKind, Legacy};

use object::elf;

use crate::state::found_sidecar::UnknownSidecar;
use crate::state::past_edit::PastEdit;
use elf_file::{Elf, PAGE, Segment, Source};

/// Longest PT_INTERP string, with its NUL.
const PATH_MAX: u64 = 4096;

/// Index of the program header that was PT_INTERP: its type is PT_NULL, and it still describes an absolute path with its NUL. `None` if the
/// program has a PT_INTERP, or several such headers.
pub fn former_interp(elf: &Elf, source: &mut Source) -> Option<usize> {
    let has_interp = |segment: &Segment| segment.kind == elf::PT_INTERP;
    if elf.segments.iter().any(has_interp) {
        return None;
    }
    let describes_path = |segment: &Segment, source: &mut Source| {
        let sized = (2..=PATH_MAX).contains(&segment.file_len);
        let bytes = sized.then(|| source.read_raw(segment.offset, segment.file_len));
        bytes.and_then(Result::ok).is_some_and(|bytes| {
            bytes.starts_with(b"/")
                && bytes.iter().position(|&byte| byte == 0) == Some(bytes.len() - 1)
        })
    };
    let mut found = elf
        .segments
        .iter()
        .enumerate()
        .filter(|(_, segment)| segment.kind == elf::PT_NULL && describes_path(segment, source));
    let (index, _) = found.next()?;
    found.next().is_none().then_some(index)
}

/// The edit of program header `index` back to PT_INTERP. p_type is the first field of a program header in both classes.
pub fn interp_edit(elf: &Elf, index: usize) -> PastEdit {
    let header_len = elf.program_headers.len() / elf.segments.len().max(1);
    PastEdit {
        kind: EditKind::Interp,
        offset: elf.phoff + (index * header_len) as u64,
        original: elf::PT_INTERP.to_le_bytes().to_vec(),
        written: Some(elf::PT_NULL.to_le_bytes().to_vec()),
    }
}

/// The edits of the wrapped program `elf`; its program header `interp` was PT_INTERP.
///
/// # Errors
/// Why the sidecar does not belong to this program.
pub fn edits(
    legacy: &Legacy<'_>,
    elf: &Elf,
    interp: usize,
    source: &mut Source,
) -> Result<Vec<PastEdit>, UnknownSidecar> {
    if legacy.entry != elf.entry {
        return Err(UnknownSidecar::OtherEntry {
            of_sidecar: legacy.entry,
            of_program: elf.entry,
        });
    }
    let offset = place_of(legacy, elf).ok_or(UnknownSidecar::TooManyBytes)?;
    let now = source
        .read_raw(offset, legacy.original.len() as u64)
        .map_err(|error| UnknownSidecar::DoesNotFit(format!("{error:#}")))?;
    let slot = PastEdit {
        kind: EditKind::Slot,
        offset,
        original: legacy.original.to_vec(),
        written: Some(now),
    };
    Ok(vec![slot, interp_edit(elf, interp)])
}

/// File offset of the original bytes: at the entry point, within one segment.
fn place_of(legacy: &Legacy<'_>, elf: &Elf) -> Option<u64> {
    let mut loads = elf.loads();
    let load = loads.find(|load| load.contains(legacy.entry))?;
    let offset = load.offset.checked_add(legacy.entry - load.address)?;
    let end = offset.checked_add(legacy.original.len() as u64)?;
    (end <= load.file_end().checked_next_multiple_of(PAGE)?).then_some(offset)
}

/// Whether a program without such edits is certainly an original, so that the sidecar is unused: it has the original bytes, or a PT_INTERP
/// and another entry point.
pub fn is_leftover(legacy: &Legacy<'_>, elf: &Elf, source: &mut Source) -> bool {
    if legacy.entry != elf.entry {
        return elf.interp.is_some();
    }
    let now = place_of(legacy, elf)
        .and_then(|offset| source.read_raw(offset, legacy.original.len() as u64).ok());
    now.is_some_and(|now| now == legacy.original)
}
