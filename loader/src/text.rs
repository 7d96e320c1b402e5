//! NUL-terminated strings, as the kernel and ld.so use them. A pointer is half the size of a slice.

use core::ptr::NonNull;

use sys::stack::length;

/// A NUL-terminated string that stays in memory.
#[derive(Clone, Copy)]
pub struct Text(NonNull<u8>);

impl Text {
    /// # Safety
    /// The string at `start` has to end in a NUL and must not change while it is used.
    #[inline(always)]
    pub unsafe fn new(start: *const u8) -> Self {
        // SAFETY: `start` points to a string (`# Safety`), so that it is not null.
        Self(unsafe { NonNull::new_unchecked(start.cast_mut()) })
    }

    #[inline(always)]
    pub fn as_ptr(self) -> *const u8 {
        self.0.as_ptr()
    }

    /// The length in bytes, without the NUL.
    #[inline(always)]
    pub fn len(self) -> usize {
        // SAFETY: a NUL ends the string: the condition of `new`.
        unsafe { length(self.as_ptr()) }
    }

    #[inline(always)]
    pub fn is_absolute(self) -> bool {
        // SAFETY: a string has at least its NUL: the condition of `new`.
        unsafe { *self.as_ptr() == b'/' }
    }

    /// The part after the last slash.
    #[inline(never)]
    pub fn file_name(self) -> Text {
        let mut name = self.as_ptr();
        let mut at = name;
        // SAFETY: a NUL ends the string, the condition of `new`, and the loop stops there. What follows a slash is a string too.
        unsafe {
            while *at != 0 {
                if *at == b'/' {
                    name = at.add(1);
                }
                at = at.add(1);
            }
            Text::new(name)
        }
    }
}

/// The number of one of the image's strings: one byte in the code, where an address would need several instructions.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Message(pub u8);

/// Numbers the strings in order.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        messages!(@number 0u8; $($(#[$doc])* $name)*);
        const ALL: &str = concat!($($text, "\0"),*);
    };
    (@number $next:expr; $(#[$doc:meta])* $name:ident $($rest:tt)*) => {
        $(#[$doc])*
        pub const $name: Message = Message($next);
        messages!(@number $next + 1; $($rest)*);
    };
    (@number $next:expr;) => {};
}

messages! {
    /// No text; as the result of a check: no problem.
    EMPTY = "";
    EXECUTABLE = "/proc/self/exe";
    MEMORY = "/proc/self/mem";
    R_DEBUG = "_r_debug";
    DEBUG = "WRAP_BUDDY_DEBUG=1";
    CAPABILITY = "security.capability";
    START = "wrap-buddy: ";
    BETWEEN = ": ";
    AGAIN = "; wrap the program again";
    GONE = "; put it back, or get the program again";
    ERROR = "error";
    /// The reasons of the kernel, in the order of [`Message::of_errno`].
    ABSENT = "does not exist";
    DENIED = "permission denied";
    NO_MEMORY = "not enough memory";
    LINK = "symbolic link, not followed";
    TOO_MANY = "too many program headers";
    LOAD_BIAS = "load bias";
    ENTERS = "entry";
    UNTRUSTED = "owned or writable by others; give it the program's owner and mode, or remove it";
    NOT_RESTORED = "cannot restore code";
    NOT_LOADED = "cannot load";
    NOT_ELF = "not an ELF file";
    OTHER_MACHINE = "for another machine";
    NOT_A_SIDECAR = "unknown sidecar";
    DAMAGED = "damaged";
    FOREIGN = "for another program";
    DYNAMIC_CHANGED = "changed .dynamic";
    MISSING = "no sidecar";
}

// The order of `of_errno`.
const _: () =
    assert!(DENIED.0 == ABSENT.0 + 1 && NO_MEMORY.0 == ABSENT.0 + 2 && LINK.0 == ABSENT.0 + 3);

/// All strings, each with its NUL.
static MESSAGES: [u8; ALL.len()] = {
    let mut bytes = [0; ALL.len()];
    bytes.copy_from_slice(ALL.as_bytes());
    bytes
};

impl Message {
    #[inline(never)]
    pub fn text(self) -> Text {
        let mut at: *const u8;
        sys::address!(at, MESSAGES);
        let mut left = self.0;
        // SAFETY: the macro has numbered the strings of MESSAGES, each with its NUL: a message's number is less than their count.
        unsafe {
            while left != 0 {
                at = at.add(length(at) + 1);
                left -= 1;
            }
            Text::new(at)
        }
    }

    /// The text for an error number of the kernel, [`EMPTY`] for a rare one.
    #[inline(always)]
    pub fn of_errno(errno: usize) -> Message {
        // ENOENT, EACCES, ENOMEM, ELOOP; no array, because its address is not known.
        let (mut numbers, mut message) = (0x28_0c_0d_02_u32, ABSENT.0);
        while numbers != 0 {
            if (numbers & 0xff) as usize == errno {
                return Message(message);
            }
            numbers >>= 8;
            message += 1;
        }
        EMPTY
    }

    /// The advice to print. If the sidecar is gone, so are the program's original bytes, and wrapping again does not help.
    #[inline(always)]
    pub fn advice(self) -> Message {
        match self {
            MISSING => GONE,
            what if what.0 >= NOT_LOADED.0 => AGAIN,
            _ => EMPTY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of asm-generic/errno-base.h and errno.h, which are those of every supported architecture.
    #[test]
    fn frequent_error_numbers_have_a_text() {
        for (errno, message) in [(2, ABSENT), (13, DENIED), (12, NO_MEMORY), (40, LINK)] {
            assert_eq!(Message::of_errno(errno), message);
        }
        for errno in [1, 22, 0xd02, usize::MAX] {
            assert_eq!(Message::of_errno(errno), EMPTY);
        }
    }
}
