//! `wrap-buddy check`: whether programs and libraries will find all they need as they are now, and what to do if not.
//! Nothing that is looked at is executed.

pub mod diagnosis;
mod file;
pub mod human;
pub mod json;
mod kernel;
mod libraries;
mod library;
mod outcome;
mod packages;
mod script;
mod solve;
mod subject;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use stages::Stage;

use crate::cli::Check;
use crate::crew::Crew;
use crate::inspect::Elf;
use crate::interpreter::{Interpreter, Interpreters, Libc};
use crate::named::Named;
use crate::reach::Reach;
use crate::report::Teller;
use crate::report::json::Line;
use crate::resolve::{Processor, Shelf, Surroundings, Tree, preload_list};
use crate::root::Root;
use crate::scan::{Candidate, Wanted, directories, scan_told};
use diagnosis::{Diagnosis, Next, Note, Problem};
use library::Library;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A program with a dynamic linker.
    Program,
    /// A program that needs none.
    Static,
    /// A shared library.
    Library,
    /// It begins with `#!`.
    Script,
    /// Nothing that could be started.
    Other,
}

/// What this tool has done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Original,
    /// It has a stub.
    Wrapped,
    /// Its own fields say more than they did.
    InPlace,
}

/// One file.
#[derive(Clone, Debug)]
pub struct FileCheck {
    /// As the user named it, or below what the user named.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// What was done to it.
    pub state: State,
    /// Its architecture.
    pub machine: Option<String>,
    /// The dynamic linker it gets.
    pub interpreter: Option<PathBuf>,
    /// What it would have loaded.
    pub tree: Tree,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is not, and yet worth knowing.
    pub notes: Vec<Note>,
    /// What to do.
    pub next: Vec<Next>,
}

impl FileCheck {
    fn new(path: &Path, kind: Kind) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            state: State::Original,
            machine: None,
            interpreter: None,
            tree: Tree::default(),
            problems: Vec::new(),
            notes: Vec::new(),
            next: Vec::new(),
        }
    }

    fn note(&mut self, diagnosis: Diagnosis, text: impl Into<String>) {
        self.notes.push(Note {
            diagnosis,
            text: text.into(),
            is_detail: false,
        });
    }

    /// Whether it is a library that one of the programs here may have the dynamic linker for.
    fn waits_for_programs(&self) -> bool {
        self.kind == Kind::Library && self.interpreter.is_none()
    }

    /// Whether it will start.
    pub fn is_well(&self) -> bool {
        self.problems.is_empty()
    }
}

/// All files.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// In the order in which they were met.
    pub files: Vec<FileCheck>,
    /// What concerns no single file.
    pub notes: Vec<String>,
}

impl Checked {
    /// Whether all will start.
    pub fn is_well(&self) -> bool {
        self.files.iter().all(FileCheck::is_well)
    }
}

/// What files are looked at with.
struct Desk<'a> {
    stages: &'a [Stage],
    root: Root,
    shelf: Shelf,
    reach: Reach,
    surroundings: Surroundings,
    interpreters: Interpreters,
    /// Those that programs here have: what loads a library when none else is at hand.
    met: OnceLock<Vec<Interpreter>>,
    /// Whether `--interpreter` named them.
    named_interpreters: Vec<PathBuf>,
    library: Library,
    packages: packages::Packages,
}

/// Looks at what `check` names; `teller` hears of files as they are finished.
///
/// # Errors
/// When nothing can be looked at, such as for a root that is no directory.
pub fn check(check: &Check, stages: &[Stage], teller: &Teller) -> Result<Checked> {
    let root = match &check.root {
        Some(directory) => {
            Root::at(directory).with_context(|| format!("--root {}", directory.display()))?
        }
        None => Root::default(),
    };
    let inside = |paths: &[PathBuf], flag: &str| -> Result<Vec<PathBuf>> {
        let each = paths.iter().map(|path| {
            let inside = root.inside(path);
            inside.with_context(|| format!("{flag} {} is not below --root", path.display()))
        });
        each.collect()
    };
    let on_host = |path: &PathBuf| {
        root.inside(path)
            .map_or(path.clone(), |at| root.on_host(&at))
    };
    let paths: Vec<PathBuf> = match root.is_own() {
        true => check.look.paths.clone(),
        false => check.look.paths.iter().map(on_host).collect(),
    };
    let (candidates, unreadable) = scan_told(
        &paths,
        !check.look.no_recurse,
        Wanted::ElfOrScript,
        check.look.jobs,
        &|| {
            teller.met();
            true
        },
    );
    let named = Named::new(&check.libs, "--libs");
    let libs = inside(&named.directories, "--libs")?;
    let named_interpreters = inside(&check.interpreter, "--interpreter")?;
    let find_in = match check.find_in.as_slice() {
        [] => vec![PathBuf::from("/nix/store")],
        directories => {
            let named = directories.iter().filter(|one| !one.as_os_str().is_empty());
            inside(&named.cloned().collect::<Vec<_>>(), "--find-in")?
        }
    };
    let checked = directories(&candidates).into_iter();
    let checked = checked.filter_map(|(_, real)| root.inside(&real).ok());
    let checked: Vec<PathBuf> = checked.collect();
    let desk = Desk {
        stages,
        shelf: Shelf::new(root.clone(), libs.clone()),
        reach: Reach::in_root(root.clone()),
        surroundings: Surroundings {
            library_path: library_path(&root),
            preload: preload(&root),
            processor: Processor::Own,
            ..Surroundings::default()
        },
        interpreters: Interpreters::find_in(&root, &named_interpreters).context("--interpreter")?,
        met: OnceLock::new(),
        named_interpreters,
        library: Library::new(root.clone(), libs, checked, find_in),
        packages: packages::Packages::of(&root),
        root,
    };
    let crew = Crew::new(candidates.len(), check.look.jobs)?;
    teller.expect(candidates.len());
    let finished = |file: &FileCheck| {
        teller.step();
        teller.finished(&file.path, || Line::checked(file));
    };
    let files = crew.map(&candidates, |candidate| {
        let file = desk.look_at(candidate);
        match &file {
            Some(file) if file.waits_for_programs() => {}
            Some(file) => finished(file),
            None => teller.step(),
        }
        file
    });
    let _ = desk.met.set(desk.interpreters_of(&files));
    let looked = candidates.iter().zip(files).collect();
    let files = crew.take(looked, |(candidate, file)| {
        if !file.as_ref().is_some_and(FileCheck::waits_for_programs) {
            return file;
        }
        let file = desk.look_at(candidate)?;
        finished(&file);
        Some(file)
    });
    let mut files: Vec<FileCheck> = files.into_iter().flatten().collect();
    files.extend(unreadable.into_iter().map(|one| {
        let problem = Problem::new(Diagnosis::Unopenable, one.reason);
        FileCheck {
            problems: vec![problem.help("name a file or a directory that is there")],
            ..FileCheck::new(&one.path, Kind::Other)
        }
    }));
    let asks = |file: &FileCheck| {
        let mut problems = file.problems.iter();
        let missing = [Diagnosis::LibraryMissing, Diagnosis::LibraryPassedOver];
        problems.any(|problem| missing.contains(&problem.diagnosis) && problem.help.is_empty())
    };
    let mut notes = named.warnings;
    if files.iter().any(asks) {
        notes.extend(desk.packages.advice());
    }
    Ok(Checked { files, notes })
}

/// What the user's programs get from the environment; a tree elsewhere is started by others.
fn library_path(root: &Root) -> Vec<PathBuf> {
    let text = std::env::var_os("LD_LIBRARY_PATH").filter(|_| root.is_own());
    let paths = text.iter().flat_map(std::env::split_paths);
    paths.filter(|path| path.is_absolute()).collect()
}

/// The same.
fn preload(root: &Root) -> Vec<OsString> {
    let text = std::env::var_os("LD_PRELOAD").filter(|_| root.is_own());
    text.map_or(Vec::new(), |text| preload_list(text.as_encoded_bytes()))
}

impl Desk<'_> {
    /// Nothing of a file that nobody asks about.
    fn look_at(&self, candidate: &Candidate) -> Option<FileCheck> {
        file::look_at(self, candidate)
    }

    /// The dynamic linkers that the programs among `files` have, each once.
    fn interpreters_of(&self, files: &[Option<FileCheck>]) -> Vec<Interpreter> {
        let mut paths: Vec<&Path> = Vec::new();
        for path in files
            .iter()
            .flatten()
            .filter_map(|file| file.interpreter.as_deref())
        {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        let opened = paths
            .into_iter()
            .map(|path| Interpreter::open_in(&self.root, path));
        opened.flatten().collect()
    }

    /// One that a program here has, for the library `elf`.
    fn met(&self, elf: &Elf) -> Option<&Interpreter> {
        let libc = Libc::of_library(elf);
        let mut met = self.met.get()?.iter();
        met.find(|one| {
            (one.elf.machine, one.elf.class) == (elf.machine, elf.class)
                && libc.is_none_or(|libc| libc == one.libc)
        })
    }
}
