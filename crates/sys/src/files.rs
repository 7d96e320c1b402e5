//! System calls that make, read and remove files. A path is relative to an open directory, unless it is absolute.

use core::ffi::CStr;

use crate::arch::{nr, syscall};
use crate::errno::Outcome;

/// Flags of [`open`], in addition to those of [`crate::syscall::open_flags`] (asm-generic/fcntl.h).
pub mod flags {
    pub const WRONLY: usize = 1;
    pub const CREATE: usize = 0x40;
    /// Fails if the file exists.
    pub const EXCLUSIVE: usize = 0x80;
    pub const CLOEXEC: usize = 0x8_0000;
    /// Fails if the file is no directory.
    pub use crate::arch::DIRECTORY;
}

/// Opens a file. `mode` has the permission bits of a new one.
pub fn open(directory: usize, path: &CStr, flags: usize, mode: usize) -> Outcome {
    call(nr::OPENAT, [directory, at(path), flags, mode, 0])
}

/// Reads from the position of a file. Returns the number of bytes; 0 is the end of the file.
pub fn read(fd: usize, buffer: &mut [u8]) -> Outcome {
    // SAFETY: read writes at most the length of `buffer`.
    Outcome(unsafe {
        syscall(
            nr::READ,
            [fd, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0],
        )
    })
}

/// Writes to a file. Returns the number of bytes.
pub fn write(fd: usize, bytes: &[u8]) -> Outcome {
    call(nr::WRITE, [fd, bytes.as_ptr() as usize, bytes.len(), 0, 0])
}

/// Moves the position of a file, in bytes from its start.
pub fn seek(fd: usize, position: usize) -> Outcome {
    const SEEK_SET: usize = 0;
    call(nr::LSEEK, [fd, position, SEEK_SET, 0, 0])
}

/// Reads entries of an open directory (struct linux_dirent64). Returns the number of bytes; 0 is the end.
pub fn entries(directory: usize, buffer: &mut [u8]) -> Outcome {
    let arguments = [directory, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0];
    // SAFETY: getdents64 writes at most the length of `buffer`.
    Outcome(unsafe { syscall(nr::GETDENTS64, arguments) })
}

/// Reads a symbolic link. Returns the length in bytes; there is no NUL.
pub fn read_link(directory: usize, path: &CStr, buffer: &mut [u8]) -> Outcome {
    let (start, len) = (buffer.as_mut_ptr() as usize, buffer.len());
    // SAFETY: readlinkat reads `path` up to its NUL, and writes at most the length of `buffer`.
    Outcome(unsafe { syscall(nr::READLINKAT, [directory, at(path), start, len, 0]) })
}

pub fn make_directory(directory: usize, path: &CStr, mode: usize) -> Outcome {
    call(nr::MKDIRAT, [directory, at(path), mode, 0, 0])
}

pub fn symlink(target: &CStr, directory: usize, path: &CStr) -> Outcome {
    call(nr::SYMLINKAT, [at(target), directory, at(path), 0, 0])
}

/// Makes `new` a second name of `path`.
pub fn hard_link(directory: usize, path: &CStr, new: &CStr) -> Outcome {
    call(nr::LINKAT, [directory, at(path), directory, at(new), 0])
}

/// Fails if `to` is a directory that is not empty.
pub fn rename(directory: usize, from: &CStr, to: &CStr) -> Outcome {
    call(nr::RENAMEAT2, [directory, at(from), directory, at(to), 0])
}

/// Removes a name, or an empty directory.
pub fn unlink(directory: usize, path: &CStr, is_directory: bool) -> Outcome {
    const AT_REMOVEDIR: usize = 0x200;
    let flags = if is_directory { AT_REMOVEDIR } else { 0 };
    call(nr::UNLINKAT, [directory, at(path), flags, 0, 0])
}

/// Sets the permission bits of a file that is no symbolic link.
pub fn set_mode(directory: usize, path: &CStr, mode: usize) -> Outcome {
    call(nr::FCHMODAT, [directory, at(path), mode, 0, 0])
}

/// Sets the times of access and modification of a file, or of a symbolic link itself, in seconds since 1970.
pub fn set_time(directory: usize, path: &CStr, seconds: usize) -> Outcome {
    const AT_SYMLINK_NOFOLLOW: usize = 0x100;
    // Two times of seconds and nanoseconds.
    let times = [seconds, 0, seconds, 0];
    let times = times.as_ptr() as usize;
    call(
        nr::UTIMENSAT,
        [directory, at(path), times, AT_SYMLINK_NOFOLLOW, 0],
    )
}

/// Waits until no other process has locked this file, and locks it until it is closed.
pub fn lock(fd: usize) -> Outcome {
    const LOCK_EX: usize = 2;
    call(nr::FLOCK, [fd, LOCK_EX, 0, 0, 0])
}

/// Writes everything in the file system of this file to the disk.
pub fn sync_all(fd: usize) -> Outcome {
    call(nr::SYNCFS, [fd, 0, 0, 0, 0])
}

/// Unmaps memory.
///
/// # Safety
/// Nothing may use the range any more.
pub unsafe fn unmap(address: usize, len: usize) {
    // SAFETY: nothing uses the range (`# Safety`).
    unsafe { syscall(nr::MUNMAP, [address, len, 0, 0, 0]) };
}

fn at(path: &CStr) -> usize {
    path.as_ptr() as usize
}

/// A system call that writes no memory of this process. Its pointers come from references in this module.
fn call(number: usize, arguments: [usize; 5]) -> Outcome {
    // SAFETY: the functions of this module pass strings with a NUL, and memory with its length, which the kernel only reads.
    Outcome(unsafe { syscall(number, arguments) })
}
