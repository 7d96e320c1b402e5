//! The steps that change one file.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::SystemTime;

use nix::fcntl::OFlag;
use sidecar::EditKind;
use xattr::FileExt as _;

use super::change::{Change, MODE, Opened, cannot_be_written, open_for_writing};
use super::copy::Copy;
use super::running::Running;
use super::target_directories::TargetDirectory;
use super::{Options, Result, link_directory, sidecar_failure, sidecar_file};
use crate::plan::reason::{Step, WriteFailure};
use crate::plan::restore::PendingSidecar;
use crate::plan::{FileEdit, Plan};
use crate::state::found_sidecar::FoundSidecar;
use crate::system::lock;
use crate::system::privilege::CAPABILITY;
use crate::system::sidecar_path::{interim_sidecar_name, new_sidecar_name};
use crate::system::trust::{Ownership, Rights, Writer};
use crate::system::workers::Stop;
use elf_file::io_reason;

enum Written<'a> {
    Nothing,
    New(&'a OsStr),
    /// It replaced this content.
    Over(&'a Plan, Vec<u8>),
}

/// The state of one file during a run.
pub(super) struct Job<'a> {
    pub(super) change: Change<'a>,
    target_directory: &'a TargetDirectory,
    rights: Rights,
    /// Locked against other runs.
    pub(super) file: File,
    /// The changed copy that will replace the file, if there is one.
    copy: Option<Copy>,
    /// The file that a copy has replaced.
    replaced: Option<File>,
    /// User and group.
    owner: (u32, u32),
    /// The mode to restore at the end.
    mode: u32,
    capability: Option<Vec<u8>>,
    /// Whether anything has been written for this file.
    begun: bool,
    /// How this run changed the sidecar.
    sidecar: Written<'a>,
    /// Whether the new sidecar has the interim name.
    interim: bool,
    /// Notes for the report.
    notes: Vec<String>,
    /// The links that this run created.
    new_links: link_directory::Made,
    /// The edits that were written.
    written: Vec<&'a FileEdit>,
}

impl<'a> Job<'a> {
    pub(super) fn open(
        change: Change<'a>,
        target_directory: &'a TargetDirectory,
        options: Options,
        running: &Running,
        stop: Option<&Stop<'_>>,
    ) -> Result<Self> {
        if stop.is_some_and(|stop| stop()) {
            return Err(WriteFailure::Stopped);
        }
        let rights = target_directory.rights(change.name())?;
        let (opened, busy) = match change.open(target_directory, rights, running) {
            Err(error) if options.replace && error.kind() == io::ErrorKind::ExecutableFileBusy => {
                let file = target_directory
                    .directory
                    .file(change.name(), OFlag::O_RDONLY);
                (file.map(|opened| change.opened(opened)), true)
            }
            opened => (opened, false),
        };
        let opened = opened
            .map_err(|error| cannot_be_written(&change, &target_directory.directory, &error))?;
        let Opened {
            file,
            metadata,
            is_meant,
            lifted,
        } = opened;
        let mut job = Self {
            change,
            target_directory,
            rights,
            mode: lifted.unwrap_or(metadata.mode()),
            capability: file.get_xattr(CAPABILITY).ok().flatten(),
            begun: false,
            owner: (metadata.uid(), metadata.gid()),
            sidecar: Written::Nothing,
            interim: false,
            notes: Vec::new(),
            new_links: link_directory::Made::default(),
            file,
            copy: None,
            replaced: None,
            written: Vec::new(),
        };
        let ready = job.check(&metadata, is_meant).and_then(|()| {
            if !busy && !change.replaces {
                return Ok(());
            }
            match job.work_on_a_copy(&metadata) {
                // Without a copy, change the original first.
                Err(_) if !busy => job.work_on_the_file(),
                copied => copied,
            }
        });
        match ready {
            Ok(()) => Ok(job),
            Err(error) => {
                job.put_back_mode();
                Err(error)
            }
        }
    }

    /// Call this before the first write. Fails if the run is stopped and nothing has been written for this file yet; a file in work is
    /// finished.
    pub(super) fn begin(&mut self, stop: Option<&Stop<'_>>) -> Result<()> {
        if !self.begun && stop.is_some_and(|stop| stop()) {
            return Err(WriteFailure::Stopped);
        }
        self.begun = true;
        Ok(())
    }

    fn check(&mut self, metadata: &Metadata, is_meant: bool) -> Result<()> {
        let opened_with = self.rights.directory;
        self.rights = self.target_directory.rights_to(metadata)?;
        if self.rights.directory != opened_with {
            return Err(WriteFailure::Changed);
        }
        // On file systems without locks, go on without.
        if let Err(TryLockError::WouldBlock) = self.file.try_lock()
            && let Some(holder) = lock::respected_holder(metadata)
        {
            return Err(WriteFailure::Locked(holder));
        }
        self.check_unchanged(metadata, is_meant)?;
        if self.capability.is_some() && self.rights.file != Writer::Caller && self.change.changes {
            return Err(WriteFailure::Capabilities);
        }
        self.change.check_signature(&self.file)
    }

    /// Checks that the file is as it was when the plan was made.
    fn check_unchanged(&self, metadata: &Metadata, is_meant: bool) -> Result<()> {
        let mut unchanged = metadata.len() == self.change.file.len && is_meant;
        for edit in self.change.expected {
            let mut now = vec![0; edit.before.len()];
            unchanged &= self.file.read_exact_at(&mut now, edit.offset).is_ok();
            unchanged &= now == edit.before;
        }
        if !unchanged {
            return Err(WriteFailure::Changed);
        }
        Ok(())
    }

    fn work_on_a_copy(&mut self, metadata: &Metadata) -> Result<()> {
        if metadata.nlink() > 1 {
            return Err(WriteFailure::RunningWithOtherNames);
        }
        let acting = self.rights.directory.act();
        let copy = acting.and_then(|_acting| {
            let copy = Copy::of(
                &self.file,
                &self.target_directory.directory,
                self.change.name(),
            )?;
            // Find out now whether that works: later the original could not be changed instead.
            copy.complete(&self.file, self.owner, self.mode & MODE)?;
            Ok(copy)
        });
        self.copy = Some(copy.map_err(|error| Step::Copy.refused(&error))?);
        Ok(())
    }

    /// Opens the file itself for writing instead of a copy.
    fn work_on_the_file(&mut self) -> Result<()> {
        let directory = &self.target_directory.directory;
        let opened = open_for_writing(directory, &self.change, self.rights);
        let opened = opened.map_err(|error| cannot_be_written(&self.change, directory, &error))?;
        self.mode = opened.lifted.unwrap_or(opened.metadata.mode());
        // This closes the other handle and releases its lock.
        self.file = opened.file;
        self.check(&opened.metadata, opened.is_meant)
    }

    /// Writes the planned content to the copy. `slot`: the stub, if not the planned one.
    pub(super) fn write_copy(&mut self, slot: Option<&[u8]>) -> Result<()> {
        let Some(copy) = &self.copy else {
            return Ok(());
        };
        let edits = self.change.undo.iter().chain(self.change.edits);
        let write = || {
            let _acting = self.rights.directory.act()?;
            for edit in edits {
                let is_slot = edit.kind == EditKind::Slot && self.change.edits.contains(edit);
                let bytes = slot.filter(|_| is_slot).unwrap_or(&edit.after);
                copy.file().write_all_at(bytes, edit.offset)?;
            }
            // Writing has cleared set-id bits and capabilities.
            copy.complete(&self.file, self.owner, self.mode & MODE)
        };
        write().map_err(|error| {
            cannot_be_written(&self.change, &self.target_directory.directory, &error)
        })
    }

    /// Makes another copy with the planned stub, of a program that has the interim one.
    pub(super) fn copy_again(&mut self) -> Result<()> {
        let acting = self.rights.directory.act();
        let copy = acting.and_then(|_acting| {
            Copy::of(
                &self.file,
                &self.target_directory.directory,
                self.change.name(),
            )
        });
        self.copy = Some(copy.map_err(|error| Step::Copy.refused(&error))?);
        self.write_copy(None)
    }

    /// The file to write to: the copy, if there is one.
    fn output(&self) -> &File {
        self.copy.as_ref().map_or(&self.file, Copy::file)
    }

    /// Writes the sidecar. If the one with the usual name is in use until a copy replaces the file, it writes under the interim name.
    pub(super) fn write_sidecar(&mut self, plan: &'a Plan, durable: bool) -> Result<()> {
        if !self.replaces() || !plan.sidecar_in_use {
            return self.write_usual_sidecar(plan, durable);
        }
        let written = self.rights.directory.act().and_then(|_acting| {
            let content = self.sidecar_content(plan, &plan.sidecar);
            let directory = &self.target_directory.directory;
            sidecar_file::write(directory, &self.interim(), self.fresh(), &content, durable)
        });
        self.interim = written.is_ok();
        written.map_err(|error| sidecar_failure(&plan.sidecar_path, &error))
    }

    pub(super) fn write_usual_sidecar(&mut self, plan: &'a Plan, durable: bool) -> Result<()> {
        let written = self.rights.directory.act().and_then(|_acting| {
            let name = plan.sidecar_path.file_name().unwrap_or_default();
            let directory = &self.target_directory.directory;
            let content = self.sidecar_content(plan, &plan.sidecar);
            match sidecar_file::create(directory, name, &content, durable) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // If a later step fails, the old content is restored, so it has to be a sidecar.
                    let old = FoundSidecar::in_directory(directory, name, plan.arch.class)?;
                    sidecar_file::replace(directory, name, self.fresh(), &content, durable)
                        .map(|()| Written::Over(plan, old))
                }
                created => created.map(|()| Written::New(name)),
            }
        });
        self.sidecar = written.map_err(|error| sidecar_failure(&plan.sidecar_path, &error))?;
        Ok(())
    }

    /// Gives the sidecar in use its usual name too, before the file that uses it is changed.
    pub(super) fn settle_sidecar(&self, settle: Option<&PendingSidecar>) -> Result<()> {
        let Some(settle) = settle.filter(|_| self.copy.is_none()) else {
            return Ok(());
        };
        let content = sidecar_file::Content {
            bytes: &settle.bytes,
            mode: 0o644,
            owner: Some(self.owner),
            modified: settle.modified,
        };
        let name = settle.usual.file_name().unwrap_or_default();
        let directory = &self.target_directory.directory;
        let settled = self.rights.directory.act().and_then(|_acting| {
            sidecar_file::write(directory, name, self.fresh(), &content, true)?;
            directory.sync()
        });
        settled.map_err(|error| sidecar_failure(&settle.usual, &error))
    }

    fn interim(&self) -> OsString {
        interim_sidecar_name(self.change.name())
    }

    /// The temporary name of a sidecar that is to replace another one.
    fn fresh(&self) -> OsString {
        new_sidecar_name(self.change.name())
    }

    fn sidecar_content<'c>(&self, plan: &Plan, bytes: &'c [u8]) -> sidecar_file::Content<'c> {
        // Everybody who can run the program must be able to read its sidecar. Writing to a program clears its set-id bits and capabilities;
        // a sidecar that others can write to would get around that, so the loader refuses it.
        let powerful = self.mode & 0o6000 != 0 || self.capability.is_some();
        let permitted = if powerful { 0o644 } else { 0o666 };
        sidecar_file::Content {
            bytes,
            mode: (self.mode | (self.mode & 0o111) << 2) & permitted,
            owner: Some(plan.sidecar_owner),
            modified: Some(plan.modified),
        }
    }

    pub(super) fn make_links(&mut self, plan: &Plan, durable: bool) -> Result<()> {
        let Some(links) = plan.links() else {
            return Ok(());
        };
        let acting = self.rights.directory.act();
        let made = acting.and_then(|_acting| {
            let file = Ownership::from(&self.file.metadata()?);
            link_directory::make(
                links,
                self.target_directory,
                file,
                &mut self.new_links,
                durable,
            )
        });
        made.map_err(|error| WriteFailure::Links {
            directory: links.directory.clone(),
            reason: io_reason(&error),
        })
    }

    /// Writes the edits whose kind is `due`.
    pub(super) fn write_edits(&mut self, due: impl Fn(EditKind) -> bool) -> Result<()> {
        self.write(self.change.edits, due)
    }

    /// Writes those of `edits` whose kind is `due`.
    pub(super) fn write(
        &mut self,
        edits: &'a [FileEdit],
        due: impl Fn(EditKind) -> bool,
    ) -> Result<()> {
        let mut due = edits
            .iter()
            .filter(|edit| due(edit.kind) && edit.is_due())
            .peekable();
        if due.peek().is_none() {
            return Ok(());
        }
        let refused = |error| Step::Write.refused(&error);
        let _acting = self.rights.file.act().map_err(refused)?;
        for edit in due {
            // Record it first: a failed write may have written a part.
            self.written.push(edit);
            self.output()
                .write_all_at(&edit.after, edit.offset)
                .map_err(refused)?;
        }
        Ok(())
    }

    pub(super) fn sync_directory(&self) -> io::Result<()> {
        self.target_directory.directory.sync()
    }

    pub(super) fn sync_file(&self) -> io::Result<()> {
        match self.change.changes {
            true => self.output().sync_data(),
            false => Ok(()),
        }
    }

    /// Whether a changed copy will replace the file.
    pub(super) fn is_on_a_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// Whether a changed copy will replace a file that works now with other settings.
    pub(super) fn replaces(&self) -> bool {
        self.copy.is_some() && self.change.replaces
    }

    /// Whether the new sidecar has the interim name.
    pub(super) fn has_interim_sidecar(&self) -> bool {
        self.interim
    }

    /// The file that the last copy replaced.
    pub(super) fn replaced(&self) -> Option<&File> {
        self.replaced.as_ref()
    }

    /// Replaces the file by the copy, if there is one.
    pub(super) fn take_place(&mut self) -> Result<()> {
        let Some(copy) = self.copy.take() else {
            return Ok(());
        };
        let acting = self.rights.directory.act();
        let file = acting
            .and_then(|_acting| copy.replace(self.change.name()))
            .map_err(|error| Step::Replace.refused(&error))?;
        self.replaced = Some(std::mem::replace(&mut self.file, file));
        Ok(())
    }

    /// Restores the file as it was found, as far as possible.
    pub(super) fn undo(&mut self) {
        // The file that is there now uses the sidecar with the interim name.
        self.copy = None;
        // A stub works only with its own sidecar. If that is gone, restore the original bytes, which need none.
        let old_sidecar = match &self.sidecar {
            Written::Over(plan, old) => {
                let name = plan.sidecar_path.file_name().unwrap_or_default();
                let content = self.sidecar_content(plan, old);
                let acting = self.rights.directory.act();
                acting
                    .and_then(|_acting| {
                        let directory = &self.target_directory.directory;
                        sidecar_file::write(directory, name, self.fresh(), &content, true)
                    })
                    .is_ok()
            }
            Written::Nothing | Written::New(_) => true,
        };
        let mut whole = self.replaced.is_none() || old_sidecar && self.put_back().is_ok();
        if !self.written.is_empty() {
            let acting = self.rights.file.act();
            whole &= acting.is_ok();
            for edit in self.written.iter().rev() {
                let left = if old_sidecar {
                    &edit.before
                } else {
                    &edit.original
                };
                whole &= self.output().write_all_at(left, edit.offset).is_ok();
            }
        }
        // While bytes of this run may be left in the file, the next run needs the sidecar to repair them.
        if whole && let Ok(_acting) = self.rights.directory.act() {
            self.new_links.undo(self.target_directory);
            if let Written::New(sidecar) = self.sidecar {
                let _ = self.target_directory.directory.remove_file(sidecar);
            }
            if self.interim {
                let _ = self.target_directory.directory.remove_file(&self.interim());
            }
        }
        self.put_back_mode();
    }

    /// Replaces the new file by a copy of the one that was replaced.
    fn put_back(&mut self) -> io::Result<()> {
        let Some(original) = self.replaced.take() else {
            return Ok(());
        };
        let _acting = self.rights.directory.act()?;
        let name = self.change.name();
        let copy = Copy::of(&original, &self.target_directory.directory, name)?;
        copy.complete(&original, self.owner, self.mode & MODE)?;
        copy.file().set_modified(original.metadata()?.modified()?)?;
        copy.file().sync_data()?;
        self.file = copy.replace(name)?;
        Ok(())
    }

    /// Removes files next to the program that are no longer used. Returns a note for each that cannot be removed.
    pub(super) fn remove(&self, unused: &[PathBuf]) -> Vec<String> {
        if unused.is_empty() {
            return Vec::new();
        }
        match self.rights.directory.act() {
            Ok(_acting) => {
                link_directory::remove(unused, &self.change.file.path, self.target_directory)
            }
            Err(error) => {
                let failed = |path: &PathBuf| link_directory::cannot_be_removed(path, &error);
                unused.iter().map(failed).collect()
            }
        }
    }

    /// Removes the sidecar with the interim name.
    pub(super) fn remove_interim_sidecar(&self) {
        if self.interim
            && let Ok(_acting) = self.rights.directory.act()
        {
            let _ = self.target_directory.directory.remove_file(&self.interim());
        }
    }

    pub(super) fn set_time(&mut self, modified: Option<SystemTime>) {
        let Some(modified) = modified else {
            return;
        };
        let acting = self.rights.file.act();
        if let Err(error) = acting.and_then(|_acting| self.output().set_modified(modified)) {
            self.notes.push(format!(
                "its modification time cannot be restored: {}",
                io_reason(&error)
            ));
        }
    }

    /// Restores attributes that writing has cleared. Returns a note for each that cannot be restored.
    pub(super) fn finish(mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.notes);
        let acting = self.rights.file.act();
        if let Some(capability) = self.capability.take() {
            let lost = self.file.get_xattr(CAPABILITY).ok().flatten() != Some(capability.clone());
            if lost && self.file.set_xattr(CAPABILITY, &capability).is_err() {
                notes.push("lost its file capabilities; set them again with setcap".to_owned());
            }
        }
        if !self.put_back_mode() {
            notes.push(format!(
                "lost its mode {:o}; set it again with chmod",
                self.mode & MODE
            ));
        }
        drop(acting);
        notes
    }

    /// Writing clears set-id bits, and a read-only file was made writable. The mode is restored with the rights of the file's owner, who
    /// may have changed the file by now.
    fn put_back_mode(&mut self) -> bool {
        if !self.change.changes {
            return true;
        }
        let Ok(_acting) = self.rights.file.act() else {
            return false;
        };
        let same = self
            .file
            .metadata()
            .is_ok_and(|now| now.mode() & MODE == self.mode & MODE);
        let mode = Permissions::from_mode(self.mode & MODE);
        same || self.file.set_permissions(mode).is_ok()
    }
}
