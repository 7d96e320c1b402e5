//! The planned change of one file, and how the file is opened.

use std::ffi::OsStr;
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, geteuid};
use xattr::FileExt as _;

use super::Result;
use super::running::Running;
use super::target_directories::TargetDirectory;
use crate::plan::reason::{Step, WriteFailure};
use crate::plan::restore::Restoration;
use crate::plan::{FileEdit, Plan};
use crate::scan::TargetFile;
use crate::system::directory::{Directory, MODE_WRITE};
use crate::system::file_flags;
use crate::system::lock;
use crate::system::trust::Rights;
use elf_file::FileId;

/// Permission bits with set-id and sticky bits.
pub(super) const MODE: u32 = 0o7777;

/// Extended attribute with the kernel's measurement of a file, or a signature.
const INTEGRITY: &str = "security.ima";

/// First byte of a signature in it (security/integrity/integrity.h, EVM_IMA_XATTR_DIGSIG and IMA_VERITY_DIGSIG).
const SIGNATURES: [u8; 2] = [3, 6];

/// A file and its planned changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) file: &'a TargetFile,
    /// Edits of earlier settings, which are undone first.
    pub(super) undo: &'a [FileEdit],
    pub(super) edits: &'a [FileEdit],
    /// The bytes that the plan relies on.
    pub(super) expected: &'a [FileEdit],
    /// Whether the file itself changes, and not only its sidecar and links.
    pub(super) changes: bool,
    /// Whether the file works now with other settings. It then has to change in one step.
    pub(super) replaces: bool,
}

impl<'a> Change<'a> {
    pub(super) fn of_plan(plan: &'a Plan) -> Self {
        let undone = !plan.undo_first.is_empty();
        Self {
            file: &plan.file,
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
            file: &restoration.file,
            undo: &[],
            edits: &restoration.edits,
            expected: &restoration.edits,
            changes: restoration.edits.iter().any(FileEdit::is_due),
            replaces: false,
        }
    }

    /// A signature does not matter if the file itself does not change.
    pub(super) fn check_signature(&self, file: &File) -> Result<()> {
        let signature = file.get_xattr(INTEGRITY).ok().flatten();
        let signed = signature
            .is_some_and(|value| value.first().is_some_and(|kind| SIGNATURES.contains(kind)));
        if self.changes && signed {
            return Err(WriteFailure::Signed);
        }
        Ok(())
    }

    /// Its file name.
    pub(super) fn name(&self) -> &'a OsStr {
        self.file.path.file_name().unwrap_or_default()
    }

    /// Opens the file. A file that does not change itself is opened read-only: the kernel starts no program that is open for writing, and a
    /// running program cannot be opened for writing.
    pub(super) fn open(
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
            (true, true) if running.has(self.file.id) => {
                return Err(io::ErrorKind::ExecutableFileBusy.into());
            }
            (true, true) => {}
        }
        open_for_reading(directory, self.name()).map(|opened| self.opened(opened))
    }

    pub(super) fn opened(&self, (file, metadata): (File, Metadata)) -> Opened {
        Opened {
            is_meant: self.file.is(&metadata),
            file,
            metadata,
            lifted: None,
        }
    }
}

/// An open file.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    /// Whether it is the file that the plan was made for.
    pub(super) is_meant: bool,
    pub(super) lifted: Option<u32>,
}

/// Opens a program for reading that the caller could write to, apart from its mode or because it runs. Later runs would not trust a sidecar
/// that another user has made.
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

pub(super) fn cannot_be_written(
    change: &Change<'_>,
    directory: &Directory,
    error: &io::Error,
) -> WriteFailure {
    // The kernel returns EPERM both for a sealed file (fs-verity) and for one that this user cannot write.
    let sealed = error.kind() == io::ErrorKind::PermissionDenied;
    match sealed && is_sealed(directory, change.name()) {
        true => WriteFailure::Sealed,
        false => Step::Write.refused(error),
    }
}

/// Opens a program for reading and writing. If necessary, makes it writable for the time, but only if it is the file that the plan was made
/// for.
pub(super) fn open_for_writing(
    directory: &Directory,
    change: &Change<'_>,
    rights: Rights,
) -> io::Result<Opened> {
    let name = change.name();
    let open = || {
        let _acting = rights.directory.act()?;
        lock::without_lease(|| directory.file(name, OFlag::O_RDWR))
    };
    // On overlayfs, opening a file of the lower layer for writing copies it up, and a file with several names then gets another inode. A
    // handle that was opened before refers to the copy from then on (kernel fs/overlayfs/inode.c, ovl_getattr).
    let read = match change.file.names {
        0 | 1 => None,
        _ => directory.file(name, OFlag::O_RDONLY).ok(),
    };
    let read = read.filter(|(_, metadata)| change.file.is(metadata));
    let is_same = |file: &File, metadata: &Metadata| {
        let now = file.metadata();
        now.is_ok_and(|now| FileId::from(&now) == FileId::from(metadata))
    };
    let refused = match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        Err(error) => return Err(error),
        Ok(opened) => {
            let mut opened = change.opened(opened);
            opened.is_meant |= read.is_some_and(|(read, _)| is_same(&read, &opened.metadata));
            return Ok(opened);
        }
    };
    // The plan was made by reading the file, so that works. A read-only handle is sufficient for fchmod.
    let Ok((file, metadata)) = read.map_or_else(|| directory.file(name, OFlag::O_RDONLY), Ok)
    else {
        return Err(refused);
    };
    let mode = metadata.mode() & MODE;
    let set = |mode: u32| {
        let _acting = rights.file.act()?;
        file.set_permissions(Permissions::from_mode(mode))
    };
    // Only the owner can change the mode. For others the first error is reported.
    let closed = mode & MODE_WRITE == 0 && change.file.is(&metadata);
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

/// Whether the file system lets nobody write to the file, not even root.
pub(super) fn is_sealed(directory: &Directory, name: &OsStr) -> bool {
    let file = directory.file(name, OFlag::O_RDONLY);
    file.is_ok_and(|(file, _)| file_flags::is_sealed(&file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldso::Root;
    use std::fs;
    use std::os::unix::fs::FileExt;

    use crate::system::trust::Writer;

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
        let file = TargetFile::new(&Root::default(), &path, &fs::metadata(&path).unwrap());
        let file_id = file.id;
        let open = |file_id| {
            let change = Change {
                file: &TargetFile {
                    id: file_id,
                    ..file.clone()
                },
                undo: &[],
                edits: &[],
                expected: &[],
                changes: true,
                replaces: false,
            };
            open_for_writing(&directory, &change, rights)
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
        // The job restores the mode, not the function that opens the file.
        assert_eq!(fs::metadata(&path).unwrap().mode() & MODE, 0o755);
    }
}
