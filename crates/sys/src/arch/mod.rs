//! Everything that differs between architectures. Each has a directory: `mod.rs` has its row of the table, `code.rs` the code that
//! runs on it. This module re-exports the code of the architecture for which the crate is compiled.

mod aarch64;
mod armv7;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
mod asm_generic;
mod i686;
mod riscv64;
mod x86_64;

#[cfg_attr(target_arch = "x86_64", path = "x86_64/code.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64/code.rs")]
#[cfg_attr(target_arch = "x86", path = "i686/code.rs")]
#[cfg_attr(target_arch = "riscv64", path = "riscv64/code.rs")]
#[cfg_attr(target_arch = "arm", path = "armv7/code.rs")]
mod code;

pub use code::*;

use core::fmt;
use core::mem::offset_of;

use sidecar::machine;

use crate::elf::Ehdr;

/// Branch protection that the kernel turns on if the program's GNU property note has a certain bit.
#[derive(Debug)]
pub struct BranchProtection {
    /// Type of the GNU property.
    pub property: u32,
    /// Bit in its value.
    pub bit: u32,
    /// The flag of mprotect.
    pub protection: u32,
}

/// The disassembler of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disassembler {
    /// x86 with this many bits.
    X86(u32),
    A64,
    /// ARM and Thumb.
    A32,
    /// None: there is no maintained decoder. The lengths of instructions are known.
    RiscV,
}

/// The bits of `e_flags` that name an ABI.
#[derive(Debug)]
pub struct Abi {
    /// These bits.
    pub mask: u32,
    /// Their value in files that the dynamic linkers of this architecture load.
    pub value: u32,
}

impl Abi {
    /// The architecture has one ABI.
    pub const ONLY: Self = Self { mask: 0, value: 0 };
}

/// Properties of an architecture, for the host tool and the build script of the stages.
#[derive(Debug)]
pub struct Arch {
    /// `x86_64` and so on, in file names of loaders and in messages.
    pub name: &'static str,
    /// The name of the target in rustc.
    pub triple: &'static str,
    /// `e_machine`.
    pub machine: u16,
    /// EI_CLASS: 1 is 32-bit, 2 is 64-bit.
    pub class: u8,
    pub abi: Abi,
    /// The bit of `e_entry` that is no part of the address, but selects the instruction set of the stages: 1 on ARM, for Thumb.
    pub entry_bit: u64,
    /// Instructions before the code of a stub that is entered without that bit. They change to the instruction set of the stages.
    pub entry_switch: &'static [u8],
    /// Length of `_start` with the functions in DT_PREINIT_ARRAY that follow it in crt1.o.
    pub start_len: u64,
    /// Alignment of the first instruction of a stub that is not at the original entry point.
    pub entry_align: u64,
    /// Largest segment alignment that every kernel respects for a file without PT_INTERP.
    pub max_load_align: u64,
    /// Values of `$LIB` in ld.so, most likely first.
    pub lib_tokens: &'static [&'static str],
    /// Value of `$PLATFORM` in ld.so; `None` if the kernel passes none.
    pub platform: Option<&'static str>,
    /// Flags of this architecture's libraries in ld.so.cache (`_DL_CACHE_DEFAULT_ID` in glibc's dl-cache.h).
    pub cache_flags: &'static [u32],
    /// `glibc-hwcaps` subdirectories, best first, each with the flags in /proc/cpuinfo that it requires (glibc
    /// sysdeps/x86_64/dl-hwcaps_subdirs.c).
    pub hwcaps: &'static [(&'static str, &'static [&'static str])],
    /// Legacy hardware capabilities with subdirectories in glibc 2.36 and earlier, in their order there (`HWCAP_IMPORTANT` in
    /// glibc's dl-procinfo.h).
    pub legacy_hwcaps: &'static [(&'static str, &'static [&'static str])],
    pub disassembler: Disassembler,
    /// Names of other architectures whose processors and kernels usually run these programs too.
    pub runs_on: &'static [&'static str],
    pub branch_protection: Option<BranchProtection>,
    /// Usual paths of this architecture's dynamic linkers.
    pub known_interpreters: &'static [&'static str],
    /// Options of rustc for position-independent stages.
    pub codegen: &'static [&'static str],
    /// Types of relocations that are a distance within a stage, so that they do not depend on its position.
    pub distances: &'static [u32],
    /// Types of relocations without a symbol, which tell the linker that it may shorten an instruction.
    pub hints: &'static [u32],
}

/// `e_machine` of the architecture for which this crate is compiled.
pub const MACHINE: u16 = HOST.machine;

static ARCHITECTURES: [Arch; 5] = [
    x86_64::ROW,
    aarch64::ROW,
    i686::ROW,
    riscv64::ROW,
    armv7::ROW,
];

/// Every architecture that programs can be wrapped for.
pub fn all() -> &'static [Arch] {
    &ARCHITECTURES
}

/// The machine, class and ABI of an ELF file. Files of different targets cannot be loaded into one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ElfTarget {
    /// `e_machine`.
    pub machine: u16,
    /// EI_CLASS: 1 is 32-bit, 2 is 64-bit.
    pub class: u8,
    /// The bits of `e_flags` that name an ABI; see [`Abi`].
    pub abi: u32,
}

impl ElfTarget {
    /// EM_X86_64 with 32-bit addresses.
    pub const X32: Self = Self {
        machine: machine::X86_64,
        class: 1,
        abi: 0,
    };

    /// The target of a file with these values in its ELF header.
    pub fn new(machine: u16, class: u8, e_flags: u32) -> Self {
        Self {
            machine,
            class,
            abi: e_flags & row(machine, class).map_or(0, |arch| arch.abi.mask),
        }
    }

    /// The address of the first instruction, for a value of `e_entry`.
    pub fn code_address(self, e_entry: u64) -> u64 {
        e_entry & !row(self.machine, self.class).map_or(0, |arch| arch.entry_bit)
    }

    /// The row of the table; x32 has none.
    pub fn arch(self) -> Option<&'static Arch> {
        ARCHITECTURES.iter().find(|arch| arch.target() == self)
    }
}

/// The architecture with some ABI.
fn row(machine: u16, class: u8) -> Option<&'static Arch> {
    let mut rows = ARCHITECTURES.iter();
    rows.find(|arch| (arch.machine, arch.class) == (machine, class))
}

impl fmt::Display for ElfTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.arch(), self.machine) {
            (Some(arch), _) => arch.name,
            (None, machine::X86_64) => "x32",
            (None, machine::RISCV) if self.class == 2 => "riscv64 with another floating-point ABI",
            (None, machine::RISCV) => "riscv32",
            (None, machine::ARM) => "32-bit ARM with another ABI",
            (None, 2 | 18 | 43) => "SPARC",
            (None, 8) => "MIPS",
            (None, 20) => "PowerPC",
            (None, 21) => "PowerPC64",
            (None, 22) => "s390",
            (None, 258) => "LoongArch",
            (None, other) => return write!(f, "e_machine {other}"),
        })
    }
}

impl Arch {
    pub const fn target(&self) -> ElfTarget {
        ElfTarget {
            machine: self.machine,
            class: self.class,
            abi: self.abi.value,
        }
    }

    /// The first instructions of the stub for a program with this `e_entry`; the code of the stage follows.
    pub fn stub_start(&self, e_entry: u64) -> &'static [u8] {
        match e_entry & self.entry_bit == self.entry_bit {
            true => &[],
            false => self.entry_switch,
        }
    }

    /// The value of `e_entry` for code at `address` of the same instruction set as at `e_entry`.
    pub fn entry_at(&self, address: u64, e_entry: u64) -> u64 {
        address | e_entry & self.entry_bit
    }

    /// Whether this machine runs programs of the architecture without an emulator.
    pub fn is_native(&self) -> bool {
        self.name == HOST.name || self.runs_on.contains(&HOST.name)
    }

    /// Length of a program header in bytes.
    pub fn phentsize(&self) -> usize {
        if self.class == 2 { 56 } else { 32 }
    }

    /// Offset and length of e_entry in the ELF header.
    pub fn entry_field(&self) -> (u64, usize) {
        // The same in both classes.
        let offset = offset_of!(Ehdr, e_entry);
        (offset as u64, if self.class == 2 { 8 } else { 4 })
    }
}
