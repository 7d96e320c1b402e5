//! Writes plans to disk. No other room writes to an ELF file.
//!
//! The order for each file: the sidecar and the links next to it; then the edits that nothing refers to yet (the slot, e_entry if it moves,
//! strings); last the edits that make them effective (PT_INTERP and .dynamic). Each step is on disk before the next begins, so that a file
//! whose change was stopped at any point works as before or as planned, and the next run completes it. The last step is flushed only if
//! something relies on it: a copy that replaces the file, or links that are removed.
//!
//! A file that already works with other settings is replaced by a changed copy, and its sidecar after that: see `settle`.

pub mod archive;
pub mod cached_copy;
mod change;
mod copy;
mod job;
mod link_directory;
mod rehearsal;
mod running;
mod sidecar_file;
mod target_directories;
pub mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use sidecar::EditKind;

use crate::plan::Plan;
use crate::plan::options::WrapOptions;
use crate::plan::reason::{SkipReason, Step, WriteFailure};
use crate::plan::restore::Restoration;
use crate::scan::TargetFile;
use crate::state::loaders::Install;
use crate::system::directory::Directory;
use crate::system::open_files;
use crate::system::sidecar_path::new_sidecar_name;
use crate::system::workers::{Stop, WorkerPool};
use change::Change;
use elf_file::io_reason;
use job::Job;
use rehearsal::Rehearsal;
use running::{Running, await_starts};
use target_directories::{TargetDirectories, TargetDirectory, parent};

/// Most programs to process at a time: each is an open file. Larger batches need fewer syncs.
const BATCH: u64 = 4096;

/// With more programs than this, whole file systems are synced instead of single files.
const FEW: usize = 8;

/// What was not done is the error.
pub type Result<T> = std::result::Result<T, WriteFailure>;

/// Carries out `plans`. Returns notes or an error for each. Plans that are left because `stop` returned true have the error
/// [`WriteFailure::Stopped`], or are missing at the end of the list.
pub fn apply(
    plans: &[&Plan],
    options: Options,
    pool: &WorkerPool,
    stop: Option<&Stop<'_>>,
) -> Vec<Result<Vec<String>>> {
    let batches = plans.chunks(batch(plans.len()));
    batches
        .take_while(|_| !stop.is_some_and(|stop| stop()))
        .flat_map(|batch| apply_batch(batch, options, pool, stop))
        .collect()
}

/// Checks each of `plans` without writing: permissions, file systems and running programs. Returns the errors that [`apply`] would return.
pub fn rehearse(plans: &[&Plan], options: Options, pool: &WorkerPool) -> Vec<Result<Vec<String>>> {
    let rehearsal = Rehearsal::new(options);
    pool.map(plans, |plan| rehearsal.plan(plan))
}

/// Like [`rehearse`], for [`restore`].
pub fn rehearse_restore(
    restorations: &[&Restoration],
    options: Options,
    pool: &WorkerPool,
) -> Vec<Result<Vec<String>>> {
    let rehearsal = Rehearsal::new(options);
    pool.map(restorations, |one| rehearsal.restoration(one))
}

/// How many of `count` programs to process at a time. Each may need an open directory, too.
fn batch(count: usize) -> usize {
    let limit = open_files::raise_limit(2 * count as u64, 2 * BATCH);
    (limit / 2).max(1) as usize
}

/// Prepares for `count` programs. Call it before starting threads.
pub fn expect(count: usize) {
    if count > FEW {
        open_files::expect(2 * batch(count) as u64);
    }
}

/// Installs the loaders that `plans` need, each once. Returns the result for each path.
pub fn install_loaders(plans: &[&Plan]) -> BTreeMap<PathBuf, Result<()>> {
    let mut installed = BTreeMap::new();
    let loaders = plans.iter().filter_map(|plan| plan.loader());
    for install in loaders.filter_map(|loader| loader.install.as_ref()) {
        installed
            .entry(install.path.clone())
            .or_insert_with(|| write_loader(install));
    }
    installed
}

fn write_loader(install: &Install) -> Result<()> {
    let above = parent(&install.path);
    let missing = above.ancestors().take_while(|one| !one.exists());
    let missing: Vec<&Path> = missing.filter(|_| install.for_all).collect();
    // The user or this tool has chosen the directory, so symbolic links are followed.
    fs::create_dir_all(above)
        .and_then(|()| {
            for made in missing {
                fs::set_permissions(made, Permissions::from_mode(0o755))?;
            }
            let content = sidecar_file::Content {
                bytes: install.image,
                mode: 0o644,
                owner: None,
                modified: None,
            };
            let directory = Directory::open(&fs::canonicalize(above)?)?;
            let name = install.path.file_name().unwrap_or_default();
            sidecar_file::write(&directory, name, new_sidecar_name(name), &content, true)?;
            directory.sync()
        })
        .map_err(|error| WriteFailure::Loader {
            path: install.path.clone(),
            reason: io_reason(&error),
        })
}

fn sidecar_failure(path: &Path, error: &io::Error) -> WriteFailure {
    WriteFailure::Sidecar {
        path: path.to_owned(),
        reason: io_reason(error),
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Replace a file in use by a changed copy.
    pub replace: bool,
    /// No other user writes to the directories: root keeps its rights.
    pub trust_tree: bool,
}

impl Options {
    pub fn of(cli: &WrapOptions) -> Self {
        Self {
            replace: cli.replace,
            trust_tree: cli.trust_tree,
        }
    }
}

fn apply_batch(
    plans: &[&Plan],
    options: Options,
    pool: &WorkerPool,
    stop: Option<&Stop<'_>>,
) -> Vec<Result<Vec<String>>> {
    let few = plans.len() <= FEW;
    let mut target_directories = TargetDirectories::of(
        plans.iter().map(|plan| plan.file.on_host.as_path()),
        options,
    );
    let running = Running::default();
    let mut jobs = pool.map(plans, |&plan| {
        let target_directory = target_directories.of_file(&plan.file.on_host)?;
        let job = Job::open(
            Change::of_plan(plan),
            target_directory,
            options,
            &running,
            stop,
        )?;
        Ok((plan, job))
    });
    let is_taken_back = |plan: &Plan, job: &Job<'_>| plan.replaces() && !job.is_on_a_copy();
    if any(&jobs, is_taken_back) {
        take_back(&mut jobs, pool, few, stop);
    }
    step_by_directory(&mut jobs, pool, |plan, job| {
        job.begin(stop)?;
        job.write_sidecar(plan, few)
    });
    step(&mut jobs, None, |plan, job| job.make_links(plan, few));
    sync(&mut jobs, few, |_, job| job.sync_directory());
    step(&mut jobs, Some(pool), |plan, job| {
        match (job.is_on_a_copy(), plan.stub()) {
            (false, _) => job.write_edits(is_preparation),
            (true, Some(stub)) if job.has_interim_sidecar() => job.write_copy(Some(&stub.interim)),
            (true, _) => job.write_copy(None),
        }
    });
    sync(&mut jobs, few, |_, job| job.sync_file());
    // From here on the file is as planned. After a system crash it is as before, unless the kernel has written these edits.
    step(&mut jobs, Some(pool), |_, job| match job.is_on_a_copy() {
        true => Ok(()),
        false => job.write_edits(is_decisive),
    });
    if any(&jobs, |plan, job| {
        !job.is_on_a_copy() && !unused_links(plan).is_empty()
    }) {
        sync(&mut jobs, few, |_, job| job.sync_file());
    }
    step(&mut jobs, None, |_, job| job.take_place());
    let mut is_settled = true;
    if any(&jobs, |plan, job| {
        plan.replaces() && job.replaced().is_some()
    }) {
        is_settled = settle(&mut jobs, pool, few);
    }
    let finished = pool.take(jobs, |job| {
        let (plan, job) = job?;
        let mut notes = Vec::new();
        if is_settled {
            notes.extend(job.remove(unused_links(plan)));
            notes.extend(job.remove(&plan.leftovers));
            job.remove_interim_sidecar();
        }
        notes.extend(job.finish());
        Ok(notes)
    });
    target_directories.put_back();
    finished
}

fn any(jobs: &[Result<(&Plan, Job<'_>)>], is_such: impl Fn(&Plan, &Job<'_>) -> bool) -> bool {
    jobs.iter().flatten().any(|(plan, job)| is_such(plan, job))
}

/// Undoes earlier settings where no copy can be made. The edits are undone in reverse order, which leaves the original for as long as
/// nothing else is written. Only then is the sidecar replaced: a stub works only with its own.
fn take_back<'j>(
    jobs: &mut [Result<(&'j Plan, Job<'j>)>],
    pool: &WorkerPool,
    few: bool,
    stop: Option<&Stop<'_>>,
) {
    for pass in UNDOING {
        step(jobs, Some(pool), |plan, job| {
            if !plan.replaces() || job.is_on_a_copy() {
                return Ok(());
            }
            job.begin(stop)?;
            if matches!(pass, Undoing::First) {
                job.settle_sidecar(plan.settle.as_ref())?;
            }
            job.write(&plan.undo_first, |kind| pass.is_due(kind, plan.undo_legacy))
        });
        sync(jobs, few, |_, job| job.sync_file());
    }
}

/// Gives the sidecars of replaced files their usual names, once the old ones are no longer in use: writes them again, and then stubs that
/// name them. A program that starts in the meantime always finds its sidecar. Returns true if all of this is on disk, so that what was in
/// use before can be removed.
fn settle<'j>(jobs: &mut [Result<(&'j Plan, Job<'j>)>], pool: &WorkerPool, few: bool) -> bool {
    let had_links = any(jobs, |plan, _| !unused_links(plan).is_empty());
    let replaced = jobs.iter().flatten().filter_map(|(_, job)| job.replaced());
    await_starts(replaced, had_links);
    if !any(jobs, |_, job| job.has_interim_sidecar()) {
        return sync_directories(jobs);
    }
    sync(jobs, few, |_, job| job.sync_directory());
    step_by_directory(jobs, pool, |plan, job| match job.has_interim_sidecar() {
        true => job.write_usual_sidecar(plan, few),
        false => Ok(()),
    });
    sync(jobs, few, |_, job| job.sync_directory());
    step(jobs, Some(pool), |plan, job| {
        match job.has_interim_sidecar() && plan.stub().is_some() {
            true => job.copy_again(),
            false => Ok(()),
        }
    });
    sync(jobs, few, |_, job| match job.is_on_a_copy() {
        true => job.sync_file(),
        false => Ok(()),
    });
    step(jobs, None, |_, job| job.take_place());
    let replaced = jobs.iter().flatten().filter_map(|(_, job)| job.replaced());
    await_starts(replaced, false);
    sync_directories(jobs)
}

/// Flushes the names in all directories. If this fails, nothing is removed.
fn sync_directories(jobs: &[Result<(&Plan, Job<'_>)>]) -> bool {
    let mut seen = BTreeSet::new();
    let jobs = jobs.iter().flatten();
    let mut directories = jobs.filter(|(plan, _)| seen.insert(parent(&plan.file.on_host)));
    directories.all(|(_, job)| job.sync_directory().is_ok())
}

/// Links of an earlier run that nothing uses once `plan` is carried out.
fn unused_links(plan: &Plan) -> &[PathBuf] {
    plan.in_place().map_or(&[], |plan| &plan.unused_links)
}

/// The order of undoing edits: first those that make the others effective. With a sidecar of the first wrap-buddy it is the reverse,
/// because that sidecar does not apply to a program with a PT_INTERP.
#[derive(Clone, Copy)]
enum Undoing {
    First,
    Then,
}

const UNDOING: [Undoing; 2] = [Undoing::First, Undoing::Then];

impl Undoing {
    fn is_due(self, kind: EditKind, legacy: bool) -> bool {
        let is_first = is_decisive(kind) != legacy;
        is_first == matches!(self, Undoing::First)
    }
}

/// Carries out `restorations`. Returns notes or an error for each. The edits that make others effective are undone first: from then on the
/// file works as the original, with unused bytes in it until these are undone too. `stop` is as for [`apply`].
pub fn restore(
    restorations: &[&Restoration],
    options: Options,
    pool: &WorkerPool,
    stop: Option<&Stop<'_>>,
) -> Vec<Result<Vec<String>>> {
    let batches = restorations.chunks(batch(restorations.len()));
    batches
        .take_while(|_| !stop.is_some_and(|stop| stop()))
        .flat_map(|batch| restore_batch(batch, options, pool, stop))
        .collect()
}

/// Whether the changed `file` has been separated from its other names: overlayfs copies a file of a lower layer when it is opened for
/// writing, and only for the name by which it was opened.
pub fn is_split(file: &TargetFile) -> bool {
    let now = file.on_host.symlink_metadata();
    file.names > 1 && now.is_ok_and(|now| !file.is(&now))
}

/// The reason to skip another name of the file at `path`, which the report calls `shown`; `done`: what happens to the file. A dry run
/// cannot find out in which layer of an overlay a file is.
pub fn fate_of_other_name(
    path: &Path,
    shown: &Path,
    done: &'static str,
    dry_run: bool,
) -> SkipReason {
    let of = shown.to_owned();
    match dry_run && is_on_overlay(path) {
        true => SkipReason::HardLinkOnOverlay { of, done },
        false => SkipReason::HardLink { of, done },
    }
}

pub fn is_on_overlay(path: &Path) -> bool {
    statfs(parent(path)).is_ok_and(|found| found.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
}

/// Removes the sidecar, which is the first of `unused`, and the links of `file`, which no longer exists. Returns a note for each that
/// cannot be removed.
pub fn remove(file: &Path, unused: &[PathBuf], options: Options) -> Result<Vec<String>> {
    let target_directory = TargetDirectory::open(parent(file), options)
        .map_err(|error| Step::OpenDirectory.refused(&error))?;
    let sidecar = unused.first().and_then(|sidecar| sidecar.file_name());
    let rights = target_directory.rights(sidecar.unwrap_or_default())?;
    let acting = rights.directory.act();
    let _acting = acting.map_err(|error| Step::Write.refused(&error))?;
    Ok(link_directory::remove(unused, file, &target_directory))
}

fn restore_batch(
    restorations: &[&Restoration],
    options: Options,
    pool: &WorkerPool,
    stop: Option<&Stop<'_>>,
) -> Vec<Result<Vec<String>>> {
    let few = restorations.len() <= FEW;
    let paths = restorations
        .iter()
        .map(|restoration| restoration.file.on_host.as_path());
    let mut target_directories = TargetDirectories::of(paths, options);
    let running = Running::default();
    let mut jobs = pool.map(restorations, |&restoration| {
        let target_directory = target_directories.of_file(&restoration.file.on_host)?;
        let change = Change::of_restoration(restoration);
        let job = Job::open(change, target_directory, options, &running, stop)?;
        Ok((restoration, job))
    });
    for pass in UNDOING {
        step(&mut jobs, Some(pool), |restoration, job| {
            job.begin(stop)?;
            match (job.is_on_a_copy(), pass) {
                (true, Undoing::First) => job.write_copy(None),
                (true, Undoing::Then) => Ok(()),
                (false, _) => {
                    if matches!(pass, Undoing::First) {
                        job.settle_sidecar(restoration.settle.as_ref())?;
                    }
                    job.write_edits(|kind| pass.is_due(kind, restoration.legacy))
                }
            }
        });
        sync(&mut jobs, few, |_, job| job.sync_file());
    }
    // The sidecar has the time, and is removed later.
    step(&mut jobs, None, |restoration, job| {
        job.set_time(restoration.modified);
        job.take_place()
    });
    let finished = pool.take(jobs, |job| {
        let (restoration, job) = job?;
        let mut notes = job.remove(&restoration.remove);
        notes.extend(job.finish());
        Ok(notes)
    });
    target_directories.put_back();
    finished
}

/// Whether an edit of this kind has no effect until others are made.
fn is_preparation(kind: EditKind) -> bool {
    matches!(kind, EditKind::Slot | EditKind::Entry | EditKind::Text)
}

fn is_decisive(kind: EditKind) -> bool {
    !is_preparation(kind)
}

/// Carries out one step for each job that has not failed.
fn step<'j, W: Send>(
    jobs: &mut [Result<(W, Job<'j>)>],
    pool: Option<&WorkerPool>,
    work: impl Fn(&W, &mut Job<'j>) -> Result<()> + Sync,
) {
    let one = |entry: &mut Result<(W, Job<'j>)>| {
        if let Ok((what, job)) = entry
            && let Err(error) = work(what, job)
        {
            job.undo();
            *entry = Err(error);
        }
    };
    match pool {
        Some(pool) => pool.each(jobs, one),
        None => jobs.iter_mut().for_each(one),
    }
}

/// Like [`step`], with the jobs of a directory in sequence: threads that create files in the same directory only wait for each other.
fn step_by_directory<'j>(
    jobs: &mut [Result<(&'j Plan, Job<'j>)>],
    pool: &WorkerPool,
    work: impl Fn(&'j Plan, &mut Job<'j>) -> Result<()> + Sync,
) {
    let mut directories: BTreeMap<&OsStr, Vec<_>> = BTreeMap::new();
    for entry in &mut *jobs {
        if let Ok((plan, _)) = entry {
            let directory = parent(&plan.file.on_host).as_os_str();
            directories.entry(directory).or_default().push(entry);
        }
    }
    let mut directories: Vec<_> = directories.into_values().collect();
    pool.each(&mut directories, |entries| {
        for entry in entries {
            step(std::slice::from_mut(*entry), None, |plan, job| {
                work(plan, job)
            });
        }
    });
}

/// Flushes the writes so far to disk: file by file, or the whole file systems.
fn sync<'j, W: Send>(
    jobs: &mut [Result<(W, Job<'j>)>],
    few: bool,
    one: fn(&W, &Job<'j>) -> io::Result<()>,
) {
    if few {
        step(jobs, None, |what, job| {
            one(what, job).map_err(|error| Step::Sync.refused(&error))
        });
        return;
    }
    let mut seen = BTreeSet::new();
    let mut broken = BTreeMap::new();
    for (_, job) in jobs.iter().flatten() {
        let device = job.change.file.id.device;
        if seen.insert(device)
            && let Err(error) = nix::unistd::syncfs(&job.file)
        {
            broken.insert(device, Step::Sync.refused(&error.into()));
        }
    }
    step(jobs, None, |_, job| {
        match broken.get(&job.change.file.id.device) {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    });
}
