//! The formats on disk: the [`Sidecar`] of a wrapped program, the sidecar of a file edited in place ([`InPlace`]), the [`Trailer`]
//! after the stub's code in a program, the header of the [`loader`] image, the settings of a [`launcher`], and the [`Legacy`] sidecar of the first wrap-buddy,
//! which is only read.
//!
//! All but the last are little-endian and fixed-width, the same for 32-bit and 64-bit programs. Nothing here allocates, reads
//! outside its slice, or panics, for any input.
#![no_std]
#![forbid(unsafe_code)]

mod bytes;
mod draft;
mod in_place;
pub mod launcher;
mod legacy;
pub mod loader;
pub mod ownership;
mod record;
pub mod runnable;
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
    LINE_LEN_OFFSET, LINE_OFFSET, LINE_START, LOADER_OFFSET, RECORD_LEN_OFFSET, SIDECAR_LEN_OFFSET,
    Trailer, is_control,
};

/// Length of an identity in bytes.
pub const ID_LEN: usize = 16;

/// The identity that ties a stub to its sidecar. It is derived from the program's content.
pub type Id = [u8; ID_LEN];

/// The supported values of `e_machine` (gABI, "Machine Information").
pub mod machine {
    pub const I686: u16 = 3;
    pub const ARM: u16 = 40;
    pub const X86_64: u16 = 62;
    pub const AARCH64: u16 = 183;
    pub const RISCV: u16 = 243;
}

/// Why bytes are not the expected structure, in words that follow "it" or the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub &'static core::ffi::CStr);

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

impl core::error::Error for Error {}
