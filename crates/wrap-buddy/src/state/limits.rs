//! The limits of the loader.

use elf_file::Elf;
use sidecar::Sidecar;
use sidecar::loader::{self, HEADERS_ROOM};
use thiserror::Error;

/// Why the loader refuses to start a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LoaderLimit {
    #[error(
        "its .dynamic has other entries than its sidecar describes, so the loader does not start it"
    )]
    OtherDynamic,
    #[error("it has {count} program headers, but the loader has room for {most} only")]
    Headers { count: u64, most: u64 },
    #[error("its program headers are in no PT_LOAD segment, but ld.so needs them")]
    HeadersNotLoaded,
}

/// Whether the loader starts the original program `elf` with this sidecar, which may have been made for the program from which it is
/// derived, or before something changed it.
///
/// # Errors
/// Why the loader would refuse it.
pub fn check_loader_takes(elf: &Elf, sidecar: &Sidecar<'_>) -> Result<(), LoaderLimit> {
    let (word, header) = (elf.word(), sidecar.header());
    if sidecar.abi() != loader::ABI {
        return Ok(());
    }
    if let Some(arch) = elf.target().arch() {
        check_headers(elf, arch.phentsize() as u64)?;
    }
    let end = elf
        .dynamic
        .as_ref()
        .map_or(0, |dynamic| dynamic.end() * 2 * word);
    match header.strings == 0 || end == header.own_dynamic_len as usize {
        true => Ok(()),
        false => Err(LoaderLimit::OtherDynamic),
    }
}

/// Whether the loader can build ld.so's program headers from those in the program's memory.
pub fn check_headers(elf: &Elf, header_len: u64) -> Result<(), LoaderLimit> {
    let len = elf.program_headers.len() as u64;
    let (count, most) = (len / header_len, HEADERS_ROOM as u64 / header_len - 2);
    if count > most {
        return Err(LoaderLimit::Headers { count, most });
    }
    // The kernel passes their address in memory (fs/binfmt_elf.c, AT_PHDR).
    let end = elf.phoff.saturating_add(len);
    let mut loads = elf.loads();
    if !loads.any(|load| load.offset <= elf.phoff && end <= load.file_end()) {
        return Err(LoaderLimit::HeadersNotLoaded);
    }
    Ok(())
}
