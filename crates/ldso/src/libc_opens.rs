//! Libraries that glibc's libc.so.6 opens with dlopen when a program calls certain functions. No file has a DT_NEEDED for them.
//!
//! - libgcc_s.so.1, to unwind the stack (misc/unwind-link.c). ld.so searches for it as for a DT_NEEDED of libc: on libc's own
//!   search path, on the DT_RPATH of the program, and in the cache and default directories. Without it, pthread_exit and
//!   pthread_cancel abort, and backtrace finds nothing.
//! - iconv modules, in the directory `gconv` that is built into libc, or in those of GCONV_PATH (iconv/gconv_conf.c). Without them,
//!   iconv_open knows only ASCII and Unicode.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use elf_file::{Elf, Source, bytes};

/// The functions that unwind the stack, and the one that opens iconv modules.
pub const FUNCTIONS: [&str; 5] = [
    "pthread_exit",
    "pthread_cancel",
    "thrd_exit",
    "backtrace",
    ICONV,
];

/// The soname of the library with these functions.
pub const LIBC: &str = "libc.so.6";

/// The function that opens iconv modules.
pub const ICONV: &str = "iconv_open";

/// The soname of the library that unwinds the stack.
pub const UNWINDER: &str = "libgcc_s.so.1";

/// The directory of iconv modules that is built into the libc at `path`: its only string that ends in `/gconv`.
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
