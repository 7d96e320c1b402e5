//! What glibc's libc.so.6 opens by itself when a program calls some of its functions. No file has a DT_NEEDED for it.
//!
//! - libgcc_s.so.1, to unwind the stack (misc/unwind-link.c). libc looks for it as for what it needs itself: on its own search
//!   path, on the DT_RPATH of the program, and where ld.so looks by itself. Without it pthread_exit and pthread_cancel abort, and
//!   backtrace finds nothing.
//! - Modules of iconv, in the directory `gconv` that libc was built for, or in those of GCONV_PATH (iconv/gconv_conf.c). Without
//!   them iconv_open knows ASCII and Unicode only.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use elf_file::{Elf, Source, bytes};

/// The functions that unwind the stack, and the one that takes modules of iconv.
pub const FUNCTIONS: [&str; 5] = [
    "pthread_exit",
    "pthread_cancel",
    "thrd_exit",
    "backtrace",
    ICONV,
];

/// The library that opens them.
pub const LIBC: &str = "libc.so.6";

/// The function that takes modules of iconv.
pub const ICONV: &str = "iconv_open";

/// The library that unwinds the stack.
pub const UNWINDER: &str = "libgcc_s.so.1";

/// The directory that the libc at `path` was built to find iconv's modules in: the only string that ends like that.
pub fn gconv_directory(path: &Path) -> Option<PathBuf> {
    const END: &[u8] = b"/gconv\0";
    let mut source = Source::open(path).ok()?;
    let elf = Elf::read(&mut source).ok()?;
    elf.loads().find_map(|load| {
        let text = source.read(load.offset, load.file_len).ok()?;
        let end = bytes::occurrences(&text, END).next()?;
        let start = text[..end].iter().rposition(|&byte| byte == 0)? + 1;
        let directory = OsStr::from_bytes(&text[start..end + END.len() - 1]);
        directory
            .as_bytes()
            .starts_with(b"/")
            .then(|| directory.into())
    })
}
