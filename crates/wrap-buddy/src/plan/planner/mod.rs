//! Plans all files: first the libraries, then the programs, which need not load the dependencies that libraries will find themselves.

mod library;
mod program;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::plan::classify::{Available, Class, NotWrapped, classify, classify_library};
use crate::plan::openers::Openers;
use crate::plan::options::{Search, Strategy, WrapOptions};
use crate::plan::outcome::FileReport;
use crate::plan::outside::MovedTree;
use crate::plan::reason::{Refusal, SkipReason};
use crate::plan::search::{Edited, Entry, Missing, Resolution, Resolver, UnmetNeed, Unopened};
use crate::plan::unpatched::{UnpatchedLibraries, UnpatchedLibrary, report_helpers};
use crate::plan::{Plan, PlanOptions};
use crate::report::Reporter;
use crate::scan::{Target, directories};
use crate::state::access::Reach;
use crate::system::workers::{Stop, WorkerPool};
use elf_file::bytes;
use elf_file::{Elf, Payload};
use ldso::Interpreter;

/// The result of the first pass over a file.
enum Inspection {
    /// A file that is not reported.
    Nothing,
    /// A file that is finished.
    Report(FileReport),
    /// A library, planned or not.
    Library {
        report: FileReport,
        unpatched: Option<UnpatchedLibrary>,
    },
    /// A program, which is read again once all libraries are planned. Keeping it open would cost memory that one thread allocates and
    /// another frees.
    Program,
}

impl Inspection {
    fn unpatched(&self) -> Option<&UnpatchedLibrary> {
        match self {
            Inspection::Library { unpatched, .. } => unpatched.as_ref(),
            _ => None,
        }
    }

    fn plan(&self) -> Option<&Plan> {
        match self {
            Inspection::Library { report, .. } => report.plan.as_deref(),
            _ => None,
        }
    }
}

pub struct Planner<'a> {
    available: Available<'a>,
    resolver: Resolver,
    plan_options: PlanOptions<'a>,
    strategy: Strategy,
    /// Whether libraries without a DT_RUNPATH inherit the search path of every program.
    inherited: bool,
    /// Whether `--loader-dir-path` is given.
    names_loaders: bool,
    libs: &'a [PathBuf],
    runtime_dependencies: &'a [PathBuf],
    /// Whether libraries that call dlopen may get directories on their search path.
    serves_opened: bool,
    verbose: bool,
    force: bool,
    /// The tree that has to contain all files, with `--relocatable`.
    tree: Option<MovedTree>,
    targets: &'a [Target],
    reach: Reach,
    /// The directories of the targets, collected when a library is missing.
    directories: OnceLock<Vec<(PathBuf, PathBuf)>>,
}

impl<'a> Planner<'a> {
    /// `libs`, `runtime_dependencies`: the checked directories of these flags.
    pub fn new(
        available: Available<'a>,
        resolver: Resolver,
        plan_options: PlanOptions<'a>,
        options: &'a WrapOptions,
        tree: Option<MovedTree>,
        [libs, runtime_dependencies]: [&'a [PathBuf]; 2],
        targets: &'a [Target],
    ) -> Self {
        Self {
            available,
            resolver,
            plan_options,
            strategy: options.strategy,
            inherited: options.search == Search::Rpath,
            libs,
            runtime_dependencies,
            serves_opened: !runtime_dependencies.is_empty()
                || (!libs.is_empty() && !options.search_minimal),
            names_loaders: options.loader_dir_path.is_some(),
            verbose: options.output.verbose,
            force: options.force,
            tree,
            targets,
            reach: Reach::in_root(plan_options.root.clone()),
            directories: OnceLock::new(),
        }
    }

    /// Plans the targets. `reporter` prints files that stay unchanged as soon as that is decided. Once `stop` returns true, no further
    /// target is planned.
    pub fn decide(
        &self,
        pool: &WorkerPool,
        reporter: &Reporter,
        stop: Option<&Stop<'_>>,
    ) -> Vec<FileReport> {
        let stops = || stop.is_some_and(|stop| stop());
        reporter.expect(self.targets.len());
        let mut inspections = pool.map(self.targets, |target| {
            if stops() {
                return Inspection::Nothing;
            }
            let inspection = self.inspect(target);
            if !matches!(inspection, Inspection::Program) {
                reporter.step();
            }
            if let Inspection::Report(report) = &inspection {
                reporter.finished(report);
            }
            inspection
        });
        self.without_misleading_links(&mut inspections);
        let edited = edited(&inspections);
        let relative = relative(&inspections);
        let unpatched_libraries: Vec<&UnpatchedLibrary> = inspections
            .iter()
            .filter_map(Inspection::unpatched)
            .collect();
        let openers = Openers::new(unpatched_libraries.iter().map(|unpatched| {
            let soname = unpatched.soname.as_ref().map(|soname| soname.as_bytes());
            (unpatched.path.as_path(), soname)
        }));
        let unpatched_libraries = UnpatchedLibraries {
            libraries: unpatched_libraries,
            openers,
        };
        let looked = self.targets.iter().zip(&inspections);
        let programs = looked.filter(|(_, inspection)| matches!(inspection, Inspection::Program));
        let programs: Vec<&Target> = programs.map(|(target, _)| target).collect();
        let programs = pool.map(&programs, |target| {
            if stops() {
                return None;
            }
            let report = self.inspect_program(target, &edited, &relative, &unpatched_libraries);
            reporter.step();
            if let Some(report) = report.as_ref().filter(|report| report.plan.is_none()) {
                reporter.finished(report);
            }
            report
        });
        let mut programs = programs.into_iter();
        let mut files = Vec::with_capacity(inspections.len());
        let mut unpatched_libraries = Vec::new();
        for inspection in inspections {
            match inspection {
                Inspection::Nothing => {}
                Inspection::Report(report) => files.push(report),
                Inspection::Library { report, unpatched } => {
                    unpatched_libraries.extend(unpatched.map(|unpatched| (files.len(), unpatched)));
                    files.push(report);
                }
                Inspection::Program => files.extend(programs.next().flatten()),
            }
        }
        if !unpatched_libraries.is_empty() {
            let helped = self.programs_by_library(&files, pool, |file| &file.serves);
            let failing = self.programs_by_library(&files, pool, |file| &file.fails);
            report_helpers(
                &mut files,
                &unpatched_libraries,
                &helped,
                &failing,
                self.libs,
            );
        }
        files
    }

    /// Inverts the lists `of` each program: from the real path of a library to the programs that list it.
    fn programs_by_library(
        &self,
        files: &[FileReport],
        pool: &WorkerPool,
        of: impl Fn(&FileReport) -> &[PathBuf] + Sync,
    ) -> HashMap<PathBuf, Vec<PathBuf>> {
        let libraries: Vec<Vec<PathBuf>> = pool.map(files, |file| {
            let libraries = of(file).iter();
            libraries
                .map(|library| self.resolver.real(library))
                .collect()
        });
        let mut programs: HashMap<PathBuf, Vec<PathBuf>> = HashMap::new();
        for (file, libraries) in files.iter().zip(libraries) {
            for library in libraries {
                programs.entry(library).or_default().push(file.path.clone());
            }
        }
        programs
    }

    fn inspect(&self, target: &Target) -> Inspection {
        match classify_library(target, &self.available) {
            None => Inspection::Program,
            Some(Class::Program(subject, _)) => {
                target.keep(subject.source.into_file());
                Inspection::Program
            }
            Some(Class::Library(subject)) => {
                let may_link = |library: &Path| self.may_link(library, &HashSet::new());
                self.library(target, *subject, &may_link)
            }
            Some(Class::NotWrapped(not_wrapped)) => {
                let report = self.not_wrapped(target, not_wrapped);
                report.map_or(Inspection::Nothing, Inspection::Report)
            }
        }
    }

    fn inspect_program(
        &self,
        target: &Target,
        edited: &Edited<'_>,
        relative: &HashSet<PathBuf>,
        unpatched_libraries: &UnpatchedLibraries<'_>,
    ) -> Option<FileReport> {
        match classify(target, &self.available) {
            Class::Program(mut subject, stage) => {
                let payload = Payload::of(&mut subject.source);
                let mut report = self.program(
                    target,
                    *subject,
                    stage,
                    edited,
                    relative,
                    unpatched_libraries,
                );
                if let Some(plan) = &mut report.plan {
                    plan.notes
                        .extend(payload.map(|payload| payload.to_string()));
                }
                Some(report)
            }
            Class::Library(_) => {
                let shown = target.shown.clone();
                Some(FileReport::failed(shown, Refusal::Replaced))
            }
            Class::NotWrapped(not_wrapped) => self.not_wrapped(target, not_wrapped),
        }
    }

    /// The report for a file that stays unchanged.
    fn not_wrapped(&self, target: &Target, not_wrapped: NotWrapped) -> Option<FileReport> {
        let shown = target.shown.clone();
        match not_wrapped {
            NotWrapped::NotElf(_) if !target.named && !self.verbose => None,
            NotWrapped::Unfit(reason) if target.named => Some(FileReport::failed(shown, reason)),
            NotWrapped::NotElf(reason)
            | NotWrapped::Skipped(reason)
            | NotWrapped::Unfit(reason) => Some(FileReport::skipped(shown, reason)),
            NotWrapped::Failed(reason) => Some(FileReport::failed(shown, reason)),
        }
    }

    /// The report for a plan. It fails if the file needs files outside of the tree to be moved.
    fn planned(&self, shown: PathBuf, plan: Plan, interpreter: Option<&Interpreter>) -> FileReport {
        let outside = self
            .tree
            .as_ref()
            .map(|tree| tree.lacks(&plan, interpreter));
        let outside = outside.unwrap_or_default();
        if outside.is_empty() {
            return planned(shown, plan);
        }
        FileReport {
            outside: outside.clone(),
            ..FileReport::failed(shown, Refusal::Outside(outside))
        }
    }

    fn hint(&self, missing: &mut [Missing], elf: &Elf, interpreter: &Interpreter) {
        if missing.is_empty() {
            return;
        }
        let near = self.directories.get_or_init(|| directories(self.targets));
        self.resolver.hint(missing, elf, interpreter, near);
    }
}

fn planned(shown: PathBuf, mut plan: Plan) -> FileReport {
    let unopened = plan.resolution.unopened.iter();
    plan.notes.extend(unopened.map(Unopened::to_string));
    let private = plan.resolution.private.iter().map(ToString::to_string);
    plan.notes.extend(private);
    plan.notes.extend(plan.resolution.notes.clone());
    let resolution = &plan.resolution;
    let added = resolution.added.iter();
    let loaded_for = added.filter_map(|one| one.needed_by.as_ref());
    let serves: BTreeSet<PathBuf> = loaded_for.chain(&resolution.inheriting).cloned().collect();
    let notes: Vec<String> = resolution.unmet_needs.iter().map(unmet_need).collect();
    let report = match (plan.settled, plan.stub()) {
        (true, None) => FileReport::skipped(shown, SkipReason::Edited),
        (true, Some(_)) => FileReport::skipped(shown, SkipReason::Wrapped),
        (false, _) => FileReport::planned(shown, plan),
    };
    FileReport {
        serves: serves.into_iter().collect(),
        notes,
        ..report
    }
}

/// The warning about a library that is outside of the paths of this run.
fn unmet_need(one: &UnmetNeed) -> String {
    let (library, soname) = (one.library.display(), one.soname.display());
    match &one.candidate {
        Some(candidate) => format!(
            "it loads {library}, which needs {soname} but does not search the directory of {}; add {library} to --paths",
            candidate.display()
        ),
        None => format!(
            "it loads {library}, which needs {soname} and does not find it; unless the program has loaded that before, add its directory to --libs, and {library} to --paths"
        ),
    }
}

/// The directories on a search path that are not the file's own.
fn directories_of(resolution: &Resolution) -> Vec<PathBuf> {
    let directories = resolution.search.iter().filter_map(|entry| match entry {
        Entry::Directory(path) | Entry::Within(path) => Some(path.clone()),
        Entry::Kept(_) => None,
    });
    directories.collect()
}

fn starts_at_origin(entry: &OsStr) -> bool {
    bytes::contain(entry.as_bytes(), b"ORIGIN")
}

/// The libraries that will search relative to the path at which they are opened.
fn relative(inspections: &[Inspection]) -> HashSet<PathBuf> {
    let plans = inspections.iter().filter_map(Inspection::plan);
    let relative = plans.filter(|plan| plan.search.iter().any(|entry| starts_at_origin(entry)));
    relative.map(|plan| plan.file.path.clone()).collect()
}

/// The dependencies that planned libraries will find.
fn edited(inspections: &[Inspection]) -> Edited<'_> {
    let plans = inspections.iter().filter_map(Inspection::plan);
    let mut edited = Edited::with_capacity(inspections.len());
    edited.extend(plans.map(|plan| (plan.file.path.as_os_str(), &*plan.resolution.found)));
    edited
}
