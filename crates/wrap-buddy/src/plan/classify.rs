//! Decides which files can be wrapped, and why the others are left alone.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use stages::Stage;

use crate::plan::defaults::{Defaults, Taken};
use crate::plan::reason::{Refusal, SkipReason};
use crate::plan::search::STORES;
use crate::scan::Target;
use crate::state::detect;
use crate::state::prior::{Method, PriorWrap, State};
use crate::state::unusable::{ReadFailure, Unusable};
use crate::system::sidecar_path::program_of;
use elf_file::io_reason;
use elf_file::{Elf, FileId, Identity, Kind, Payload, Source, identify, is_surely_program};
use ldso::{Fit, Interpreter, Interpreters, Libc, Root};
use sys::arch::Arch;

pub enum Class<'a> {
    /// A program, and its stage or the reason why there is none.
    Program(Box<Subject<'a>>, Result<&'a Stage, SkipReason>),
    /// A shared library, which may need a search path.
    Library(Box<Subject<'a>>),
    NotWrapped(NotWrapped),
}

/// Why a file is left alone.
pub enum NotWrapped {
    /// Not an ELF file. Reported only if it was named.
    NotElf(SkipReason),
    /// An ELF file that needs no change.
    Skipped(SkipReason),
    /// An ELF file without a matching stage or dynamic linker: an error if it was named, skipped if it was found in a directory.
    Unfit(SkipReason),
    /// An ELF file that should be wrapped but cannot be.
    Failed(Refusal),
}

/// A program or a library with its original headers.
pub struct Subject<'a> {
    /// Whether it is a library. A library may have an entry point.
    pub is_library: bool,
    pub elf: Elf,
    pub source: Source,
    pub arch: &'static Arch,
    /// The dynamic linker that matches it.
    pub interpreter: Cow<'a, Interpreter>,
    pub prior: Option<Box<PriorWrap>>,
    /// Settings of the first wrap-buddy, used where no flag is given.
    pub defaults: Option<Defaults>,
}

/// Stages and dynamic linkers for wrapping.
#[derive(Debug)]
pub struct Available<'a> {
    pub stages: &'a [Stage],
    /// Architectures without a stage, and how to get one.
    pub missing_stages: &'a [(&'a str, &'a str)],
    pub interpreters: &'a Interpreters,
    /// Whether programs may be edited in place, which needs no stage.
    pub in_place: bool,
    /// Whether programs with a dynamic linker in a store start as they are.
    pub in_store: bool,
    /// Settings to take from sidecars of the first wrap-buddy.
    pub taken: Taken,
}

pub fn classify<'a>(target: &Target, available: &Available<'a>) -> Class<'a> {
    match open(target) {
        Ok((source, arch)) => {
            elf(target, source, arch, available).unwrap_or_else(Class::NotWrapped)
        }
        Err(not_wrapped) => Class::NotWrapped(not_wrapped),
    }
}

/// Like [`classify`], but returns `None` for a file that is certainly a program, without reading all of it. The file is kept open.
pub fn classify_library<'a>(target: &Target, available: &Available<'a>) -> Option<Class<'a>> {
    let (mut source, arch) = match open(target) {
        Ok(opened) => opened,
        Err(not_wrapped) => return Some(Class::NotWrapped(not_wrapped)),
    };
    // A malformed file is reported by `elf`.
    if is_surely_program(&mut source).unwrap_or(false) {
        target.keep(source.into_file());
        return None;
    }
    Some(elf(target, source, arch, available).unwrap_or_else(Class::NotWrapped))
}

/// Opens an ELF file for a supported architecture.
fn open(target: &Target) -> Result<(Source, &'static Arch), NotWrapped> {
    let mut source = match target.open().and_then(Source::of) {
        Ok(source) => source,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            return Err(NotWrapped::NotElf(SkipReason::NotRegular));
        }
        Err(error) => {
            let failure = ReadFailure::Unopenable(io_reason(&error));
            return Err(NotWrapped::Failed(failure.into()));
        }
    };
    match identify(&mut source) {
        Ok(Identity::Script(line)) => Err(NotWrapped::NotElf(SkipReason::Script(line))),
        Ok(Identity::Other) => Err(NotWrapped::NotElf(SkipReason::NotElf)),
        Ok(Identity::Malformed(reason)) => {
            let failure = ReadFailure::Malformed(reason);
            // In a directory it may be test data.
            Err(match target.named {
                true => NotWrapped::Failed(failure.into()),
                false => NotWrapped::Skipped(failure.into()),
            })
        }
        Ok(Identity::Elf {
            target,
            little_endian,
        }) => match target.arch().filter(|_| little_endian) {
            Some(arch) => Ok((source, arch)),
            None => Err(NotWrapped::Unfit(SkipReason::OtherArchitecture {
                target,
                little_endian,
            })),
        },
        Err(error) => Err(NotWrapped::Failed(error.into())),
    }
}

fn elf<'a>(
    target: &Target,
    mut source: Source,
    arch: &'static Arch,
    available: &Available<'a>,
) -> Result<Class<'a>, NotWrapped> {
    let path = target.path.as_path();
    let malformed =
        |error: anyhow::Error| NotWrapped::Failed(ReadFailure::malformed(&error).into());
    let elf = Elf::read(&mut source).map_err(malformed)?;
    let state = detect::state(&target.root, path, &elf, &mut source, available.stages);
    let prior = match (state.unusable(), state) {
        (Some(reason @ Unusable::InterpReused(_)), _) => {
            return Err(NotWrapped::Skipped(reason.into()));
        }
        (Some(reason @ Unusable::Changed(_)), _) if !target.named => {
            return Err(NotWrapped::Skipped(reason.into()));
        }
        (Some(reason), _) => return Err(NotWrapped::Failed(reason.into())),
        (None, State::Known(prior)) => Some(prior),
        (None, _) => None,
    };
    if let Some(prior) = &prior
        && let Some(owner) = hard_linked_owner(&target.root, prior, &source)
    {
        return Err(NotWrapped::Skipped(SkipReason::WrappedByOtherName(owner)));
    }
    let elf = match source.is_laid_over() {
        true => Elf::read(&mut source).map_err(malformed)?,
        false => elf,
    };
    let is_library = match is_library(&elf, prior.is_some() || !available.in_store) {
        Ok(is_library) => is_library,
        Err(reason) => {
            let kind = Kind::of(&elf, false);
            return Err(
                match Payload::of(&mut source).filter(|_| kind.is_loadable()) {
                    None => NotWrapped::Skipped(reason),
                    Some(payload @ Payload::Upx) if target.named => {
                        NotWrapped::Failed(Refusal::Packed(payload))
                    }
                    Some(payload) => NotWrapped::Skipped(SkipReason::Packed {
                        kind: Box::new(reason),
                        payload,
                    }),
                },
            );
        }
    };
    if !is_library {
        // The next run would not accept a sidecar that describes another program.
        detect::check_program(&elf).map_err(malformed)?;
    }
    let stage = stage_for(arch, available);
    // Only a program edited in place needs no stage.
    if let (Err(reason), false, false) = (&stage, is_library, available.in_place) {
        return Err(NotWrapped::Unfit(reason.clone()));
    }
    let mut defaults = prior
        .as_ref()
        .filter(|prior| prior.method == Method::Legacy)
        .and_then(|prior| Defaults::of_sidecar(prior.used(), target, &elf, available.taken));
    let own = defaults
        .as_mut()
        .and_then(|defaults| defaults.interpreter.take());
    let interpreter = match (own, is_library) {
        (Some(own), _) => Cow::Owned(own),
        (None, true) => Cow::Borrowed(interpreter_of_library(&elf, arch, available.interpreters)?),
        (None, false) => Cow::Borrowed(interpreter_for(&elf, arch, available.interpreters)?),
    };
    let subject = Box::new(Subject {
        is_library,
        elf,
        source,
        arch,
        interpreter,
        prior,
        defaults,
    });
    Ok(match is_library {
        true => Class::Library(subject),
        false => Class::Program(subject, stage),
    })
}

/// The program whose sidecar this one uses, if both are names of the same file: a file has one stub, which leads to one sidecar.
fn hard_linked_owner(root: &Root, prior: &PriorWrap, source: &Source) -> Option<PathBuf> {
    if prior.is_next_to_file {
        return None;
    }
    let owner = program_of(&prior.sidecar_path)?;
    let (owns, own) = (fs::metadata(root.on_host(&owner)).ok()?, source.metadata());
    (FileId::from(&owns) == FileId::from(own)).then_some(owner)
}

/// Returns false for a program, and an error with the reason if the file is neither, or needs no change. `edited`: an earlier run edited it
/// in place. If it was rewritten since, its PT_INTERP may be the one set by that run.
fn is_library(elf: &Elf, edited: bool) -> Result<bool, SkipReason> {
    let kind = Kind::of(elf, false);
    Err(match (kind, &elf.interp) {
        (Kind::Library, _) => return Ok(true),
        (Kind::Program, _) if elf.dynamic.is_none() => SkipReason::StaticWithInterp,
        (Kind::Program, Some(interp)) => {
            let store = STORES
                .iter()
                .any(|store| Path::new(&interp.path).starts_with(store));
            if !store || edited {
                return Ok(false);
            }
            SkipReason::InStore(PathBuf::from(&interp.path))
        }
        (Kind::OtherSystem, _) => SkipReason::OtherSystem(elf.os_abi),
        (Kind::Other, _) => SkipReason::OtherType(elf.kind),
        _ => SkipReason::Kind(kind),
    })
}

fn stage_for<'a>(arch: &'static Arch, available: &Available<'a>) -> Result<&'a Stage, SkipReason> {
    let mut stages = available.stages.iter();
    if let Some(stage) = stages.find(|stage| stage.machine == arch.machine) {
        return Ok(stage);
    }
    let mut missing = available.missing_stages.iter();
    let remedy = missing.find(|(name, _)| *name == arch.name);
    Err(SkipReason::NoStage {
        arch: arch.name,
        remedy: remedy.map_or_else(String::new, |(_, remedy)| (*remedy).to_owned()),
    })
}

/// A library has no PT_INTERP. It gets the dynamic linker of the libc that it is linked to.
fn interpreter_of_library<'a>(
    elf: &Elf,
    arch: &Arch,
    interpreters: &'a Interpreters,
) -> Result<&'a Interpreter, NotWrapped> {
    let wanted = Libc::of_library(elf);
    let skipped = match interpreters.fitting(elf, wanted) {
        Fit::Fits(interpreter) => return Ok(interpreter),
        Fit::OtherLibc(known) => SkipReason::LibraryOfOtherLibc {
            linked: wanted,
            known,
        },
        Fit::NoneKnown | Fit::OtherArchitecture => {
            SkipReason::LibraryOfOtherArchitecture { arch: arch.name }
        }
    };
    Err(NotWrapped::Unfit(skipped))
}

fn interpreter_for<'a>(
    elf: &Elf,
    arch: &Arch,
    interpreters: &'a Interpreters,
) -> Result<&'a Interpreter, NotWrapped> {
    let asked_for = elf
        .interp
        .as_ref()
        .map(|interp| &*interp.path)
        .unwrap_or_default();
    let wanted = Libc::of_program(elf, Path::new(asked_for));
    let asks_for = PathBuf::from(asked_for);
    match interpreters.fitting(elf, Some(wanted)) {
        Fit::Fits(interpreter) => Ok(interpreter),
        Fit::OtherLibc(known) => Err(NotWrapped::Unfit(SkipReason::ProgramOfOtherLibc {
            asks_for,
            libc: wanted,
            known,
        })),
        Fit::NoneKnown => Err(NotWrapped::Failed(Refusal::NoInterpreter(asks_for))),
        Fit::OtherArchitecture => Err(NotWrapped::Unfit(SkipReason::ProgramOfOtherArchitecture {
            asks_for,
            arch: arch.name,
        })),
    }
}
