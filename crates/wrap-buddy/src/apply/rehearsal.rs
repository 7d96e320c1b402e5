//! What carrying out plans would be refused for, found out without writing anything.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Result, anyhow, bail};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, faccessat, geteuid};

use super::Options;
use super::job::{
    MODE_WRITE, Target, cannot_be_written, has_other_names, is_sealed, open_for_reading,
};
use crate::plan::Plan;
use crate::restoration::Restoration;
use crate::scan::io_reason;

/// What is known of the system, looked up when it is needed.
pub(super) struct Rehearsal {
    options: Options,
    /// Device and inode of each program that runs.
    running: OnceLock<HashSet<(u64, u64)>>,
}

impl Rehearsal {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            running: OnceLock::new(),
        }
    }

    /// Says why `plan` cannot be carried out.
    pub(super) fn plan(&self, plan: &Plan) -> Result<Vec<String>> {
        let directory = plan.path.parent().unwrap_or(Path::new("/"));
        let in_directory = may_create_in(directory);
        self.target(&Target::of_plan(plan), &in_directory)?;
        let sidecar = &plan.sidecar_path;
        let replaced = match is_sealed(sidecar) {
            true => Err(io::ErrorKind::PermissionDenied.into()),
            false => Ok(()),
        };
        in_directory.and(replaced).map_err(|error| {
            let reason = io_reason(&error);
            anyhow!(
                "its sidecar {} cannot be written: {reason}",
                sidecar.display()
            )
        })?;
        Ok(Vec::new())
    }

    /// Says why `restoration` cannot be carried out, or what it would leave behind.
    pub(super) fn restoration(&self, restoration: &Restoration) -> Result<Vec<String>> {
        let directory = restoration.path.parent().unwrap_or(Path::new("/"));
        let in_directory = may_create_in(directory);
        self.target(&Target::of_restoration(restoration), &in_directory)?;
        let Err(error) = in_directory else {
            return Ok(Vec::new());
        };
        let left = restoration
            .remove
            .iter()
            .filter(|path| path.symlink_metadata().is_ok());
        let notes = left.map(|path| super::link_directory::cannot_be_removed(path, &error));
        Ok(notes.collect())
    }

    fn target(&self, target: &Target<'_>, in_directory: &io::Result<()>) -> Result<()> {
        let refused = |error: io::Error| cannot_be_written(target.path, &error);
        let file = open_for_reading(target.path).map_err(refused)?;
        if !target.changes {
            return Ok(());
        }
        may_write(target.path).map_err(refused)?;
        let (device, inode, names) = target.inode;
        let is_running = self.running.get_or_init(running).contains(&(device, inode));
        if is_running && !self.options.replace {
            return Err(refused(io::ErrorKind::ExecutableFileBusy.into()));
        }
        target.check_signature(&file)?;
        if is_running && names > 1 {
            bail!(has_other_names());
        }
        match in_directory {
            Err(error) if is_running => bail!("cannot be copied: {}", io_reason(error)),
            _ => Ok(()),
        }
    }
}

/// Whether the file at `path` can be opened for writing, if need be after its owner has made it writable.
fn may_write(path: &Path) -> io::Result<()> {
    let allowed = access(path, AccessFlags::W_OK).or_else(|error| lifted(path, error));
    match allowed {
        Ok(()) if is_sealed(path) => Err(io::ErrorKind::PermissionDenied.into()),
        allowed => allowed,
    }
}

/// Whether files can be created in `directory`, if need be after its owner has made it writable.
fn may_create_in(directory: &Path) -> io::Result<()> {
    let flags = AccessFlags::W_OK | AccessFlags::X_OK;
    access(directory, flags).or_else(|error| lifted(directory, error))
}

/// Nothing is wrong if only the mode of what is at `path` is in the way, and this user can change that; otherwise `error` stays.
fn lifted(path: &Path, error: io::Error) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    let user = geteuid();
    let by_mode =
        error.kind() == io::ErrorKind::PermissionDenied && metadata.mode() & MODE_WRITE == 0;
    let can_change = user.is_root() || user.as_raw() == metadata.uid();
    let is_read_only = statvfs(path).is_ok_and(|place| place.flags().contains(FsFlags::ST_RDONLY));
    match by_mode && can_change && !is_read_only && !is_sealed(path) {
        true => Ok(()),
        false => Err(error),
    }
}

/// By effective ids, as for opening.
fn access(path: &Path, flags: AccessFlags) -> io::Result<()> {
    Ok(faccessat(AT_FDCWD, path, flags, AtFlags::AT_EACCESS)?)
}

/// The programs that run, as far as this user may see: the kernel lets nobody write to these (ETXTBSY). To open them for writing
/// would tell for sure, but while a program is open for writing nobody can start it.
fn running() -> HashSet<(u64, u64)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let programs = processes.filter_map(|process| {
        let program = fs::metadata(process.path().join("exe")).ok()?;
        Some((program.dev(), program.ino()))
    });
    programs.collect()
}
