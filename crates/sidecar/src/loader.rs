//! The loader image: a flat file of [`IMAGE_LEN`] bytes that the stub maps whole and jumps to.
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

/// Bytes of every loader image: two pages of the smallest size, so that stubs need no fstat. A power of two, as the stub of i686 has it.
pub const IMAGE_LEN: usize = 8192;

/// Bytes of a loader image of version 1.
pub const IMAGE_LEN_1: usize = 4096;

/// Bytes below the initial stack pointer where a sidecar is read to, after [`RECORD_LEAD`] other bytes: most are smaller, and what
/// lies close to what the stack holds already touches fewer pages of it.
pub const FRONT_ROOM: usize = 2048;

/// Bytes in front of the sidecar where the loader makes the program headers for ld.so: 71 of them, or 126 of a 32-bit program,
/// besides the two that it adds.
pub const HEADERS_ROOM: usize = 4096;

/// Bytes below the initial stack pointer where a longer sidecar is read to, after [`HEADERS_ROOM`] other bytes. The kernel makes the stack this much
/// larger than its content when it starts a program (fs/exec.c, setup_arg_pages).
pub const RECORD_ROOM: usize = 128 << 10;

/// Bytes between the start of the front room and the sidecar.
pub const RECORD_LEAD: usize = 8;

/// Bytes that are read to the front room; a word is left for what i686 has on the stack. As many of them may not be all.
pub const FRONT_LEN: usize = FRONT_ROOM - 8;

/// Bytes below the initial stack pointer that the loader's own stack leaves alone: the front room, and PATH_MAX bytes for what is
/// needed for a while, and for program headers at the end.
pub const BELOW: usize = FRONT_ROOM + HEADERS_ROOM;

/// Bytes of a sidecar at most, its loader not counted. Behind it is room for a path, PATH_MAX bytes, and as much for the loader's
/// own stack.
pub const MAX_RECORD: usize = RECORD_ROOM - HEADERS_ROOM - 2 * 4096 - BELOW;

/// What stands at [`MAGIC_OFFSET`].
pub const MAGIC: [u8; 8] = *b"\x7fwrapldr";

/// Offset of [`MAGIC`], right behind the branch.
pub const MAGIC_OFFSET: usize = 8;

/// Offset of the closing mark.
pub const CLOSING_OFFSET: usize = IMAGE_LEN - 4;

/// Version of the contract between stub, sidecar and loader: what the stub passes, and how a sidecar is laid out.
pub const ABI: u16 = 2;

/// The word at [`CLOSING_OFFSET`]: four bits of ABI and the low byte of `e_machine`, twelve bits up, all others zero,
/// which is what an aarch64 comparison takes as an immediate.
pub const fn closing_mark(machine: u16) -> u32 {
    mark_of(machine, ABI)
}

const fn mark_of(machine: u16, abi: u16) -> u32 {
    ((abi as u32 & 0xf) << 8 | (machine as u32 & 0xff)) << 12
}

/// Bytes of a loader image of the version `abi`.
pub const fn image_len(abi: u16) -> usize {
    if abi == 1 { IMAGE_LEN_1 } else { IMAGE_LEN }
}

/// Checks that `image` is a whole loader of this tool's [`ABI`] for `machine`.
///
/// # Errors
/// Says what it is instead.
pub fn check(image: &[u8], machine: u16) -> Result<(), Error> {
    check_abi(image, machine, ABI)
}

/// Checks that `image` is a whole loader of the version `abi` for `machine`; see [`crate::Sidecar::abi`].
///
/// # Errors
/// Says what it is instead.
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
