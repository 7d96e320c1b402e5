//! Prints lines on stderr, without formatting code.

use sidecar::is_control;
use sys::syscall::{exit, write};

use crate::text::{BETWEEN, Message, START, Text};

const STDERR: usize = 2;

/// Prints `wrap-buddy: FILE: WHAT`, with the kernel's error number unless it is 0, and exits with status 127.
#[cold]
#[inline(never)]
pub fn fail(file: Text, what: Message, errno: usize) -> ! {
    line(file, what, errno, 10);
    exit(127)
}

/// Prints `wrap-buddy: SUBJECT: WHAT`, with `value` in `base` unless it is 0.
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

/// Writes `text`, with control characters in caret notation (`^[` for ESC), so that a file name can neither begin a line nor
/// control a terminal. Of a two-byte control character, the first byte stays, and has no meaning then.
#[inline(never)]
fn say(text: Text) {
    let mut from = text.as_ptr();
    let mut at = from;
    let mut before = 0;
    // SAFETY: a NUL ends a `Text`, and the loop returns there; `from` and `at` are in the string.
    unsafe {
        loop {
            let byte = *at;
            if is_control(before, byte) {
                write(STDERR, from, at as usize - from as usize);
                if byte == 0 {
                    return;
                }
                let caret = u16::from_le_bytes([b'^', byte & 0x7f ^ 0x40]);
                write(STDERR, (&raw const caret).cast(), 2);
                from = at.add(1);
            }
            before = byte;
            at = at.add(1);
        }
    }
}
