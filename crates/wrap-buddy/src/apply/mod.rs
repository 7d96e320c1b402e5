//! Writes plans to disk; the only place that writes to an ELF file.
//!
//! For each file: the sidecar and the links beside it; what nothing refers to yet, the slot, e_entry where that moves, or
//! strings; what makes it count last, PT_INTERP and .dynamic. Each step is on disk before the next begins, so that a file that
//! was stopped at any point works as before or as planned, and the next run completes it.

mod link_directory;
mod sidecar_file;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sidecar::EditKind;
use xattr::FileExt as _;

use crate::crew::Crew;
use crate::loaders::Install;
use crate::plan::Plan;
use crate::privilege::CAPABILITY;
use crate::scan::io_reason;

/// Programs worked on at a time, where the limit of open files allows it: each holds one, and fewer batches are fewer
/// syncs.
const BATCH: u64 = 4096;

/// Open files besides those of programs.
const OTHER_FILES: u64 = 64;

/// With more programs than this, whole file systems are synced instead of single files.
const FEW: usize = 8;

/// The permission bits, set-id and sticky included.
const MODE: u32 = 0o7777;

/// Carries out `plans` and says of each what there is to know, or why it failed.
pub fn apply(plans: &[&Plan], crew: &Crew) -> Vec<Result<Vec<String>>> {
    let batches = plans.chunks(batch_len(plans.len() as u64) as usize);
    batches.flat_map(|batch| apply_batch(batch, crew)).collect()
}

/// How many of `count` programs can be worked on at a time; the limit of open files is raised for them if it may be.
fn batch_len(count: u64) -> u64 {
    let wanted = count.clamp(1, BATCH);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1;
    };
    let enough = (wanted + OTHER_FILES).min(hard);
    let limit = match enough > soft && setrlimit(Resource::RLIMIT_NOFILE, enough, hard).is_ok() {
        true => enough,
        false => soft,
    };
    limit.saturating_sub(OTHER_FILES).clamp(1, wanted)
}

/// Installs the loaders that `plans` rely on, each once, and returns the paths with what came of it.
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
    let directory = install.path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)
        .and_then(|()| {
            sidecar_file::write(&install.path, install.image, 0o644, None, true)?;
            File::open(directory)?.sync_all()
        })
        .map_err(|error| {
            anyhow!(
                "the loader cannot be installed as {}: {}; pass --loader-dir-path",
                install.path.display(),
                io_reason(&error)
            )
        })
}

/// A program while it is worked on.
struct Job<'a> {
    plan: &'a Plan,
    file: File,
    /// Mode to put back at the end.
    mode: u32,
    capability: Option<Vec<u8>>,
    /// Whether this run created the sidecar, instead of replacing one.
    new_sidecar: bool,
    /// What this run created of the links.
    new_links: link_directory::Made,
    /// How many of the plan's edits were written.
    written: usize,
}

fn apply_batch(plans: &[&Plan], crew: &Crew) -> Vec<Result<Vec<String>>> {
    let few = plans.len() <= FEW;
    let mut jobs = crew.map(plans, |plan| Job::open(plan));
    // One at a time: to create files in the same directory, threads only wait for each other.
    step(&mut jobs, None, |job| job.write_sidecar(few));
    step(&mut jobs, None, |job| job.make_links());
    sync(&mut jobs, few, |job| job.sync_directory());
    step(&mut jobs, Some(crew), |job| job.write_edits(is_preparation));
    sync(&mut jobs, few, |job| job.sync_file());
    // Without a crash the file is as planned from here on.
    step(&mut jobs, Some(crew), |job| job.write_edits(|_| true));
    sync(&mut jobs, few, |job| job.sync_file());
    let finished = jobs.into_iter().map(|job| Ok(job?.finish()));
    finished.collect()
}

/// Whether nothing refers to what such an edit writes until others are made.
fn is_preparation(kind: EditKind) -> bool {
    matches!(kind, EditKind::Slot | EditKind::Entry | EditKind::Text)
}

/// Takes every job that is still in order one step further.
fn step(
    jobs: &mut [Result<Job<'_>>],
    crew: Option<&Crew>,
    work: impl Fn(&mut Job<'_>) -> Result<()> + Sync,
) {
    let one = |entry: &mut Result<Job<'_>>| {
        if let Ok(job) = entry
            && let Err(error) = work(job)
        {
            job.undo();
            *entry = Err(error);
        }
    };
    match crew {
        Some(crew) => crew.each(jobs, one),
        None => jobs.iter_mut().for_each(one),
    }
}

/// Has what was written so far reach the disk: file by file, or the whole file systems the files are on.
fn sync(jobs: &mut [Result<Job<'_>>], few: bool, one: fn(&Job<'_>) -> io::Result<()>) {
    let failed = |error: &io::Error| format!("cannot be synced: {}", io_reason(error));
    if few {
        step(jobs, None, |job| {
            one(job).map_err(|error| anyhow!(failed(&error)))
        });
        return;
    }
    let mut seen = BTreeSet::new();
    let mut broken = BTreeMap::new();
    for job in jobs.iter().flatten() {
        let device = job.plan.inode.0;
        if seen.insert(device)
            && let Err(error) = nix::unistd::syncfs(&job.file)
        {
            broken.insert(device, failed(&error.into()));
        }
    }
    step(jobs, None, |job| match broken.get(&job.plan.inode.0) {
        Some(reason) => bail!("{reason}"),
        None => Ok(()),
    });
}

impl<'a> Job<'a> {
    fn open(plan: &'a Plan) -> Result<Self> {
        let (file, lifted) = open_for_writing(&plan.path)
            .map_err(|error| anyhow!("cannot be written: {}", io_reason(&error)))?;
        let metadata = file.metadata()?;
        let mut job = Self {
            plan,
            mode: lifted.unwrap_or(metadata.mode()),
            capability: file.get_xattr(CAPABILITY).ok().flatten(),
            new_sidecar: false,
            new_links: link_directory::Made::default(),
            file,
            written: 0,
        };
        match job.check_unchanged(&metadata) {
            Ok(()) => Ok(job),
            Err(error) => {
                job.put_back_mode();
                Err(error)
            }
        }
    }

    /// The plan was made from what the file was then.
    fn check_unchanged(&self, metadata: &Metadata) -> Result<()> {
        let (device, inode, _) = self.plan.inode;
        let mut unchanged = metadata.len() == self.plan.file_len
            && (metadata.dev(), metadata.ino()) == (device, inode);
        for edit in &self.plan.edits {
            let mut now = vec![0; edit.before.len()];
            unchanged &= self.file.read_exact_at(&mut now, edit.offset).is_ok();
            unchanged &= now == edit.before;
        }
        if !unchanged {
            bail!("was changed by something else meanwhile: run wrap-buddy again");
        }
        Ok(())
    }

    fn write_sidecar(&mut self, durable: bool) -> Result<()> {
        // Whoever may run the program has to be able to read its sidecar.
        let readable = (self.mode | (self.mode & 0o111) << 2) & 0o666;
        let (path, bytes) = (&self.plan.sidecar_path, &self.plan.sidecar);
        self.new_sidecar = sidecar_file::write(
            path,
            bytes,
            readable,
            Some(self.plan.sidecar_owner),
            durable,
        )
        .map_err(|error| {
            anyhow!(
                "its sidecar {} cannot be written: {}",
                path.display(),
                io_reason(&error)
            )
        })?;
        Ok(())
    }

    fn make_links(&mut self) -> Result<()> {
        let Some(links) = self.plan.links() else {
            return Ok(());
        };
        let made = &mut self.new_links;
        link_directory::make(links, made).map_err(|error| {
            let directory = links.directory.display();
            anyhow!(
                "its links in {directory} cannot be made: {}",
                io_reason(&error)
            )
        })
    }

    /// Writes the next edits, as long as they are of a kind that is `due`.
    fn write_edits(&mut self, due: impl Fn(EditKind) -> bool) -> Result<()> {
        while let Some(edit) = self
            .plan
            .edits
            .get(self.written)
            .filter(|edit| due(edit.kind))
        {
            // Counted first: a write that fails may have written a part.
            self.written += 1;
            if !edit.is_due() {
                continue;
            }
            self.file
                .write_all_at(&edit.after, edit.offset)
                .map_err(|error| anyhow!("cannot be written: {}", io_reason(&error)))?;
        }
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let directory = self.plan.path.parent().unwrap_or(Path::new("/"));
        File::open(directory)?.sync_all()
    }

    fn sync_file(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Leaves the program as it was found, as far as that is still possible.
    fn undo(&mut self) {
        let mut whole = true;
        let written = self.plan.edits[..self.written].iter().rev();
        for edit in written.filter(|edit| edit.is_due()) {
            whole &= self.file.write_all_at(&edit.before, edit.offset).is_ok();
        }
        // While stub bytes may be left, the sidecar is what the next run repairs them with.
        if whole {
            self.new_links.undo();
        }
        if whole && self.new_sidecar {
            let _ = fs::remove_file(&self.plan.sidecar_path);
        }
        self.put_back_mode();
    }

    /// Puts back what writing took from the file, and says what could not be put back.
    fn finish(mut self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(plan) = self.plan.in_place() {
            notes.extend(link_directory::remove(&plan.unused_links));
        }
        if let Some(capability) = self.capability.take() {
            let lost = self.file.get_xattr(CAPABILITY).ok().flatten() != Some(capability.clone());
            if lost && self.file.set_xattr(CAPABILITY, &capability).is_err() {
                notes.push("lost its file capabilities: set them again with setcap".to_owned());
            }
        }
        if !self.put_back_mode() {
            notes.push(format!(
                "its mode was {:o}: set it again with chmod",
                self.mode & MODE
            ));
        }
        notes
    }

    /// Writing clears set-id bits, and a read-only file was made writable.
    fn put_back_mode(&mut self) -> bool {
        let same = self
            .file
            .metadata()
            .is_ok_and(|now| now.mode() & MODE == self.mode & MODE);
        let mode = Permissions::from_mode(self.mode & MODE);
        same || self.file.set_permissions(mode).is_ok()
    }
}

/// Opens a program for reading and writing, if need be by making it writable for the time being; then its mode is told.
fn open_for_writing(path: &Path) -> io::Result<(File, Option<u32>)> {
    let open = || File::options().read(true).write(true).open(path);
    let refused = match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        result => return Ok((result?, None)),
    };
    let mode = fs::symlink_metadata(path)?.mode();
    let set = |mode: u32| fs::set_permissions(path, Permissions::from_mode(mode & MODE));
    // Only its owner may lift it; to everybody else the first error is the one that counts.
    if mode & 0o200 != 0 || set(mode | 0o200).is_err() {
        return Err(refused);
    }
    match open() {
        Ok(file) => Ok((file, Some(mode))),
        Err(error) => {
            let _ = set(mode);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{Gid, Uid, chown, geteuid, setfsgid, setfsuid};

    /// Runs `work` with the file access rights of an ordinary user, who owns `path`. Concerns this thread only.
    fn as_owner<T>(path: &Path, work: impl FnOnce() -> T) -> T {
        if !geteuid().is_root() {
            return work();
        }
        let (user, group) = (Uid::from_raw(12345), Gid::from_raw(12345));
        chown(path, Some(user), Some(group)).unwrap();
        let (old_group, old_user) = (setfsgid(group), setfsuid(user));
        let result = work();
        setfsuid(old_user);
        setfsgid(old_group);
        result
    }

    #[test]
    fn an_owner_may_write_to_a_read_only_program() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().join("program");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o555)).unwrap();
        as_owner(&path, || {
            assert!(File::options().write(true).open(&path).is_err());
            let (file, lifted) = open_for_writing(&path).unwrap();
            assert_eq!(lifted.unwrap() & MODE, 0o555);
            file.write_all_at(b"y", 0).unwrap();
        });
        assert_eq!(fs::read(&path).unwrap(), b"y");
        // Putting it back is the job's, not the opener's.
        assert_eq!(fs::metadata(&path).unwrap().mode() & MODE, 0o755);
    }
}
