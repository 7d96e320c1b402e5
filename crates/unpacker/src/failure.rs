//! Errors: one line on standard error, and status 127.

use sys::errno::{EACCES, EDQUOT, EEXIST, ENOENT, ENOSPC, EROFS, Outcome};
use sys::terminal::{STDERR, say};
use sys::{files, syscall};

use crate::{digits, terminated};

/// Why something failed.
#[derive(Clone, Copy)]
pub enum Reason {
    /// An error number.
    Kernel(usize),
    /// The file is not as it was made.
    Damaged,
    /// Another user could change the files.
    NotPrivate,
}

pub fn ok(outcome: Outcome) -> Result<usize, Reason> {
    match outcome.errno() {
        0 => Ok(outcome.0),
        errno => Err(Reason::Kernel(errno)),
    }
}

/// Prints `wrap-buddy: SUBJECT: WORDS: REASON`.
#[cold]
pub fn fail(subject: &[u8], words: &str, reason: Option<Reason>) -> ! {
    begin(subject);
    print(words.as_bytes());
    if let Some(reason) = reason {
        print(b": ");
        print_reason(reason);
    }
    end()
}

/// Reports that the file `own` cannot be unpacked to `directory`.
#[cold]
pub fn not_unpacked(own: &[u8], directory: &[u8], reason: Reason) -> ! {
    begin(own);
    print(b"cannot be unpacked to ");
    print(directory);
    print(b": ");
    print_reason(reason);
    print(match reason {
        Reason::Damaged => &b"; copy it again"[..],
        Reason::Kernel(ENOSPC | EDQUOT) => {
            &b"; remove other files, or set XDG_CACHE_HOME to another directory"[..]
        }
        Reason::Kernel(EEXIST) => &b"; name a new directory"[..],
        _ => &b"; set XDG_CACHE_HOME to a directory of yours"[..],
    });
    end()
}

fn begin(subject: &[u8]) {
    print(b"wrap-buddy: ");
    print(subject);
    print(b": ");
}

fn end() -> ! {
    // As a part of a text, it would be escaped.
    files::write(STDERR, b"\n");
    syscall::exit(127)
}

fn print_reason(reason: Reason) {
    print(match reason {
        Reason::Damaged => &b"it is damaged"[..],
        Reason::NotPrivate => &b"other users can change files there"[..],
        Reason::Kernel(ENOENT) => &b"no such file or directory"[..],
        Reason::Kernel(EACCES) => &b"permission denied"[..],
        Reason::Kernel(EEXIST) => &b"it exists"[..],
        Reason::Kernel(ENOSPC) => &b"no space left on device"[..],
        Reason::Kernel(EDQUOT) => &b"disk quota exceeded"[..],
        Reason::Kernel(EROFS) => &b"read-only file system"[..],
        Reason::Kernel(number) => {
            let mut words = b"error ".to_vec();
            digits(number as u32, &mut words);
            return print(&words);
        }
    });
}

fn print(text: &[u8]) {
    // SAFETY: the copy has a NUL.
    unsafe { say(terminated(text).as_ptr()) };
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    files::write(STDERR, b"wrap-buddy: the bundle cannot be unpacked\n");
    syscall::exit(127)
}
