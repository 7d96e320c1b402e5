//! Programs that are packed, or that unpack another program and start it.

use std::fmt;

use object::LittleEndian;
use object::elf;
use object::read::elf::FileHeader;
use sidecar::runnable::{self, Runnable};

use super::Source;
use crate::bytes;

/// UPX's mark lies after the program headers, before this offset (upx, src/stub/src/include/linux.h, `l_info`).
const UPX_WITHIN: u64 = 1024;

/// Number of bytes at the end of a file in which a trailer is searched for. PyInstaller's has section headers after it.
const TAIL: u64 = 64 << 10;

/// Maximum length of a table of contents.
const MAX_CONTENTS: u64 = 4 << 20;

/// The contents that a program unpacks before it does its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The program itself, packed by UPX.
    Upx,
    /// A file system image with the program; the type is 1 (ISO 9660) or 2 (squashfs).
    AppImage(u8),
    /// perl and its libraries, packed by PAR::Packer's `pp`.
    Par,
    /// A directory with a program, packed by Nuitka's `--onefile`.
    Nuitka,
    /// A directory with a program, packed by caxa.
    Caxa,
    /// A directory with executables, one of which is named here, packed by PyInstaller's `--onefile`.
    PyInstaller(String),
    /// A bundle that wrap-buddy made, with these programs.
    Bundle(Vec<String>),
}

impl Payload {
    /// The payload of the ELF file `source`, recognised by the documented marks of each packer.
    pub fn of(source: &mut Source) -> Option<Self> {
        let len = source.file_len();
        let head = source.read(0, len.min(UPX_WITHIN)).ok()?;
        if bytes::contain(&head, b"UPX!") {
            return Some(Self::Upx);
        }
        if let Some(programs) = programs_of_bundle(source, &head) {
            return Some(Self::Bundle(programs));
        }
        // AppImage specification: "AI" and the type are in the padding of e_ident.
        if let Some(&[b'A', b'I', kind @ (1 | 2)]) = head.get(8..11) {
            return Some(Self::AppImage(kind));
        }
        let tail_len = len.min(TAIL);
        let tail = source.read(len - tail_len, tail_len).ok()?;
        // PAR::Packer, script/par.pl.
        if tail.ends_with(b"\nPAR.pm\n") {
            return Some(Self::Par);
        }
        if is_caxa(&tail) {
            return Some(Self::Caxa);
        }
        if is_nuitka(source, &tail) == Some(true) {
            return Some(Self::Nuitka);
        }
        let name = executable_of_pyinstaller(source, &tail)?;
        Some(Self::PyInstaller(name))
    }
}

/// caxa appends a line of JSON with the directory's name and the command (caxa, source/index.mts and stubs/stub.go).
fn is_caxa(tail: &[u8]) -> bool {
    let line = tail.rsplit(|&byte| byte == b'\n').next();
    let has = |line: &[u8], key: &[u8]| bytes::contain(line, key);
    line.is_some_and(|line| {
        line.starts_with(b"{") && has(line, b"\"identifier\"") && has(line, b"\"command\"")
    })
}

/// Nuitka appends the offset of the payload, which begins with `KA` and the compression (Nuitka,
/// nuitka/build/static_src/OnefileBootstrap.c).
fn is_nuitka(source: &mut Source, tail: &[u8]) -> Option<bool> {
    let start = u64::from_le_bytes(tail.last_chunk::<8>().copied()?);
    let is_inside = start >= elf::ELFMAG.len() as u64 && start < source.file_len();
    let mark = source.read(start, 3).ok().filter(|_| is_inside)?;
    Some(matches!(&*mark, b"KAX" | b"KAY"))
}

/// The name of an executable in PyInstaller's archive: a binary (`b`) that is not a shared library. A cookie has the lengths of
/// archive and contents, in big-endian numbers (PyInstaller, archive/writers.py).
fn executable_of_pyinstaller(source: &mut Source, tail: &[u8]) -> Option<String> {
    const MAGIC: &[u8] = b"MEI\x0c\x0b\x0a\x0b\x0e";
    const COOKIE_LEN: u64 = 88;
    let number = |bytes: &[u8], at: usize| -> Option<u64> {
        let bytes = bytes.get(at..at + 4)?;
        Some(u64::from(u32::from_be_bytes(bytes.try_into().ok()?)))
    };
    let starts = bytes::positions(tail, MAGIC[0]);
    let at = starts.filter(|&at| tail[at..].starts_with(MAGIC)).last()?;
    let cookie = &tail[at..];
    let end = source.file_len() - tail.len() as u64 + at as u64 + COOKIE_LEN;
    let start = end.checked_sub(number(cookie, 8)?)?;
    let (offset, len) = (number(cookie, 12)?, number(cookie, 16)?);
    let contents = source.read(start.checked_add(offset)?, len.min(MAX_CONTENTS));
    let contents = contents.ok()?;
    let mut rest = contents.as_slice();
    while let Some(entry_len) = number(rest, 0) {
        let entry = rest
            .get(..entry_len as usize)
            .filter(|one| one.len() > 18)?;
        let name = entry[18..].split(|&byte| byte == 0).next();
        let name = String::from_utf8_lossy(name.unwrap_or_default());
        if entry[17] == b'b' && !name.contains(".so") {
            return Some(name.into_owned());
        }
        rest = &rest[entry_len as usize..];
    }
    None
}

/// The programs in the header after the section headers (`sidecar::runnable`).
fn programs_of_bundle(source: &mut Source, head: &[u8]) -> Option<Vec<String>> {
    let end = match head.get(4) {
        Some(&elf::ELFCLASS64) => sections_end::<elf::FileHeader64<LittleEndian>>(head)?,
        _ => sections_end::<elf::FileHeader32<LittleEndian>>(head)?,
    };
    let header = source.read(end, runnable::LEN as u64).ok()?;
    let header = Runnable::parse(header.first_chunk()?)?;
    let programs = end + runnable::LEN as u64;
    let programs = source.read(programs, header.programs_len.into()).ok()?;
    let programs = programs
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    let programs = programs.map(|name| String::from_utf8_lossy(name).into_owned());
    Some(programs.collect())
}

/// The end of the section headers.
fn sections_end<H: FileHeader<Endian = LittleEndian>>(head: &[u8]) -> Option<u64> {
    let header = H::parse(head).ok()?;
    let endian = header.endian().ok()?;
    let size = u64::from(header.e_shnum(endian)) * u64::from(header.e_shentsize(endian));
    let start: u64 = header.e_shoff(endian).into();
    start.checked_add(size)
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upx => f.write_str(
                "it is packed by UPX, so its dependencies cannot be read; unpack it with upx -d",
            ),
            Self::AppImage(1) => f.write_str(
                "it is an AppImage of type 1, and wrapping does not change the program in its image; unpack it with bsdtar \
                 -xf and wrap the files",
            ),
            Self::AppImage(_) => f.write_str(
                "it is an AppImage, and wrapping does not change the program in its image; run it with --appimage-extract \
                 and wrap the directory squashfs-root",
            ),
            Self::Par => f.write_str(
                "PAR::Packer made it, and it unpacks perl when it starts, which is not wrapped; set PAR_GLOBAL_TEMP to a \
                 directory and run wrap-buddy watch on that",
            ),
            Self::Nuitka => f.write_str(
                "Nuitka made it, and it unpacks a program when it starts, which is not wrapped; build it with --standalone, \
                 or with --onefile-tempdir-spec and a permanent directory, and run wrap-buddy watch on that",
            ),
            Self::Caxa => f.write_str(
                "caxa made it, and it unpacks a program when it starts, which is not wrapped; run wrap-buddy watch on the \
                 directory caxa in the one for temporary files ($TMPDIR, /tmp)",
            ),
            Self::Bundle(programs) => write!(
                f,
                "it is a bundle of {} that unpacks itself when it starts; WRAP_BUDDY_UNPACK=DIR in its environment makes it unpack to \
                 DIR, which you can check",
                programs.join(", ")
            ),
            Self::PyInstaller(name) => write!(
                f,
                "PyInstaller made it, and it unpacks {name} when it starts, which is not wrapped; build it with --onedir, or \
                 run wrap-buddy watch on the directory for temporary files ($TMPDIR, /tmp)",
            ),
        }
    }
}
