//! The findings of `check`, each with a name.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::command::Command;
use crate::system::shell::quoted;

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It cannot be read, or is malformed.
    Unreadable,
    /// Its sidecar is missing, belongs to another file, or is not trusted.
    Sidecar,
    /// The loader of the stub is missing, does not match, or is refused.
    Loader,
    /// It is for another machine, and no emulator is registered.
    Machine,
    /// Its dynamic linker is missing, or does not match.
    Interpreter,
    /// The program in the `#!` line is missing.
    Script,
    /// A library is not found.
    Library,
    /// A library is found, but for another libc or machine.
    Unfit,
    /// A library is found, but lacks a symbol version.
    Version,
    /// A library that it requires, and opens with dlopen, is not found.
    Opened,
    /// It is on a file system mounted noexec.
    NoExec,
    /// Users who can execute it cannot read a file that it needs.
    Access,
    /// It is not executable.
    Permission,
    /// It runs with more rights than its caller, and other users can change a file that it trusts.
    Privilege,
}

/// Every finding, problem or note. JSON has the names in kebab case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Diagnosis {
    /// It does not exist, or cannot be opened.
    Unopenable,
    /// A truncated or inconsistent ELF file.
    Malformed,
    /// Wrapped, but its sidecar is missing.
    SidecarGone,
    /// Wrapped, but the sidecar belongs to another file.
    SidecarOfAnother,
    /// Users who cannot write to the file can write to its sidecar.
    SidecarUntrusted,
    /// This version cannot read the sidecar.
    SidecarUnknown,
    /// Wrapped, and it uses a sidecar of another program or with another name.
    SidecarElsewhere,
    /// A run of this tool was stopped while it changed the file. The file still works as before.
    RunStopped,
    /// The loader that the stub opens does not exist.
    LoaderGone,
    /// The loader that the stub opens is invalid, or for another machine or version.
    LoaderUnfit,
    /// Set-id or with file capabilities: the stub refuses the loader, because its caller may have chosen it.
    LoaderRefused,
    /// For another machine, and no emulator is registered.
    NoEmulator,
    /// For another machine, and the registered emulator does not exist.
    EmulatorGone,
    /// The dynamic linker (PT_INTERP, or the one it was wrapped with) does not exist.
    LinkerGone,
    /// The dynamic linker is for another machine.
    LinkerOfOtherMachine,
    /// The dynamic linker belongs to another libc than the one the file is linked to.
    LinkerOfOtherLibc,
    /// The file is not a dynamic linker.
    LinkerUnusable,
    /// The program in the `#!` line does not exist.
    ScriptProgramGone,
    /// The program that `#!` starts by way of `env` is not on the PATH.
    ScriptCommandGone,
    /// A library is in no directory that the dynamic linker searches.
    LibraryMissing,
    /// A library is not found, but there are near misses.
    LibraryPassedOver,
    /// A library is not found, although it is in a directory of ld.so.conf: ld.so.cache is out of date.
    LibraryUncached,
    /// A library is found, but is linked to another libc.
    LibraryOfOtherLibc,
    /// A library is found, but is for another machine. Only musl loads such libraries.
    LibraryOfOtherMachine,
    /// A library does not find all of its dependencies, but a program that opens it has already loaded them, or it inherits the program's
    /// search path.
    LoadedByProgram,
    /// A library of ld.so.preload or LD_PRELOAD is not found. ld.so reports it and continues.
    PreloadMissing,
    /// A library of DT_AUXILIARY is not found. ld.so continues without it.
    AuxiliaryMissing,
    /// A library is found, but lacks a symbol version.
    VersionMissing,
    /// It has DT_RELR, but does not require GLIBC_ABI_DT_RELR: glibc refuses it.
    RelrWithoutVersion,
    /// A library that the file opens with dlopen is missing, and is required.
    OpenedRequired,
    /// The same, and it is recommended.
    OpenedRecommended,
    /// The same, and it is suggested.
    OpenedSuggested,
    /// The file, or a file that it maps, is on a file system mounted noexec.
    NoExec,
    /// Other users can execute it, but not read a file that it needs.
    OutOfReach,
    /// Set-id or with file capabilities, and users without these rights can change a file that it trusts, or redirect its path.
    Unguarded,
    /// A program that is not executable, for nobody or for you.
    NotPermitted,
    /// For another machine, and an emulator runs it.
    Emulated,
    /// For another machine, in a tree given by `--root`.
    ForOtherMachine,
    /// Packed by UPX: its dependencies cannot be read.
    Packed,
    /// It unpacks another program at run time, which cannot be checked.
    CarriesProgram,
    /// Wrapped with a stub, but a preloader maps it and reads its PT_INTERP.
    StubUnderPreloader,
    /// Its segments need more alignment than older kernels give a wrapped program.
    SegmentAlignment,
    /// Its `.note.nixos.ldcache` has libraries of another search path.
    StaleCache,
    /// The libraries were searched for by the usual rules, because its dynamic linker was not available.
    UsualRules,
    /// Wrapped by the first wrap-buddy.
    FirstWrapBuddy,
    /// Neither ELF nor `#!`.
    NotExecutable,
    /// ELF, and neither a program nor a shared library.
    NotLoadable,
}

impl Diagnosis {
    /// The kind of problem; `None` for notes, which keep no file from starting.
    pub fn trouble(self) -> Option<Trouble> {
        Some(match self {
            Diagnosis::Unopenable | Diagnosis::Malformed => Trouble::Unreadable,
            Diagnosis::SidecarGone
            | Diagnosis::SidecarOfAnother
            | Diagnosis::SidecarUntrusted
            | Diagnosis::SidecarUnknown => Trouble::Sidecar,
            Diagnosis::LoaderGone | Diagnosis::LoaderUnfit | Diagnosis::LoaderRefused => {
                Trouble::Loader
            }
            Diagnosis::NoEmulator | Diagnosis::EmulatorGone => Trouble::Machine,
            Diagnosis::LinkerGone
            | Diagnosis::LinkerOfOtherMachine
            | Diagnosis::LinkerOfOtherLibc
            | Diagnosis::LinkerUnusable => Trouble::Interpreter,
            Diagnosis::ScriptProgramGone | Diagnosis::ScriptCommandGone => Trouble::Script,
            Diagnosis::LibraryMissing
            | Diagnosis::LibraryPassedOver
            | Diagnosis::LibraryUncached => Trouble::Library,
            Diagnosis::LibraryOfOtherLibc | Diagnosis::LibraryOfOtherMachine => Trouble::Unfit,
            Diagnosis::VersionMissing | Diagnosis::RelrWithoutVersion => Trouble::Version,
            Diagnosis::OpenedRequired => Trouble::Opened,
            Diagnosis::NoExec => Trouble::NoExec,
            Diagnosis::OutOfReach => Trouble::Access,
            Diagnosis::NotPermitted => Trouble::Permission,
            Diagnosis::Unguarded => Trouble::Privilege,
            Diagnosis::RunStopped
            | Diagnosis::LoadedByProgram
            | Diagnosis::SidecarElsewhere
            | Diagnosis::PreloadMissing
            | Diagnosis::AuxiliaryMissing
            | Diagnosis::OpenedRecommended
            | Diagnosis::OpenedSuggested
            | Diagnosis::Emulated
            | Diagnosis::ForOtherMachine
            | Diagnosis::Packed
            | Diagnosis::CarriesProgram
            | Diagnosis::StubUnderPreloader
            | Diagnosis::SegmentAlignment
            | Diagnosis::StaleCache
            | Diagnosis::UsualRules
            | Diagnosis::FirstWrapBuddy
            | Diagnosis::NotExecutable
            | Diagnosis::NotLoadable => return None,
        })
    }

    /// Whether the check is incomplete because of it.
    pub fn leaves_open(self) -> bool {
        self.is_no_program() || matches!(self, Self::Packed | Self::CarriesProgram)
    }

    pub fn is_no_program(self) -> bool {
        matches!(self, Self::NotExecutable | Self::NotLoadable)
    }

    /// The name in JSON.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub diagnosis: Diagnosis,
    pub trouble: Trouble,
    /// One line.
    pub text: String,
    /// The same for several files: without the file that needs the library.
    pub(super) general: Option<String>,
    /// The library concerned.
    pub soname: Option<String>,
    /// Where the missing file is, or which package has it.
    pub help: Vec<String>,
}

impl Problem {
    /// `diagnosis` has to be a problem, not a note.
    pub(super) fn new(diagnosis: Diagnosis, text: impl Into<String>) -> Self {
        Self {
            diagnosis,
            trouble: diagnosis.trouble().unwrap_or(Trouble::Unreadable),
            text: text.into(),
            general: None,
            soname: None,
            help: Vec::new(),
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    pub(super) fn of(mut self, soname: impl Into<String>) -> Self {
        self.soname = Some(soname.into());
        self
    }

    pub(super) fn general(mut self, general: String) -> Self {
        self.general = Some(general);
        self
    }
}

/// A finding that is not a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub diagnosis: Diagnosis,
    /// One line.
    pub text: String,
    /// The same for several files.
    pub(super) general: Option<String>,
    /// Shown only with `--verbose`.
    pub is_detail: bool,
}

impl Note {
    pub(super) fn new(diagnosis: Diagnosis, text: impl Into<String>) -> Self {
        Self {
            diagnosis,
            text: text.into(),
            general: None,
            is_detail: false,
        }
    }
}

/// A proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// A command line, quoted for a shell.
    pub command: Option<String>,
    /// The effect of the command, or what to do if there is no command.
    pub text: String,
    /// The same for several files.
    pub(super) general: Option<String>,
    /// The command, if it is one that wraps.
    pub(super) call: Option<Box<Command>>,
    /// The command, if it takes several files.
    pub(super) each: Option<Each>,
    /// Whether a proposal for several files replaces it.
    pub(super) is_replaced: bool,
}

/// A command that takes several files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Each {
    /// The words before the files.
    pub words: Vec<OsString>,
    pub file: PathBuf,
}

impl Next {
    /// A command line and its effect.
    pub(super) fn typed(command: String, text: impl Into<String>) -> Self {
        Self {
            command: Some(command),
            ..Self::advice(text)
        }
    }

    /// A command that takes several files.
    pub(super) fn each(words: &[&str], file: &Path, text: impl Into<String>) -> Self {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let line = words.iter().map(OsString::as_os_str);
        let line = quoted(line.chain([file.as_os_str()]));
        let file = file.to_owned();
        Self {
            each: Some(Each { words, file }),
            ..Self::typed(line, text)
        }
    }

    /// Advice without a command.
    pub(super) fn advice(text: impl Into<String>) -> Self {
        Self {
            command: None,
            text: text.into(),
            general: None,
            call: None,
            each: None,
            is_replaced: false,
        }
    }
}
