//! The directories of the files to process, each opened once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::AccessFlags;

use super::{Options, Result};
use crate::plan::reason::{Step, WriteFailure};
use crate::system::directory::{Directory, MODE_WRITE};
use crate::system::trust::{Ownership, Rights, Writer};

#[derive(Debug)]
pub(super) struct TargetDirectory {
    pub(super) directory: Directory,
    ownership: Ownership,
    /// Whether the caller takes the rights of each file's owner.
    leaves: bool,
    /// The owner and mode to restore, if the directory was read-only and has been made writable.
    lifted: Option<(Writer, u32)>,
}

impl TargetDirectory {
    /// Opens the directory at `path`, which must be absolute and free of symbolic links.
    pub(super) fn open(path: &Path, options: Options) -> io::Result<Self> {
        Ok(Self::new(path, options)?.0)
    }

    fn new(path: &Path, options: Options) -> io::Result<(Self, Metadata)> {
        let directory = Directory::open(path)?;
        let metadata = directory.metadata()?;
        let target_directory = Self {
            directory,
            ownership: Ownership::from(&metadata),
            leaves: Rights::are_left(options.trust_tree),
            lifted: None,
        };
        Ok((target_directory, metadata))
    }

    /// Opens it, and makes it writable if only its own mode prevents that. If that fails, creating the first file in it will report it.
    fn open_and_lift(path: &Path, options: Options) -> io::Result<Self> {
        let (mut target_directory, metadata) = Self::new(path, options)?;
        let mode = metadata.mode() & 0o7777;
        if mode & MODE_WRITE == 0 {
            let owner = match target_directory.leaves {
                true => Writer::owner(metadata.uid()),
                false => Writer::Caller,
            };
            let lift = || {
                let _acting = owner.act()?;
                let closed = target_directory.directory.may(AccessFlags::W_OK).is_err();
                match closed {
                    true => target_directory.directory.set_mode(mode | MODE_WRITE),
                    false => Err(io::ErrorKind::Other.into()),
                }
            };
            if lift().is_ok() {
                target_directory.lifted = Some((owner, mode));
            }
        }
        Ok(target_directory)
    }

    /// The rights for the file `name`, as far as they are needed to open it.
    pub(super) fn rights(&self, name: &OsStr) -> Result<Rights> {
        // If only root creates names here, it will open the file that it has read.
        if !self.leaves || self.ownership.is_roots_alone() {
            return Ok(Rights::CALLER);
        }
        let file = self.directory.metadata_of(name);
        let file = file.map_err(|error| Step::Open.refused(&error))?;
        self.rights_to(&file)
    }

    /// The rights for the open file.
    pub(super) fn rights_to(&self, file: &Metadata) -> Result<Rights> {
        match self.leaves {
            true => {
                let rights = Rights::of(Ownership::from(file), file.nlink(), self.ownership);
                Ok(rights?)
            }
            false => Ok(Rights::CALLER),
        }
    }

    pub(super) fn ownership(&self) -> Ownership {
        self.ownership
    }
}

/// Open directories by path.
#[derive(Debug)]
pub(super) struct TargetDirectories<'p> {
    opened: BTreeMap<&'p OsStr, Result<TargetDirectory>>,
}

impl<'p> TargetDirectories<'p> {
    pub(super) fn of(files: impl Iterator<Item = &'p Path>, options: Options) -> Self {
        let mut opened = BTreeMap::new();
        for directory in files.map(parent) {
            let open = || {
                let opened = TargetDirectory::open_and_lift(directory, options);
                opened.map_err(|error| Step::OpenDirectory.refused(&error))
            };
            // As bytes: comparing paths would split them into components each time.
            opened.entry(directory.as_os_str()).or_insert_with(open);
        }
        Self { opened }
    }

    pub(super) fn of_file(&self, path: &Path) -> Result<&TargetDirectory> {
        let target_directory = self.opened.get(parent(path).as_os_str());
        let not_found = || Step::OpenDirectory.refused(&io::ErrorKind::NotFound.into());
        let target_directory = target_directory.ok_or_else(not_found)?;
        target_directory.as_ref().map_err(WriteFailure::clone)
    }

    /// Restores the modes of directories that were made writable.
    pub(super) fn put_back(&mut self) {
        for target_directory in self.opened.values_mut().flatten() {
            if let Some((owner, mode)) = target_directory.lifted.take() {
                let _ = owner
                    .act()
                    .and_then(|_acting| target_directory.directory.set_mode(mode));
            }
        }
    }
}

impl Drop for TargetDirectories<'_> {
    fn drop(&mut self) {
        self.put_back();
    }
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}
