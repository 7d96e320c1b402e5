//! Extracts the flat image from a linked ELF file, and checks that it is complete: everything is in one section, no relocation
//! remains, it refers only to itself, and no address depends on its position.

use std::error::Error;

use object::elf;
use object::read::elf::{ElfFile32, ElfFile64};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionFlags,
    SymbolKind,
};
use sidecar::machine;

pub struct Linked {
    pub image: Vec<u8>,
    /// Start and length of each function, in bytes.
    #[allow(dead_code, reason = "the tests decode them, the build script does not")]
    pub functions: Vec<(u64, u64)>,
}

/// Extracts the image from a linked file.
pub fn read(file: &[u8], machine: u16) -> Result<Linked, Box<dyn Error>> {
    if machine == machine::I686 {
        extract(&ElfFile32::<object::LittleEndian>::parse(file)?, machine)
    } else {
        extract(&ElfFile64::<object::LittleEndian>::parse(file)?, machine)
    }
}

fn extract<'data>(file: &impl Object<'data>, machine: u16) -> Result<Linked, Box<dyn Error>> {
    let section = file.section_by_name(".image").ok_or("no section .image")?;
    let image = section.data()?.to_vec();
    let inside = |address: u64| address <= image.len() as u64;

    for other in file.sections() {
        let SectionFlags::Elf { sh_flags } = other.flags() else {
            return Err("not an ELF file".into());
        };
        let loaded = sh_flags & u64::from(elf::SHF_ALLOC) != 0 && other.size() != 0;
        if loaded && other.index() != section.index() {
            return Err(format!("section {} lies outside the image", other.name()?).into());
        }
    }
    for symbol in file.symbols() {
        if symbol.is_undefined() && !symbol.name()?.is_empty() {
            return Err(format!("the image needs {}", symbol.name()?).into());
        }
    }
    for (offset, relocation) in section.relocations() {
        let RelocationFlags::Elf { r_type } = relocation.flags() else {
            return Err("not an ELF file".into());
        };
        if !is_position_independent(r_type, machine) {
            return Err(
                format!("relocation of type {r_type} at {offset:#x} needs an address").into(),
            );
        }
        let RelocationTarget::Symbol(index) = relocation.target() else {
            return Err(format!("relocation at {offset:#x} has no symbol").into());
        };
        if !inside(file.symbol_by_index(index)?.address()) {
            return Err(format!("reference at {offset:#x} leaves the image").into());
        }
    }
    let functions = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text);
    let functions = functions
        .map(|symbol| (symbol.address(), symbol.size()))
        .collect();
    Ok(Linked { image, functions })
}

/// Whether this relocation is a distance within the image, which does not depend on its position.
fn is_position_independent(r_type: u32, machine: u16) -> bool {
    match machine {
        machine::X86_64 => [elf::R_X86_64_PC32, elf::R_X86_64_PLT32].contains(&r_type),
        machine::I686 => [elf::R_386_PC32, elf::R_386_PLT32].contains(&r_type),
        machine::AARCH64 => [
            elf::R_AARCH64_ADR_PREL_LO21,
            elf::R_AARCH64_LD_PREL_LO19,
            elf::R_AARCH64_TSTBR14,
            elf::R_AARCH64_CONDBR19,
            elf::R_AARCH64_JUMP26,
            elf::R_AARCH64_CALL26,
            elf::R_AARCH64_PREL32,
        ]
        .contains(&r_type),
        _ => false,
    }
}
