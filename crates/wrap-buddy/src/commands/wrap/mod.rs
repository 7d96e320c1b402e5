pub mod human;
pub mod json;

use std::collections::BTreeMap;
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use elf_file::FileId;
use stages::Stage;

use crate::apply::{self, Options};
use crate::commands::tree_lock::TreeLock;
use crate::plan::classify::Available;
use crate::plan::defaults::Taken;
use crate::plan::library_directories::LibraryDirectories;
use crate::plan::options::{Search, Strategy, Strict, WrapOptions};
use crate::plan::outcome::{FileReport, Report, Status};
use crate::plan::outside::MovedTree;
use crate::plan::planner::Planner;
use crate::plan::reason::{Reason, Refusal, SkipReason, WriteFailure};
use crate::plan::search::{Given, Resolver, Settings};
use crate::plan::{Plan, PlanOptions};
use crate::report::Reporter;
use crate::scan::{Target, scan_observed};
use crate::state::loaders::Loaders;
use crate::system::directory::EntryKind;
use crate::system::workers::{Stop, WorkerPool};
use ldso::Interpreters;

/// Files found in directories between two checks for a signal.
const STOP_EVERY: usize = 64;

/// Wraps the files that `cli` names. `missing_stages`: for each architecture without a stage, how to get it. `reporter` gets each file as
/// it is finished.
///
/// # Errors
/// If nothing can be done at all, such as with an invalid interpreter. Errors of single files are in the report.
pub fn wrap(
    cli: &WrapOptions,
    stages: &[Stage],
    missing_stages: &[(&str, &str)],
    reporter: &Reporter,
) -> Result<Report> {
    wrap_until(cli, stages, missing_stages, reporter, &|| false)
}

/// Like [`wrap`], until `stop` returns true: files in work are finished, the others are not in the report.
pub fn wrap_until(
    cli: &WrapOptions,
    stages: &[Stage],
    missing_stages: &[(&str, &str)],
    reporter: &Reporter,
    stop: &Stop<'_>,
) -> Result<Report> {
    let nothing = || Report {
        dry_run: cli.dry_run,
        ..Report::default()
    };
    let lock = || TreeLock::on(&cli.root, &cli.paths, cli.output.quiet, stop);
    let Some(_lock) = (if cli.dry_run {
        Some(None)
    } else {
        lock().map(Some)
    }) else {
        return Ok(nothing());
    };
    let count = AtomicUsize::new(0);
    let links = Mutex::new(Vec::new());
    let (targets, unreadable) = scan_observed(
        &cli.root,
        &cli.paths,
        !cli.no_recurse,
        cli.output.wanted(),
        cli.jobs,
        &|entry| {
            reporter.found();
            if let Some(link) = entry.filter(|entry| entry.kind == EntryKind::Link) {
                let mut links = links.lock().unwrap_or_else(PoisonError::into_inner);
                links.push(cli.root.of_host(&link.path()));
            }
            // `stop` makes a system call.
            let is_due = count
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(STOP_EVERY);
            !is_due || !stop()
        },
    );
    let links = links.into_inner().unwrap_or_else(PoisonError::into_inner);
    let files = targets.iter().map(|target| target.path.clone());
    let given = Given::new(&cli.root, &cli.paths, !cli.no_recurse);
    let given = given.listed(links.into_iter().chain(files).collect());
    let mut report = wrap_targets(
        cli,
        stages,
        missing_stages,
        &targets,
        given,
        reporter,
        Some(stop),
    )?;
    if !cli.dry_run {
        report.files.retain(|file| !file.status.is_dry());
    }
    let unreadable = unreadable.into_iter();
    let unreadable =
        unreadable.map(|one| FileReport::failed(one.path, Refusal::Failed(one.reason)));
    report.files.extend(unreadable);
    match cli.strict {
        Some(Strict::All) if report.has_warnings() => {
            let error = "there are warnings, which --strict does not allow";
            report.errors.push(error.to_owned());
        }
        Some(Strict::Opened) => {
            let libraries = report.opened_in_vain();
            let errors = libraries.map(|library| {
                let path = library.path.display();
                format!("{path}: a program opens it, and it does not find its libraries, which --strict=opened does not allow")
            });
            let errors: Vec<String> = errors.collect();
            report.errors.extend(errors);
        }
        _ => {}
    }
    Ok(report)
}

/// Wraps `targets` as `cli` says. The caller has locked their directories. Missing libraries are searched for in `given`. Once `stop`
/// returns true, no further file is begun: the others keep the status of a dry run, or are not in the report.
///
/// # Errors
/// If nothing can be done at all.
pub fn wrap_targets(
    cli: &WrapOptions,
    stages: &[Stage],
    missing_stages: &[(&str, &str)],
    targets: &[Target],
    given: Given,
    reporter: &Reporter,
    stop: Option<&Stop<'_>>,
) -> Result<Report> {
    let cli = &cli.inside_root()?;
    let root = &cli.root;
    let interpreters = Interpreters::find_in(root, &cli.interpreter).context("--interpreter")?;
    let loaders = Loaders::new(root, cli.loader_dir_path.as_deref())?;
    let libs = LibraryDirectories::new(root, &cli.libs, "--libs");
    let always = cli.runtime_dependencies.iter();
    let always = always.filter(|path| !path.as_os_str().is_empty());
    let always: Vec<PathBuf> = always.cloned().collect();
    let settings = Settings {
        libraries: libs.directories.clone(),
        runtime_dependencies: always.clone(),
        needed: cli.needed.clone(),
        may_be_missing: cli.ignore_missing.clone(),
        inherited: cli.search == Search::Rpath,
        minimal: cli.search_minimal,
        relocatable: cli.relocatable,
        frozen_except: match cli.search {
            Search::Frozen => Some(cli.frozen_except.clone()),
            Search::Runpath | Search::Rpath => None,
        },
        given,
        bundle: bundle(cli, &libs.directories),
        within: cli.within.clone(),
    };
    let resolver = Resolver::in_root(root.clone(), settings);
    let available = Available {
        stages,
        missing_stages,
        interpreters: &interpreters,
        in_place: cli.strategy != Strategy::Stub,
        in_store: cli.within.is_none(),
        taken: Taken::without_flags(cli),
    };
    let plan_options = PlanOptions {
        root,
        or_stub: cli.strategy == Strategy::Auto,
        relocatable: cli.relocatable,
        self_contained: cli.brings_loaders(),
        embedded: cli.embedded,
        sidecar_directory: cli.sidecar_directory.as_deref(),
        loaders: &loaders,
    };
    if !cli.dry_run {
        apply::expect(targets.len());
    }
    let pool = WorkerPool::new(targets.len(), cli.jobs)?;
    let is_bounded = cli.relocatable && !cli.allow_outside;
    let tree = is_bounded.then(|| MovedTree::new(cli));
    let base = tree.as_ref().map(|tree| tree.base.clone());
    let planner = Planner::new(
        available,
        resolver,
        plan_options,
        cli,
        tree,
        [&libs.directories, &always],
        targets,
    );
    let mut files = planner.decide(&pool, reporter, stop);
    let mut hard_links = HardLinks::skip(&mut files, cli.dry_run);

    let mismatch = interpreters
        .mismatch()
        .filter(|_| !cli.interpreter.is_empty());
    let mut warnings = warnings(cli, &libs, &files);
    // The error of a mismatch says more.
    if mismatch.is_none() {
        warnings.extend(all_for_other_machines(&files));
    }
    let mut report = Report {
        dry_run: cli.dry_run,
        tree: base.unwrap_or_default(),
        warnings,
        errors: mismatch
            .into_iter()
            .map(|why| format!("--interpreter: {why}"))
            .collect(),
        ..Report::default()
    };
    let options = Options::of(cli);
    if cli.sidecar_directory.is_some() {
        // The caller writes elsewhere.
    } else if cli.dry_run {
        rehearse(&mut files, options, &pool);
    } else {
        reporter.writing();
        let work = || carry_out(&mut files, &mut report.installed, options, &pool, stop);
        // Freeing all that was looked up takes a while.
        pool.both(|| drop(planner), work);
        if hard_links.take_back_split(&mut files) {
            carry_out(&mut files, &mut report.installed, options, &pool, stop);
        }
    }
    hard_links.note(&mut files, cli.dry_run);
    report.files = files;
    Ok(report)
}

/// The paths that are wrapped, and those named to go with them.
fn bundle(cli: &WrapOptions, libs: &[PathBuf]) -> Vec<PathBuf> {
    let paths = cli.paths.iter();
    let paths = paths.filter_map(|path| cli.root.locate(path).ok());
    let named = libs.iter().chain(&cli.runtime_dependencies);
    paths.chain(named.map(|path| cli.root.real(path))).collect()
}

/// Files that were found under several names.
#[derive(Default)]
struct HardLinks(Vec<Names>);

struct Names {
    /// Index of the name under which the file is processed.
    first: usize,
    /// Indices of the other names, each with its own report.
    others: Vec<(usize, FileReport)>,
    /// Whether each name has become a separate file.
    split: bool,
}

impl HardLinks {
    /// Leaves one name of each file, and marks the others as skipped.
    fn skip(files: &mut [FileReport], dry_run: bool) -> Self {
        let planned = files.iter().enumerate();
        let planned = planned.filter_map(|(index, file)| Some((index, file.plan.as_ref()?)));
        let mut names: Vec<(FileId, usize)> = planned
            .filter(|(_, plan)| plan.file.names > 1)
            .map(|(index, plan)| (plan.file.id, index))
            .collect();
        names.sort_unstable();
        let mut all = Vec::new();
        for same in names.chunk_by(|(one, _), (other, _)| one == other) {
            let [(_, first), others @ ..] = same else {
                continue;
            };
            let path = files[*first]
                .plan
                .as_ref()
                .map(|plan| plan.file.on_host.clone());
            let shown = &files[*first].path;
            let reason =
                apply::fate_of_other_name(&path.unwrap_or_default(), shown, "changed", dry_run);
            let others = others.iter().map(|(_, other)| {
                let skipped = FileReport::skipped(files[*other].path.clone(), reason.clone());
                (*other, mem::replace(&mut files[*other], skipped))
            });
            all.push(Names {
                first: *first,
                others: others.collect(),
                split: false,
            });
        }
        Self(all)
    }

    /// Puts the reports of split files back. Returns false if there are none.
    fn take_back_split(&mut self, files: &mut [FileReport]) -> bool {
        let mut any = false;
        for names in &mut self.0 {
            let Some(plan) = &files[names.first].plan else {
                continue;
            };
            names.split = apply::is_split(&plan.file);
            if names.split {
                for (index, report) in &mut names.others {
                    mem::swap(&mut files[*index], report);
                    any = true;
                }
            }
        }
        any
    }

    /// Adds a note about names outside of the paths of this run.
    fn note(&self, files: &mut [FileReport], dry_run: bool) {
        for names in &self.0 {
            let Some(plan) = &mut files[names.first].plan else {
                continue;
            };
            let all = plan.file.names;
            let elsewhere = all.saturating_sub(1 + names.others.len() as u64);
            if elsewhere == 0 {
                continue;
            }
            let what = match (names.split, plan.links()) {
                (true, _) => {
                    "stay unchanged: they are in a lower layer of an overlay, and this one is now a copy"
                }
                (false, _) if dry_run && apply::is_on_overlay(&plan.file.on_host) => {
                    "would stay unchanged if the file is in a lower layer of the overlay, and otherwise change with it"
                }
                (false, Some(_)) => "change with it, but do not find its links to libraries",
                (false, None) => "change with it",
            };
            plan.notes.push(format!(
                "the file has {all} names (hard links): {elsewhere} elsewhere {what}"
            ));
        }
    }
}

/// Carries out the plans in `files` that have not been carried out, and records the results.
fn carry_out(
    files: &mut [FileReport],
    installed: &mut Vec<PathBuf>,
    options: Options,
    pool: &WorkerPool,
    stop: Option<&Stop<'_>>,
) {
    let is_due = |file: &FileReport| file.plan.is_some() && file.status.is_dry();
    let plans: Vec<&Plan> = files
        .iter()
        .filter(|file| is_due(file))
        .filter_map(|file| file.plan.as_deref())
        .collect();
    let loaders = apply::install_loaders(&plans);
    installed.extend(succeeded(&loaders));
    for file in files.iter_mut() {
        let loader = file.plan.as_ref().and_then(|plan| plan.loader());
        let install = loader.and_then(|loader| loader.install.as_ref());
        if let Some(Err(error)) = install.and_then(|install| loaders.get(&install.path)) {
            *file = FileReport::failed(file.path.clone(), Refusal::from(error.clone()));
        }
    }
    let mut planned: Vec<&mut FileReport> = files.iter_mut().filter(|file| is_due(file)).collect();
    // Libraries first: programs rely on their changes.
    planned.sort_by_key(|file| file.status != Status::WouldEdit);
    let plans: Vec<&Plan> = planned
        .iter()
        .filter_map(|file| file.plan.as_deref())
        .collect();
    let outcomes = apply::apply(&plans, options, pool, stop);
    for (file, outcome) in planned.iter_mut().zip(outcomes) {
        match outcome {
            Ok(notes) => {
                file.status = match file.status {
                    Status::WouldEdit => Status::Edited,
                    _ => Status::Wrapped,
                };
                file.notes.extend(notes);
            }
            Err(WriteFailure::Stopped) => {}
            Err(error) => **file = FileReport::failed(file.path.clone(), Refusal::from(error)),
        }
    }
}

/// Records errors for the plans in `files` that would fail.
fn rehearse(files: &mut [FileReport], options: Options, pool: &WorkerPool) {
    let planned = files.iter_mut().filter(|file| file.plan.is_some());
    let mut planned: Vec<&mut FileReport> = planned.collect();
    let plans: Vec<&Plan> = planned
        .iter()
        .filter_map(|file| file.plan.as_deref())
        .collect();
    let outcomes = apply::rehearse(&plans, options, pool);
    for (file, outcome) in planned.iter_mut().zip(outcomes) {
        if let Err(error) = outcome {
            **file = FileReport::failed(file.path.clone(), Refusal::from(error));
        }
    }
}

fn succeeded(loaders: &BTreeMap<PathBuf, apply::Result<()>>) -> impl Iterator<Item = PathBuf> {
    let written = loaders.iter().filter(|(_, outcome)| outcome.is_ok());
    written.map(|(path, _)| path.clone())
}

/// Warnings that concern no single file: about directories and loaders.
fn warnings(cli: &WrapOptions, libs: &LibraryDirectories, files: &[FileReport]) -> Vec<String> {
    let plans = files.iter().filter_map(|file| file.plan.as_ref());
    // The first file usually uses all directories.
    let first = plans.clone().next();
    let found = first.map_or(&[][..], |plan| plan.resolution.found.as_slice());
    let mut warnings = libs.warnings(|directory| {
        let mut found = found.iter();
        found.any(|(_, path)| path.parent() == Some(directory))
    });
    let mut stubs = plans.clone().filter_map(|plan| plan.stub());
    if !cli.brings_loaders() && stubs.any(|stub| stub.loader.is_none()) {
        warnings.push(
            "no directory for loaders is writable, so each program gets its own loader, as with --self-contained; pass --loader-dir-path to share one"
                .to_owned(),
        );
    }
    let loaders = plans.filter_map(|plan| plan.loader());
    for warning in loaders.filter_map(|loader| loader.warning.as_ref()) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    warnings
}

/// A warning if there are ELF files, and none of them is for a known dynamic linker.
fn all_for_other_machines(files: &[FileReport]) -> Option<String> {
    let reasons = files.iter().map(|file| match &file.reason {
        Some(Reason::Skip(reason)) => Some(reason),
        Some(Reason::Refusal(_)) | None => None,
    });
    let mut elf = reasons.filter(|reason| !reason.is_some_and(SkipReason::is_no_elf));
    let first = elf.next()??;
    let is_other = |reason: &SkipReason| reason.is_for_other_machine();
    (is_other(first) && elf.all(|reason| reason.is_some_and(is_other)))
        .then(|| format!("nothing here can run with the known dynamic linkers ({first})"))
}
