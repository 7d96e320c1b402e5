//! ELF structures of this architecture's class, as they lie in memory (gABI; elf.h).

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ehdr {
    pub e_ident: [u8; 16],
    pub e_type: u16,
    pub e_machine: u16,
    pub e_version: u32,
    pub e_entry: usize,
    pub e_phoff: usize,
    pub e_shoff: usize,
    pub e_flags: u32,
    pub e_ehsize: u16,
    pub e_phentsize: u16,
    pub e_phnum: u16,
    pub e_shentsize: u16,
    pub e_shnum: u16,
    pub e_shstrndx: u16,
}

#[cfg(target_pointer_width = "64")]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Phdr {
    pub p_type: u32,
    pub p_flags: u32,
    pub p_offset: usize,
    pub p_vaddr: usize,
    pub p_paddr: usize,
    pub p_filesz: usize,
    pub p_memsz: usize,
    pub p_align: usize,
}

#[cfg(target_pointer_width = "32")]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Phdr {
    pub p_type: u32,
    pub p_offset: usize,
    pub p_vaddr: usize,
    pub p_paddr: usize,
    pub p_filesz: usize,
    pub p_memsz: usize,
    pub p_flags: u32,
    pub p_align: usize,
}

/// An entry of .dynamic.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Dyn {
    pub d_tag: usize,
    pub d_val: usize,
}

/// A symbol.
#[cfg(target_pointer_width = "64")]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sym {
    pub st_name: u32,
    /// st_info, st_other and st_shndx in one.
    pub st_rest: u32,
    pub st_value: usize,
    pub st_size: usize,
}

/// A symbol.
#[cfg(target_pointer_width = "32")]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sym {
    pub st_name: u32,
    pub st_value: usize,
    pub st_size: usize,
    /// st_info, st_other and st_shndx in one.
    pub st_rest: u32,
}

pub const MAGIC: u32 = u32::from_le_bytes(*b"\x7fELF");
pub const ET_DYN: u16 = 3;

pub const PT_NULL: u32 = 0;
pub const PT_LOAD: u32 = 1;
pub const PT_DYNAMIC: u32 = 2;
pub const PT_INTERP: u32 = 3;
pub const PT_PHDR: u32 = 6;
pub const PT_GNU_PROPERTY: u32 = 0x6474_e553;

pub const PF_X: u32 = 1;
pub const PF_W: u32 = 2;
pub const PF_R: u32 = 4;

pub const DT_NULL: usize = 0;
pub const DT_STRTAB: usize = 5;
pub const DT_SYMTAB: usize = 6;

/// ELF for the Arm 64-bit Architecture.
pub const GNU_PROPERTY_AARCH64_FEATURE_1_AND: u32 = 0xc000_0000;
pub const GNU_PROPERTY_AARCH64_FEATURE_1_BTI: u32 = 1;
