//! Reads one ELF file by pread: headers, .dynamic, notes, symbol versions, sections and padding.
//!
//! Only the blocks with these structures are read, however large the file is. Every count and offset is compared with the length of
//! the file before use, so a damaged file is an error and not a panic.
//!
//! A [`Source`] is an open file, [`identify`] reads its first bytes, [`Elf::read`] reads a little-endian ELF file, and [`Kind`] is
//! the kind of file: program, static program, shared library, object, core dump.
//!
//! ```
//! use elf_file::{Elf, Identity, Source, identify};
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut source = Source::open(&std::env::current_exe()?)?;
//! assert!(matches!(identify(&mut source)?, Identity::Elf { little_endian: true, .. }));
//!
//! let elf = Elf::read(&mut source)?;
//! println!("e_machine {}, e_entry {:#x}", elf.machine, elf.entry);
//! if let Some(interp) = &elf.interp {
//!     println!("PT_INTERP {}", interp.path.display());
//! }
//! for name in elf.needed() {
//!     println!("DT_NEEDED {}", name.display());
//! }
//! // The entry point is in a PT_LOAD segment, which maps it from this offset of the file.
//! assert!(elf.offset_of(elf.entry).is_some());
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]

pub mod bytes;
mod dynamic;
mod file_id;
mod imports;
mod kind;
mod notes;
mod opened;
mod payload;
mod property;
mod resolved;
mod sections;
mod source;
mod space;
mod versions;

pub use dynamic::{Dynamic, Filtee, RELR_VERSION};
pub use file_id::FileId;
pub use imports::imports;
pub use kind::Kind;
pub use opened::{Opened, Priority};
pub use payload::Payload;
pub use property::has_property;
pub use resolved::{Place, Resolved};
pub use sections::{Section, is_called, sections};
pub use source::{Source, io_reason, open_regular, read_regular};
pub use space::{
    PAGE, Padding, has_appended_data, own_search_path, paddings, relocates, unused_header,
    zeros_after,
};
pub use versions::Required;

use std::ffi::OsString;
use std::mem::offset_of;
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result, ensure};
use notes::Notes;
use object::LittleEndian;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod;
use object::read::elf::{FileHeader, ProgramHeader};
pub use sys::arch::ElfTarget;

/// The byte order of all structures. Files of the other byte order are rejected earlier.
const LE: LittleEndian = LittleEndian;

/// Maximum length of PT_INTERP: PATH_MAX.
const MAX_INTERP: u64 = 4096;

/// The kind of a file by its first bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Identity {
    /// An ELF file. The rest of its header may still be invalid.
    Elf {
        /// The machine, class and ABI.
        target: ElfTarget,
        /// Whether EI_DATA is ELFDATA2LSB.
        little_endian: bool,
    },
    /// A file with ELF's magic but without a valid ELF header, and the reason.
    Malformed(String),
    /// A file that begins with `#!`, and the rest of that line.
    Script(String),
    /// Any other file.
    Other,
}

/// One program header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `p_type`.
    pub kind: u32,
    /// `p_flags`.
    pub flags: u32,
    /// `p_offset`.
    pub offset: u64,
    /// `p_vaddr`.
    pub address: u64,
    /// `p_filesz`.
    pub file_len: u64,
    /// `p_memsz`.
    pub memory_len: u64,
    /// `p_align`.
    pub align: u64,
}

/// The dynamic linker that a program asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interp {
    /// The index of the PT_INTERP program header.
    pub index: usize,
    /// The path.
    pub path: OsString,
}

/// The contents of an ELF file.
#[derive(Clone, Debug)]
pub struct Elf {
    /// The identity of the file; `None` for a presumed file.
    pub file_id: Option<FileId>,
    /// `e_machine`.
    pub machine: u16,
    /// EI_CLASS.
    pub class: u8,
    /// `e_flags`.
    pub flags: u32,
    /// EI_OSABI.
    pub os_abi: u8,
    /// `e_type`.
    pub kind: u16,
    /// `e_entry`.
    pub entry: u64,
    /// Length of the file in bytes.
    pub file_len: u64,
    /// The bytes of the ELF header.
    pub header: Vec<u8>,
    /// `e_phoff`.
    pub phoff: u64,
    /// The bytes of the program header table.
    pub program_headers: Vec<u8>,
    /// The decoded program header table.
    pub segments: Vec<Segment>,
    /// `e_shoff`, `e_shentsize`, `e_shnum`.
    pub sections: (u64, u64, u64),
    /// PT_INTERP.
    pub interp: Option<Interp>,
    /// PT_DYNAMIC.
    pub dynamic: Option<Dynamic>,
    /// The libraries that the file declares to open with dlopen.
    pub opened: Vec<Opened>,
    /// The paths of libraries in `.note.nixos.ldcache`.
    pub resolved: Vec<Resolved>,
}

/// Reads only the first bytes of the file.
pub fn identify(source: &mut Source) -> Result<Identity> {
    let head = source.read(0, source.file_len().min(128))?;
    if head.starts_with(b"#!") {
        let line = head[2..].split(|&byte| byte == b'\n').next();
        let line = String::from_utf8_lossy(line.unwrap_or_default());
        return Ok(Identity::Script(line.trim().to_owned()));
    }
    if !head.starts_with(&elf::ELFMAG) {
        return Ok(Identity::Other);
    }
    let header_len = match head.get(4) {
        Some(&elf::ELFCLASS64) => size_of::<FileHeader64<LittleEndian>>(),
        // The shorter of the two headers.
        _ => size_of::<FileHeader32<LittleEndian>>(),
    };
    if head.len() < header_len {
        let len = head.len();
        return Ok(Identity::Malformed(format!(
            "truncated: its ELF header takes {header_len} bytes, and the file has {len}"
        )));
    }
    let (class, order) = (head[4], head[5]);
    if let Err(error) = checked_class(class) {
        return Ok(Identity::Malformed(format!("{error:#}")));
    }
    let machine = [head[18], head[19]];
    let at = match class {
        elf::ELFCLASS64 => offset_of!(FileHeader64<LittleEndian>, e_flags),
        _ => offset_of!(FileHeader32<LittleEndian>, e_flags),
    };
    let flags = [head[at], head[at + 1], head[at + 2], head[at + 3]];
    let (machine, flags) = match order {
        elf::ELFDATA2LSB => (u16::from_le_bytes(machine), u32::from_le_bytes(flags)),
        elf::ELFDATA2MSB => (u16::from_be_bytes(machine), u32::from_be_bytes(flags)),
        _ => return Ok(Identity::Malformed(format!("its EI_DATA is {order}"))),
    };
    Ok(Identity::Elf {
        target: ElfTarget::new(machine, class, flags),
        little_endian: order == elf::ELFDATA2LSB,
    })
}

/// ELFCLASS32 or ELFCLASS64.
fn class_of(source: &mut Source) -> Result<u8> {
    checked_class(source.read(4, 1)?[0])
}

fn checked_class(class: u8) -> Result<u8> {
    ensure!(
        [elf::ELFCLASS32, elf::ELFCLASS64].contains(&class),
        "its EI_CLASS is {class}"
    );
    Ok(class)
}

/// The structures with the offsets of all others.
struct Head {
    /// The ELF header.
    header: Vec<u8>,
    program_headers: Vec<u8>,
    segments: Vec<Segment>,
}

impl Head {
    fn read<H: FileHeader<Endian = LittleEndian>>(source: &mut Source) -> Result<Self> {
        let raw_header = source
            .read(0, size_of::<H>() as u64)
            .context("the ELF header")?;
        let (header, _) = pod_of::<H>(&raw_header)?;
        let count = header.e_phnum(LE);
        let entry_len = size_of::<H::ProgramHeader>() as u64;
        ensure!(
            count != elf::PN_XNUM,
            "it has more than 65534 program headers"
        );
        ensure!(
            count == 0 || u64::from(header.e_phentsize(LE)) == entry_len,
            "its e_phentsize is {}, not {entry_len}",
            header.e_phentsize(LE)
        );
        let program_headers = source
            .read(header.e_phoff(LE).into(), entry_len * u64::from(count))
            .context("the program headers")?;
        let table = pod::slice_from_all_bytes::<H::ProgramHeader>(&program_headers)
            .map_err(|()| anyhow::anyhow!("the program headers"))?;
        let segments = table.iter().map(Segment::decode).collect();
        Ok(Self {
            header: raw_header,
            program_headers,
            segments,
        })
    }
}

/// Whether a little-endian ELF file (see [`identify`]) is certainly a program. Reads as little as possible.
///
/// # Errors
/// As [`Elf::read`].
pub fn is_surely_program(source: &mut Source) -> Result<bool> {
    match class_of(source)? {
        elf::ELFCLASS32 => is_program_of_class::<FileHeader32<LittleEndian>>(source),
        _ => is_program_of_class::<FileHeader64<LittleEndian>>(source),
    }
}

fn is_program_of_class<H: FileHeader<Endian = LittleEndian>>(source: &mut Source) -> Result<bool> {
    let head = Head::read::<H>(source)?;
    let (header, _) = pod_of::<H>(&head.header)?;
    let mut segments = head.segments.iter();
    Ok(match header.e_type(LE) {
        elf::ET_EXEC => true,
        // Libraries that print something when they are started have a PT_INTERP too.
        elf::ET_DYN => {
            segments.any(|segment| segment.kind == elf::PT_INTERP)
                && dynamic::is_pie::<H>(source, &head.segments)?
        }
        _ => false,
    })
}

impl Elf {
    /// A presumed shared library, of which only the target is known.
    pub fn of_target(target: ElfTarget) -> Self {
        Self {
            file_id: None,
            machine: target.machine,
            class: target.class,
            flags: target.abi,
            os_abi: elf::ELFOSABI_SYSV,
            kind: elf::ET_DYN,
            entry: 0,
            file_len: 0,
            header: Vec::new(),
            phoff: 0,
            program_headers: Vec::new(),
            segments: Vec::new(),
            sections: (0, 0, 0),
            interp: None,
            dynamic: None,
            opened: Vec::new(),
            resolved: Vec::new(),
        }
    }

    /// Reads a little-endian ELF file; see [`identify`].
    ///
    /// # Errors
    /// If a structure lies outside the file, overlaps another, or is too large.
    pub fn read(source: &mut Source) -> Result<Self> {
        match class_of(source)? {
            elf::ELFCLASS32 => Self::of_class::<FileHeader32<LittleEndian>>(source),
            _ => Self::of_class::<FileHeader64<LittleEndian>>(source),
        }
    }

    fn of_class<H: FileHeader<Endian = LittleEndian>>(source: &mut Source) -> Result<Self> {
        let Head {
            header: raw_header,
            program_headers,
            segments,
        } = Head::read::<H>(source)?;
        let (header, _) = pod_of::<H>(&raw_header)?;
        // This is the only sign of an incomplete download.
        let end = loads(&segments).map(Segment::file_end).max().unwrap_or(0);
        ensure!(
            end <= source.file_len(),
            "its segments take {end} bytes, but the file ends at {}: it was cut short",
            source.file_len()
        );
        let interp = read_interp(source, &segments)?;
        let dynamic = Dynamic::read::<H>(source, &segments).context(".dynamic")?;
        let notes = Notes::read(source, &segments);
        Ok(Self {
            file_id: Some(FileId::from(source.metadata())),
            machine: header.e_machine(LE),
            class: header.e_ident().class,
            flags: header.e_flags(LE),
            os_abi: header.e_ident().os_abi,
            kind: header.e_type(LE),
            entry: header.e_entry(LE).into(),
            file_len: source.file_len(),
            phoff: header.e_phoff(LE).into(),
            sections: (
                header.e_shoff(LE).into(),
                u64::from(header.e_shentsize(LE)),
                u64::from(header.e_shnum(LE)),
            ),
            header: raw_header,
            program_headers,
            segments,
            interp,
            dynamic,
            opened: notes.opened,
            resolved: notes.resolved,
        })
    }

    /// The machine, class and ABI.
    pub fn target(&self) -> ElfTarget {
        ElfTarget::new(self.machine, self.class, self.flags)
    }

    /// The address of the first instruction. `e_entry` may have another bit, for its instruction set.
    pub fn entry_address(&self) -> u64 {
        self.target().code_address(self.entry)
    }

    /// The PT_LOAD segments.
    pub fn loads(&self) -> impl Iterator<Item = &Segment> {
        loads(&self.segments)
    }

    /// Whether the headers describe code that the file does not contain.
    pub fn is_debug_information(&self) -> bool {
        let mut code = self
            .loads()
            .filter(|load| load.flags & elf::PF_X != 0 && load.memory_len > 0)
            .peekable();
        code.peek().is_some() && code.all(|load| load.file_len == 0)
    }

    /// The file offset of the byte at virtual address `address`.
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        offset_of(&self.segments, address).filter(|&offset| offset < self.file_len)
    }

    /// The PT_LOAD that maps the byte at virtual address `address` from the file.
    pub fn load_of(&self, address: u64) -> Option<&Segment> {
        locate(&self.segments, address).map(|(load, _)| load)
    }

    /// PT_DYNAMIC and the segment that maps it; `None` if it is not mapped.
    pub fn loaded_dynamic(&self) -> Option<(&Dynamic, &Segment)> {
        let dynamic = self.dynamic.as_ref()?;
        let mut segments = self.segments.iter();
        let segment = segments.find(|segment| segment.kind == elf::PT_DYNAMIC)?;
        let end = segment.address.checked_add(segment.file_len)?;
        let last = end.checked_sub(1)?;
        let loaded = self.offset_of(segment.address) == Some(segment.offset)
            && self.offset_of(last) == segment.file_end().checked_sub(1);
        loaded.then_some((dynamic, segment))
    }

    /// The length of an address in bytes: 8 or 4.
    pub fn word(&self) -> usize {
        if self.class == elf::ELFCLASS64 { 8 } else { 4 }
    }

    /// DT_SONAME.
    pub fn soname(&self) -> Option<&OsString> {
        self.dynamic.as_ref()?.soname.as_ref()
    }

    /// DT_NEEDED, in order.
    pub fn needed(&self) -> &[OsString] {
        self.dynamic.as_ref().map_or(&[], |dynamic| &dynamic.needed)
    }

    /// DT_FILTER and DT_AUXILIARY, in order.
    pub fn filtees(&self) -> &[Filtee] {
        self.dynamic
            .as_ref()
            .map_or(&[], |dynamic| &dynamic.filtees)
    }
}

impl Segment {
    fn decode<P: ProgramHeader<Endian = LittleEndian>>(header: &P) -> Self {
        Self {
            kind: header.p_type(LE),
            flags: header.p_flags(LE),
            offset: header.p_offset(LE).into(),
            address: header.p_vaddr(LE).into(),
            file_len: header.p_filesz(LE).into(),
            memory_len: header.p_memsz(LE).into(),
            align: header.p_align(LE).into(),
        }
    }

    /// Whether the segment has the byte at virtual address `address` in the file.
    pub fn contains(&self, address: u64) -> bool {
        address
            .checked_sub(self.address)
            .is_some_and(|into| into < self.file_len)
    }

    /// The file offset of the end of the segment.
    pub fn file_end(&self) -> u64 {
        self.offset.saturating_add(self.file_len)
    }

    /// The file offset where the mapping of the segment ends. The kernel maps whole pages (fs/binfmt_elf.c, elf_map), so this is
    /// the end of the last page. If the segment is longer in memory than in the file, the kernel clears the rest of that page, so
    /// this is the end of the segment's own bytes.
    fn loaded_end(&self) -> u64 {
        let congruent = self.offset % PAGE == self.address % PAGE;
        let whole = self.memory_len == self.file_len && congruent && self.file_len > 0;
        match self.file_end().checked_next_multiple_of(PAGE) {
            Some(end) if whole => end,
            _ => self.file_end(),
        }
    }

    /// Whether the segment begins on the page of `address`. It is then mapped over that page of an earlier segment.
    fn begins_on_page_of(&self, address: u64) -> bool {
        self.address / PAGE == address / PAGE
    }
}

fn loads(segments: &[Segment]) -> impl Iterator<Item = &Segment> {
    segments
        .iter()
        .filter(|segment| segment.kind == elf::PT_LOAD)
}

/// The PT_LOAD that maps the byte at `address`, and the byte's file offset. The byte belongs to a segment, or to the rest of a
/// segment's last page if no other segment is mapped over it. The caller has to check that the file is that long.
fn locate(segments: &[Segment], address: u64) -> Option<(&Segment, u64)> {
    let offset_in = |load: &Segment| load.offset.checked_add(address.checked_sub(load.address)?);
    let inside = loads(segments).find(|load| load.contains(address));
    let load = inside.or_else(|| {
        loads(segments).find(|load| {
            let follows = offset_in(load).is_some_and(|offset| offset < load.loaded_end());
            let mut others = loads(segments).filter(|other| *other != *load);
            follows && !others.any(|other| other.begins_on_page_of(address))
        })
    })?;
    Some((load, offset_in(load)?))
}

fn offset_of(segments: &[Segment], address: u64) -> Option<u64> {
    locate(segments, address).map(|(_, offset)| offset)
}

/// The file offsets where a string at `address` begins, and where its mapping ends.
fn string_range(segments: &[Segment], address: u64) -> Option<(u64, u64)> {
    let (load, offset) = locate(segments, address)?;
    Some((offset, load.loaded_end()))
}

fn read_interp(source: &mut Source, segments: &[Segment]) -> Result<Option<Interp>> {
    let segments = segments.iter().enumerate();
    let mut all = segments.filter(|(_, segment)| segment.kind == elf::PT_INTERP);
    let found = all.next();
    // The kernel uses the first. Without it, it would use the second.
    ensure!(all.next().is_none(), "it has more than one PT_INTERP");
    // A separate debug file has the headers without the contents, and some libraries have an empty string. The kernel does not execute
    // them (fs/binfmt_elf.c, load_elf_binary), and ld.so ignores the PT_INTERP of a library.
    let Some((index, segment)) = found.filter(|(_, segment)| segment.file_len > 1) else {
        return Ok(None);
    };
    ensure!(
        segment.file_len <= MAX_INTERP,
        "its PT_INTERP is {} bytes long",
        segment.file_len
    );
    let path = source
        .string(segment.offset, segment.file_end(), MAX_INTERP)
        .context("PT_INTERP")?;
    Ok(Some(Interp {
        index,
        path: OsString::from_vec(path),
    }))
}

/// The structure at the beginning of `bytes`, and the rest of them.
fn pod_of<T: object::Pod>(bytes: &[u8]) -> Result<(&T, &[u8])> {
    pod::from_bytes(bytes).map_err(|()| anyhow::anyhow!("a structure is cut short"))
}
