//! Finds out, without writing anything, whether plans could be carried out.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{AccessFlags, geteuid};

use super::change::{Change, cannot_be_written, is_sealed, open_for_reading};
use super::running::Running;
use super::target_directories::{TargetDirectory, parent};
use super::{Options, Result, sidecar_failure};
use crate::plan::Plan;
use crate::plan::reason::{Step, WriteFailure};
use crate::plan::restore::Restoration;
use crate::system::directory::{Directory, MODE_WRITE};
use crate::system::trust::{Rights, Writer};

pub(super) struct Rehearsal {
    options: Options,
    running: Running,
}

impl Rehearsal {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            running: Running::default(),
        }
    }

    /// Checks `plan`.
    pub(super) fn plan(&self, plan: &Plan) -> Result<Vec<String>> {
        let (target_directory, rights) = self.enter(&plan.file.on_host)?;
        let in_directory = may_create_in(&target_directory, rights);
        self.change(
            &Change::of_plan(plan),
            &target_directory,
            rights,
            &in_directory,
        )?;
        let sidecar = plan.sidecar_path.file_name().unwrap_or_default();
        let replaced = match is_sealed(&target_directory.directory, sidecar) {
            true => Err(io::ErrorKind::PermissionDenied.into()),
            false => Ok(()),
        };
        in_directory
            .and(replaced)
            .map_err(|error| sidecar_failure(&plan.sidecar_path, &error))?;
        Ok(Vec::new())
    }

    /// Checks `restoration`. Returns a note for each file that it could not remove.
    pub(super) fn restoration(&self, restoration: &Restoration) -> Result<Vec<String>> {
        let (target_directory, rights) = self.enter(&restoration.file.on_host)?;
        let in_directory = may_create_in(&target_directory, rights);
        let change = Change::of_restoration(restoration);
        self.change(&change, &target_directory, rights, &in_directory)?;
        let Err(error) = in_directory else {
            return Ok(Vec::new());
        };
        let left = restoration
            .remove
            .iter()
            .filter(|path| restoration.file.neighbour(path).symlink_metadata().is_ok());
        let notes = left.map(|path| super::link_directory::cannot_be_removed(path, &error));
        Ok(notes.collect())
    }

    fn enter(&self, path: &Path) -> Result<(TargetDirectory, Rights)> {
        let target_directory = TargetDirectory::open(parent(path), self.options)
            .map_err(|error| Step::OpenDirectory.refused(&error))?;
        let rights = target_directory.rights(path.file_name().unwrap_or_default())?;
        Ok((target_directory, rights))
    }

    fn change(
        &self,
        change: &Change<'_>,
        target_directory: &TargetDirectory,
        rights: Rights,
        in_directory: &io::Result<()>,
    ) -> Result<()> {
        let refused =
            |error: io::Error| cannot_be_written(change, &target_directory.directory, &error);
        let (file, metadata) =
            open_for_reading(&target_directory.directory, change.name()).map_err(refused)?;
        if !change.changes {
            return Ok(());
        }
        may_write(target_directory, change.name(), rights, &metadata).map_err(refused)?;
        let is_running = self.running.has(change.file.id);
        if is_running && !self.options.replace {
            return Err(refused(io::ErrorKind::ExecutableFileBusy.into()));
        }
        change.check_signature(&file)?;
        if is_running && change.file.names > 1 {
            return Err(WriteFailure::RunningWithOtherNames);
        }
        match in_directory {
            Err(error) if is_running => Err(Step::Copy.refused(error)),
            _ => Ok(()),
        }
    }
}

/// Whether `name` can be opened for writing, if necessary after its owner has made it writable.
fn may_write(
    target_directory: &TargetDirectory,
    name: &OsStr,
    rights: Rights,
    metadata: &Metadata,
) -> io::Result<()> {
    let TargetDirectory { directory, .. } = target_directory;
    let sealed = is_sealed(directory, name);
    let allowed = rights
        .directory
        .act()
        .and_then(|_acting| directory.may_with(name, AccessFlags::W_OK));
    match allowed.or_else(|error| lifted(directory, rights.file, metadata, error)) {
        Ok(()) if sealed => Err(io::ErrorKind::PermissionDenied.into()),
        allowed => allowed,
    }
}

/// Whether files can be created in the directory, if necessary after its owner has made it writable.
fn may_create_in(target_directory: &TargetDirectory, rights: Rights) -> io::Result<()> {
    let TargetDirectory { directory, .. } = target_directory;
    let allowed = rights
        .directory
        .act()
        .and_then(|_acting| directory.may(AccessFlags::W_OK | AccessFlags::X_OK));
    allowed.or_else(|error| lifted(directory, rights.directory, &directory.metadata()?, error))
}

/// Returns `Ok` if only the mode is in the way and `writer` can change it; otherwise `error`.
fn lifted(
    directory: &Directory,
    writer: Writer,
    metadata: &Metadata,
    error: io::Error,
) -> io::Result<()> {
    let by_mode =
        error.kind() == io::ErrorKind::PermissionDenied && metadata.mode() & MODE_WRITE == 0;
    let can_change = match writer {
        Writer::Caller => geteuid().is_root() || geteuid().as_raw() == metadata.uid(),
        Writer::Owner(user) => user == metadata.uid(),
    };
    let is_read_only = fstatvfs(directory)
        .is_ok_and(|target_directory| target_directory.flags().contains(FsFlags::ST_RDONLY));
    match by_mode && can_change && !is_read_only {
        true => Ok(()),
        false => Err(error),
    }
}
