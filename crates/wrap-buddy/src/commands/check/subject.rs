//! A file as the dynamic linker will see it: with what its sidecar says, if it was wrapped.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sidecar::{Flags, Id, Sidecar, loader};
use stages::Stage;

use super::State;
use super::diagnosis::{Diagnosis, Note, Problem};
use crate::commands::status::{loader_flag, refused_loader, sidecar_gone_but, sidecar_misplaced};
use crate::state::limits;
use crate::state::preloader;
use crate::state::prior::{self, Method, PriorWrap, Progress};
use crate::system::privilege::Privilege;
use elf_file::{Elf, Source};

/// An ELF file, and what was done to it.
pub struct Subject {
    /// What ld.so will see.
    pub elf: Elf,
    /// The dynamic linker that it will be: as the file has it, or relative to the file's directory.
    pub interpreter: Option<PathBuf>,
    /// What was done to it.
    pub state: State,
    /// Whether it is a program that has lost its PT_INTERP by that.
    pub lost_interp: bool,
    /// The loader that its stub starts; none where that is in the sidecar.
    pub loader: Option<PathBuf>,
    /// Version of the loader that its stub starts.
    pub abi: u16,
    /// Where its sidecar is on this machine.
    pub sidecar: Option<PathBuf>,
    /// Where that sidecar is looked for, absolute or relative to the file's directory, and what ties the stub to it.
    pub own_sidecar: Option<(PathBuf, Id)>,
    /// What it has beyond who starts it.
    pub privilege: Option<Privilege>,
    /// The flag it was wrapped with, of those that say where its loader is, and can be again.
    pub flag: Option<&'static str>,
    /// Whether its dynamic linker and search path are relative to its directory because it was wrapped so.
    pub is_relocatable: bool,
    /// What is wrong already.
    pub problems: Vec<Problem>,
    /// What is to be said besides.
    pub notes: Vec<Note>,
}

impl Subject {
    /// Reads the file at `path` of this machine, open as `source`.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(path: &Path, source: &mut Source, stages: &[Stage]) -> anyhow::Result<Self> {
        let elf = Elf::read(source)?;
        let state = prior::state(path, &elf, source, stages);
        let mut subject = Self {
            interpreter: asked_for(&elf),
            elf,
            state: State::Original,
            lost_interp: false,
            loader: None,
            abi: loader::ABI,
            sidecar: None,
            own_sidecar: None,
            privilege: Privilege::of(source.file(), source.metadata()),
            flag: None,
            is_relocatable: false,
            problems: Vec::new(),
            notes: Vec::new(),
        };
        let unusable = match &state {
            prior::State::Original | prior::State::Known(_) => None,
            prior::State::Changed(_) => Some(Diagnosis::SidecarOfAnother),
            prior::State::Orphan(_) => Some(Diagnosis::SidecarGone),
            prior::State::Untrusted(_) => Some(Diagnosis::SidecarUntrusted),
            prior::State::Unknown { .. } => Some(Diagnosis::SidecarUnknown),
        };
        if let Some((diagnosis, refusal)) = unusable.zip(state.refusal()) {
            subject.problems.push(Problem::new(diagnosis, refusal));
        }
        subject.lost_interp = state.lost_interp(&subject.elf);
        let prior::State::Known(prior) = state else {
            return Ok(subject);
        };
        match prior.method {
            // Its own fields are what counts.
            Method::InPlace => {
                subject.state = State::InPlace;
                source.uncover();
            }
            // PT_INTERP is still there, so the kernel starts ld.so, and that either code at the entry point.
            Method::Stub if prior.progress != Progress::Done => {
                subject.elf = Elf::read(source)?;
                let text = "a run of wrap-buddy was stopped before it was done with it: wrap it again, or restore it";
                subject.note(Diagnosis::RunStopped, text);
            }
            Method::Stub => {
                if let Some(name) = preloader::of(path) {
                    let text = preloader::warning(&name, Some(Method::Stub));
                    subject.note(Diagnosis::StubUnderPreloader, &text);
                }
                subject.through_sidecar(source, &prior)?;
            }
            Method::Legacy => subject.through_legacy(source, &prior)?,
        }
        Ok(subject)
    }

    fn unusable(&mut self, diagnosis: Diagnosis, text: &str, help: &str) {
        self.problems.push(Problem::new(diagnosis, text).help(help));
    }

    fn note(&mut self, diagnosis: Diagnosis, text: &str) {
        self.notes.push(Note {
            diagnosis,
            text: text.to_owned(),
            is_detail: false,
        });
    }

    /// The original bytes, with the words the loader will write.
    fn through_sidecar(&mut self, source: &mut Source, prior: &PriorWrap) -> anyhow::Result<()> {
        self.state = State::Wrapped;
        if let Some(origin) = &prior.bytes_of {
            let text = sidecar_gone_but(prior, origin);
            self.problems
                .push(Problem::new(Diagnosis::SidecarGone, text));
            return Ok(());
        }
        if let Some(text) = sidecar_misplaced(prior) {
            self.problems
                .push(Problem::new(Diagnosis::SidecarGone, text));
        }
        if !prior.is_beside {
            let text = format!("it uses the sidecar {}", prior.sidecar_path.display());
            self.note(Diagnosis::SidecarElsewhere, &text);
        }
        self.loader.clone_from(&prior.loader);
        self.sidecar = Some(prior.sidecar_path.clone());
        self.own_sidecar = prior.own_sidecar.clone().map(|path| (path, prior.id));
        self.elf = Elf::read(source)?;
        let Ok(sidecar) = Sidecar::parse(&prior.sidecar) else {
            return Ok(());
        };
        let header = sidecar.header();
        self.is_relocatable = header.flags.contains(Flags::RELOCATABLE);
        self.abi = sidecar.abi();
        if let Err(reason) = limits::check_loader_takes(&self.elf, &sidecar) {
            let help = "wrap it, and it gets a sidecar of its own";
            self.unusable(Diagnosis::SidecarOfAnother, &reason, help);
        }
        self.flag = loader_flag(&sidecar);
        if let Some(text) = refused_loader(source.file(), &sidecar) {
            let help = "wrap it again without that flag, or take from it what it was given: chmod ug-s, setcap -r";
            self.unusable(Diagnosis::LoaderRefused, &text, help);
            self.flag = None;
        }
        self.given(
            sidecar.interpreter(),
            (sidecar.search(), header.flags.contains(Flags::RPATH)),
            sidecar.needed_names(),
        );
        Ok(())
    }

    /// The original bytes, with what the first wrap-buddy's sidecar says.
    fn through_legacy(&mut self, source: &mut Source, prior: &PriorWrap) -> anyhow::Result<()> {
        self.state = State::Wrapped;
        self.elf = Elf::read(source)?;
        let Some(legacy) = prior.legacy() else {
            return Ok(());
        };
        self.is_relocatable = legacy.is_relocatable();
        self.given(
            legacy.interpreter,
            (legacy.search, false),
            legacy.needed_names(),
        );
        let text = "wrapped by the first wrap-buddy, whose loader is not looked at: wrap it again to need that no more";
        self.note(Diagnosis::FirstWrapBuddy, text);
        Ok(())
    }

    /// What ld.so is told; of the search path, whether libraries inherit it.
    fn given<'n>(
        &mut self,
        interpreter: &[u8],
        (search, is_inherited): (&[u8], bool),
        needed: impl Iterator<Item = &'n [u8]>,
    ) {
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        self.interpreter = Some(PathBuf::from(text(interpreter)));
        let Some(dynamic) = &mut self.elf.dynamic else {
            return;
        };
        if !search.is_empty() {
            let search = Some(text(search));
            (dynamic.rpath, dynamic.runpath) = match is_inherited {
                true => (search, None),
                false => (None, search),
            };
        }
        dynamic.needed.splice(0..0, needed.map(text));
    }
}

fn asked_for(elf: &Elf) -> Option<PathBuf> {
    elf.interp
        .as_ref()
        .map(|interp| PathBuf::from(&interp.path))
}
