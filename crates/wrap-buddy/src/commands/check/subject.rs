//! A file as ld.so will see it: if it was wrapped, with the settings in its sidecar.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use sidecar::{Flags, Id, Sidecar, loader};
use stages::Stage;

use super::State;
use super::diagnosis::{Diagnosis, Note, Problem};
use crate::commands::status::{loader_flag, refused_loader, sidecar_gone_but, sidecar_misplaced};
use crate::scan::Target;
use crate::state::detect;
use crate::state::given::give;
use crate::state::limits;
use crate::state::preloader;
use crate::state::prior::{self, Method, PriorWrap, Progress};
use crate::state::unusable::Unusable;
use crate::system::privilege::Privilege;
use elf_file::{Elf, Source};

/// An ELF file and its state.
pub struct Subject {
    /// The headers that ld.so will see.
    pub elf: Elf,
    /// Its dynamic linker: PT_INTERP, or a path relative to the file's directory.
    pub interpreter: Option<PathBuf>,
    pub state: State,
    /// Whether it is a program that lost its PT_INTERP when it was wrapped.
    pub lost_interp: bool,
    /// The loader that its stub starts; `None` if it is in the sidecar.
    pub loader: Option<PathBuf>,
    /// ABI version of the loader that its stub starts.
    pub abi: u16,
    /// Its sidecar.
    pub sidecar: Option<PathBuf>,
    /// The sidecar that the stub looks for, absolute or relative to the file's directory, and the identity that it must have.
    pub own_sidecar: Option<(PathBuf, Id)>,
    /// Whether its search path is the one in its sidecar.
    pub has_wrapped_search: bool,
    /// The rights that it has beyond its caller's.
    pub privilege: Option<Privilege>,
    /// `--relocatable`, `--self-contained` or `--embedded` if it was wrapped with that and can be again.
    pub flag: Option<&'static str>,
    /// Whether it was wrapped with paths relative to its directory.
    pub is_relocatable: bool,
    /// Problems found while reading it.
    pub problems: Vec<Problem>,
    /// Notes found while reading it.
    pub notes: Vec<Note>,
}

impl Subject {
    /// Reads the file `target`, open as `source`.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn read(target: &Target, source: &mut Source, stages: &[Stage]) -> anyhow::Result<Self> {
        let elf = Elf::read(source)?;
        let state = detect::state(&target.root, &target.path, &elf, source, stages);
        let mut subject = Self {
            interpreter: asked_for(&elf),
            elf,
            state: State::Original,
            lost_interp: false,
            loader: None,
            abi: loader::ABI,
            sidecar: None,
            own_sidecar: None,
            has_wrapped_search: false,
            privilege: Privilege::of(source.file(), source.metadata()),
            flag: None,
            is_relocatable: false,
            problems: Vec::new(),
            notes: Vec::new(),
        };
        let unusable = match &state {
            prior::State::Original | prior::State::Known(_) => None,
            prior::State::Unusable(reason) => Some(reason),
        };
        if let Some(reason) = unusable {
            let problem = Problem::new(diagnosis_of(reason), reason.to_string());
            subject.problems.push(problem);
        }
        subject.lost_interp = state.lost_interp(&subject.elf);
        let prior::State::Known(prior) = state else {
            return Ok(subject);
        };
        match prior.method {
            // ld.so uses the fields in the file.
            Method::InPlace => {
                subject.state = State::InPlace;
                source.uncover();
            }
            // PT_INTERP is still there, so the kernel starts ld.so, and the code at the entry point works, stub or not.
            Method::Stub if prior.progress != Progress::Done => {
                subject.elf = Elf::read(source)?;
                let text = "a run of wrap-buddy was stopped before it finished this file; wrap or restore it again";
                subject.note(Diagnosis::RunStopped, text);
            }
            Method::Stub => {
                if let Some(name) = preloader::of(&target.root, &target.path) {
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
        self.notes.push(Note::new(diagnosis, text));
    }

    /// Reads the original bytes, and adds the words that the loader will write.
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
        if !prior.is_next_to_file && prior.record.is_empty() {
            let text = format!("its sidecar is {}", prior.sidecar_path.display());
            self.note(Diagnosis::SidecarElsewhere, &text);
        }
        self.loader.clone_from(&prior.loader);
        self.sidecar = prior.record.is_empty().then(|| prior.sidecar_path.clone());
        self.own_sidecar = prior.own_sidecar.clone().map(|path| (path, prior.id));
        self.elf = Elf::read(source)?;
        let Ok(sidecar) = Sidecar::parse(prior.used()) else {
            return Ok(());
        };
        let header = sidecar.header();
        self.is_relocatable = header.flags.contains(Flags::RELOCATABLE);
        self.abi = sidecar.abi();
        if let Err(reason) = limits::check_loader_takes(&self.elf, &sidecar) {
            let help = "wrap it to give it its own sidecar";
            self.unusable(Diagnosis::SidecarOfAnother, &reason.to_string(), help);
        }
        let embedded = (!prior.record.is_empty()).then_some("--embedded");
        self.flag = loader_flag(&sidecar).or(embedded);
        if let Some(text) = refused_loader(source.file(), &sidecar) {
            let help = "wrap it again without that flag, or remove its additional rights (chmod ug-s, setcap -r)";
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

    /// Reads the original bytes, and adds the settings in the first wrap-buddy's sidecar.
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
        let text = "wrapped by the first wrap-buddy, whose loader is not checked; wrap it again to replace that";
        self.note(Diagnosis::FirstWrapBuddy, text);
        Ok(())
    }

    /// Adds the settings that ld.so gets; `search` comes with whether libraries inherit it.
    fn given<'n>(
        &mut self,
        interpreter: &[u8],
        search: (&[u8], bool),
        needed: impl Iterator<Item = &'n [u8]>,
    ) {
        self.interpreter = Some(PathBuf::from(OsStr::from_bytes(interpreter)));
        self.has_wrapped_search |= give(&mut self.elf, search, needed);
    }
}

fn diagnosis_of(reason: &Unusable) -> Diagnosis {
    match reason {
        Unusable::Changed(_) | Unusable::InterpReused(_) => Diagnosis::SidecarOfAnother,
        Unusable::Orphan(_) => Diagnosis::SidecarGone,
        Unusable::Untrusted(_) => Diagnosis::SidecarUntrusted,
        Unusable::UnknownSidecar { .. } => Diagnosis::SidecarUnknown,
    }
}

fn asked_for(elf: &Elf) -> Option<PathBuf> {
    elf.interp
        .as_ref()
        .map(|interp| PathBuf::from(&interp.path))
}
