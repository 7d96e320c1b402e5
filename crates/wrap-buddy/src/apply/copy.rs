//! A changed copy that replaces a file: because the file is running, or because each start during the change has to find either the old or
//! the new file.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::unistd::{Whence, lseek64};
use xattr::FileExt;

use crate::system::directory::{Directory, Temporary};
use crate::system::sidecar_path::copy_name;
use crate::system::trust::give;

/// A copy in the same directory. It is removed unless it replaces the file.
pub(super) struct Copy(Temporary);

impl Copy {
    /// Copies the content of `file`, which is called `name` in `directory`, with its holes. Until it is [complete](Self::complete), no
    /// other user can open it.
    pub(super) fn of(file: &File, directory: &Directory, name: &OsStr) -> io::Result<Self> {
        let copy = directory.temporary(copy_name(name))?;
        copy_content(file, copy.file(), file.metadata()?.len())?;
        Ok(Self(copy))
    }

    /// Sets the extended attributes (access control lists and capabilities among them), owner and mode of `file`.
    pub(super) fn complete(&self, file: &File, owner: (u32, u32), mode: u32) -> io::Result<()> {
        let output = self.file();
        let now = output.metadata()?;
        if (now.uid(), now.gid()) != owner {
            give(output, owner.0, owner.1)?;
        }
        output.set_permissions(Permissions::from_mode(mode))?;
        for name in file.list_xattr()? {
            if let Some(value) = file.get_xattr(&name)? {
                output.set_xattr(&name, &value)?;
            }
        }
        Ok(())
    }

    pub(super) fn file(&self) -> &File {
        self.0.file()
    }

    /// Renames the copy to `name`.
    pub(super) fn replace(self, name: &OsStr) -> io::Result<File> {
        self.0.replace_program(name)
    }
}

/// Copies the data between holes. The kernel shares blocks if the file system can.
pub(super) fn copy_content(from: &File, to: &File, len: u64) -> io::Result<()> {
    to.set_len(len)?;
    let (mut input, mut output) = (from, to);
    let mut at = 0;
    while at < len {
        let data = match lseek64(from, at as i64, Whence::SeekData) {
            Ok(data) => data as u64,
            // Only a hole is left.
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
