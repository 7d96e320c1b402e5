//! What newer architectures have in common: the tables that the kernel calls asm-generic.

/// System call numbers (asm-generic/unistd.h).
pub mod nr {
    pub const GETXATTR: usize = 8;
    pub const FLOCK: usize = 32;
    pub const MKDIRAT: usize = 34;
    pub const UNLINKAT: usize = 35;
    pub const SYMLINKAT: usize = 36;
    pub const LINKAT: usize = 37;
    pub const FCHMODAT: usize = 53;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const GETDENTS64: usize = 61;
    pub const LSEEK: usize = 62;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const PREAD64: usize = 67;
    pub const PWRITE64: usize = 68;
    pub const READLINKAT: usize = 78;
    pub const FSTAT: usize = 80;
    pub const UTIMENSAT: usize = 88;
    pub const EXIT_GROUP: usize = 94;
    pub const MUNMAP: usize = 215;
    pub const EXECVE: usize = 221;
    pub const MMAP: usize = 222;
    pub const MPROTECT: usize = 226;
    pub const PRLIMIT64: usize = 261;
    pub const SYNCFS: usize = 267;
    pub const RENAMEAT2: usize = 276;
}

/// Indices of fields in struct stat, in 32-bit words (asm-generic/stat.h).
pub mod stat {
    pub const MODE: usize = 4;
    pub const UID: usize = 6;
    pub const GID: usize = 7;
}
