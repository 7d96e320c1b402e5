//! Extracts the flat image from a linked ELF file, and checks that it is complete: everything is in one section, no relocation
//! remains, it refers only to itself, and no address depends on its position.

use std::error::Error;

use object::elf;
use object::read::elf::{ElfFile32, ElfFile64};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionFlags,
    SymbolKind,
};
use sys::arch::Arch;

pub struct Linked {
    pub image: Vec<u8>,
    /// Start and length of each function, in bytes.
    #[allow(dead_code, reason = "the tests decode them, the build script does not")]
    pub functions: Vec<(u64, u64)>,
}

/// Extracts the image from a linked file.
pub fn read(file: &[u8], arch: &Arch) -> Result<Linked, Box<dyn Error>> {
    if arch.class == 1 {
        extract(&ElfFile32::<object::LittleEndian>::parse(file)?, arch)
    } else {
        extract(&ElfFile64::<object::LittleEndian>::parse(file)?, arch)
    }
}

fn extract<'data>(file: &impl Object<'data>, arch: &Arch) -> Result<Linked, Box<dyn Error>> {
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
        if arch.hints.contains(&r_type) {
            continue;
        }
        if !arch.distances.contains(&r_type) {
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
