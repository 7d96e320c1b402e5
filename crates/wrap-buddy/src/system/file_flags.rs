//! The flags of a file's inode, as `lsattr` shows them.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::libc::c_long;

/// FS_IMMUTABLE_FL and FS_VERITY_FL (linux/fs.h).
const SEALED: c_long = 0x10 | 0x0010_0000;

nix::ioctl_read!(get_flags, b'f', 1, c_long);

/// Whether the kernel refuses all writes to the file. File systems without flags do not.
pub fn is_sealed(file: &File) -> bool {
    let mut flags = 0;
    // SAFETY: FS_IOC_GETFLAGS writes an int, or a long on some file systems, to `flags`, which is a long. `file` is open for as long as it
    // is borrowed.
    let result = unsafe { get_flags(file.as_raw_fd(), &raw mut flags) };
    result.is_ok() && flags & SEALED != 0
}
