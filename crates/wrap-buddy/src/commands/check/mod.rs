//! `wrap-buddy check`: whether programs and libraries will find all they need as they are now, and what to do if not.
//! Nothing that is looked at is executed.

mod command;
pub mod diagnosis;
mod file;
pub mod human;
pub mod json;
mod kernel;
mod libraries;
mod library;
mod noexec;
mod openers;
mod outcome;
mod packages;
mod script;
mod solve;
mod subject;
mod wanted;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use stages::Stage;

use crate::commands::PathOptions;
use crate::plan::library_directories::LibraryDirectories;
use crate::report::Reporter;
use crate::scan::{Candidate, Wanted, directories, scan, scan_observed};
use crate::state::access::Reach;
use crate::system::workers::WorkerPool;
use diagnosis::{Diagnosis, Next, Note, Problem};
use elf_file::{Elf, ElfTarget, Kind};
use ldso::Root;
use ldso::{Interpreter, Interpreters, Libc};
use ldso::{ProbeCache, Processor, SearchPath, Surroundings, Tree, preload_list};
use library::Library;
use openers::Openers;

/// Which files to check, and for what.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    pub path_options: PathOptions,
    /// Library directories to wrap with, absolute.
    pub libs: Vec<PathBuf>,
    /// The dynamic linkers to wrap with.
    pub interpreter: Vec<PathBuf>,
    /// The directory that is `/` to the programs.
    pub root: Option<PathBuf>,
    /// Directories, absolute, below which missing libraries and dynamic linkers are looked for; empty: /nix/store.
    pub find_in: Vec<PathBuf>,
}

/// What this tool has done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Original,
    /// It has a stub.
    Wrapped,
    /// Its own fields say more than they did.
    InPlace,
}

/// Whether a file will start or load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Broken,
    /// That cannot be told.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct FileCheck {
    /// As the user named it, or below what the user named.
    pub path: PathBuf,
    pub kind: Kind,
    /// What was done to it.
    pub state: State,
    pub machine: Option<String>,
    /// `e_machine` and EI_CLASS of a file whose libraries were looked for.
    target: Option<ElfTarget>,
    /// The search path that it has as ld.so sees it.
    search: SearchPath,
    /// The dynamic linker it gets.
    pub interpreter: Option<PathBuf>,
    /// What it would have loaded.
    pub tree: Tree,
    pub problems: Vec<Problem>,
    /// What is not, and yet worth knowing.
    pub notes: Vec<Note>,
    pub next: Vec<Next>,
}

impl FileCheck {
    fn new(path: &Path, kind: Kind) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            state: State::Original,
            machine: None,
            target: None,
            search: SearchPath::default(),
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

    /// Whether it is a library that programs here may have the dynamic linker for, or open so that it finds everything.
    fn waits_for_programs(&self) -> bool {
        self.kind == Kind::Library && (self.interpreter.is_none() || !self.tree.missing.is_empty())
    }

    /// Whether nothing is wrong with it.
    pub fn is_well(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether it will start or load.
    pub fn outcome(&self) -> Outcome {
        let mut notes = self.notes.iter();
        match self.is_well() {
            false => Outcome::Broken,
            true if notes.any(|note| note.diagnosis.leaves_open()) => Outcome::Unknown,
            true => Outcome::Ok,
        }
    }

    /// Whether it is nothing that could start or load.
    pub fn is_no_program(&self) -> bool {
        let mut notes = self.notes.iter();
        notes.any(|note| note.diagnosis.is_no_program())
    }
}

/// How many directories above a library programs are looked for in, and in `bin` of each.
const NEARBY: usize = 3;

/// Directories in which programs of many packages are.
const SHARED: [&str; 8] = [
    "/",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local",
    "/usr/local/lib",
    "/opt",
];

/// What is found near libraries that are checked without programs.
struct Nearby {
    /// Programs, by their path.
    programs: Vec<(PathBuf, FileCheck)>,
    /// File names that a library does not find, and that are there.
    present: HashSet<OsString>,
}

#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// In the order in which they were met.
    pub files: Vec<FileCheck>,
    /// What concerns no single file.
    pub notes: Vec<String>,
    /// What to do about more than one file at once.
    pub next: Vec<Next>,
}

impl Checked {
    /// Whether nothing is wrong. Where files were named and none of them is a program or a library, that is wrong, too.
    pub fn is_well(&self) -> bool {
        let is_something = |file: &FileCheck| !file.is_no_program();
        let all_well = self.files.iter().all(FileCheck::is_well);
        all_well && (self.files.is_empty() || self.files.iter().any(is_something))
    }
}

/// What files are looked at with.
struct Checker<'a> {
    stages: &'a [Stage],
    root: Root,
    probe_cache: Arc<ProbeCache>,
    reach: Reach,
    surroundings: Surroundings,
    interpreters: Interpreters,
    /// Those that programs here have: what loads a library when none else is at hand.
    met: OnceLock<Vec<Interpreter>>,
    /// The programs here, which may open libraries.
    openers: OnceLock<Openers>,
    /// Whether `--interpreter` named them.
    named_interpreters: Vec<PathBuf>,
    library: Library,
    packages: packages::Packages,
}

/// Looks at what `check` names; `reporter` gets each file as it is finished.
///
/// # Errors
/// When nothing can be looked at, such as for a root that is no directory.
pub fn check(check: &CheckOptions, stages: &[Stage], reporter: &Reporter) -> Result<Checked> {
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
        true => check.path_options.paths.clone(),
        false => check.path_options.paths.iter().map(on_host).collect(),
    };
    let (candidates, unreadable) = scan_observed(
        &paths,
        !check.path_options.no_recurse,
        Wanted::ElfOrScript,
        check.path_options.jobs,
        &|_| {
            reporter.met();
            true
        },
    );
    let named = LibraryDirectories::new(&check.libs, "--libs");
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
    let checker = Checker {
        stages,
        probe_cache: Arc::new(ProbeCache::new(root.clone(), libs.clone())),
        reach: Reach::in_root(root.clone()),
        surroundings: Surroundings {
            library_path: library_path(&root),
            preload: preload(&root),
            processor: Processor::Own,
            ..Surroundings::default()
        },
        interpreters: Interpreters::find_in(&root, &named_interpreters).context("--interpreter")?,
        met: OnceLock::new(),
        openers: OnceLock::new(),
        named_interpreters,
        library: Library::new(root.clone(), libs, checked, find_in),
        packages: packages::Packages::of(&root),
        root,
    };
    let pool = WorkerPool::new(candidates.len(), check.path_options.jobs)?;
    reporter.expect(candidates.len());
    let finished = |file: &FileCheck| {
        reporter.step();
        reporter.finished(file);
    };
    let files = pool.map(&candidates, |candidate| {
        let file = checker.file_state(candidate);
        match &file {
            Some(file) if file.waits_for_programs() => {}
            Some(file) => finished(file),
            None => reporter.step(),
        }
        file
    });
    let _ = checker.met.set(checker.interpreters_of(&files));
    let nearby = checker.nearby(&candidates, &files);
    let near = nearby
        .programs
        .iter()
        .map(|(path, file)| (path.as_path(), file));
    let paths_checked = candidates.iter().map(|candidate| candidate.path.as_path());
    let checked = paths_checked
        .zip(&files)
        .filter_map(|(path, file)| Some((path, file.as_ref()?)));
    let all = checked.chain(near);
    let all = all.filter_map(|(path, file)| Some((checker.root.inside(path).ok()?, file)));
    let _ = checker
        .openers
        .set(Openers::new(&checker.root, all, nearby.present));
    let looked = candidates.iter().zip(files).collect();
    let files = pool.take(looked, |(candidate, file)| {
        if !file.as_ref().is_some_and(FileCheck::waits_for_programs) {
            return file;
        }
        let file = checker.file_state(candidate)?;
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
    let mut notes = named.warnings(|_| false);
    if files.iter().any(asks) {
        notes.extend(checker.packages.advice());
    }
    let next = match checker.root.is_own() {
        true => command::united(&files, &paths, stages),
        false => Vec::new(),
    };
    Ok(Checked { files, notes, next })
}

/// What the user's programs get from the environment; a tree elsewhere is started by others.
fn library_path(root: &Root) -> Vec<PathBuf> {
    let text = std::env::var_os("LD_LIBRARY_PATH").filter(|_| root.is_own());
    let paths = text.iter().flat_map(std::env::split_paths);
    paths.filter(|path| path.is_absolute()).collect()
}

fn preload(root: &Root) -> Vec<OsString> {
    let text = std::env::var_os("LD_PRELOAD").filter(|_| root.is_own());
    text.map_or(Vec::new(), |text| preload_list(text.as_encoded_bytes()))
}

impl Checker<'_> {
    /// Nothing of a file that nobody asks about.
    fn file_state(&self, candidate: &Candidate) -> Option<FileCheck> {
        file::file_state(self, candidate)
    }

    /// The dynamic linkers that the programs among `files` have, each once.
    fn interpreters_of(&self, files: &[Option<FileCheck>]) -> Vec<Interpreter> {
        let files = files.iter().flatten();
        let mut known = HashSet::new();
        let opened = files
            .filter_map(|file| file.interpreter.as_deref())
            .filter(|path| known.insert(*path))
            .map(|path| Interpreter::open_in(&self.root, path));
        opened.flatten().collect()
    }

    /// Programs next to libraries that do not find everything by themselves, where no program for them is to be checked: a
    /// package's own, which may be what opens them.
    fn nearby(&self, candidates: &[Candidate], files: &[Option<FileCheck>]) -> Nearby {
        let targets = |kind: Kind| {
            let files = files.iter().flatten().filter(move |file| file.kind == kind);
            files.filter_map(|file| file.target).collect::<HashSet<_>>()
        };
        let programs = targets(Kind::Program);
        let mut directories: Vec<PathBuf> = Vec::new();
        let mut missing: HashSet<OsString> = HashSet::new();
        for (candidate, file) in candidates.iter().zip(files) {
            let waits = |file: &FileCheck| {
                let has_programs = file.target.is_some_and(|one| programs.contains(&one));
                file.kind == Kind::Library && !file.tree.missing.is_empty() && !has_programs
            };
            if let Some(file) = file.as_ref().filter(|file| waits(file)) {
                let above = candidate.path.ancestors().skip(1).take(NEARBY);
                let is_shared = |one: &Path| SHARED.iter().any(|shared| Path::new(shared) == one);
                let own = above.take_while(|one| !is_shared(one));
                let each = own.flat_map(|one| [one.to_owned(), one.join("bin")]);
                directories.extend(each.filter(|one| one.is_dir()));
                missing.extend(file.tree.missing.iter().map(|missing| missing.name.clone()));
            }
        }
        directories.sort_unstable();
        directories.dedup();
        let (found, _) = scan(&directories, false, Wanted::Elf, None);
        let programs = found.into_iter().filter_map(|candidate| {
            let file = self.file_state(&candidate)?;
            (file.kind == Kind::Program).then_some((candidate.path, file))
        });
        let entries = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten();
        let mut present = HashSet::new();
        for own in directories.iter().flat_map(|one| entries(one)) {
            let below = entries(&own.path());
            let files = iter::once(own).chain(below);
            let missing = files.filter(|file| missing.contains(&file.file_name()));
            let found = missing.filter(|file| file.path().is_file());
            present.extend(found.map(|file| file.file_name()));
        }
        Nearby {
            programs: programs.collect(),
            present,
        }
    }

    /// One that a program here has, for the library `elf`.
    fn met(&self, elf: &Elf) -> Option<&Interpreter> {
        let libc = Libc::of_library(elf);
        let mut met = self.met.get()?.iter();
        met.find(|one| one.elf.target() == elf.target() && libc.is_none_or(|libc| libc == one.libc))
    }
}
