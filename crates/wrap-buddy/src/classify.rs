//! Which files are programs that can be wrapped; of every other file, why not.

use std::path::Path;

use object::elf;
use stages::Stage;

use crate::arch::{self, Arch};
use crate::inspect::{Elf, Identity, Source, identify};
use crate::interpreter::{Fit, Interpreter, Interpreters, Libc};
use crate::scan::io_reason;
use crate::wrapped::{self, State};

/// What a file is.
pub enum Class<'a> {
    /// A program to wrap.
    Program(Box<Program<'a>>),
    /// Not an ELF file: nobody expects it to be wrapped, unless it was named.
    NotElf(String),
    /// An ELF file that is left as it is.
    Skipped(String),
    /// An ELF file that ought to be wrapped and cannot be.
    Failed(String),
}

/// A program that can be wrapped, as it originally was.
pub struct Program<'a> {
    /// Its headers.
    pub elf: Elf,
    /// Its bytes.
    pub source: Source,
    /// Its architecture.
    pub arch: &'static Arch,
    /// The stub and loader for it.
    pub stage: &'a Stage,
    /// The dynamic linker for it.
    pub interpreter: &'a Interpreter,
}

/// What programs can be wrapped with.
#[derive(Debug)]
pub struct Means<'a> {
    /// Stubs and loaders.
    pub stages: &'a [Stage],
    /// Architectures without, and how to get them.
    pub missing_stages: &'a [(&'a str, &'a str)],
    /// Dynamic linkers.
    pub interpreters: &'a Interpreters,
}

/// Looks at the file at `path`, absolute.
pub fn classify<'a>(path: &Path, means: &Means<'a>) -> Class<'a> {
    let mut source = match Source::open(path) {
        Ok(source) => source,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            return Class::NotElf("not a regular file".to_owned());
        }
        Err(error) => return Class::Failed(format!("cannot be opened: {}", io_reason(&error))),
    };
    let arch = match identify(&mut source) {
        Ok(Identity::Script(line)) => return Class::NotElf(format!("script: #!{line}")),
        Ok(Identity::Other) => return Class::NotElf("not an ELF file".to_owned()),
        Ok(Identity::Elf {
            machine,
            class,
            little_endian,
        }) => match arch::find(machine, class).filter(|_| little_endian) {
            Some(arch) => arch,
            None => {
                let order = if little_endian { "" } else { ", big-endian" };
                let name = arch::describe(machine, class);
                return Class::Skipped(format!("other architecture: {name}{order}"));
            }
        },
        Err(error) => return Class::Failed(format!("{error:#}")),
    };
    let malformed = |error: anyhow::Error| Class::Failed(format!("malformed ELF file: {error:#}"));
    let elf = match Elf::read(&mut source) {
        Ok(elf) => elf,
        Err(error) => return malformed(error),
    };
    match wrapped::state(path, &elf, &mut source, means.stages) {
        State::Wrapped => return Class::Skipped("already wrapped".to_owned()),
        State::Orphan { sidecar } => {
            return Class::Failed(format!(
                "is wrapped, but its sidecar {} is not there or not its own: put it back",
                sidecar.display()
            ));
        }
        State::Original => {}
    }
    let elf = if source.is_laid_over() {
        match Elf::read(&mut source) {
            Ok(elf) => elf,
            Err(error) => return malformed(error),
        }
    } else {
        elf
    };
    if let Some(reason) = not_a_program(&elf) {
        return Class::Skipped(reason);
    }
    let stage = match stage_for(arch, means) {
        Ok(stage) => stage,
        Err(reason) => return Class::Skipped(reason),
    };
    match interpreter_for(&elf, arch, means.interpreters) {
        Ok(interpreter) => Class::Program(Box::new(Program {
            elf,
            source,
            arch,
            stage,
            interpreter,
        })),
        Err(class) => class,
    }
}

fn not_a_program(elf: &Elf) -> Option<String> {
    let pie = elf.dynamic.as_ref().is_some_and(|dynamic| dynamic.pie);
    let reason = match (elf.kind, &elf.interp) {
        (elf::ET_EXEC | elf::ET_DYN, _) if elf.is_debug_information() => {
            "separate debug information"
        }
        (elf::ET_EXEC, None) => "static executable",
        (elf::ET_DYN, None) if pie => "static-PIE executable",
        (elf::ET_DYN, None) => "shared library",
        // Such as libc.so.6, which prints its version when started.
        (elf::ET_DYN, Some(_)) if elf.soname().is_some() && !pie => "shared library",
        (elf::ET_EXEC | elf::ET_DYN, Some(_)) if elf.dynamic.is_none() => {
            "static executable, although it has a PT_INTERP"
        }
        (elf::ET_EXEC | elf::ET_DYN, Some(interp)) => {
            let store = ["/nix/store", "/gnu/store"]
                .iter()
                .any(|store| Path::new(&interp.path).starts_with(store));
            if store {
                let path = interp.path.display();
                return Some(format!("its interpreter is in the store already: {path}"));
            }
            // FreeBSD and others use the same machines.
            let linux = [elf::ELFOSABI_SYSV, elf::ELFOSABI_GNU].contains(&elf.os_abi);
            return (!linux).then(|| format!("other operating system: OS ABI {}", elf.os_abi));
        }
        (elf::ET_REL, _) => "relocatable object",
        (elf::ET_CORE, _) => "core dump",
        (kind, _) => return Some(format!("neither executable nor library: e_type {kind}")),
    };
    Some(reason.to_owned())
}

fn stage_for<'a>(arch: &Arch, means: &Means<'a>) -> Result<&'a Stage, String> {
    let mut stages = means.stages.iter();
    if let Some(stage) = stages.find(|stage| stage.machine == arch.machine) {
        return Ok(stage);
    }
    let mut missing = means.missing_stages.iter();
    let remedy = missing
        .find(|(name, _)| *name == arch.name)
        .map_or_else(String::new, |(_, remedy)| format!(": {remedy}"));
    Err(format!(
        "other architecture: this wrap-buddy was built without {}{remedy}",
        arch.name
    ))
}

fn interpreter_for<'a>(
    elf: &Elf,
    arch: &Arch,
    interpreters: &'a Interpreters,
) -> Result<&'a Interpreter, Class<'static>> {
    let asked_for = elf
        .interp
        .as_ref()
        .map(|interp| &*interp.path)
        .unwrap_or_default();
    let wanted = Libc::of_interpreter(Path::new(asked_for));
    let asks = format!("it asks for {}", asked_for.display());
    match interpreters.fitting(elf, wanted) {
        Fit::Fits(interpreter) => Ok(interpreter),
        Fit::OtherLibc(known) => Err(Class::Skipped(format!(
            "other libc: {asks} ({}), and only an interpreter of {} is known: pass --interpreter",
            wanted.name(),
            known.name()
        ))),
        Fit::NoneKnown => Err(Class::Failed(format!(
            "no dynamic linker is known for it, {asks}: pass --interpreter"
        ))),
        Fit::OtherArchitecture => Err(Class::Skipped(format!(
            "other architecture: {asks}, and no interpreter for {} is known: pass --interpreter",
            arch.name
        ))),
    }
}
