//! Text for people, on standard error.

use sidecar::is_control;

use crate::syscall::write;

pub const STDERR: usize = 2;

/// Writes `text`, with control characters in caret notation (`^[` for ESC), so that a file name can neither begin a line nor
/// control a terminal. Of a two-byte control character, the first byte stays, and has no meaning then.
///
/// # Safety
/// `text` has to be NUL-terminated.
#[inline(never)]
pub unsafe fn say(text: *const u8) {
    let mut from = text;
    let mut at = from;
    let mut before = 0;
    // SAFETY: a NUL ends the text (`# Safety`), and the loop returns there; `from` and `at` are in the string.
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
