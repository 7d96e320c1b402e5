//! What there is to say of a file, by name.

use clap::ValueEnum;

use super::command::Command;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It cannot be read, or what was read makes no sense.
    Unreadable,
    /// Its sidecar is gone, or another file's, or not to be trusted.
    Sidecar,
    /// The loader it was wrapped with is gone, does not fit, or is not taken.
    Loader,
    /// It is for another machine, and nothing here runs such programs.
    Machine,
    /// Its dynamic linker is gone, or is none.
    Interpreter,
    /// The program that its first line names is gone.
    Script,
    /// A library is not found.
    Library,
    /// A library is found, and is for another libc or machine.
    Unfit,
    /// A library is found, and does not have a symbol version.
    Version,
    /// A library that it opens while it runs, and cannot do without, is not found.
    Opened,
    /// It is on a file system that nothing may be executed from.
    NoExec,
    /// Users who may run it cannot open what it needs.
    Access,
    /// It may not be executed.
    Permission,
    /// It has more power than who starts it, and others can change what it trusts.
    Privilege,
}

/// Everything that can be said of a file, problem or not. JSON has the names in kebab case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Diagnosis {
    /// It is not there, or may not be opened.
    Unopenable,
    /// An ELF file that contradicts itself, or ends early.
    Malformed,
    /// Wrapped, and its sidecar is nowhere.
    SidecarGone,
    /// Wrapped, and the sidecar describes another file.
    SidecarOfAnother,
    /// Somebody who cannot write the file can write its sidecar.
    SidecarUntrusted,
    /// This version does not understand the sidecar.
    SidecarUnknown,
    /// Wrapped, and the sidecar it uses is another program's, or has another name.
    SidecarElsewhere,
    /// A run of this tool was stopped in the middle of the file, which is as good as before.
    RunStopped,
    /// The loader that the stub opens is not there.
    LoaderGone,
    /// The loader that the stub opens is for another machine, of another version, or none.
    LoaderUnfit,
    /// Set-id or with file capabilities, and the stub takes no loader then: who starts it may have chosen that.
    LoaderRefused,
    /// For another machine, and the kernel has no handler.
    NoEmulator,
    /// For another machine, and the kernel's handler is not there.
    EmulatorGone,
    /// PT_INTERP, or what it was wrapped with, is not there.
    LinkerGone,
    /// The dynamic linker is for another machine.
    LinkerOfOtherMachine,
    /// The dynamic linker belongs to another libc than the file was linked to.
    LinkerOfOtherLibc,
    /// What is there is no dynamic linker.
    LinkerUnusable,
    /// The program that `#!` names is not there.
    ScriptProgramGone,
    /// The program that `#!` has env look for is not there.
    ScriptCommandGone,
    /// A library is nowhere where the dynamic linker looks.
    LibraryMissing,
    /// A library is nowhere, but files of that name that do not do are.
    LibraryPassedOver,
    /// A library is not found, although a directory of ld.so.conf has it: ld.so.cache is older.
    LibraryUncached,
    /// A library is found, and is linked to another libc.
    LibraryOfOtherLibc,
    /// A library is found, and is for another machine: only musl takes such.
    LibraryOfOtherMachine,
    /// A library does not find everything by itself, and a program that opens it has loaded it by then, or hands down its
    /// search path.
    LoadedByProgram,
    /// A library that is to be loaded into every program is not found: ld.so says so, and goes on.
    PreloadMissing,
    /// A library that DT_AUXILIARY names is not found: ld.so goes on without it.
    AuxiliaryMissing,
    /// A library is found, and lacks a symbol version.
    VersionMissing,
    /// It has DT_RELR, and does not require the version of libc that goes with it: glibc refuses it.
    RelrWithoutVersion,
    /// A library that the file opens while it runs is missing, and is required.
    OpenedRequired,
    /// The same, and it would be missed.
    OpenedRecommended,
    /// The same, and it is good to have.
    OpenedSuggested,
    /// The file, or something that it has mapped, is on a file system mounted noexec.
    NoExec,
    /// Others may run it, but the mode of a file that it needs, or of a directory above that, keeps them out.
    OutOfReach,
    /// Set-id or with file capabilities, and somebody without that power can change a file that it trusts, or where its path leads.
    Unguarded,
    /// A program that its mode lets nobody start, or not who asks.
    NotPermitted,
    /// For another machine, and an emulator runs it.
    Emulated,
    /// For another machine than this, in a tree that is looked at from outside.
    ForOtherMachine,
    /// Packed by UPX: what it needs cannot be seen.
    Packed,
    /// It unpacks another program when it starts, and that one cannot be seen.
    CarriesProgram,
    /// Wrapped with a stub, and there is a program that maps it by itself and reads its PT_INTERP.
    StubUnderPreloader,
    /// Its segments are aligned to more than older kernels honour for a wrapped program.
    SegmentAlignment,
    /// The libraries were looked for without a dynamic linker whose rules are known.
    UsualRules,
    /// Wrapped by the first wrap-buddy.
    FirstWrapBuddy,
    /// Neither ELF nor `#!`.
    NotExecutable,
    /// ELF, and neither a program nor a shared library.
    NotLoadable,
}

impl Diagnosis {
    /// What it is one of; nothing for what keeps no file from starting.
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
            | Diagnosis::UsualRules
            | Diagnosis::FirstWrapBuddy
            | Diagnosis::NotExecutable
            | Diagnosis::NotLoadable => return None,
        })
    }

    /// Whether it leaves open whether the file will do its work.
    pub fn leaves_open(self) -> bool {
        self.is_no_program() || matches!(self, Self::Packed | Self::CarriesProgram)
    }

    /// Whether there is nothing to check about the file.
    pub fn is_no_program(self) -> bool {
        matches!(self, Self::NotExecutable | Self::NotLoadable)
    }

    /// As JSON has it.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// All there are.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub diagnosis: Diagnosis,
    /// What kind of.
    pub trouble: Trouble,
    /// In a line.
    pub text: String,
    /// The library in question.
    pub soname: Option<String>,
    /// Where there is what is wanted, or which package has it.
    pub help: Vec<String>,
}

impl Problem {
    /// `diagnosis` is one of a trouble.
    pub(super) fn new(diagnosis: Diagnosis, text: impl Into<String>) -> Self {
        Self {
            diagnosis,
            trouble: diagnosis.trouble().unwrap_or(Trouble::Unreadable),
            text: text.into(),
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
}

/// One thing that is not wrong, and yet worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which.
    pub diagnosis: Diagnosis,
    /// In a line.
    pub text: String,
    /// Whether it matters to few: people are told when they ask for details.
    pub is_detail: bool,
}

/// What may be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// To be typed, quoted for a shell.
    pub command: Option<String>,
    /// What it comes to, or what to do where there is no command.
    pub text: String,
    /// The command, where that wraps.
    pub(super) call: Option<Box<Command>>,
}

impl Next {
    /// A command line, and what it comes to.
    pub(super) fn typed(command: String, text: impl Into<String>) -> Self {
        Self {
            command: Some(command),
            text: text.into(),
            call: None,
        }
    }

    /// What no command does.
    pub(super) fn advice(text: impl Into<String>) -> Self {
        Self {
            command: None,
            text: text.into(),
            call: None,
        }
    }
}
