//! One file while it is worked on.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, anyhow, bail};
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, geteuid};
use rustix::fs::IFlags;
use sidecar::EditKind;
use xattr::FileExt as _;

use super::copy::Copy;
use super::running::Running;
use super::target_directories::TargetDirectory;
use super::{Options, Stopped, link_directory, sidecar_file};
use crate::plan::restore::{Interim, Restoration};
use crate::plan::{FileEdit, Plan};
use crate::state::found_sidecar::FoundSidecar;
use crate::system::directory::{Directory, MODE_WRITE};
use crate::system::lock;
use crate::system::privilege::CAPABILITY;
use crate::system::sidecar_path::{interim_sidecar_name, new_sidecar_name};
use crate::system::trust::{Ownership, Rights, Writer};
use crate::system::workers::Stop;
use elf_file::{FileId, io_reason};

/// The permission bits, set-id and sticky included.
const MODE: u32 = 0o7777;

/// Where the kernel keeps what it measured of a file, or what somebody signed.
const INTEGRITY: &str = "security.ima";

/// The first byte of a signature there (security/integrity/integrity.h, EVM_IMA_XATTR_DIGSIG and IMA_VERITY_DIGSIG).
const SIGNATURES: [u8; 2] = [3, 6];

const CHANGED: &str = "was changed by something else meanwhile: run wrap-buddy again";

/// FS_VERITY_FL (linux/fs.h).
const VERITY: IFlags = IFlags::from_bits_retain(0x0010_0000);

/// A file, and what changes in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) path: &'a Path,
    pub(super) file_id: FileId,
    /// How many names it had (hard links).
    pub(super) names: u64,
    file_len: u64,
    /// What is taken back before.
    undo: &'a [FileEdit],
    edits: &'a [FileEdit],
    /// What has to stand there for the plan to hold.
    expected: &'a [FileEdit],
    /// Whether any byte of it changes, and not only what lies beside it.
    pub(super) changes: bool,
    /// Whether it works now with other settings, so that it is changed at once or not at all.
    replaces: bool,
}

impl<'a> Target<'a> {
    pub(super) fn of_plan(plan: &'a Plan) -> Self {
        let undone = !plan.undo_first.is_empty();
        Self {
            path: &plan.path,
            file_id: plan.file_id,
            names: plan.names,
            file_len: plan.file_len,
            undo: &plan.undo_first,
            edits: &plan.edits,
            expected: if undone {
                &plan.undo_first
            } else {
                &plan.edits
            },
            changes: plan
                .undo_first
                .iter()
                .chain(&plan.edits)
                .any(FileEdit::is_due),
            replaces: plan.replaces(),
        }
    }

    pub(super) fn of_restoration(restoration: &'a Restoration) -> Self {
        Self {
            path: &restoration.path,
            file_id: restoration.file_id,
            names: restoration.names,
            file_len: restoration.file_len,
            undo: &[],
            edits: &restoration.edits,
            expected: &restoration.edits,
            changes: restoration.edits.iter().any(FileEdit::is_due),
            replaces: false,
        }
    }

    /// Nothing is wrong with a signature of a file that does not change.
    pub(super) fn check_signature(&self, file: &File) -> Result<()> {
        let signature = file.get_xattr(INTEGRITY).ok().flatten();
        let signed = signature
            .is_some_and(|value| value.first().is_some_and(|kind| SIGNATURES.contains(kind)));
        if self.changes && signed {
            bail!(
                "has a signature (IMA) that a changed file would no longer fit: it is left alone"
            );
        }
        Ok(())
    }

    /// What it is called in its directory.
    pub(super) fn name(&self) -> &'a OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Opens the file as far as it has to be. One of which no byte changes is never opened for writing: while it is, the kernel
    /// starts it for nobody, and while it runs, it cannot be.
    fn open(
        &self,
        target_directory: &TargetDirectory,
        rights: Rights,
        running: &Running,
    ) -> io::Result<Opened> {
        let directory = &target_directory.directory;
        match (self.changes, self.replaces) {
            (false, _) => {}
            (true, false) => return open_for_writing(directory, self, rights),
            (true, true) if is_sealed(directory, self.name()) => {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            (true, true) if running.has(self.file_id) => {
                return Err(io::ErrorKind::ExecutableFileBusy.into());
            }
            (true, true) => {}
        }
        open_for_reading(directory, self.name()).map(|opened| self.opened(opened))
    }

    fn opened(&self, (file, metadata): (File, Metadata)) -> Opened {
        Opened {
            is_meant: self.is_meant(&metadata),
            file,
            metadata,
            lifted: None,
        }
    }

    /// Whether it is the file that was looked at.
    fn is_meant(&self, metadata: &Metadata) -> bool {
        FileId::from(metadata) == self.file_id
    }
}

/// A file, what it was when it was opened, and its mode before that if that had to change.
pub(super) struct Opened {
    pub(super) file: File,
    metadata: Metadata,
    /// Whether it is the file that was looked at.
    is_meant: bool,
    lifted: Option<u32>,
}

/// What was done to a sidecar.
enum Written<'a> {
    Nothing,
    New(&'a OsStr),
    /// It was another before: this content.
    Over(&'a Plan, Vec<u8>),
}

/// A file while it is worked on.
pub(super) struct Job<'a> {
    pub(super) target: Target<'a>,
    target_directory: &'a TargetDirectory,
    rights: Rights,
    /// Open, locked against other runs.
    pub(super) file: File,
    /// What is written to instead, and takes the file's place at the end.
    copy: Option<Copy>,
    /// What a copy has taken the place of.
    replaced: Option<File>,
    /// Its user and group.
    owner: (u32, u32),
    /// Mode to put back at the end.
    mode: u32,
    capability: Option<Vec<u8>>,
    /// Whether anything was written for it.
    begun: bool,
    /// What this run did to the sidecar.
    sidecar: Written<'a>,
    /// Whether it wrote one that has another name for the time being.
    interim: bool,
    /// What there is to say of it in the end.
    notes: Vec<String>,
    /// What this run created of the links.
    new_links: link_directory::Made,
    /// Which edits were written, what stood there included.
    written: Vec<&'a FileEdit>,
}

impl<'a> Job<'a> {
    pub(super) fn open(
        target: Target<'a>,
        target_directory: &'a TargetDirectory,
        options: Options,
        running: &Running,
        stop: Option<&Stop<'_>>,
    ) -> Result<Self> {
        if stop.is_some_and(|stop| stop()) {
            bail!(Stopped);
        }
        let rights = target_directory.rights(target.name())?;
        let (opened, busy) = match target.open(target_directory, rights, running) {
            Err(error) if options.replace && error.kind() == io::ErrorKind::ExecutableFileBusy => {
                let file = target_directory
                    .directory
                    .file(target.name(), OFlag::O_RDONLY);
                (file.map(|opened| target.opened(opened)), true)
            }
            opened => (opened, false),
        };
        let opened = opened
            .map_err(|error| cannot_be_written(&target, &target_directory.directory, &error))?;
        let Opened {
            file,
            metadata,
            is_meant,
            lifted,
        } = opened;
        let mut job = Self {
            target,
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
            if !busy && !target.replaces {
                return Ok(());
            }
            match job.work_on_a_copy(&metadata) {
                // By way of the original.
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

    /// To be called before anything is written: refuses if the run is to end and nothing was written for this file yet. What was
    /// begun is finished.
    pub(super) fn begin(&mut self, stop: Option<&Stop<'_>>) -> Result<()> {
        if !self.begun && stop.is_some_and(|stop| stop()) {
            bail!(Stopped);
        }
        self.begun = true;
        Ok(())
    }

    fn check(&mut self, metadata: &Metadata, is_meant: bool) -> Result<()> {
        let opened_with = self.rights.directory;
        self.rights = self.target_directory.rights_to(metadata)?;
        if self.rights.directory != opened_with {
            bail!(CHANGED);
        }
        // Where there are no locks, there is nothing to be done.
        if let Err(TryLockError::WouldBlock) = self.file.try_lock()
            && let Some(holder) = lock::respected_holder(metadata)
        {
            bail!("is being worked on by {holder}: run this one again");
        }
        self.check_unchanged(metadata, is_meant)?;
        if self.capability.is_some() && self.rights.file != Writer::Caller && self.target.changes {
            bail!(
                "has file capabilities, which root would give back to what its owner may have written by then: left alone; pass --trust-tree where nobody else is at work"
            );
        }
        self.target.check_signature(&self.file)
    }

    /// The plan was made from what the file was then.
    fn check_unchanged(&self, metadata: &Metadata, is_meant: bool) -> Result<()> {
        let mut unchanged = metadata.len() == self.target.file_len && is_meant;
        for edit in self.target.expected {
            let mut now = vec![0; edit.before.len()];
            unchanged &= self.file.read_exact_at(&mut now, edit.offset).is_ok();
            unchanged &= now == edit.before;
        }
        if !unchanged {
            bail!(CHANGED);
        }
        Ok(())
    }

    fn work_on_a_copy(&mut self, metadata: &Metadata) -> Result<()> {
        if metadata.nlink() > 1 {
            bail!(has_other_names());
        }
        let acting = self.rights.directory.act();
        let copy = acting.and_then(|_acting| {
            let copy = Copy::of(
                &self.file,
                &self.target_directory.directory,
                self.target.name(),
            )?;
            // Found out now: later it would be too late for another way.
            copy.complete(&self.file, self.owner, self.mode & MODE)?;
            Ok(copy)
        });
        self.copy = Some(copy.map_err(|error| cannot_be_copied(&error))?);
        Ok(())
    }

    /// Opens the file itself for writing, after all.
    fn work_on_the_file(&mut self) -> Result<()> {
        let directory = &self.target_directory.directory;
        let opened = open_for_writing(directory, &self.target, self.rights);
        let opened = opened.map_err(|error| cannot_be_written(&self.target, directory, &error))?;
        self.mode = opened.lifted.unwrap_or(opened.metadata.mode());
        // The lock of the other handle goes with that.
        self.file = opened.file;
        self.check(&opened.metadata, opened.is_meant)
    }

    /// Makes the copy what the file is to be, with `slot` as its stub if that is not the planned one.
    pub(super) fn write_copy(&mut self, slot: Option<&[u8]>) -> Result<()> {
        let Some(copy) = &self.copy else {
            return Ok(());
        };
        let edits = self.target.undo.iter().chain(self.target.edits);
        let write = || {
            let _acting = self.rights.directory.act()?;
            for edit in edits {
                let is_slot = edit.kind == EditKind::Slot && self.target.edits.contains(edit);
                let bytes = slot.filter(|_| is_slot).unwrap_or(&edit.after);
                copy.file().write_all_at(bytes, edit.offset)?;
            }
            // Writing took set-id bits and capabilities.
            copy.complete(&self.file, self.owner, self.mode & MODE)
        };
        write().map_err(|error| {
            cannot_be_written(&self.target, &self.target_directory.directory, &error)
        })
    }

    /// Makes another copy, with the stub that is planned, of a program with one for the time being.
    pub(super) fn copy_again(&mut self) -> Result<()> {
        let acting = self.rights.directory.act();
        let copy = acting.and_then(|_acting| {
            Copy::of(
                &self.file,
                &self.target_directory.directory,
                self.target.name(),
            )
        });
        self.copy = Some(copy.map_err(|error| cannot_be_copied(&error))?);
        self.write_copy(None)
    }

    /// What is written to.
    fn output(&self) -> &File {
        self.copy.as_ref().map_or(&self.file, Copy::file)
    }

    /// Writes the sidecar: under another name where that with its own is in use until a copy has taken the place of the file.
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
        written.map_err(|error| sidecar_cannot_be_written(plan, &error))
    }

    pub(super) fn write_usual_sidecar(&mut self, plan: &'a Plan, durable: bool) -> Result<()> {
        let written = self.rights.directory.act().and_then(|_acting| {
            let name = plan.sidecar_path.file_name().unwrap_or_default();
            let directory = &self.target_directory.directory;
            let content = self.sidecar_content(plan, &plan.sidecar);
            match sidecar_file::create(directory, name, &content, durable) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // What is put back if a later step fails has to be a sidecar, too.
                    let old = FoundSidecar::in_directory(directory, name, plan.arch.class)?;
                    sidecar_file::replace(directory, name, self.fresh(), &content, durable)
                        .map(|()| Written::Over(plan, old))
                }
                created => created.map(|()| Written::New(name)),
            }
        });
        self.sidecar = written.map_err(|error| sidecar_cannot_be_written(plan, &error))?;
        Ok(())
    }

    /// Has the sidecar in use get its usual name too, before anything is written to the file that uses it.
    pub(super) fn settle_sidecar(&self, settle: Option<&Interim>) -> Result<()> {
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
        settled.map_err(|error| {
            let path = settle.usual.display();
            anyhow!(
                "its sidecar {path} cannot be written: {}",
                io_reason(&error)
            )
        })
    }

    fn interim(&self) -> OsString {
        interim_sidecar_name(self.target.name())
    }

    /// What its sidecar is called until it takes the place of another one.
    fn fresh(&self) -> OsString {
        new_sidecar_name(self.target.name())
    }

    fn sidecar_content<'c>(&self, plan: &Plan, bytes: &'c [u8]) -> sidecar_file::Content<'c> {
        // Whoever may run the program has to be able to read its sidecar. Who writes to a file takes set-id bits and capabilities from it;
        // writing to its sidecar must not be the way around that, so that the loader refuses such a one.
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
        made.map_err(|error| {
            let directory = links.directory.display();
            anyhow!(
                "its links in {directory} cannot be made: {}",
                io_reason(&error)
            )
        })
    }

    /// Writes those edits whose kind is `due`.
    pub(super) fn write_edits(&mut self, due: impl Fn(EditKind) -> bool) -> Result<()> {
        self.write(self.target.edits, due)
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
        let acting = self.rights.file.act();
        let _acting =
            acting.map_err(|error| anyhow!("cannot be written: {}", io_reason(&error)))?;
        for edit in due {
            // Counted first: a write that fails may have written a part.
            self.written.push(edit);
            self.output()
                .write_all_at(&edit.after, edit.offset)
                .map_err(|error| anyhow!("cannot be written: {}", io_reason(&error)))?;
        }
        Ok(())
    }

    pub(super) fn sync_directory(&self) -> io::Result<()> {
        self.target_directory.directory.sync()
    }

    pub(super) fn sync_file(&self) -> io::Result<()> {
        match self.target.changes {
            true => self.output().sync_data(),
            false => Ok(()),
        }
    }

    /// Whether a changed copy is to take the place of the file.
    pub(super) fn is_on_a_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// Whether that is so, and the file works now with other settings.
    pub(super) fn replaces(&self) -> bool {
        self.copy.is_some() && self.target.replaces
    }

    /// Whether its sidecar has another name for the time being.
    pub(super) fn has_interim_sidecar(&self) -> bool {
        self.interim
    }

    /// The file that a copy has taken the place of last.
    pub(super) fn replaced(&self) -> Option<&File> {
        self.replaced.as_ref()
    }

    /// Puts the copy, if there is one, where the file is.
    pub(super) fn take_place(&mut self) -> Result<()> {
        let Some(copy) = self.copy.take() else {
            return Ok(());
        };
        let acting = self.rights.directory.act();
        let file = acting
            .and_then(|_acting| copy.replace(self.target.name()))
            .map_err(|error| anyhow!("cannot be replaced: {}", io_reason(&error)))?;
        self.replaced = Some(std::mem::replace(&mut self.file, file));
        Ok(())
    }

    /// Leaves the file as it was found, as far as that is still possible.
    pub(super) fn undo(&mut self) {
        // What is there by now goes with the sidecar that has another name.
        self.copy = None;
        // A stub only goes with its own sidecar: where that is gone, the original is left, which goes with none.
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
        // While bytes of this run may be left, the sidecar is what the next run repairs them with.
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

    /// Puts a copy of the file that was replaced where that was.
    fn put_back(&mut self) -> io::Result<()> {
        let Some(original) = self.replaced.take() else {
            return Ok(());
        };
        let _acting = self.rights.directory.act()?;
        let name = self.target.name();
        let copy = Copy::of(&original, &self.target_directory.directory, name)?;
        copy.complete(&original, self.owner, self.mode & MODE)?;
        copy.file().set_modified(original.metadata()?.modified()?)?;
        copy.file().sync_data()?;
        self.file = copy.replace(name)?;
        Ok(())
    }

    /// Removes what is of no use any more beside the file, and says what cannot be removed.
    pub(super) fn remove(&self, unused: &[PathBuf]) -> Vec<String> {
        if unused.is_empty() {
            return Vec::new();
        }
        match self.rights.directory.act() {
            Ok(_acting) => link_directory::remove(unused, self.target.path, self.target_directory),
            Err(error) => {
                let failed = |path: &PathBuf| link_directory::cannot_be_removed(path, &error);
                unused.iter().map(failed).collect()
            }
        }
    }

    /// Removes the sidecar that had another name for the time being.
    pub(super) fn remove_interim_sidecar(&self) {
        if self.interim
            && let Ok(_acting) = self.rights.directory.act()
        {
            let _ = self.target_directory.directory.remove_file(&self.interim());
        }
    }

    /// Gives it `modified` as its time of modification.
    pub(super) fn set_time(&mut self, modified: Option<SystemTime>) {
        let Some(modified) = modified else {
            return;
        };
        let acting = self.rights.file.act();
        if let Err(error) = acting.and_then(|_acting| self.output().set_modified(modified)) {
            self.notes.push(format!(
                "its time of modification cannot be set back: {}",
                io_reason(&error)
            ));
        }
    }

    /// Puts back what else writing took from the file, and says what could not be put back.
    pub(super) fn finish(mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.notes);
        let acting = self.rights.file.act();
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
        drop(acting);
        notes
    }

    /// Writing clears set-id bits, and a read-only file was made writable. Only its owner puts that back: by now it may have written
    /// what is to have no more power.
    fn put_back_mode(&mut self) -> bool {
        if !self.target.changes {
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

fn cannot_be_copied(error: &io::Error) -> anyhow::Error {
    anyhow!("cannot be copied: {}", io_reason(error))
}

fn sidecar_cannot_be_written(plan: &Plan, error: &io::Error) -> anyhow::Error {
    let path = plan.sidecar_path.display();
    anyhow!("its sidecar {path} cannot be written: {}", io_reason(error))
}

/// Why a running program is not replaced by a copy.
pub(super) fn has_other_names() -> &'static str {
    "is running, and has other names (hard links) that a copy would not replace: stop it first"
}

/// Opens for reading a program that the caller would be let write to, were it not for its mode or because it runs: a sidecar of
/// anybody else's would be trusted by no later run.
pub(super) fn open_for_reading(
    directory: &Directory,
    name: &OsStr,
) -> io::Result<(File, Metadata)> {
    let (file, metadata) = directory.file(name, OFlag::O_RDONLY)?;
    let user = geteuid();
    if !user.is_root() && metadata.uid() != user.as_raw() {
        directory.may_with(name, AccessFlags::W_OK)?;
    }
    Ok((file, metadata))
}

/// Why a file cannot be opened for writing.
pub(super) fn cannot_be_written(
    target: &Target<'_>,
    directory: &Directory,
    error: &io::Error,
) -> anyhow::Error {
    // The kernel says the same of a file it lets nobody write (fs/verity) as of one this user may not write.
    let sealed = error.kind() == io::ErrorKind::PermissionDenied;
    match sealed && is_sealed(directory, target.name()) {
        true => anyhow!("cannot be written: it is sealed (fs-verity, or chattr +i): wrap a copy"),
        false => anyhow!("cannot be written: {}", io_reason(error)),
    }
}

/// Opens a program for reading and writing, if need be by making it writable for the time being. No other file than the one that was
/// looked at has its mode changed.
fn open_for_writing(
    directory: &Directory,
    target: &Target<'_>,
    rights: Rights,
) -> io::Result<Opened> {
    let name = target.name();
    let open = || {
        let _acting = rights.directory.act()?;
        lock::without_lease(|| directory.file(name, OFlag::O_RDWR))
    };
    // Opening a file of overlayfs's lower layer for writing makes a copy of it, and one that had several names gets another inode by
    // that. A handle that was opened before is one of the copy from then on (kernel fs/overlayfs/inode.c, ovl_getattr).
    let read = match target.names {
        0 | 1 => None,
        _ => directory.file(name, OFlag::O_RDONLY).ok(),
    };
    let read = read.filter(|(_, metadata)| target.is_meant(metadata));
    let is_same = |file: &File, metadata: &Metadata| {
        let now = file.metadata();
        now.is_ok_and(|now| FileId::from(&now) == FileId::from(metadata))
    };
    let refused = match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        Err(error) => return Err(error),
        Ok(opened) => {
            let mut opened = target.opened(opened);
            opened.is_meant |= read.is_some_and(|(read, _)| is_same(&read, &opened.metadata));
            return Ok(opened);
        }
    };
    // Whoever may read it has read it already. That this handle may not write is of no matter to its mode.
    let Ok((file, metadata)) = read.map_or_else(|| directory.file(name, OFlag::O_RDONLY), Ok)
    else {
        return Err(refused);
    };
    let mode = metadata.mode() & MODE;
    let set = |mode: u32| {
        let _acting = rights.file.act()?;
        file.set_permissions(Permissions::from_mode(mode))
    };
    // Only its owner may lift it; to everybody else the first error is the one that counts.
    let closed = mode & MODE_WRITE == 0 && target.is_meant(&metadata);
    if !closed || set(mode | MODE_WRITE).is_err() {
        return Err(refused);
    }
    match open() {
        Ok((opened, now)) if is_same(&file, &now) => Ok(Opened {
            file: opened,
            metadata: now,
            is_meant: true,
            lifted: Some(metadata.mode()),
        }),
        opened => {
            let _ = set(mode);
            opened.and(Err(refused))
        }
    }
}

/// Whether the file system lets nobody write to the file, root included.
pub(super) fn is_sealed(directory: &Directory, name: &OsStr) -> bool {
    let file = directory.file(name, OFlag::O_RDONLY);
    let flags = file.and_then(|(file, _)| Ok(rustix::fs::ioctl_getflags(file)?));
    flags.is_ok_and(|flags| flags.intersects(VERITY | IFlags::IMMUTABLE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::system::trust::Rights;

    /// An ordinary user.
    const USER: u32 = 12345;

    #[test]
    fn an_owner_may_write_to_a_read_only_program() {
        let above = tempfile::tempdir().unwrap();
        fs::set_permissions(above.path(), Permissions::from_mode(0o755)).unwrap();
        let path = above.path().join("program");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o555)).unwrap();
        let rights = match geteuid().is_root() {
            false => Rights::CALLER,
            true => {
                for path in [above.path(), &path] {
                    std::os::unix::fs::chown(path, Some(USER), Some(USER)).unwrap();
                }
                Rights {
                    file: Writer::Owner(USER),
                    directory: Writer::Owner(USER),
                }
            }
        };
        let directory = Directory::open(&fs::canonicalize(above.path()).unwrap()).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let file_id = FileId::from(&metadata);
        let open = |file_id| {
            let target = Target {
                path: &path,
                file_id,
                names: 1,
                file_len: 1,
                undo: &[],
                edits: &[],
                expected: &[],
                changes: true,
                replaces: false,
            };
            open_for_writing(&directory, &target, rights)
        };
        let other = FileId {
            inode: file_id.inode + 1,
            ..file_id
        };
        assert!(open(other).is_err());
        assert_eq!(fs::metadata(&path).unwrap().mode() & MODE, 0o555);
        let opened = open(file_id).unwrap();
        assert_eq!(opened.lifted.unwrap() & MODE, 0o555);
        opened.file.write_all_at(b"y", 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"y");
        // Putting it back is the job's, not the opener's.
        assert_eq!(fs::metadata(&path).unwrap().mode() & MODE, 0o755);
    }
}
