//! What a library directory has: of each file only the header, the program headers, .dynamic and one string are read.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use object::LittleEndian;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use rayon::prelude::*;

use crate::bytes;
use crate::inspect::open_regular;

const LE: LittleEndian = LittleEndian;

/// The first read: headers are in it, and mostly .dynstr's beginning is not.
const HEAD: usize = 1024;
/// Bytes of .dynamic looked at; DT_SONAME and DT_STRTAB are near its beginning.
const MAX_DYNAMIC: u64 = 4096;
/// File names are not longer.
const MAX_NAME: usize = 256;

/// A library in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its file name.
    pub name: OsString,
    /// DT_SONAME.
    pub soname: Option<OsString>,
    /// `e_machine`.
    pub machine: u16,
    /// EI_CLASS.
    pub class: u8,
}

/// The libraries in each of `all`, as [`directory`] has them.
pub fn directories(all: &[PathBuf]) -> Vec<Vec<Card>> {
    all.par_iter().map(|one| directory(one)).collect()
}

/// The libraries in `directory`, those below it left out, in the order of their names. Works on all processors.
pub fn directory(directory: &Path) -> Vec<Card> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut names: Vec<OsString> = entries
        .flatten()
        .filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name())
        .collect();
    names.sort_unstable();
    let cards = names.into_par_iter().with_min_len(32);
    cards
        .filter_map(|name| {
            let file = open_regular(&directory.join(&name)).ok()?;
            let (soname, machine, class) = read(&file)?;
            Some(Card {
                name,
                soname,
                machine,
                class,
            })
        })
        .collect()
}

fn read(file: &File) -> Option<(Option<OsString>, u16, u8)> {
    let mut buffer = [0; HEAD];
    let len = file.read_at(&mut buffer, 0).ok()?;
    let head = &buffer[..len];
    if !head.starts_with(&elf::ELFMAG) || head.get(5) != Some(&elf::ELFDATA2LSB) {
        return None;
    }
    match head.get(4) {
        Some(&elf::ELFCLASS32) => of_class::<FileHeader32<LittleEndian>>(file, head),
        Some(&elf::ELFCLASS64) => of_class::<FileHeader64<LittleEndian>>(file, head),
        _ => None,
    }
}

fn of_class<H: FileHeader<Endian = LittleEndian>>(
    file: &File,
    head: &[u8],
) -> Option<(Option<OsString>, u16, u8)> {
    let (header, _) = pod::from_bytes::<H>(head).ok()?;
    if header.e_type(LE) != elf::ET_DYN {
        return None;
    }
    let soname = soname(file, header, head);
    Some((soname, header.e_machine(LE), header.e_ident().class))
}

fn soname<H: FileHeader<Endian = LittleEndian>>(
    file: &File,
    header: &H,
    head: &[u8],
) -> Option<OsString> {
    let at: u64 = header.e_phoff(LE).into();
    let len = usize::from(header.e_phnum(LE)) * size_of::<H::ProgramHeader>();
    let table = bytes_at(file, head, at, len)?;
    let segments = pod::slice_from_all_bytes::<H::ProgramHeader>(&table).ok()?;
    let mut all = segments.iter();
    let dynamic = all.find(|segment| segment.p_type(LE) == elf::PT_DYNAMIC)?;
    let size = size_of::<H::Dyn>() as u64;
    let len = dynamic.p_filesz(LE).into().min(MAX_DYNAMIC) / size * size;
    let entries = bytes_at(file, head, dynamic.p_offset(LE).into(), len as usize)?;
    let entries = pod::slice_from_all_bytes::<H::Dyn>(&entries).ok()?;
    let value = |tag: u32| -> Option<u64> {
        let mut entries = entries.iter();
        let entry = entries.find(|entry| entry.d_tag(LE).into() == u64::from(tag))?;
        Some(entry.d_val(LE).into())
    };
    let address = value(elf::DT_STRTAB)?.wrapping_add(value(elf::DT_SONAME)?);
    let load = segments.iter().find(|segment| {
        let start: u64 = segment.p_vaddr(LE).into();
        let into = address.wrapping_sub(start);
        segment.p_type(LE) == elf::PT_LOAD && into < segment.p_filesz(LE).into()
    })?;
    let offset = address.wrapping_sub(load.p_vaddr(LE).into());
    let offset = offset.checked_add(load.p_offset(LE).into())?;
    let mut name = [0; MAX_NAME];
    let len = file.read_at(&mut name, offset).ok()?;
    let end = bytes::position(&name[..len], 0)?;
    Some(OsStr::from_bytes(&name[..end]).to_owned())
}

/// `len` bytes at `at`, out of what was read already where they are in it.
fn bytes_at<'h>(
    file: &File,
    head: &'h [u8],
    at: u64,
    len: usize,
) -> Option<std::borrow::Cow<'h, [u8]>> {
    let start = usize::try_from(at).ok()?;
    if let Some(bytes) = head.get(start..start.checked_add(len)?) {
        return Some(bytes.into());
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes.into())
}
