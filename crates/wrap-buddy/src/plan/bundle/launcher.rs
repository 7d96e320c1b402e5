//! The program file of a launcher: ELF headers, its settings, and the code of the stage.

use std::path::Path;

use object::elf::{
    ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFMAG, ET_EXEC, EV_CURRENT, FileHeader32, FileHeader64,
    Ident, PF_R, PF_W, PF_X, PT_GNU_STACK, PT_LOAD, ProgramHeader32, ProgramHeader64,
};
use object::pod::{bytes_of, bytes_of_slice};
use object::{LittleEndian, U16, U32, U64};

use sidecar::launcher::{ARGUMENT, BUNDLE, MAX_LEN, PROGRAM, UNLESS, VARIABLE};
use std::os::unix::ffi::OsStrExt;
use sys::arch::ElfTarget;

/// The address of the file in memory, a multiple of every page size.
const ADDRESS: u32 = 0x40_0000;

/// The largest page size.
const PAGE: u32 = 0x1_0000;

/// What a launcher starts. Strings have [`BUNDLE`] for the path of the bundle.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// The path below the bundle of the file to execute.
    pub program: Vec<u8>,
    /// For a script: the arguments of its interpreter.
    pub arguments: Vec<Vec<u8>>,
    pub variables: Vec<Variable>,
}

/// A variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// `NAME=VALUE`.
    pub text: Vec<u8>,
    /// It is not set if this file exists.
    pub unless: Option<String>,
}

/// The path `below` the bundle, as a string of the settings.
pub(super) fn in_bundle(below: &Path) -> Vec<u8> {
    [&[BUNDLE, b'/'], below.as_os_str().as_bytes()].concat()
}

impl Settings {
    /// The bytes for a launcher at the path `at` below the bundle; `None` if they are too long.
    fn bytes(&self, at: &Path) -> Option<Vec<u8>> {
        let mut bytes = vec![u8::try_from(at.components().count()).ok()?];
        let mut add = |kind: u8, text: &[u8]| {
            bytes.push(kind);
            bytes.extend_from_slice(text);
            bytes.push(0);
        };
        add(PROGRAM, &self.program);
        for argument in &self.arguments {
            add(ARGUMENT, argument);
        }
        for variable in &self.variables {
            if let Some(path) = &variable.unless {
                add(UNLESS, path.as_bytes());
            }
            add(VARIABLE, &variable.text);
        }
        bytes.push(0);
        (bytes.len() <= MAX_LEN).then_some(bytes)
    }

    /// The file of a launcher for `target`, at the path `at` below the bundle. `None` if this build has no code for it, or the settings are
    /// too long.
    pub fn launcher(&self, target: ElfTarget, at: &Path) -> Option<Vec<u8>> {
        let arch = target.arch()?;
        let stage = stages::for_machine(target.machine)?;
        let mut settings = self.bytes(at)?;
        let is_64 = target.class == ELFCLASS64;
        let headers = if is_64 { 64 + 2 * 56 } else { 52 + 2 * 32 };
        let entry = (headers + settings.len()).next_multiple_of(16);
        settings.resize(entry - headers, 0);
        let length = u32::try_from(entry + stage.launcher.len()).ok()?;
        let entry = ADDRESS + u32::try_from(entry as u64 | arch.entry_bit).ok()?;
        let headers = match is_64 {
            true => headers_64(target, entry, length),
            false => headers_32(target, entry, length),
        };
        Some([&headers, &settings[..], stage.launcher].concat())
    }
}

const E: LittleEndian = LittleEndian;

fn ident(class: u8) -> Ident {
    Ident {
        magic: ELFMAG,
        class,
        data: ELFDATA2LSB,
        version: EV_CURRENT,
        os_abi: 0,
        abi_version: 0,
        padding: [0; 7],
    }
}

fn headers_64(target: ElfTarget, entry: u32, length: u32) -> Vec<u8> {
    let (half, word) = (|value| U16::new(E, value), |value| U32::new(E, value));
    let long = |value: u32| U64::new(E, u64::from(value));
    let header = FileHeader64 {
        e_ident: ident(ELFCLASS64),
        e_type: half(ET_EXEC),
        e_machine: half(target.machine),
        e_version: word(EV_CURRENT.into()),
        e_entry: long(entry),
        e_phoff: long(64),
        e_shoff: long(0),
        e_flags: word(target.abi),
        e_ehsize: half(64),
        e_phentsize: half(56),
        e_phnum: half(2),
        e_shentsize: half(0),
        e_shnum: half(0),
        e_shstrndx: half(0),
    };
    let segment = |kind, flags, address, length, align| ProgramHeader64 {
        p_type: word(kind),
        p_flags: word(flags),
        p_offset: long(0),
        p_vaddr: long(address),
        p_paddr: long(address),
        p_filesz: long(length),
        p_memsz: long(length),
        p_align: long(align),
    };
    let segments = [
        segment(PT_LOAD, PF_R | PF_X, ADDRESS, length, PAGE),
        segment(PT_GNU_STACK, PF_R | PF_W, 0, 0, 16),
    ];
    [bytes_of(&header), bytes_of_slice(&segments)].concat()
}

fn headers_32(target: ElfTarget, entry: u32, length: u32) -> Vec<u8> {
    let (half, word) = (|value| U16::new(E, value), |value| U32::new(E, value));
    let header = FileHeader32 {
        e_ident: ident(ELFCLASS32),
        e_type: half(ET_EXEC),
        e_machine: half(target.machine),
        e_version: word(EV_CURRENT.into()),
        e_entry: word(entry),
        e_phoff: word(52),
        e_shoff: word(0),
        e_flags: word(target.abi),
        e_ehsize: half(52),
        e_phentsize: half(32),
        e_phnum: half(2),
        e_shentsize: half(0),
        e_shnum: half(0),
        e_shstrndx: half(0),
    };
    let segment = |kind, flags, address, length, align| ProgramHeader32 {
        p_type: word(kind),
        p_offset: word(0),
        p_vaddr: word(address),
        p_paddr: word(address),
        p_filesz: word(length),
        p_memsz: word(length),
        p_flags: word(flags),
        p_align: word(align),
    };
    let segments = [
        segment(PT_LOAD, PF_R | PF_X, ADDRESS, length, PAGE),
        segment(PT_GNU_STACK, PF_R | PF_W, 0, 0, 16),
    ];
    [bytes_of(&header), bytes_of_slice(&segments)].concat()
}
