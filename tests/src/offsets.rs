//! Offsets of fields in ELF structures, for tests that read or change single fields.

use std::mem::offset_of;

use object::{LittleEndian, elf};

type Header = elf::FileHeader64<LittleEndian>;

// These are the same in both classes.
pub const EI_CLASS: usize = offset_of!(elf::Ident, class);
pub const EI_DATA: usize = offset_of!(elf::Ident, data);
pub const EI_OSABI: usize = offset_of!(elf::Ident, os_abi);
pub const E_TYPE: usize = offset_of!(Header, e_type);
pub const E_MACHINE: usize = offset_of!(Header, e_machine);
pub const E_ENTRY: usize = offset_of!(Header, e_entry);

/// Lengths and offsets that depend on the class.
#[derive(Debug)]
pub struct Offsets {
    pub ehdr_len: usize,
    pub e_phoff: usize,
    pub e_phentsize: usize,
    pub e_phnum: usize,
    pub phdr_len: usize,
    pub p_offset: usize,
    pub p_vaddr: usize,
    pub p_filesz: usize,
    pub p_memsz: usize,
}

macro_rules! offsets {
    ($header:ty, $segment:ty) => {
        Offsets {
            ehdr_len: size_of::<$header>(),
            e_phoff: offset_of!($header, e_phoff),
            e_phentsize: offset_of!($header, e_phentsize),
            e_phnum: offset_of!($header, e_phnum),
            phdr_len: size_of::<$segment>(),
            p_offset: offset_of!($segment, p_offset),
            p_vaddr: offset_of!($segment, p_vaddr),
            p_filesz: offset_of!($segment, p_filesz),
            p_memsz: offset_of!($segment, p_memsz),
        }
    };
}

pub static OF_32: Offsets = offsets!(
    elf::FileHeader32<LittleEndian>,
    elf::ProgramHeader32<LittleEndian>
);
pub static OF_64: Offsets = offsets!(Header, elf::ProgramHeader64<LittleEndian>);

impl Offsets {
    /// Those of the class of an ELF file.
    pub fn of(file: &[u8]) -> &'static Self {
        match file[EI_CLASS] {
            elf::ELFCLASS32 => &OF_32,
            _ => &OF_64,
        }
    }
}
