//! The kind of a file. Every command uses this classification.

use std::fmt;

use object::elf;

use super::{Dynamic, Elf};

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A program with a dynamic linker (PT_INTERP).
    Program,
    /// A program with fixed addresses and without a dynamic linker.
    StaticProgram,
    /// A position-independent program without a dynamic linker.
    StaticPie,
    /// A shared library.
    Library,
    /// The debug information of another file: its headers without its code.
    DebugInformation,
    /// A relocatable object (ET_REL), such as a `.o` file or a kernel module.
    Object,
    /// A core dump (ET_CORE).
    CoreDump,
    /// A program or library of another operating system, by EI_OSABI.
    OtherSystem,
    /// It begins with `#!`.
    Script,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of an ELF file. `lost_interp` means that it is a program whose PT_INTERP was removed when it was wrapped.
    pub fn of(elf: &Elf, lost_interp: bool) -> Self {
        let is_pie = elf.dynamic.as_ref().is_some_and(|dynamic| dynamic.pie);
        let has_interp = elf.interp.is_some() || lost_interp;
        let kind = match elf.kind {
            elf::ET_REL => return Self::Object,
            elf::ET_CORE => return Self::CoreDump,
            elf::ET_EXEC | elf::ET_DYN if elf.is_debug_information() => {
                return Self::DebugInformation;
            }
            elf::ET_EXEC if has_interp => Self::Program,
            elf::ET_EXEC => Self::StaticProgram,
            elf::ET_DYN if has_interp && (is_pie || lost_interp || is_linked_as_program(elf)) => {
                Self::Program
            }
            elf::ET_DYN if has_interp => Self::Library,
            // The kernel starts it like a static PIE, and ld.so cannot load it.
            elf::ET_DYN if is_pie || elf.dynamic.is_none() => Self::StaticPie,
            elf::ET_DYN => Self::Library,
            _ => return Self::Other,
        };
        match elf.os_abi {
            elf::ELFOSABI_SYSV | elf::ELFOSABI_GNU => kind,
            _ => Self::OtherSystem,
        }
    }

    /// Whether the kernel starts it without a dynamic linker.
    pub fn is_static(self) -> bool {
        matches!(self, Self::StaticProgram | Self::StaticPie)
    }

    /// Whether it can be started, or loaded by a program.
    pub fn is_loadable(self) -> bool {
        matches!(
            self,
            Self::Program | Self::StaticProgram | Self::StaticPie | Self::Library | Self::Script
        )
    }
}

/// Whether an ET_DYN with a PT_INTERP and without DF_1_PIE is a program. Linkers before 2015 did not set that flag. A library may
/// have a PT_INTERP too: glibc's libc.so.6 prints its version when it is started. Linkers put DT_DEBUG into programs only.
fn is_linked_as_program(elf: &Elf) -> bool {
    let has_debug = |dynamic: &Dynamic| dynamic.value(elf::DT_DEBUG).is_some();
    elf.soname().is_none() && elf.dynamic.as_ref().is_none_or(has_debug)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program => "program",
            Self::StaticProgram => "static executable",
            Self::StaticPie => "static-PIE executable",
            Self::Library => "shared library",
            Self::DebugInformation => "separate debug information",
            Self::Object => "relocatable object",
            Self::CoreDump => "core dump",
            Self::OtherSystem => "file of another operating system",
            Self::Script => "script",
            Self::Other => "neither executable nor library",
        })
    }
}
