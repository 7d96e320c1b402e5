//! `wrap-buddy check`: whether programs and libraries find all of their dependencies, and what to do if not. It executes none of the
//! checked files.

mod command;
pub mod diagnosis;
pub mod dot;
mod file;
mod group;
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
use crate::plan::options::inside_root;
use crate::report::Reporter;
use crate::scan::{Target, Wanted, directories, scan, scan_observed};
use crate::state::access::Reach;
use crate::system::workers::WorkerPool;
pub use command::Command as ProposedCommand;
use command::Command;
use diagnosis::{Diagnosis, Next, Note, Problem};
use elf_file::{Elf, ElfTarget, FileId, Kind};
use ldso::Root;
use ldso::{Cause, Node, ProbeCache, Rule};
use ldso::{Interpreter, Interpreters, Libc};
use ldso::{Processor, SearchPath, Surroundings, Tree, preload_list};
use library::Library;
use openers::Openers;

#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    pub path_options: PathOptions,
    /// Library directories that wrapping would use, absolute.
    pub libs: Vec<PathBuf>,
    /// Dynamic linkers that wrapping would use.
    pub interpreter: Vec<PathBuf>,
    /// Absolute directories to search recursively for missing libraries and dynamic linkers; empty means /nix/store.
    pub find_in: Vec<PathBuf>,
    /// Print the libraries of each program as a tree.
    pub tree: bool,
    /// Whether to run the commands that are proposed.
    pub fix: Option<Fix>,
}

/// How to run the commands that `check` proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fix {
    /// Ask on the terminal first.
    Ask,
    WithoutAsking,
    DryRun,
}

/// How this tool has changed a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Original,
    Wrapped,
    /// Its PT_INTERP or .dynamic was edited.
    InPlace,
}

/// Whether a file will start or load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Broken,
    /// It could not be checked in full.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct FileCheck {
    /// As you named it, or a file below a directory that you named.
    pub path: PathBuf,
    file_id: Option<FileId>,
    pub kind: Kind,
    pub state: State,
    pub machine: Option<String>,
    /// Set if its libraries were checked.
    target: Option<ElfTarget>,
    /// The search path that ld.so uses for it.
    search: SearchPath,
    /// Whether that is the one that it was wrapped with, and not in its .dynamic.
    has_wrapped_search: bool,
    /// The dynamic linker that runs it.
    pub interpreter: Option<PathBuf>,
    /// The libraries that it loads.
    pub tree: Tree,
    pub problems: Vec<Problem>,
    /// Whether its problems are only warnings: it is a library in a directory, and no checked program loads or names it.
    pub only_warns: bool,
    pub notes: Vec<Note>,
    pub next: Vec<Next>,
}

impl FileCheck {
    fn new(path: &Path, kind: Kind) -> Self {
        Self {
            path: path.to_owned(),
            file_id: None,
            kind,
            state: State::Original,
            machine: None,
            target: None,
            search: SearchPath::default(),
            has_wrapped_search: false,
            interpreter: None,
            tree: Tree::default(),
            problems: Vec::new(),
            only_warns: false,
            notes: Vec::new(),
            next: Vec::new(),
        }
    }

    fn note(&mut self, diagnosis: Diagnosis, text: impl Into<String>) {
        self.notes.push(Note::new(diagnosis, text));
    }

    /// Whether it is a library whose result depends on the programs: their dynamic linker, their libraries, or whether they load it.
    fn waits_for_programs(&self) -> bool {
        let is_open = self.interpreter.is_none() || !self.tree.missing.is_empty();
        self.kind == Kind::Library && (is_open || !self.is_well())
    }

    pub fn is_well(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether it makes the check fail.
    pub fn fails(&self) -> bool {
        !self.is_well() && !self.only_warns
    }

    pub fn outcome(&self) -> Outcome {
        let mut notes = self.notes.iter();
        match self.is_well() {
            false => Outcome::Broken,
            true if notes.any(|note| note.diagnosis.leaves_open()) => Outcome::Unknown,
            true => Outcome::Ok,
        }
    }

    pub fn is_no_program(&self) -> bool {
        let mut notes = self.notes.iter();
        notes.any(|note| note.diagnosis.is_no_program())
    }

    /// The file whose DT_RPATH or DT_RUNPATH finds the library with this index of the tree.
    fn searched_by(&self, index: usize) -> Option<&Path> {
        let by = self.tree.searched_by(index)?;
        Some(self.tree.path_of(by, &self.path))
    }

    /// The rule that finds the library with this index of the tree, in words.
    fn rule(&self, index: usize) -> String {
        let Node { found, cause, .. } = &self.tree.nodes[index];
        let is_own = self.tree.searched_by(index) == Some(None);
        let rule = match (self.searched_by(index), found.rule) {
            (Some(path), _) if is_own && self.has_wrapped_search => {
                format!("search path in the sidecar of {}", path.display())
            }
            (Some(path), rule) => format!("{rule} of {}", path.display()),
            (None, rule @ (Rule::Rpath | Rule::Runpath)) => {
                format!("{rule} of the program that opens it")
            }
            (None, rule) => rule.to_string(),
        };
        let hwcaps = found.subdirectory.as_ref();
        let hwcaps = hwcaps.map(|one| format!(", {}", one.display()));
        let cause = match cause {
            Cause::Needed => String::new(),
            Cause::Filtee => ", filtee".to_owned(),
            Cause::Preload(from) => format!(", preloaded by {}", from.display()),
        };
        format!("{rule}{}{cause}", hwcaps.unwrap_or_default())
    }
}

/// How many parent directories of a library, and their `bin`, to search for programs.
const NEARBY: usize = 3;

/// Directories with programs of many packages.
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

/// Programs and files near libraries that are checked without a program.
struct Nearby {
    /// Each with its path.
    programs: Vec<(PathBuf, FileCheck)>,
    /// File names that a library does not find, and that exist there.
    present: HashSet<OsString>,
}

#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// In the order in which they were found.
    pub files: Vec<FileCheck>,
    /// Notes that concern no single file.
    pub notes: Vec<String>,
    /// Proposals that concern several files.
    pub next: Vec<Next>,
}

impl Checked {
    /// Whether no file makes the check fail. If files were named, at least one of them has to be a program or a library.
    pub fn is_well(&self) -> bool {
        let is_something = |file: &FileCheck| !file.is_no_program();
        let fails = self.files.iter().any(FileCheck::fails);
        !fails && (self.files.is_empty() || self.files.iter().any(is_something))
    }

    /// The files whose libraries `--tree` and `--format dot` show: programs, and libraries if there are only those, or with `all`.
    fn with_trees(&self, all: bool) -> Vec<&FileCheck> {
        let has_programs = self.files.iter().any(|file| file.kind == Kind::Program);
        let is_shown = |file: &&FileCheck| match file.kind {
            Kind::Program => true,
            Kind::Library => all || !has_programs,
            _ => false,
        };
        self.files.iter().filter(is_shown).collect()
    }

    /// The proposed commands that wrap, without those that another one replaces.
    pub fn commands(&self) -> Vec<&Command> {
        let all = self.files.iter().flat_map(|file| &file.next);
        let each = all.filter(|next| !next.is_replaced);
        let commands = self.next.iter().chain(each);
        commands.filter_map(|next| next.call.as_deref()).collect()
    }
}

struct Checker<'a> {
    stages: &'a [Stage],
    root: Root,
    probe_cache: Arc<ProbeCache>,
    reach: Reach,
    surroundings: Surroundings,
    interpreters: Interpreters,
    /// The dynamic linkers of the programs checked: they load a library if no other is known.
    program_interpreters: OnceLock<Vec<Interpreter>>,
    /// The programs checked, which may open libraries.
    openers: OnceLock<Openers>,
    /// The values of `--interpreter`.
    named_interpreters: Vec<PathBuf>,
    library: Library,
    packages: packages::Packages,
}

/// Checks the files that `check` names. `reporter` gets each file as it is finished.
///
/// # Errors
/// If nothing can be checked, such as for a root that is not a directory.
pub fn check(check: &CheckOptions, stages: &[Stage], reporter: &Reporter) -> Result<Checked> {
    let root = check.path_options.root.clone();
    let inside = |paths: &[PathBuf], flag: &str| inside_root(&root, paths, flag);
    let paths = &check.path_options.paths;
    let (targets, unreadable) = scan_observed(
        &root,
        paths,
        !check.path_options.no_recurse,
        Wanted::ElfOrScript,
        check.path_options.jobs,
        &|_| {
            reporter.found();
            true
        },
    );
    let named = LibraryDirectories::new(&root, &inside(&check.libs, "--libs")?, "--libs");
    let libs = named.directories.clone();
    let named_interpreters = inside(&check.interpreter, "--interpreter")?;
    let find_in = match check.find_in.as_slice() {
        [] => vec![PathBuf::from("/nix/store")],
        directories => {
            let named = directories.iter().filter(|one| !one.as_os_str().is_empty());
            inside(&named.cloned().collect::<Vec<_>>(), "--find-in")?
        }
    };
    let checked = directories(&targets).into_iter();
    let checked: Vec<PathBuf> = checked.map(|(_, real)| real).collect();
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
        program_interpreters: OnceLock::new(),
        openers: OnceLock::new(),
        named_interpreters,
        library: Library::new(root.clone(), libs, checked, find_in),
        packages: packages::Packages::of(&root),
        root,
    };
    let pool = WorkerPool::new(targets.len(), check.path_options.jobs)?;
    reporter.expect(targets.len());
    let finished = |file: &FileCheck| {
        reporter.step();
        reporter.finished(file);
    };
    let files = pool.map(&targets, |target| {
        let file = checker.file_state(target);
        match &file {
            Some(file) if file.waits_for_programs() => {}
            Some(file) => finished(file),
            None => reporter.step(),
        }
        file
    });
    let _ = checker
        .program_interpreters
        .set(checker.interpreters_of(&files));
    let nearby = checker.nearby(&targets, &files);
    let near = nearby
        .programs
        .iter()
        .map(|(path, file)| (path.as_path(), file));
    let paths_checked = targets.iter().map(|target| target.path.as_path());
    let checked = paths_checked
        .zip(&files)
        .filter_map(|(path, file)| Some((path, file.as_ref()?)));
    let checked = checked.map(|(path, file)| (path.to_owned(), file));
    let near = near.map(|(path, file)| (path.to_owned(), file));
    let openers = Openers::new(&checker.root, checked, near, nearby.present);
    let openers = checker.openers.get_or_init(|| openers);
    let programs = files.iter().flatten();
    let programs = programs.filter(|file| file.kind == Kind::Program);
    let loaded = programs.flat_map(|file| &file.tree.nodes);
    let loaded: HashSet<FileId> = loaded.filter_map(|node| node.found.elf.file_id).collect();
    let looked = targets.iter().zip(files).collect();
    let files = pool.take(looked, |(target, file)| {
        if !file.as_ref().is_some_and(FileCheck::waits_for_programs) {
            return file;
        }
        let mut file = checker.file_state(target)?;
        let is_loaded = |file: &FileCheck| file.file_id.is_some_and(|id| loaded.contains(&id));
        file.only_warns = !file.is_well()
            && file.kind == Kind::Library
            && !target.named
            && !is_loaded(&file)
            && !openers.is_named(&file, &target.path);
        finished(&file);
        Some(file)
    });
    let mut files: Vec<FileCheck> = files.into_iter().flatten().collect();
    files.extend(unreadable.into_iter().map(|one| {
        let problem = Problem::new(Diagnosis::Unopenable, one.reason);
        FileCheck {
            problems: vec![problem.help("check the spelling of the path")],
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
    let next = command::combined(&mut files, paths, stages);
    Ok(Checked { files, notes, next })
}

/// LD_LIBRARY_PATH of your environment; with `--root`, others start the programs.
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
    /// `None` for a file that is not reported.
    fn file_state(&self, target: &Target) -> Option<FileCheck> {
        file::file_state(self, target)
    }

    /// The dynamic linkers of the programs among `files`, each once.
    fn interpreters_of(&self, files: &[Option<FileCheck>]) -> Vec<Interpreter> {
        let files = files.iter().flatten();
        let mut known = HashSet::new();
        let opened = files
            .filter_map(|file| file.interpreter.as_deref())
            .filter(|path| known.insert(*path))
            .map(|path| Interpreter::open_in(&self.root, path));
        opened.flatten().collect()
    }

    /// Programs next to libraries that do not find all of their dependencies, if no program that could open them is checked. They belong to
    /// the same package and may open these libraries.
    fn nearby(&self, targets: &[Target], files: &[Option<FileCheck>]) -> Nearby {
        let elf_targets = |kind: Kind| {
            let files = files.iter().flatten().filter(move |file| file.kind == kind);
            files.filter_map(|file| file.target).collect::<HashSet<_>>()
        };
        let programs = elf_targets(Kind::Program);
        let mut directories: Vec<PathBuf> = Vec::new();
        let mut missing: HashSet<OsString> = HashSet::new();
        for (target, file) in targets.iter().zip(files) {
            let waits = |file: &FileCheck| {
                let has_programs = file.target.is_some_and(|one| programs.contains(&one));
                file.kind == Kind::Library && !file.tree.missing.is_empty() && !has_programs
            };
            if let Some(file) = file.as_ref().filter(|file| waits(file)) {
                let above = target.path.ancestors().skip(1).take(NEARBY);
                let is_shared = |one: &Path| SHARED.iter().any(|shared| Path::new(shared) == one);
                let own = above.take_while(|one| !is_shared(one));
                let each = own.flat_map(|one| [one.to_owned(), one.join("bin")]);
                let on_host = each.map(|one| self.root.on_host(&one));
                directories.extend(on_host.filter(|one| one.is_dir()));
                missing.extend(file.tree.missing.iter().map(|missing| missing.name.clone()));
            }
        }
        directories.sort_unstable();
        directories.dedup();
        let (found, _) = scan(&self.root, &directories, false, Wanted::Elf, None);
        let programs = found.into_iter().filter_map(|target| {
            let file = self.file_state(&target)?;
            (file.kind == Kind::Program).then_some((target.path, file))
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

    /// The dynamic linker of a checked program that matches the library `elf`.
    fn interpreter_of_programs(&self, elf: &Elf) -> Option<&Interpreter> {
        let libc = Libc::of_library(elf);
        let mut known = self.program_interpreters.get()?.iter();
        known.find(|one| {
            one.elf.target() == elf.target() && libc.is_none_or(|libc| libc == one.libc)
        })
    }
}
