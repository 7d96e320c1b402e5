//! Reasons for which a dynamic linker passes over a library.

use std::fmt;

use elf_file::{Elf, ElfTarget};
use object::elf;

use crate::interpreter::Libc;

/// Why a library is incompatible.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Incompatible {
    /// It is for another machine or class.
    Target(ElfTarget),
    /// It is for another operating system (EI_OSABI).
    OsAbi(u8),
    /// It is linked to another libc. ld.so would load it nevertheless.
    Libc(Libc),
    /// It is not a library that can be loaded, for this reason.
    Unusable(String),
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Incompatible::Target(target) => write!(f, "is for {target}"),
            Incompatible::OsAbi(abi) => write!(f, "is for the OS ABI {abi}"),
            Incompatible::Libc(libc) => write!(f, "is linked to {}", libc.name()),
            Incompatible::Unusable(why) => f.write_str(why),
        }
    }
}

/// Why `linker`, the ld.so of `libc`, would pass over `library`, or would wrongly load it.
pub fn incompatibility(linker: &Elf, libc: Libc, library: &Elf) -> Option<Incompatible> {
    if library.target() != linker.target() {
        return Some(Incompatible::Target(library.target()));
    }
    if library.os_abi != elf::ELFOSABI_SYSV && library.os_abi != elf::ELFOSABI_GNU {
        return Some(Incompatible::OsAbi(library.os_abi));
    }
    let needs = |is: fn(&str) -> bool| {
        let mut names = library.needed().iter();
        names.any(|name| name.to_str().is_some_and(is))
    };
    match libc {
        Libc::Musl if needs(|name| name == "libc.so.6") => Some(Incompatible::Libc(Libc::Glibc)),
        Libc::Glibc if needs(|name| name == "libc.so" || name.starts_with("libc.musl-")) => {
            Some(Incompatible::Libc(Libc::Musl))
        }
        _ => None,
    }
}
