//! The loader image: a flat file of [`IMAGE_LEN`] bytes. The stub maps all of it and jumps to it.
//!
//! ```text
//!    0  branch over this header        8 bytes, the architecture's own
//!    8  magic                          8 bytes
//!   16  abi                            u16
//!   18  e_machine                      u16
//!   20  code and read-only data
//! 8188  closing mark                   u32, proves to the stub that the file is whole
//! ```

use crate::Error;
use crate::bytes::{array, u16_at, u32_at};

/// Length of a loader image in bytes: two of the smallest pages, so that stubs need no fstat. The stub of i686 requires a power of
/// two.
pub const IMAGE_LEN: usize = 8192;

/// Length of a loader image of version 1 in bytes.
pub const IMAGE_LEN_1: usize = 4096;

/// Bytes below the initial stack pointer where a sidecar is read to, after [`RECORD_LEAD`] other bytes. Most sidecars fit, and this
/// part of the stack shares pages with its content.
pub const FRONT_ROOM: usize = 2048;

/// Bytes before the sidecar where the loader builds the program headers for ld.so: room for its own two, and for 71 others (126 of
/// a 32-bit program).
pub const HEADERS_ROOM: usize = 4096;

/// Bytes below the initial stack pointer where a longer sidecar is read to, after [`HEADERS_ROOM`] other bytes. When the kernel
/// starts a program, it makes the stack this much larger than its content (fs/exec.c, setup_arg_pages).
pub const RECORD_ROOM: usize = 128 << 10;

/// Bytes between the start of the front room and the sidecar.
pub const RECORD_LEAD: usize = 8;

/// Bytes that are read to the front room, without the word that i686 has on the stack. If all of them are read, the sidecar may be
/// longer.
pub const FRONT_LEN: usize = FRONT_ROOM - 8;

/// Bytes of a sidecar that fit into the front room; the maximum length of a record in a trailer.
pub const FRONT_RECORD: usize = FRONT_LEN - RECORD_LEAD;

/// Bytes below the initial stack pointer that the loader's own stack does not use: the front room, and PATH_MAX bytes for temporary
/// paths and, at the end, for program headers.
pub const BELOW: usize = FRONT_ROOM + HEADERS_ROOM;

/// Maximum length of a sidecar in bytes, without its loader. The rest is room for a path, PATH_MAX bytes, and as much for the
/// loader's own stack.
pub const MAX_RECORD: usize = RECORD_ROOM - HEADERS_ROOM - 2 * 4096 - BELOW;

pub const MAGIC: [u8; 8] = *b"\x7fwrapldr";

/// Offset of [`MAGIC`], directly after the branch.
pub const MAGIC_OFFSET: usize = 8;

pub const CLOSING_OFFSET: usize = IMAGE_LEN - 4;

/// Version of the contract between stub, sidecar and loader: the stub's arguments and the layout of a sidecar.
pub const ABI: u16 = 2;

/// The word at [`CLOSING_OFFSET`]: four bits of the ABI and the low byte of `e_machine`, shifted left by twelve. An aarch64
/// comparison can have such a word as an immediate.
pub const fn closing_mark(machine: u16) -> u32 {
    mark_of(machine, ABI)
}

const fn mark_of(machine: u16, abi: u16) -> u32 {
    ((abi as u32 & 0xf) << 8 | (machine as u32 & 0xff)) << 12
}

/// Length in bytes of a loader image of version `abi`.
pub const fn image_len(abi: u16) -> usize {
    if abi == 1 { IMAGE_LEN_1 } else { IMAGE_LEN }
}

/// Checks that `image` is a complete loader of this tool's [`ABI`] for `machine`.
///
/// # Errors
/// The error says why it is not.
pub fn check(image: &[u8], machine: u16) -> Result<(), Error> {
    check_abi(image, machine, ABI)
}

/// Checks that `image` is a complete loader of version `abi` for `machine`; see [`crate::Sidecar::abi`].
///
/// # Errors
/// The error says why it is not.
pub fn check_abi(image: &[u8], machine: u16, abi: u16) -> Result<(), Error> {
    if array::<8>(image, MAGIC_OFFSET) != Some(MAGIC) {
        return Err(Error(c"is not a wrap-buddy loader"));
    }
    if u16_at(image, 16) != Some(abi) {
        return Err(Error(c"is a loader of another version"));
    }
    if u16_at(image, 18) != Some(machine) {
        return Err(Error(c"is a loader for another architecture"));
    }
    let len = image_len(abi);
    if image.len() != len || u32_at(image, len - 4) != Some(mark_of(machine, abi)) {
        return Err(Error(c"is a loader that was cut short"));
    }
    Ok(())
}
