//! The dynamic linkers that programs can be given. Those of the system are read when a program needs one, not before.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::Result;

use super::{Interpreter, Libc};
use crate::root::Root;
use elf_file::{Elf, Source};
use sys::arch::{self, Arch};

/// Programs that every system has, this tool first. Their PT_INTERP names the system's dynamic linker.
const PROGRAMS: [&str; 3] = ["/proc/self/exe", "/bin/sh", "/usr/bin/env"];

/// The dynamic linker for a program, or why there is none.
#[derive(Debug)]
pub enum Fit<'a> {
    /// This dynamic linker fits.
    Fits(&'a Interpreter),
    /// There is one for the architecture, but it is of this other libc.
    OtherLibc(Libc),
    /// There are dynamic linkers, but none for the architecture.
    OtherArchitecture,
    /// No dynamic linker is known.
    NoneKnown,
}

/// How the path of a dynamic linker is known.
#[derive(Debug)]
enum Lead {
    /// It is the PT_INTERP of this program.
    InterpreterOf(&'static str),
    /// It is the usual path for this architecture.
    Usual(&'static Arch, &'static str),
    /// The user named it, or it was compiled in.
    Named,
}

#[derive(Debug)]
struct Candidate {
    lead: Lead,
    interpreter: OnceLock<Option<Interpreter>>,
}

/// Dynamic linkers in order of preference.
#[derive(Debug)]
pub struct Interpreters {
    root: Root,
    candidates: Vec<Candidate>,
    outcome: Mutex<Outcome>,
}

/// The results of all calls of [`Interpreters::fitting`].
#[derive(Debug, Default)]
struct Outcome {
    /// Whether one of the files has a dynamic linker.
    fits: bool,
    /// The architectures and libcs of the files that have none.
    wanted: BTreeSet<String>,
}

impl Interpreters {
    /// Those that the user `named`; or else, those that were compiled in; or else, the system's.
    ///
    /// # Errors
    /// If a named or compiled-in file is not a dynamic linker.
    pub fn find(named: &[PathBuf]) -> Result<Self> {
        Self::find_in(&Root::default(), named)
    }

    /// Does the same as [`Interpreters::find`] for files in `root`.
    ///
    /// # Errors
    /// As [`Interpreters::find`].
    pub fn find_in(root: &Root, named: &[PathBuf]) -> Result<Self> {
        if !named.is_empty() {
            return Self::named(root, named.iter().map(|path| without_newline(path)));
        }
        if let Some(compiled_in) = option_env!("WRAP_BUDDY_INTERP").filter(|_| root.is_own()) {
            let paths = compiled_in.trim().split(':');
            let paths = paths.filter(|path| !path.is_empty()).map(PathBuf::from);
            return Self::named(root, paths);
        }
        let of_programs = PROGRAMS.into_iter().map(Lead::InterpreterOf);
        let usual = arch::all().iter().flat_map(|arch| {
            let paths = arch.known_interpreters.iter();
            paths.map(move |path| Lead::Usual(arch, path))
        });
        let candidates = of_programs.chain(usual).map(|lead| Candidate {
            lead,
            interpreter: OnceLock::new(),
        });
        Ok(Self {
            root: root.clone(),
            candidates: candidates.collect(),
            outcome: Mutex::default(),
        })
    }

    fn named(root: &Root, paths: impl Iterator<Item = PathBuf>) -> Result<Self> {
        let candidates = paths.map(|path| {
            let path = std::path::absolute(path)?;
            Ok(Candidate {
                lead: Lead::Named,
                interpreter: OnceLock::from(Some(Interpreter::open_in(root, &path)?)),
            })
        });
        Ok(Self {
            root: root.clone(),
            candidates: candidates.collect::<Result<_>>()?,
            outcome: Mutex::default(),
        })
    }

    /// The first with the machine and class of `program`, and with the libc `wanted` if that is given.
    pub fn fitting(&self, program: &Elf, wanted: Option<Libc>) -> Fit<'_> {
        let fit = self.find_fitting(program, wanted);
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match fit {
            Fit::Fits(_) => outcome.fits = true,
            _ if outcome.fits => {}
            _ => {
                let kind = kind(program, wanted);
                outcome.wanted.insert(kind);
            }
        }
        fit
    }

    /// Why no dynamic linker fits any of the files that [`Interpreters::fitting`] was asked for. `None` if one does, or if there
    /// were no files.
    pub fn mismatch(&self) -> Option<String> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.fits || outcome.wanted.is_empty() {
            return None;
        }
        let known = self.candidates.iter();
        let known = known.filter_map(|one| one.interpreter(&self.root));
        let known = known.map(|one| {
            let kind = kind(&one.elf, Some(one.libc));
            format!("{} is for {kind}", one.path.display())
        });
        let known: Vec<String> = known.collect();
        let wanted: Vec<&str> = outcome.wanted.iter().map(String::as_str).collect();
        Some(format!(
            "{}, and the files here are for {}: pass a dynamic linker of that kind",
            known.join(", "),
            wanted.join(", ")
        ))
    }

    fn find_fitting(&self, program: &Elf, wanted: Option<Libc>) -> Fit<'_> {
        let of_architecture = || {
            let candidates = self.candidates.iter();
            let worth_a_look = candidates.filter(|candidate| candidate.may_fit(program));
            worth_a_look
                .filter_map(|candidate| candidate.interpreter(&self.root))
                .filter(|known| known.fits(program))
        };
        let suits = |known: &&Interpreter| wanted.is_none_or(|wanted| known.libc == wanted);
        if let Some(fits) = of_architecture().find(suits) {
            return Fit::Fits(fits);
        }
        if let Some(other) = of_architecture().next() {
            return Fit::OtherLibc(other.libc);
        }
        match self
            .candidates
            .iter()
            .any(|one| one.interpreter(&self.root).is_some())
        {
            true => Fit::OtherArchitecture,
            false => Fit::NoneKnown,
        }
    }
}

impl Candidate {
    /// Whether this may be for the architecture of `program`. Reads nothing.
    fn may_fit(&self, program: &Elf) -> bool {
        match self.lead {
            Lead::Usual(arch, _) => arch.target() == program.target(),
            Lead::InterpreterOf(_) | Lead::Named => true,
        }
    }

    fn interpreter(&self, root: &Root) -> Option<&Interpreter> {
        let look = || match self.lead {
            Lead::InterpreterOf(program) => {
                let program = root.on_host(Path::new(program));
                let elf = Elf::read(&mut Source::open(&program).ok()?).ok()?;
                Interpreter::open_in(root, Path::new(&elf.interp?.path)).ok()
            }
            Lead::Usual(_, path) => Interpreter::open_in(root, Path::new(path)).ok(),
            Lead::Named => None,
        };
        self.interpreter.get_or_init(look).as_ref()
    }
}

/// Machine, class and, if known, libc, for a message.
fn kind(elf: &Elf, libc: Option<Libc>) -> String {
    let machine = elf.target().to_string();
    match libc {
        Some(libc) => format!("{machine} ({})", libc.name()),
        None => machine,
    }
}

/// Removes the newline from `--interpreter "$(cat $NIX_CC/nix-support/dynamic-linker)"`, when it was passed without a shell.
fn without_newline(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| !b"\n\r".contains(byte));
    PathBuf::from(OsStr::from_bytes(&bytes[..end.map_or(0, |last| last + 1)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newline_after_the_path_is_ignored() {
        assert_eq!(without_newline(Path::new("/a/b\n")), Path::new("/a/b"));
        assert_eq!(without_newline(Path::new("/a/b\r\n")), Path::new("/a/b"));
        assert_eq!(without_newline(Path::new("/a b")), Path::new("/a b"));
    }

    #[test]
    fn only_needed_dynamic_linkers_are_read() {
        let known = Interpreters::find(&[]).unwrap();
        let this = Elf::read(&mut Source::open(Path::new("/proc/self/exe")).unwrap()).unwrap();
        let wanted = Libc::of_interpreter(Path::new(&this.interp.as_ref().unwrap().path));
        assert!(matches!(known.fitting(&this, Some(wanted)), Fit::Fits(_)));
        let looked_at = known
            .candidates
            .iter()
            .filter(|one| one.interpreter.get().is_some());
        assert_eq!(looked_at.count(), 1);
    }
}
