//! Prints lines on stderr, without formatting code.

use sys::syscall::{exit, write};
use sys::terminal::{self, STDERR};

use crate::text::{BETWEEN, EMPTY, ERROR, Message, START, Text};

/// Prints `wrap-buddy: FILE: WHAT`, with the reason of the kernel unless `errno` is 0, and exits with status 127.
#[cold]
#[inline(never)]
pub fn fail(file: Text, what: Message, errno: usize) -> ! {
    begin(file, what);
    if errno != 0 {
        say(BETWEEN.text());
        match Message::of_errno(errno) {
            EMPTY => {
                say(ERROR.text());
                number(errno, 10);
            }
            reason => say(reason.text()),
        }
    }
    say(what.advice().text());
    end_line();
    exit(127)
}

/// Prints `wrap-buddy: SUBJECT: WHAT ADDRESS`, with the address in hexadecimal digits.
#[cold]
#[inline(never)]
pub fn step(subject: Text, what: Message, address: usize) {
    begin(subject, what);
    number(address, 16);
    end_line();
}

fn begin(subject: Text, what: Message) {
    say(START.text());
    say(subject);
    say(BETWEEN.text());
    say(what.text());
}

fn end_line() {
    let line_feed = b'\n';
    // SAFETY: the byte is readable.
    unsafe { write(STDERR, &raw const line_feed, 1) };
}

/// Prints a space and the digits of `value`.
#[inline(never)]
fn number(mut value: usize, base: usize) {
    let mut digits = core::mem::MaybeUninit::<[u8; 24]>::uninit();
    // SAFETY: the writes stay inside `digits`: 64 bits are 20 decimal digits, and a space.
    unsafe {
        let end = digits.as_mut_ptr().cast::<u8>().add(24);
        let mut at = end;
        while value != 0 {
            at = at.sub(1);
            // Divides bit by bit, because for a division the compiler may call a function that does not exist here.
            let mut rest = 0;
            for _ in 0..usize::BITS {
                rest = rest << 1 | value >> (usize::BITS - 1);
                value <<= 1;
                if rest >= base {
                    rest -= base;
                    value |= 1;
                }
            }
            let digit = rest as u8;
            *at = digit + if digit < 10 { b'0' } else { b'a' - 10 };
        }
        at = at.sub(1);
        *at = b' ';
        write(STDERR, at, end as usize - at as usize);
    }
}

#[inline(always)]
fn say(text: Text) {
    // SAFETY: a NUL ends a `Text`.
    unsafe { terminal::say(text.as_ptr()) };
}
