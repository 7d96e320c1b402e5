//! Plans all files: first the libraries, then the programs, which need not load the dependencies that libraries will find themselves.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use stages::Stage;

use crate::plan::classify::{Available, Class, NotWrapped, Subject, classify, classify_library};
use crate::plan::openers::Openers;
use crate::plan::options::{Search, Strategy, WrapOptions};
use crate::plan::outcome::FileReport;
use crate::plan::outside::MovedTree;
use crate::plan::reason::{NoRoom, Refusal, SkipReason};
use crate::plan::search::{Edited, Entry, Missing, Resolution, Resolver, UnmetNeed, Unopened};
use crate::plan::unpatched::{UnpatchedLibraries, UnpatchedLibrary, joined, report_helpers};
use crate::plan::{self, NotEdited, Plan, PlanOptions};
use crate::report::Reporter;
use crate::scan::{Candidate, directories};
use crate::state::access::Reach;
use crate::state::preloader;
use crate::state::prior::Method;
use crate::system::workers::{Stop, WorkerPool};
use elf_file::bytes;
use elf_file::{Elf, FileId, Payload, imports};
use ldso::{Interpreter, Libc};

/// The functions that open a library by name for their caller.
const DLOPEN: [&str; 3] = ["dlopen", "dlmopen", "__libc_dlopen_mode"];

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
    candidates: &'a [Candidate],
    reach: Reach,
    /// The directories of the candidates, collected when a library is missing.
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
        candidates: &'a [Candidate],
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
            candidates,
            reach: Reach::default(),
            directories: OnceLock::new(),
        }
    }

    /// Plans the candidates. `reporter` prints files that stay unchanged as soon as that is decided. Once `stop` returns true, no further
    /// candidate is planned.
    pub fn decide(
        &self,
        pool: &WorkerPool,
        reporter: &Reporter,
        stop: Option<&Stop<'_>>,
    ) -> Vec<FileReport> {
        let stops = || stop.is_some_and(|stop| stop());
        reporter.expect(self.candidates.len());
        let mut inspections = pool.map(self.candidates, |candidate| {
            if stops() {
                return Inspection::Nothing;
            }
            let inspection = self.inspect(candidate);
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
        let looked = self.candidates.iter().zip(&inspections);
        let programs = looked.filter(|(_, inspection)| matches!(inspection, Inspection::Program));
        let programs: Vec<&Candidate> = programs.map(|(candidate, _)| candidate).collect();
        let programs = pool.map(&programs, |candidate| {
            if stops() {
                return None;
            }
            let report = self.inspect_program(candidate, &edited, &relative, &unpatched_libraries);
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

    fn inspect(&self, candidate: &Candidate) -> Inspection {
        match classify_library(candidate, &self.available) {
            None => Inspection::Program,
            Some(Class::Program(subject, _)) => {
                candidate.keep(subject.source.into_file());
                Inspection::Program
            }
            Some(Class::Library(subject)) => {
                let may_link = |library: &Path| self.may_link(library, &HashSet::new());
                self.library(candidate, *subject, &may_link)
            }
            Some(Class::NotWrapped(not_wrapped)) => {
                let report = self.not_wrapped(candidate, not_wrapped);
                report.map_or(Inspection::Nothing, Inspection::Report)
            }
        }
    }

    fn inspect_program(
        &self,
        candidate: &Candidate,
        edited: &Edited<'_>,
        relative: &HashSet<PathBuf>,
        unpatched_libraries: &UnpatchedLibraries<'_>,
    ) -> Option<FileReport> {
        match classify(candidate, &self.available) {
            Class::Program(mut subject, stage) => {
                let payload = Payload::of(&mut subject.source);
                let mut report = self.program(
                    candidate,
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
                let shown = candidate.shown.clone();
                Some(FileReport::failed(shown, Refusal::Replaced))
            }
            Class::NotWrapped(not_wrapped) => self.not_wrapped(candidate, not_wrapped),
        }
    }

    /// The report for a file that stays unchanged.
    fn not_wrapped(&self, candidate: &Candidate, not_wrapped: NotWrapped) -> Option<FileReport> {
        let shown = candidate.shown.clone();
        match not_wrapped {
            NotWrapped::NotElf(_) if !candidate.named && !self.verbose => None,
            NotWrapped::Unfit(reason) if candidate.named => Some(FileReport::failed(shown, reason)),
            NotWrapped::NotElf(reason)
            | NotWrapped::Skipped(reason)
            | NotWrapped::Unfit(reason) => Some(FileReport::skipped(shown, reason)),
            NotWrapped::Failed(reason) => Some(FileReport::failed(shown, reason)),
        }
    }

    /// Plans a library. If it calls dlopen, its search path gets the directories for that, if there is room.
    fn library(
        &self,
        candidate: &Candidate,
        mut subject: Subject<'a>,
        may_link: &dyn Fn(&Path) -> bool,
    ) -> Inspection {
        let opens = self.serves_opened
            && self
                .resolver
                .serves_opened(&subject.elf, &subject.interpreter)
            && !imports(&subject.elf, &mut subject.source, &DLOPEN).is_empty();
        let for_opened = opens.then(|| self.resolve_library(candidate, &subject, true));
        let for_opened = for_opened.filter(|one| one.search_changes && one.missing.is_empty());
        let (subject, no_room) = match for_opened {
            None => (subject, None),
            Some(resolution) => {
                let planned_so = plan::in_place(
                    &candidate.path,
                    subject,
                    resolution,
                    &self.plan_options,
                    may_link,
                );
                match planned_so {
                    Ok(plan) => {
                        return Inspection::Library {
                            report: self.planned(candidate.shown.clone(), plan, None),
                            unpatched: None,
                        };
                    }
                    Err((NotEdited::Failed(error), _)) => {
                        let reason = Refusal::from(error);
                        return Inspection::Report(FileReport::failed(
                            candidate.shown.clone(),
                            reason,
                        ));
                    }
                    Err((NotEdited::NoRoom(no_room), parts)) => (parts.0, Some(no_room)),
                }
            }
        };
        let runpath = subject
            .elf
            .dynamic
            .as_ref()
            .and_then(|own| own.runpath.as_ref());
        let is_given = !self.runtime_dependencies.is_empty();
        let note = no_room.map(|no_room| no_room_for_opened(&no_room, is_given, runpath.is_some()));
        let mut inspection = self.library_with_needs(candidate, subject, may_link);
        if let Inspection::Library { report, .. } = &mut inspection {
            report.notes.extend(note);
        }
        inspection
    }

    fn resolve_library(
        &self,
        candidate: &Candidate,
        subject: &Subject<'_>,
        opens: bool,
    ) -> Resolution {
        let (elf, interpreter) = (&subject.elf, &*subject.interpreter);
        self.resolver
            .library(&candidate.path, elf, interpreter, opens)
    }

    /// Plans a library by its dependencies alone.
    fn library_with_needs(
        &self,
        candidate: &Candidate,
        subject: Subject<'a>,
        may_link: &dyn Fn(&Path) -> bool,
    ) -> Inspection {
        let mut resolution = self.resolve_library(candidate, &subject, false);
        let shown = candidate.shown.clone();
        let (elf, interpreter) = (&subject.elf, &*subject.interpreter);
        let mut missing = std::mem::take(&mut resolution.missing);
        self.hint(&mut missing, elf, interpreter);
        let failed = candidate.named && !missing.is_empty();
        let prior = subject.prior.as_ref().map(|prior| prior.method);
        let is_edited = prior == Some(Method::InPlace);
        let with_missing = |report: FileReport| Inspection::Library {
            report: FileReport {
                missing: missing.clone(),
                ..report
            },
            unpatched: None,
        };
        if failed {
            return with_missing(FileReport::failed(shown, Refusal::LibrariesMissing(prior)));
        }
        if !resolution.search_changes {
            let reason = match (missing.is_empty(), is_edited) {
                (true, false) => SkipReason::LibraryFindsAll,
                (false, false) => SkipReason::LibraryLacks,
                (true, true) => SkipReason::EditedInVain,
                (false, true) => {
                    // In its present state it finds them.
                    let names: Vec<&OsString> = missing.iter().map(|one| &one.soname).collect();
                    let names = joined(&names, ", ");
                    let reason = Refusal::LibrariesMissing(prior);
                    let note = format!("{reason}: {names}");
                    let mut report = FileReport::skipped(shown, reason);
                    report.notes.push(note);
                    return Inspection::Library {
                        report,
                        unpatched: None,
                    };
                }
            };
            return with_missing(FileReport::skipped(shown, reason));
        }
        let needs: Vec<OsString> = resolution
            .found
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let directories = directories_of(&resolution);
        let inherits = interpreter.libc == Libc::Musl
            || elf
                .dynamic
                .as_ref()
                .is_none_or(|dynamic| dynamic.runpath.is_none());
        let kind = elf.target();
        let soname = elf.soname().cloned();
        match plan::in_place(
            &candidate.path,
            subject,
            resolution,
            &self.plan_options,
            may_link,
        ) {
            Ok(plan) => with_missing(self.planned(shown, plan, None)),
            Err((NotEdited::Failed(error), _)) => {
                with_missing(FileReport::failed(shown, Refusal::from(error)))
            }
            Err((NotEdited::NoRoom(no_room), _)) => {
                let reason = SkipReason::NoSearchPath {
                    no_room: no_room.clone(),
                    advice: Vec::new(),
                };
                let unpatched = UnpatchedLibrary {
                    path: candidate.path.clone(),
                    needs,
                    directories,
                    inherits,
                    kind,
                    soname,
                    named: candidate.named,
                    no_room,
                };
                Inspection::Library {
                    report: FileReport {
                        missing,
                        ..FileReport::skipped(shown, reason)
                    },
                    unpatched: Some(unpatched),
                }
            }
        }
    }

    /// Plans libraries again without links if a link leads to a library that will search relative to the path at which it is opened.
    fn without_misleading_links(&self, inspections: &mut [Inspection]) {
        let relative = relative(inspections);
        if relative.is_empty() {
            return;
        }
        let misled = |plan: &Plan| {
            let links = plan.links().into_iter().flat_map(|links| &links.links);
            let found = &plan.resolution.found;
            links.into_iter().any(|(name, _)| {
                let mut targets = found.iter().filter(|(known, _)| known == name);
                targets.any(|(_, target)| self.is_among(target, &relative))
            })
        };
        for (candidate, inspection) in self.candidates.iter().zip(inspections) {
            if inspection.plan().is_some_and(misled)
                && let Class::Library(subject) = classify(candidate, &self.available)
            {
                *inspection = self.library(candidate, *subject, &|_| false);
            }
        }
    }

    /// Whether `library` works through a symbolic link in another directory. The libraries `relative` will search relative to the path at
    /// which they are opened.
    fn may_link(&self, library: &Path, relative: &HashSet<PathBuf>) -> bool {
        !self.resolver.depends_on_its_place(library) && !self.is_among(library, relative)
    }

    fn is_among(&self, library: &Path, libraries: &HashSet<PathBuf>) -> bool {
        !libraries.is_empty() && libraries.contains(&self.resolver.real(library))
    }

    /// Plans a program, after the libraries. `edited`: libraries that are edited; `relative`: those of them that will use $ORIGIN.
    fn program(
        &self,
        candidate: &Candidate,
        mut subject: Subject<'_>,
        stage: Result<&Stage, SkipReason>,
        edited: &Edited<'_>,
        relative: &HashSet<PathBuf>,
        unpatched_libraries: &UnpatchedLibraries<'_>,
    ) -> FileReport {
        let path = &candidate.path;
        // Otherwise the resolver would open the file a second time.
        let (elf, source) = (&subject.elf, &mut subject.source);
        self.resolver
            .read_program(path, elf, &subject.interpreter, source);
        let mut resolution = self.resolve_program(path, &subject, edited, &[]);
        let mut opened = self.opened(unpatched_libraries, &mut subject, &resolution);
        let (elf, interpreter) = (&subject.elf, &*subject.interpreter);
        let to_inherit = match self.lets_libraries_inherit(elf, interpreter) {
            true => Vec::new(),
            false => self.directories_to_inherit(
                opened
                    .iter()
                    .map(|&index| unpatched_libraries.libraries[index]),
            ),
        };
        if !to_inherit.is_empty() {
            resolution = self.resolve_program(path, &subject, edited, &to_inherit);
        }
        if self.lets_libraries_inherit(elf, interpreter) || !to_inherit.is_empty() {
            let offered = directories_of(&resolution);
            let kind = elf.target();
            for (index, unpatched) in unpatched_libraries.libraries.iter().enumerate() {
                let serves = unpatched.kind == kind && unpatched.inherits_from(&offered);
                let opens = serves && opened.remove(&index);
                if opens || (serves && self.is_given(unpatched)) {
                    resolution.inheriting.push(unpatched.path.clone());
                }
            }
        }
        let fails = opened.iter();
        let fails = fails.map(|&index| unpatched_libraries.libraries[index].path.clone());
        let fails = fails.collect();
        let report = self.program_served(candidate, subject, stage, relative, resolution);
        FileReport { fails, ..report }
    }

    /// Indices of the unpatched libraries that the program opens. Those that it loads as dependencies are not among them.
    fn opened(
        &self,
        unpatched_libraries: &UnpatchedLibraries<'_>,
        subject: &mut Subject<'_>,
        resolution: &Resolution,
    ) -> BTreeSet<usize> {
        let Subject { elf, source, .. } = subject;
        let kind = elf.target();
        if unpatched_libraries
            .libraries
            .iter()
            .all(|unpatched| unpatched.kind != kind)
        {
            return BTreeSet::new();
        }
        let loaded = resolution.found.iter().map(|(_, path)| path.as_path());
        let mut opened = unpatched_libraries
            .openers
            .named_by(elf, source, loaded.clone());
        let loaded: HashSet<PathBuf> = loaded.map(|path| self.resolver.real(path)).collect();
        opened.retain(|&index| {
            let unpatched = unpatched_libraries.libraries[index];
            unpatched.kind == kind && !loaded.contains(&unpatched.path)
        });
        opened
    }

    /// The directories that the libraries `opened` have to inherit, in the order of `--libs`.
    fn directories_to_inherit<'r>(
        &self,
        opened: impl Iterator<Item = &'r UnpatchedLibrary>,
    ) -> Vec<PathBuf> {
        let inheriting = opened.filter(|unpatched| unpatched.inherits);
        let directories: HashSet<&PathBuf> = inheriting
            .flat_map(|unpatched| &unpatched.directories)
            .collect();
        let mut directories: Vec<PathBuf> = directories.into_iter().cloned().collect();
        directories.sort_by_cached_key(|directory| {
            let file_id = self.libs.iter().position(|one| one == directory);
            (file_id.unwrap_or(self.libs.len()), directory.clone())
        });
        directories
    }

    /// Whether every program gets the directories for the library by `--search rpath --runtime-dependencies`.
    fn is_given(&self, unpatched: &UnpatchedLibrary) -> bool {
        let given = |directory| self.runtime_dependencies.contains(directory);
        self.inherited && unpatched.directories.iter().all(given)
    }

    /// Resolves a program, as if the settings from the first wrap-buddy's sidecar were in the program.
    fn resolve_program(
        &self,
        path: &Path,
        subject: &Subject<'_>,
        edited: &Edited<'_>,
        to_inherit: &[PathBuf],
    ) -> Resolution {
        let (elf, interpreter) = (&subject.elf, &*subject.interpreter);
        let Some(defaults) = &subject.defaults else {
            return self
                .resolver
                .program(path, elf, interpreter, edited, to_inherit);
        };
        let with_defaults = defaults.apply(elf);
        let mut resolution =
            self.resolver
                .program(path, &with_defaults, interpreter, edited, to_inherit);
        defaults.complete(elf, &mut resolution);
        resolution
    }

    /// Plans a program, once its libraries are known.
    fn program_served(
        &self,
        candidate: &Candidate,
        subject: Subject<'_>,
        stage: Result<&Stage, SkipReason>,
        relative: &HashSet<PathBuf>,
        mut resolution: Resolution,
    ) -> FileReport {
        let shown = candidate.shown.clone();
        let interpreter = subject.interpreter.clone();
        let (elf, interpreter) = (&subject.elf, &*interpreter);
        let path = &candidate.path;
        let mode = subject.source.metadata().mode();
        let prior = subject.prior.as_ref().map(|prior| prior.method);
        if !resolution.missing.is_empty() {
            self.hint(&mut resolution.missing, elf, interpreter);
            return FileReport {
                missing: resolution.missing,
                ..FileReport::failed(shown, Refusal::LibrariesMissing(prior))
            };
        }
        if prior.is_none() && !self.force && self.starts_as_it_is(elf, interpreter, &resolution) {
            return FileReport {
                serves: resolution.inheriting,
                ..FileReport::skipped(shown, SkipReason::StartsAsItIs)
            };
        }
        let preloader = preloader::of(path);
        // The sidecar with the original bytes is of the other method.
        let settled = subject.prior.as_ref().filter(|one| !one.is_unfinished());
        let settled = settled.map(|one| one.method);
        let in_place = match settled {
            Some(Method::InPlace) => true,
            Some(Method::Stub) if self.strategy == Strategy::Inplace => {
                return FileReport::skipped(shown, SkipReason::WrappedByStub);
            }
            Some(Method::Stub) => false,
            // Its stub is undone first.
            Some(Method::Legacy) | None => self.strategy != Strategy::Stub || preloader.is_some(),
        };
        let or_stub = self.strategy != Strategy::Inplace && settled != Some(Method::InPlace);
        let mut plan_options = self.plan_options;
        let mut notes = Vec::new();
        if let Some(defaults) = &subject.defaults {
            notes.push(defaults.note.clone());
            if defaults.is_relocatable && !plan_options.relocatable {
                plan_options.relocatable = true;
                plan_options.self_contained |= !self.names_loaders;
            }
        }
        let with_notes = |mut plan: Plan| {
            plan.notes.splice(0..0, notes);
            plan
        };
        let (mut subject, mut resolution) = (subject, resolution);
        if in_place {
            let may_link = |library: &Path| self.may_link(library, relative);
            match plan::in_place(path, subject, resolution, &plan_options, &may_link) {
                Ok(mut plan) => {
                    let note = preloader.map(|name| {
                        format!("edited in place, because {name} maps it and reads its PT_INTERP")
                    });
                    plan.notes.extend(note);
                    return self.planned_program(shown, with_notes(plan), mode, interpreter);
                }
                Err((NotEdited::NoRoom(_), parts)) if or_stub => (subject, resolution) = *parts,
                Err((NotEdited::NoRoom(no_room), _)) => {
                    return FileReport::failed(shown, Refusal::NotInPlace(no_room));
                }
                Err((NotEdited::Failed(error), _)) => {
                    return FileReport::failed(shown, Refusal::from(error));
                }
            }
        }
        let stage = match stage {
            Ok(stage) => stage,
            Err(reason) if candidate.named => return FileReport::failed(shown, reason),
            Err(reason) => return FileReport::skipped(shown, reason),
        };
        match plan::stub(path, subject, stage, resolution, &plan_options) {
            Ok(plan) => {
                let warning = preloader.map(|name| preloader::warning(&name, prior));
                let mut report = self.planned_program(shown, with_notes(plan), mode, interpreter);
                report.notes.extend(warning);
                report
            }
            Err(error) => FileReport::failed(shown, Refusal::from(error)),
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

    /// The report for a program of mode `mode`, with a warning if users who can run it cannot read a file that it needs.
    fn planned_program(
        &self,
        shown: PathBuf,
        plan: Plan,
        mode: u32,
        interpreter: &Interpreter,
    ) -> FileReport {
        let directory = plan.path.parent().unwrap_or(Path::new("/"));
        let loader = plan.loader().map(|loader| directory.join(&loader.path));
        let libraries = plan.resolution.found.iter().map(|(_, path)| path.as_path());
        let files = [interpreter.path.as_path()].into_iter().chain(libraries);
        let sidecar = plan.settled.then_some(plan.sidecar_path.as_path());
        let files = loader.as_deref().into_iter().chain(sidecar).chain(files);
        let out_of_reach = self.reach.out_of_reach(mode, directory, files);
        let mut report = self.planned(shown, plan, Some(interpreter));
        report.notes.extend(out_of_reach.iter().map(|one| {
            let is_loader = loader
                .as_ref()
                .is_some_and(|loader| one.files.contains(loader));
            let or = match is_loader {
                true => "pass --self-contained",
                false => "use a copy in a directory that all users can read",
            };
            format!("{one}; {}, or {or}", one.barrier.remedy())
        }));
        report
    }

    /// Whether wrapping would change nothing for the original program `elf`: its PT_INTERP is the dynamic linker that it would get, and it
    /// finds all of its libraries by its own search path and the defaults.
    fn starts_as_it_is(
        &self,
        elf: &Elf,
        interpreter: &Interpreter,
        resolution: &Resolution,
    ) -> bool {
        let keeps_search =
            !resolution.search_changes || !self.inherited && directories_of(resolution).is_empty();
        let nothing_to_add = resolution.added.is_empty()
            && resolution.prepended.is_empty()
            && resolution.ignored.is_empty()
            && resolution.unmet_versions.is_empty()
            && resolution.unversioned_relr.is_empty();
        let own = elf.interp.as_ref().map(|interp| Path::new(&interp.path));
        keeps_search
            && nothing_to_add
            && !self.plan_options.relocatable
            && own.is_some_and(|own| own.is_absolute() && is_same_file(own, &interpreter.path))
    }

    /// Whether libraries that the program `elf` opens inherit its future search path.
    fn lets_libraries_inherit(&self, elf: &Elf, interpreter: &Interpreter) -> bool {
        let own = elf.dynamic.as_ref();
        interpreter.libc == Libc::Musl
            || self.inherited
            || own.is_some_and(|own| own.is_inherited())
    }

    fn hint(&self, missing: &mut [Missing], elf: &Elf, interpreter: &Interpreter) {
        if missing.is_empty() {
            return;
        }
        let near = self
            .directories
            .get_or_init(|| directories(self.candidates));
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

fn is_same_file(one: &Path, other: &Path) -> bool {
    let file_id = |path: &Path| fs::metadata(path).map(|file| FileId::from(&file)).ok();
    one == other || file_id(one).is_some_and(|one| Some(one) == file_id(other))
}

/// The directories on a search path that are not the file's own.
fn directories_of(resolution: &Resolution) -> Vec<PathBuf> {
    let directories = resolution.search.iter().filter_map(|entry| match entry {
        Entry::Directory(path) | Entry::Within(path) => Some(path.clone()),
        Entry::Kept(_) => None,
    });
    directories.collect()
}

/// The note for a library that calls dlopen, but has no room for the directories. If only `--libs` names them, the text is the same for all
/// such libraries, because there may be many that never need these directories.
fn no_room_for_opened(no_room: &NoRoom, is_given: bool, has_runpath: bool) -> String {
    let advice = match has_runpath {
        true => {
            "wrap the programs that open it with --needed and the names of the libraries that it opens"
        }
        false => "wrap the programs that open it with --search rpath",
    };
    let (flag, reason) = match is_given {
        true => ("--runtime-dependencies", format!(": {no_room}")),
        false => ("--libs", String::new()),
    };
    format!(
        "it opens libraries with dlopen, but will not find them in the directories of {flag}: there is no room for a longer search path{reason}; {advice}"
    )
}

fn starts_at_origin(entry: &OsStr) -> bool {
    bytes::contain(entry.as_bytes(), b"ORIGIN")
}

/// The libraries that will search relative to the path at which they are opened.
fn relative(inspections: &[Inspection]) -> HashSet<PathBuf> {
    let plans = inspections.iter().filter_map(Inspection::plan);
    let relative = plans.filter(|plan| plan.search.iter().any(|entry| starts_at_origin(entry)));
    relative.map(|plan| plan.path.clone()).collect()
}

/// The dependencies that planned libraries will find.
fn edited(inspections: &[Inspection]) -> Edited<'_> {
    let plans = inspections.iter().filter_map(Inspection::plan);
    let mut edited = Edited::with_capacity(inspections.len());
    edited.extend(plans.map(|plan| (plan.path.as_os_str(), &*plan.resolution.found)));
    edited
}
