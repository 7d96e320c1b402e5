//! Wire formats of wrap-buddy: the [`Sidecar`] file that keeps what a wrapped program needs back, the [`InPlace`] one of a
//! file that needs nothing at run time, the [`Trailer`] that follows the stub's code inside the program, the [`loader`]
//! image's header, and the [`Legacy`] sidecar of the first wrap-buddy, which is only read.
//!
//! Everything but that last one is little-endian and fixed-width, the same for 32-bit and 64-bit programs. Nothing here allocates, reads
//! outside the slice it was given, or panics, whatever the bytes are.
#![no_std]
#![forbid(unsafe_code)]

mod bytes;
mod draft;
mod in_place;
mod legacy;
pub mod loader;
pub mod ownership;
mod record;
mod trailer;

pub use draft::{Draft, DraftPatch, Value};
pub use in_place::{InPlace, InPlaceDraft, MAX_EDITS, Written};
pub use legacy::Legacy;
pub use ownership::Ownership;
pub use record::{
    CHECKED_FROM, Edit, EditKind, Edits, Flags, HEADER_LEN, Header, MAGIC, MAGIC_1, PATCH_LEN,
    Patch, Sidecar, Span, ToolVersion, checked_part, checksum, checksum_of,
};
pub use trailer::{
    LINE_LEN_OFFSET, LINE_OFFSET, LINE_START, LOADER_OFFSET, SIDECAR_LEN_OFFSET, Trailer,
};

/// Bytes of the identity that ties a stub to its sidecar.
pub const ID_LEN: usize = 16;

/// The identity that ties a stub to its sidecar: derived from the program's content, never random.
pub type Id = [u8; ID_LEN];

/// The values of `e_machine` this project knows (gABI, "Machine Information").
pub mod machine {
    /// Intel 80386.
    pub const I686: u16 = 3;
    /// AMD x86-64.
    pub const X86_64: u16 = 62;
    /// ARM 64-bit.
    pub const AARCH64: u16 = 183;
}

/// Why bytes are not the structure they were taken for, in words that complete "it …" or stand after the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub &'static core::ffi::CStr);

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

impl core::error::Error for Error {}
