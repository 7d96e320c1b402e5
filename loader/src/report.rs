//! The loader's voice: one line on stderr, from pieces, without formatting code.

use sys::syscall::{exit, write};

use crate::text::{BETWEEN, Message, START, Text};

const STDERR: usize = 2;

/// Prints `wrap-buddy: FILE: WHAT`, and the kernel's error number unless it is 0; ends the process with status 127.
#[cold]
#[inline(never)]
pub fn fail(file: Text, what: Message, errno: usize) -> ! {
    line(file, what, errno, 10);
    exit(127)
}

/// Prints `wrap-buddy: SUBJECT: WHAT`, and `value` in `base` unless it is 0.
#[cold]
#[inline(never)]
pub fn line(subject: Text, what: Message, mut value: usize, base: usize) {
    say(START.text());
    say(subject);
    say(BETWEEN.text());
    say(what.text());
    say(what.advice().text());
    let mut digits = core::mem::MaybeUninit::<[u8; 24]>::uninit();
    // SAFETY: the writes stay inside `digits`: 64 bits are 20 decimal digits, a space and a line feed.
    unsafe {
        let end = digits.as_mut_ptr().cast::<u8>().add(24);
        let mut at = end.sub(1);
        *at = b'\n';
        if value != 0 {
            while value != 0 {
                at = at.sub(1);
                let digit = (value % base) as u8;
                *at = digit + if digit < 10 { b'0' } else { b'a' - 10 };
                value /= base;
            }
            at = at.sub(1);
            *at = b' ';
        }
        write(STDERR, at, end as usize - at as usize);
    }
}

#[inline(never)]
fn say(text: Text) {
    // SAFETY: the string is as long as it says.
    unsafe { write(STDERR, text.as_ptr(), text.len()) };
}
