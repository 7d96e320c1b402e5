//! ELF structures of this architecture's own class, as they lie in memory (gABI; elf.h).

/// The file header.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ehdr {
    /// Magic, class, data encoding, version, OS ABI.
    pub e_ident: [u8; 16],
    /// [`ET_DYN`], …
    pub e_type: u16,
    /// Architecture.
    pub e_machine: u16,
    /// 1.
    pub e_version: u32,
    /// Virtual address of the entry point.
    pub e_entry: usize,
    /// File offset of the program headers.
    pub e_phoff: usize,
    /// File offset of the section headers.
    pub e_shoff: usize,
    /// Processor-specific.
    pub e_flags: u32,
    /// Bytes of this header.
    pub e_ehsize: u16,
    /// Bytes of a program header.
    pub e_phentsize: u16,
    /// Number of program headers.
    pub e_phnum: u16,
    /// Bytes of a section header.
    pub e_shentsize: u16,
    /// Number of section headers.
    pub e_shnum: u16,
    /// Section of the section names.
    pub e_shstrndx: u16,
}

/// A program header.
#[cfg(target_pointer_width = "64")]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Phdr {
    /// [`PT_LOAD`], …
    pub p_type: u32,
    /// [`PF_R`], …
    pub p_flags: u32,
    /// File offset, bytes.
    pub p_offset: usize,
    /// Virtual address before the load bias.
    pub p_vaddr: usize,
    /// Unused.
    pub p_paddr: usize,
    /// Bytes in the file.
    pub p_filesz: usize,
    /// Bytes in memory.
    pub p_memsz: usize,
    /// Alignment, bytes.
    pub p_align: usize,
}

/// A program header.
#[cfg(target_pointer_width = "32")]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Phdr {
    /// [`PT_LOAD`], …
    pub p_type: u32,
    /// File offset, bytes.
    pub p_offset: usize,
    /// Virtual address before the load bias.
    pub p_vaddr: usize,
    /// Unused.
    pub p_paddr: usize,
    /// Bytes in the file.
    pub p_filesz: usize,
    /// Bytes in memory.
    pub p_memsz: usize,
    /// [`PF_R`], …
    pub p_flags: u32,
    /// Alignment, bytes.
    pub p_align: usize,
}

/// An entry of .dynamic.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Dyn {
    /// [`DT_STRTAB`], …
    pub d_tag: usize,
    /// Value or virtual address.
    pub d_val: usize,
}

/// A symbol, only as far as both classes agree: the name comes first.
#[cfg(target_pointer_width = "64")]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sym {
    /// Offset in the string table.
    pub st_name: u32,
    /// Type and binding, visibility, section.
    pub st_rest: u32,
    /// Virtual address before the load bias.
    pub st_value: usize,
    /// Bytes.
    pub st_size: usize,
}

/// A symbol.
#[cfg(target_pointer_width = "32")]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sym {
    /// Offset in the string table.
    pub st_name: u32,
    /// Virtual address before the load bias.
    pub st_value: usize,
    /// Bytes.
    pub st_size: usize,
    /// Type and binding, visibility, section.
    pub st_rest: u32,
}

/// First bytes of every ELF file.
pub const MAGIC: u32 = u32::from_le_bytes(*b"\x7fELF");
/// Position-independent executable or shared object.
pub const ET_DYN: u16 = 3;

/// Unused entry.
pub const PT_NULL: u32 = 0;
/// Loadable segment.
pub const PT_LOAD: u32 = 1;
pub const PT_DYNAMIC: u32 = 2;
/// Path of the dynamic linker.
pub const PT_INTERP: u32 = 3;
/// The program headers themselves.
pub const PT_PHDR: u32 = 6;
/// Notes on what the code needs and promises (Linux gABI extensions).
pub const PT_GNU_PROPERTY: u32 = 0x6474_e553;

/// Executable.
pub const PF_X: u32 = 1;
/// Writable.
pub const PF_W: u32 = 2;
/// Readable.
pub const PF_R: u32 = 4;

/// End of .dynamic.
pub const DT_NULL: usize = 0;
/// String table.
pub const DT_STRTAB: usize = 5;
/// Symbol table.
pub const DT_SYMTAB: usize = 6;

/// Property: what all code of the object keeps to (ELF for the Arm 64-bit Architecture).
pub const GNU_PROPERTY_AARCH64_FEATURE_1_AND: u32 = 0xc000_0000;
/// Every indirect branch target is marked.
pub const GNU_PROPERTY_AARCH64_FEATURE_1_BTI: u32 = 1;
