//! The loader's system calls, under the kernel's names.

use sidecar::Ownership;

use crate::arch::{self, nr, stat, syscall, syscall1, syscall3};
use crate::errno::Outcome;

/// The current directory, for relative paths (linux/fcntl.h).
pub const AT_FDCWD: usize = -100isize as usize;

/// Protections of a mapping (asm-generic/mman-common.h).
pub mod prot {
    pub const READ: usize = 1;
    pub const WRITE: usize = 2;
    pub const EXEC: usize = 4;
}

/// Flags of a mapping (asm-generic/mman-common.h, linux/mman.h).
pub mod map {
    pub const PRIVATE: usize = 2;
    pub const FIXED: usize = 0x10;
    pub const ANONYMOUS: usize = 0x20;
    /// Does not count as memory that the process needs.
    pub const NORESERVE: usize = 0x4000;
    /// Allocates the pages at once.
    pub const POPULATE: usize = 0x8000;
}

/// Flags of [`open`] (asm-generic/fcntl.h).
pub mod open_flags {
    pub const RDONLY: usize = 0;
    pub const RDWR: usize = 2;
    /// Does not wait for the other end of a FIFO.
    pub const NONBLOCK: usize = 0x800;
    /// Fails if the last component is a symbolic link.
    pub use crate::arch::NOFOLLOW;
    /// Opens for neither reading nor writing.
    pub const PATH: usize = 0x20_0000;
}

/// # Safety
/// `path` has to be a NUL-terminated string.
#[inline(never)]
pub unsafe fn open(path: *const u8, flags: usize) -> Outcome {
    // SAFETY: openat reads memory up to the NUL of `path` (`# Safety`), and writes none.
    Outcome(unsafe { syscall3(nr::OPENAT, AT_FDCWD, path as usize, flags) })
}

/// Closes a descriptor. An error would change nothing.
#[inline(never)]
pub fn close(fd: usize) {
    // SAFETY: close neither reads nor writes memory.
    unsafe { syscall1(nr::CLOSE, fd) };
}

/// The length of the file `fd` in bytes. Moves the file's position.
#[inline(never)]
pub fn file_len(fd: usize) -> Outcome {
    const SEEK_END: usize = 2;
    // SAFETY: lseek neither reads nor writes memory.
    Outcome(unsafe { syscall3(nr::LSEEK, fd, 0, SEEK_END) })
}

/// Reads up to `len` bytes at `offset` of the file `fd`, and returns how many there were. Does not use the file's position.
///
/// # Safety
/// `len` bytes at `buffer` have to be writable.
#[inline(never)]
pub unsafe fn read_at(fd: usize, buffer: *mut u8, len: usize, offset: usize) -> usize {
    // SAFETY: pread64 writes at most `len` bytes to `buffer`, which are writable (`# Safety`).
    unsafe { arch::at_offset(nr::PREAD64, [fd, buffer as usize, len], offset) }
}

/// Writes `len` bytes at `offset` of the file `fd`, and returns how many it has written.
///
/// # Safety
/// `len` bytes at `buffer` have to be readable.
#[inline(always)]
pub unsafe fn write_at(fd: usize, buffer: *const u8, len: usize, offset: usize) -> usize {
    // SAFETY: pwrite64 reads `len` bytes at `buffer`, which are readable (`# Safety`).
    unsafe { arch::at_offset(nr::PWRITE64, [fd, buffer as usize, len], offset) }
}

/// Writes to a descriptor. Ignores errors, because there is nowhere to report them.
///
/// # Safety
/// `len` bytes at `bytes` have to be readable.
#[inline(never)]
pub unsafe fn write(fd: usize, bytes: *const u8, len: usize) {
    // SAFETY: write reads `len` bytes at `bytes`, which are readable (`# Safety`).
    unsafe { syscall3(nr::WRITE, fd, bytes as usize, len) };
}

#[inline(always)]
pub fn exit(status: usize) -> ! {
    loop {
        // SAFETY: exit_group neither reads nor writes memory, and does not return.
        unsafe { syscall1(nr::EXIT_GROUP, status) };
    }
}

/// Replaces the program of this process. Returns only with an error.
///
/// # Safety
/// `path` has to be a NUL-terminated string, and the others NULL-terminated arrays of such strings.
#[inline(always)]
pub unsafe fn execve(path: *const u8, argv: *const usize, envp: *const usize) -> Outcome {
    // SAFETY: execve reads these strings and arrays (`# Safety`), and writes no memory of a process that goes on.
    Outcome(unsafe { syscall3(nr::EXECVE, path as usize, argv as usize, envp as usize) })
}

/// Reads a symbolic link. Returns the length in bytes; there is no NUL.
///
/// # Safety
/// `path` has to be a NUL-terminated string, and `len` bytes at `buffer` have to be writable.
#[inline(always)]
pub unsafe fn readlink(path: *const u8, buffer: *mut u8, len: usize) -> Outcome {
    let arguments = [AT_FDCWD, path as usize, buffer as usize, len, 0];
    // SAFETY: readlinkat reads up to the NUL of `path`, and writes at most `len` bytes to `buffer` (`# Safety`).
    Outcome(unsafe { syscall(nr::READLINKAT, arguments) })
}

/// Maps memory; `offset` is in bytes and a multiple of the page size.
///
/// # Safety
/// With [`map::FIXED`], the range must not be in use.
#[inline(never)]
pub unsafe fn mmap(
    address: usize,
    len: usize,
    prot: usize,
    flags: usize,
    fd: usize,
    offset: usize,
) -> Outcome {
    // SAFETY: a mapping that is not fixed takes free addresses; nothing uses what a fixed one replaces (`# Safety`).
    Outcome(unsafe { arch::mmap([address, len, prot, flags, fd, offset]) })
}

/// Changes the protection of whole pages.
///
/// # Safety
/// Nothing may rely on the previous protection of the range.
#[inline(never)]
pub unsafe fn mprotect(address: usize, len: usize, prot: usize) -> Outcome {
    // SAFETY: mprotect writes no memory, and nothing relies on the protection that the range had (`# Safety`).
    Outcome(unsafe { syscall3(nr::MPROTECT, address, len, prot) })
}

/// The owner and mode of the file `fd`; zeros if fstat fails. It is not statx, because older seccomp filters forbid that.
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

/// Whether this process has no limit on its address space (RLIMIT_AS).
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

/// The length in bytes of an extended attribute of the file at `path`.
///
/// # Safety
/// Both have to be NUL-terminated strings.
#[inline(always)]
pub unsafe fn attribute_len(path: *const u8, name: *const u8) -> Outcome {
    let arguments = [path as usize, name as usize, 0, 0, 0];
    // SAFETY: getxattr reads up to the NULs of both (`# Safety`), and writes nothing, because the size of the buffer is 0.
    Outcome(unsafe { syscall(nr::GETXATTR, arguments) })
}
