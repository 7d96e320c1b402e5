//! The sidecar file, `.NAME.wrapbuddy`. The sidecar of a self-contained program begins with its loader, [`IMAGE_LEN`] bytes;
//! offsets count from its end.
//!
//! The [`Header`] is followed by the parts that its spans refer to, each at a multiple of 8 bytes. The host prepares everything
//! that depends on the program. The loader only reads the file, compares the checksum, and applies [`Patch`]es.

use core::mem::{offset_of, size_of};

use crate::bytes::{Writer, array, u32_at, u64_at};
use crate::loader::{ABI, IMAGE_LEN, IMAGE_LEN_1};
use crate::{Error, Id, loader};

/// The first bytes of a sidecar, with the version of the layout. A loader reads exactly one version.
pub const MAGIC: u64 = u64::from_le_bytes(*b"\x7fwrapbd2");

/// The first bytes of version 1, which has program headers for ld.so and longer patches. The tool reads it to restore the program.
/// Only a loader of that version starts the program.
pub const MAGIC_1: u64 = u64::from_le_bytes(*b"\x7fwrapbd1");

/// Length of the fixed part in bytes.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Offset of the first byte that the checksum covers.
pub const CHECKED_FROM: usize = offset_of!(Header, text_len);

/// Bytes before the original bytes of each edit.
pub(crate) const EDIT_HEADER_LEN: usize = 16;

pub const PATCH_LEN: usize = size_of::<Patch>();

/// A range of bytes of the sidecar.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset from the start of the sidecar.
    pub at: u32,
    /// Length in bytes.
    pub len: u32,
}

/// The fixed part, as it lies in the file: little-endian, as all supported architectures.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub magic: u64,
    /// The [`checksum`] of the [`checked_part`].
    pub checksum: u32,
    /// Length of the text at the end of the file, a multiple of 8: paths and names. The checksum does not cover it, because Nix may
    /// replace the hash of a store path in finished files (when it builds an output for the second time).
    pub text_len: u32,
    /// `e_machine` of the program.
    pub machine: u16,
    /// EI_CLASS of the program: 1 or 2.
    pub class: u8,
    pub flags: Flags,
    /// The [`checksum`] of the loader in this file, 0 without one.
    pub loader_checksum: u32,
    /// The identity, which is also in the stub's trailer.
    pub id: Id,
    /// The original e_entry.
    pub entry: u64,
    /// Virtual address of the slot, without the load bias.
    pub slot_address: u64,
    /// File offset of the slot.
    pub slot_offset: u64,
    /// Virtual address of DT_DEBUG's value in the program's own .dynamic, 0 without one.
    pub debug_address: u64,
    /// Bytes of stub code before the trailer.
    pub stub_len: u32,
    /// Protection of the slot's pages (PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4, PROT_BTI 0x10).
    pub slot_protection: u32,
    /// Original bytes of the slot.
    pub slot: Span,
    /// Path of the real dynamic linker, with a NUL.
    pub interpreter: Span,
    /// Room for that path with the directory before it, PATH_MAX bytes; only with [`Flags::RELOCATABLE`]. It lies after the end of
    /// the file, where the loader has memory.
    pub interpreter_room: Span,
    /// Colon-separated search path, with a NUL; empty if there is none.
    pub search: Span,
    /// Extra DT_NEEDED names, each followed by NUL; empty if there are none.
    pub needed: Span,
    /// Virtual address in DT_STRTAB when the program was wrapped, which patches rely on; 0 if none does. Version 1: program headers
    /// for ld.so.
    pub strings: u64,
    /// Room for a .dynamic for ld.so; empty if the program's own has room. The loader copies that ([`Header::own_dynamic_len`]
    /// bytes) to its start.
    pub dynamic: Span,
    /// [`Patch`]es.
    pub patches: Span,
    /// Every edit of the file, with its original bytes.
    pub edits: Span,
    /// Bytes of the program's own .dynamic before the DT_NULL at its end. Version 1: number of program headers.
    pub own_dynamic_len: u32,
    pub tool: ToolVersion,
}

/// Version of the tool that wrote a sidecar; 0 if unknown.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToolVersion(pub u32);

impl ToolVersion {
    /// Each number has to be below 1024.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self(major << 20 | (minor & 0x3ff) << 10 | patch & 0x3ff)
    }
}

impl core::fmt::Display for ToolVersion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self(version) = self;
        let (major, minor, patch) = (version >> 20, version >> 10 & 0x3ff, version & 0x3ff);
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The interpreter's path is relative to the directory of the executable.
    pub const RELOCATABLE: Flags = Flags(1);
    /// The search path is a DT_RPATH, which libraries inherit and which comes before LD_LIBRARY_PATH. Otherwise it is a DT_RUNPATH.
    pub const RPATH: Flags = Flags(2);
    /// ld.so reads a copy of .dynamic, so the loader fills in the program's own DT_DEBUG.
    pub const SEED_DEBUG: Flags = Flags(4);
    /// The slot is in padding that nothing uses, so the stub may stay there.
    pub const SLOT_STAYS: Flags = Flags(8);

    const KNOWN: u8 = 15;

    #[inline(always)]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn union(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// A word, of the program's word size, that the loader writes to .dynamic before ld.so runs.
///
/// ```text
/// place = offset + address of the .dynamic for ld.so
/// *place = value + (points_to_sidecar ? address of the sidecar - load bias + Header::strings - DT_STRTAB : 0)
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Offset in bytes from the start of .dynamic.
    pub offset: u32,
    /// 1: `value` is an offset in the sidecar, without the part that ld.so adds to the load bias.
    pub points_to_sidecar: u32,
    /// The value before the addition.
    pub value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditKind {
    /// The stub and its trailer over the entry slot.
    Slot,
    /// PT_INTERP → PT_NULL in a program header.
    Interp,
    /// e_entry in the ELF header.
    Entry,
    /// A string in padding.
    Text,
    /// Entries of .dynamic.
    Dynamic,
    /// Fields of a program header.
    Segment,
    /// Fields of a section header.
    Section,
}

impl EditKind {
    pub(crate) const fn code(self) -> u32 {
        match self {
            EditKind::Slot => 1,
            EditKind::Interp => 2,
            EditKind::Entry => 3,
            EditKind::Text => 4,
            EditKind::Dynamic => 5,
            EditKind::Segment => 6,
            EditKind::Section => 7,
        }
    }

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        let all = [
            EditKind::Slot,
            EditKind::Interp,
            EditKind::Entry,
            EditKind::Text,
            EditKind::Dynamic,
            EditKind::Segment,
            EditKind::Section,
        ];
        all.into_iter().find(|kind| kind.code() == code)
    }
}

/// A range of a file that differs from the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit<'a> {
    pub kind: EditKind,
    /// File offset in bytes.
    pub offset: u64,
    /// The original bytes.
    pub original: &'a [u8],
}

impl Edit<'_> {
    /// File offset after the edit; `None` if it overflows.
    pub fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.original.len() as u64)
    }
}

/// A sum over little-endian words. A change of any one word changes the sum, because each step is a bijection of both the sum and
/// the word. Of the changes of two adjacent bytes in different words, it misses one of 2,000. It detects damage, not attacks: a
/// user who can write a sidecar can choose the interpreter anyway.
#[inline(always)]
pub fn checksum(words: impl Iterator<Item = u32>) -> u32 {
    words.fold(0, |sum: u32, word| {
        (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b1)
    })
}

/// The bytes that the checksum of a sidecar of either kind covers: everything from [`CHECKED_FROM`] to the text at the end. `None`
/// if the text would be longer than the file.
pub fn checked_part(bytes: &[u8]) -> Option<&[u8]> {
    let text = u32_at(bytes, CHECKED_FROM)? as usize;
    bytes.get(CHECKED_FROM..bytes.len().checked_sub(text)?)
}

/// Computes the checksum of a sidecar of either kind.
pub fn checksum_of(bytes: &[u8]) -> Option<u32> {
    let words = checked_part(bytes)?.chunks(4);
    Some(checksum(words.map(|word| {
        // An incomplete word at the end counts as zero.
        u32_at(word, 0).unwrap_or_default()
    })))
}

pub(crate) fn loader_checksum(loader: &[u8]) -> u32 {
    let words = loader.chunks(4);
    checksum(words.map(|word| u32_at(word, 0).unwrap_or_default()))
}

/// A validated sidecar, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sidecar<'a> {
    /// The loader at the front of the file.
    loader: Option<&'a [u8]>,
    /// The rest of the file.
    bytes: &'a [u8],
    header: Header,
}

impl<'a> Sidecar<'a> {
    /// Parses a sidecar that is exactly `file`.
    ///
    /// # Errors
    /// If any field is invalid. The result needs no further checks, except for the loader at its front.
    pub fn parse(file: &'a [u8]) -> Result<Self, Error> {
        const OTHER: Error = Error(c"is not a wrap-buddy sidecar of this version");
        let begins_at = |at, magic: u64| array(file, at) == Some(magic.to_le_bytes());
        // Finds the record by its own magic, because the loader before it may be damaged.
        let mut fronts = [(MAGIC, IMAGE_LEN), (MAGIC_1, IMAGE_LEN_1)].into_iter();
        let in_front = fronts
            .find(|&(magic, len)| begins_at(len, magic))
            .filter(|_| !begins_at(0, MAGIC) && !begins_at(0, MAGIC_1));
        let (loader, bytes) = match in_front {
            Some((_, len)) => {
                let (loader, bytes) = file.split_at(len);
                (Some(loader), bytes)
            }
            None => (None, file),
        };
        let header = Header::read(bytes).ok_or(OTHER)?;
        if ![MAGIC, MAGIC_1].contains(&header.magic) {
            return Err(OTHER);
        }
        let sidecar = Self {
            loader,
            bytes,
            header,
        };
        if !bytes.len().is_multiple_of(8)
            || !header.text_len.is_multiple_of(8)
            || checksum_of(bytes) != Some(header.checksum)
            || !sidecar.is_sound()
        {
            return Err(Error(c"is a damaged sidecar"));
        }
        Ok(sidecar)
    }

    fn is_sound(&self) -> bool {
        let header = &self.header;
        let spans = [
            header.slot,
            header.interpreter_room,
            header.dynamic,
            header.patches,
            header.edits,
        ];
        // A path or a list of names must end inside the file: ld.so reads up to its NUL.
        let strings = [header.interpreter, header.search, header.needed];
        (self.loader.is_some() || header.loader_checksum == 0)
            && header.flags.0 & !Flags::KNOWN == 0
            && header.interpreter.len != 0
            && (self.is_version_1() || (header.patches.len as usize).is_multiple_of(PATCH_LEN))
            && spans.iter().all(|span| self.get(*span).is_some())
            && strings.iter().all(|span| {
                self.get(*span).is_some()
                    && self.bytes.get(span.at as usize + span.len as usize) == Some(&0)
            })
    }

    fn get(&self, span: Span) -> Option<&'a [u8]> {
        let rest = self.bytes.get(span.at as usize..)?;
        rest.get(..span.len as usize)
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The loader at the front of the file, if there is one.
    ///
    /// # Errors
    /// If it is damaged. A stub does not notice that unless the end is missing.
    pub fn loader(&self) -> Result<Option<&'a [u8]>, Error> {
        let Some(loader) = self.loader else {
            return Ok(None);
        };
        loader::check_abi(loader, self.header.machine, self.abi())?;
        if loader_checksum(loader) != self.header.loader_checksum {
            return Err(Error(c"is a damaged loader"));
        }
        Ok(Some(loader))
    }

    /// Whether this is the previous layout; see [`MAGIC_1`].
    fn is_version_1(&self) -> bool {
        self.header.magic == MAGIC_1
    }

    /// Version of the loader that reads this sidecar.
    pub fn abi(&self) -> u16 {
        if self.is_version_1() { 1 } else { ABI }
    }

    /// Whether the file begins with a loader, complete or not.
    pub fn is_self_contained(&self) -> bool {
        self.loader.is_some()
    }

    /// The bytes of a span of the header.
    pub fn slice(&self, span: Span) -> &'a [u8] {
        self.get(span).unwrap_or_default()
    }

    /// The original bytes of the slot.
    pub fn slot(&self) -> &'a [u8] {
        self.slice(self.header.slot)
    }

    /// Path of the real dynamic linker.
    pub fn interpreter(&self) -> &'a [u8] {
        self.slice(self.header.interpreter)
    }

    /// Colon-separated search path; empty if there is none.
    pub fn search(&self) -> &'a [u8] {
        self.slice(self.header.search)
    }

    /// The extra DT_NEEDED names, without their NULs.
    pub fn needed_names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.slice(self.header.needed)
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
    }

    /// The words that the loader writes; none for version 1.
    pub fn patches(&self) -> impl Iterator<Item = Patch> + use<'a> {
        let span = match self.is_version_1() {
            true => Span::default(),
            false => self.header.patches,
        };
        let patches = self.slice(span).chunks_exact(PATCH_LEN);
        patches.map(|bytes| Patch::read(bytes).unwrap_or_default())
    }

    /// Every edit of the program's file, in the order of writing.
    pub fn edits(&self) -> Edits<'a> {
        Edits {
            rest: self.slice(self.header.edits),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Edits<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Edits<'a> {
    type Item = Result<Edit<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let edit = self.step();
        if edit.is_none() {
            self.rest = &[];
        }
        Some(edit.ok_or(Error(c"has a damaged list of edits")))
    }
}

impl<'a> Edits<'a> {
    fn step(&mut self) -> Option<Edit<'a>> {
        let len = u32_at(self.rest, 12)? as usize;
        let end = EDIT_HEADER_LEN.checked_add(len)?;
        let edit = Edit {
            kind: EditKind::from_code(u32_at(self.rest, 8)?)?,
            offset: u64_at(self.rest, 0)?,
            original: self.rest.get(EDIT_HEADER_LEN..end)?,
        };
        self.rest = self.rest.get(end..)?;
        Some(edit)
    }
}

impl Patch {
    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            offset: u32_at(bytes, 0)?,
            points_to_sidecar: u32_at(bytes, 4)?,
            value: u64_at(bytes, 8)?,
        })
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.offset);
        writer.u32(self.points_to_sidecar);
        writer.u64(self.value);
    }
}

/// Reads and writes the fields in the order of the structure, whose layout has no gaps.
macro_rules! header_fields {
    ($($field:ident: $kind:tt),* $(,)?) => {
        impl Header {
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(Self { $($field: header_fields!(@read $kind bytes offset_of!(Header, $field)),)* })
            }

            pub(crate) fn write(&self, writer: &mut Writer<'_>) {
                $(header_fields!(@write $kind writer self.$field);)*
            }
        }
    };
    (@read u8 $bytes:ident $at:expr) => { *$bytes.get($at)? };
    (@read u16 $bytes:ident $at:expr) => { u16::from_le_bytes(array($bytes, $at)?) };
    (@read u32 $bytes:ident $at:expr) => { u32_at($bytes, $at)? };
    (@read u64 $bytes:ident $at:expr) => { u64_at($bytes, $at)? };
    (@read id $bytes:ident $at:expr) => { array($bytes, $at)? };
    (@read tool $bytes:ident $at:expr) => { ToolVersion(u32_at($bytes, $at)?) };
    (@read flags $bytes:ident $at:expr) => { Flags(*$bytes.get($at)?) };
    (@read span $bytes:ident $at:expr) => {
        Span { at: u32_at($bytes, $at)?, len: u32_at($bytes, $at + 4)? }
    };
    (@write u8 $writer:ident $value:expr) => { $writer.u8($value) };
    (@write u16 $writer:ident $value:expr) => { $writer.u16($value) };
    (@write u32 $writer:ident $value:expr) => { $writer.u32($value) };
    (@write u64 $writer:ident $value:expr) => { $writer.u64($value) };
    (@write id $writer:ident $value:expr) => { $writer.bytes(&$value) };
    (@write tool $writer:ident $value:expr) => { $writer.u32($value.0) };
    (@write flags $writer:ident $value:expr) => { $writer.u8($value.0) };
    (@write span $writer:ident $value:expr) => {{
        $writer.u32($value.at);
        $writer.u32($value.len);
    }};
}

header_fields! {
    magic: u64, checksum: u32, text_len: u32,
    machine: u16, class: u8, flags: flags, loader_checksum: u32, id: id,
    entry: u64, slot_address: u64, slot_offset: u64, debug_address: u64,
    stub_len: u32, slot_protection: u32,
    slot: span, interpreter: span, interpreter_room: span, search: span, needed: span,
    strings: u64, dynamic: span, patches: span, edits: span,
    own_dynamic_len: u32, tool: tool,
}
