//! Strings as the kernel and ld.so take them: an address, and a NUL at the end. Half the size of a slice to pass around.

use core::ptr::NonNull;

use sys::stack::length;

/// A NUL-terminated string that stays where it is.
#[derive(Clone, Copy)]
pub struct Text(NonNull<u8>);

impl Text {
    /// The string at `start`.
    ///
    /// # Safety
    /// It ends in a NUL and does not change while it is used.
    #[inline(always)]
    pub unsafe fn new(start: *const u8) -> Self {
        // SAFETY: a string is somewhere.
        Self(unsafe { NonNull::new_unchecked(start.cast_mut()) })
    }

    /// Its first byte.
    #[inline(always)]
    pub fn as_ptr(self) -> *const u8 {
        self.0.as_ptr()
    }

    /// Bytes of it, without the NUL.
    #[inline(always)]
    pub fn len(self) -> usize {
        // SAFETY: `new` was told that there is a NUL.
        unsafe { length(self.as_ptr()) }
    }

    /// Whether it begins with a slash.
    #[inline(always)]
    pub fn is_absolute(self) -> bool {
        // SAFETY: there is a byte, if only the NUL.
        unsafe { *self.as_ptr() == b'/' }
    }

    /// What stands behind the last slash.
    #[inline(never)]
    pub fn file_name(self) -> Text {
        let mut name = self.as_ptr();
        let mut at = name;
        // SAFETY: nothing behind the NUL is read, and the end of a string is one.
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

/// Which of the image's own strings: one byte where it is used, instead of instructions that compute an address.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Message(pub u8);

/// Numbers the strings in their order.
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
    /// No words; as the answer to what is wrong: nothing.
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

/// All of them, each with its NUL.
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
        // SAFETY: there are as many strings as messages.
        unsafe {
            while left != 0 {
                at = at.add(length(at) + 1);
                left -= 1;
            }
            Text::new(at)
        }
    }

    /// What to do about it. A sidecar that is gone takes the program's original bytes with it, so that wrapping again does not help.
    #[inline(always)]
    pub fn advice(self) -> Message {
        match self {
            MISSING => GONE,
            what if what.0 >= NOT_LOADED.0 => AGAIN,
            _ => EMPTY,
        }
    }
}
