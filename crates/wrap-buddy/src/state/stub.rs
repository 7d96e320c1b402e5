//! Finds stubs in programs, and reads their trailers.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use sidecar::loader::FRONT_RECORD;
use sidecar::{EditKind, Id, LINE_OFFSET, LINE_START, Sidecar, Trailer};
use stages::Stage;

use elf_file::bytes;
use elf_file::{Elf, Source};

/// Most bytes of a stub to search for its trailer.
const MAX_STUB: u64 = 4096;

/// Most bytes at an entry point to search for the trailer of another build's stub. No stub has ever been longer than 384 bytes.
const MAX_FOUND_STUB: u64 = 512;

/// The fields of a trailer.
#[derive(Debug)]
pub struct Stub {
    pub id: Id,
    /// The loader, absolute or relative to the directory of the file; `None` if it is in the sidecar.
    pub loader: Option<PathBuf>,
    /// The path of the sidecar.
    pub sidecar: PathBuf,
    pub trailer_len: u64,
    /// The settings, if the program starts without its sidecar.
    pub record: Vec<u8>,
}

/// Finds a stub of this build: the range from its first byte to its trailer, and the trailer's fields.
pub fn code_at_entry(
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
) -> Option<(Range<u64>, Stub)> {
    let at = elf.offset_of(elf.entry_address())?;
    let start = elf.target().arch()?.stub_start(elf.entry);
    let stages = stages.iter().filter(|stage| stage.machine == elf.machine);
    let codes = stages.flat_map(Stage::stubs);
    let mut codes = codes.map(|code| [start, code].concat());
    codes.find_map(|code| {
        let found = source.read_raw(at, code.len() as u64).ok()?;
        let end = at + code.len() as u64;
        let stub = (found == code).then(|| trailer_at(source, end))??;
        Some((at..end, stub))
    })
}

/// Finds a stub of any build, by the beginning of its trailer.
pub fn of_another_build(elf: &Elf, source: &mut Source) -> Option<(Range<u64>, Stub)> {
    let at = elf.offset_of(elf.entry_address())?;
    let len = MAX_FOUND_STUB.min(source.file_len().checked_sub(at)?);
    let code = source.read_raw(at, len).ok()?;
    let line = bytes::occurrences(&code, LINE_START).next()?;
    let end = at + line.checked_sub(LINE_OFFSET)? as u64;
    Some((at..end, trailer_at(source, end)?))
}

/// Parses the trailer at the offset `at`.
pub fn trailer_at(source: &mut Source, at: u64) -> Option<Stub> {
    // Two paths of PATH_MAX bytes, the fixed part and a record.
    let most = (2 * 4096 + sidecar::LOADER_OFFSET + FRONT_RECORD) as u64;
    let bytes = source
        .read_raw(at, most.min(source.file_len().checked_sub(at)?))
        .ok()?;
    let trailer = Trailer::parse(&bytes).ok()?;
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let (loader, sidecar) = match trailer.sidecar {
        [] => (None, path(trailer.loader)),
        sidecar => (Some(path(trailer.loader)), path(sidecar)),
    };
    Some(Stub {
        id: trailer.id,
        trailer_len: trailer.encoded_len() as u64,
        loader,
        sidecar,
        record: trailer.record.to_vec(),
    })
}

/// Finds a stub of any build by the sidecar `bytes` next to the program.
pub fn described_by(bytes: &[u8], source: &mut Source) -> Option<(Range<u64>, Stub)> {
    let sidecar = Sidecar::parse(bytes).ok()?;
    let slot = sidecar
        .edits()
        .flatten()
        .find(|edit| edit.kind == EditKind::Slot)?;
    let stub_len = u64::from(sidecar.header().stub_len);
    let trailer = (stub_len <= MAX_STUB).then(|| slot.offset.checked_add(stub_len))??;
    let stub = trailer_at(source, trailer)?;
    (stub.id == sidecar.header().id).then_some((slot.offset..trailer, stub))
}
