//! System calls the loader makes, with the kernel's own names.

use sidecar::Ownership;

use crate::arch::{self, nr, stat, syscall, syscall1, syscall3};
use crate::errno::Outcome;

/// The directory a relative path starts from (linux/fcntl.h).
pub const AT_FDCWD: usize = -100isize as usize;

/// Protections of a mapping (asm-generic/mman-common.h).
pub mod prot {
    /// Readable.
    pub const READ: usize = 1;
    /// Writable.
    pub const WRITE: usize = 2;
    /// Executable.
    pub const EXEC: usize = 4;
}

/// Kinds of a mapping (asm-generic/mman-common.h, linux/mman.h).
pub mod map {
    /// Changes stay in this process.
    pub const PRIVATE: usize = 2;
    /// Exactly there, over whatever is mapped.
    pub const FIXED: usize = 0x10;
    /// Zeros, no file.
    pub const ANONYMOUS: usize = 0x20;
    /// Not only mapped, but there.
    pub const POPULATE: usize = 0x8000;
}

/// Access modes of [`open`] (asm-generic/fcntl.h).
pub mod open_flags {
    /// Read only.
    pub const RDONLY: usize = 0;
    /// Read and write.
    pub const RDWR: usize = 2;
    /// Do not wait for the other end of a FIFO.
    pub const NONBLOCK: usize = 0x800;
    /// Neither read nor write.
    pub const PATH: usize = 0x20_0000;
}

/// Opens the file at the NUL-terminated `path`.
///
/// # Safety
/// `path` points to a NUL-terminated string.
#[inline(never)]
pub unsafe fn open(path: *const u8, flags: usize) -> Outcome {
    // SAFETY: the caller vouches for the string; the kernel only reads it.
    Outcome(unsafe { syscall3(nr::OPENAT, AT_FDCWD, path as usize, flags) })
}

/// Closes a descriptor; what the kernel says of it changes nothing here.
#[inline(never)]
pub fn close(fd: usize) {
    // SAFETY: no memory is involved.
    unsafe { syscall1(nr::CLOSE, fd) };
}

/// Length of the file behind `fd`, in bytes. Moves its position.
#[inline(never)]
pub fn file_len(fd: usize) -> Outcome {
    const SEEK_END: usize = 2;
    // SAFETY: no memory is involved.
    Outcome(unsafe { syscall3(nr::LSEEK, fd, 0, SEEK_END) })
}

/// Reads `len` bytes at `offset` of the file behind `fd`, wherever its position is; gives how many there were.
///
/// # Safety
/// `len` bytes at `buffer` may be written.
#[inline(never)]
pub unsafe fn read_at(fd: usize, buffer: *mut u8, len: usize, offset: usize) -> usize {
    // The offset is one word or two, low first.
    // SAFETY: the caller vouches for the buffer.
    unsafe { syscall(nr::PREAD64, [fd, buffer as usize, len, offset, 0]) }
}

/// Writes to a descriptor; a failure has nobody to be told.
///
/// # Safety
/// `len` bytes at `bytes` may be read.
#[inline(never)]
pub unsafe fn write(fd: usize, bytes: *const u8, len: usize) {
    // SAFETY: the caller vouches for the bytes.
    unsafe { syscall3(nr::WRITE, fd, bytes as usize, len) };
}

/// Ends the process.
#[inline(always)]
pub fn exit(status: usize) -> ! {
    loop {
        // SAFETY: the process is gone afterwards.
        unsafe { syscall1(nr::EXIT_GROUP, status) };
    }
}

/// Where a symbolic link leads; gives the length in bytes, without a NUL.
///
/// # Safety
/// `path` points to a NUL-terminated string; `len` bytes at `buffer` may be written.
#[inline(always)]
pub unsafe fn readlink(path: *const u8, buffer: *mut u8, len: usize) -> Outcome {
    let arguments = [AT_FDCWD, path as usize, buffer as usize, len, 0];
    // SAFETY: the caller vouches for both.
    Outcome(unsafe { syscall(nr::READLINKAT, arguments) })
}

/// Maps memory; `offset` is in bytes and a multiple of the page size.
///
/// # Safety
/// With [`map::FIXED`], nothing else may use what is mapped there.
#[inline(never)]
pub unsafe fn mmap(
    address: usize,
    len: usize,
    prot: usize,
    flags: usize,
    fd: usize,
    offset: usize,
) -> Outcome {
    // SAFETY: the caller vouches for the range.
    Outcome(unsafe { arch::mmap([address, len, prot, flags, fd, offset]) })
}

/// Changes the protection of whole pages.
///
/// # Safety
/// Nothing may rely on the protection the range had.
#[inline(never)]
pub unsafe fn mprotect(address: usize, len: usize, prot: usize) -> Outcome {
    // SAFETY: the caller vouches for the range.
    Outcome(unsafe { syscall3(nr::MPROTECT, address, len, prot) })
}

/// Owner and mode of the file behind `fd`; zeros if the kernel does not tell. Not statx, which older filters of system calls forbid.
#[inline(never)]
pub fn owner(fd: usize) -> Ownership {
    let mut stat = core::mem::MaybeUninit::<[u64; 18]>::uninit();
    let stat = stat.as_mut_ptr().cast::<u32>();
    // SAFETY: struct stat has at most 144 bytes, which is what `stat` has, and what is read of it was written before.
    unsafe {
        stat.add(stat::MODE).write_volatile(0);
        stat.add(stat::UID).write_volatile(0);
        stat.add(stat::GID).write_volatile(0);
        syscall3(nr::FSTAT, fd, stat as usize, 0);
        Ownership {
            user: stat.add(stat::UID).read_volatile(),
            group: stat.add(stat::GID).read_volatile(),
            mode: stat.add(stat::MODE).read_volatile(),
        }
    }
}

/// Whether nothing limits the address space of this process (RLIMIT_AS).
#[inline(always)]
pub fn has_endless_address_space() -> bool {
    const RLIMIT_AS: usize = 9;
    let mut limit = core::mem::MaybeUninit::<[u64; 2]>::uninit();
    let limit = limit.as_mut_ptr().cast::<u64>();
    // SAFETY: struct rlimit64 is two such words, and the first is written before it is read.
    unsafe {
        limit.write_volatile(0);
        syscall(nr::PRLIMIT64, [0, RLIMIT_AS, 0, limit as usize, 0]);
        limit.read_volatile() == u64::MAX
    }
}

/// Length of an extended attribute of the file at `path`, in bytes.
///
/// # Safety
/// Both are NUL-terminated strings.
#[inline(always)]
pub unsafe fn attribute_len(path: *const u8, name: *const u8) -> Outcome {
    let arguments = [path as usize, name as usize, 0, 0, 0];
    // SAFETY: the caller vouches for the strings; nothing is written where there is no room.
    Outcome(unsafe { syscall(nr::GETXATTR, arguments) })
}
