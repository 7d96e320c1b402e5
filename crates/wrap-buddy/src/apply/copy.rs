//! A copy of a file that cannot be written to because it is running: it is changed instead, and takes the file's place.

use std::ffi::OsStr;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::unistd::{Whence, lseek64};
use xattr::FileExt;

use crate::system::directory::{Directory, Temporary};
use crate::system::sidecar_path::copy_name;
use crate::system::trust::give;

/// A copy in the same directory, gone again unless it takes the file's place.
pub(super) struct Copy(Temporary);

impl Copy {
    /// Copies content, holes included, owner, mode, times and extended attributes (access control lists and capabilities are
    /// some) of `file`, which is called `name` in `directory`.
    pub(super) fn of(
        file: &File,
        directory: &Directory,
        name: &OsStr,
        metadata: &Metadata,
    ) -> io::Result<Self> {
        let copy = directory.temporary(copy_name(name))?;
        let output = copy.file();
        copy_content(file, output, metadata.len())?;
        let owner = (metadata.uid(), metadata.gid());
        let now = output.metadata()?;
        if (now.uid(), now.gid()) != owner {
            give(output, owner.0, owner.1)?;
        }
        output.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777))?;
        for name in file.list_xattr()? {
            if let Some(value) = file.get_xattr(&name)? {
                output.set_xattr(&name, &value)?;
            }
        }
        output.set_modified(metadata.modified()?)?;
        Ok(Self(copy))
    }

    pub(super) fn file(&self) -> &File {
        self.0.file()
    }

    /// Renames it to `name`, and is the file there from now on.
    pub(super) fn replace(self, name: &OsStr) -> io::Result<File> {
        self.0.replace(name)
    }
}

/// Copies what is not a hole; the kernel shares the blocks where the file system can do that.
fn copy_content(from: &File, to: &File, len: u64) -> io::Result<()> {
    to.set_len(len)?;
    let (mut input, mut output) = (from, to);
    let mut at = 0;
    while at < len {
        let data = match lseek64(from, at as i64, Whence::SeekData) {
            Ok(data) => data as u64,
            // Nothing but a hole up to the end.
            Err(nix::errno::Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = lseek64(from, data as i64, Whence::SeekHole)? as u64;
        input.seek(SeekFrom::Start(data))?;
        output.seek(SeekFrom::Start(data))?;
        io::copy(&mut input.take(end - data), &mut output)?;
        at = end;
    }
    Ok(())
}
