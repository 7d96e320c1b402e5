//! The functions of C to which the compiler turns copies and comparisons. A crate of its own, in which it does not (`no_builtins`).
#![no_std]
#![no_builtins]

/// # Safety
/// `len` bytes at `to` have to be writable, and those at `from` readable. They must not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    let mut at = 0;
    while at < len {
        // SAFETY: `at` is less than `len` (`# Safety`).
        unsafe { *to.add(at) = *from.add(at) };
        at += 1;
    }
    to
}

/// # Safety
/// As for [`memcpy`], but they may overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= len {
        // SAFETY: each byte is read before it is overwritten, because the copy goes up.
        return unsafe { memcpy(to, from, len) };
    }
    let mut at = len;
    while at != 0 {
        at -= 1;
        // SAFETY: `at` is less than `len` (`# Safety`).
        unsafe { *to.add(at) = *from.add(at) };
    }
    to
}

/// # Safety
/// `len` bytes at `to` have to be writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    let mut at = 0;
    while at < len {
        // SAFETY: `at` is less than `len` (`# Safety`).
        unsafe { *to.add(at) = byte as u8 };
        at += 1;
    }
    to
}

/// # Safety
/// `len` bytes at both have to be readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, len: usize) -> i32 {
    let mut at = 0;
    while at < len {
        // SAFETY: `at` is less than `len` (`# Safety`).
        let (one, other) = unsafe { (*one.add(at), *other.add(at)) };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
        at += 1;
    }
    0
}

/// # Safety
/// As for [`memcmp`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, len: usize) -> i32 {
    // SAFETY: as above.
    unsafe { memcmp(one, other, len) }
}

/// # Safety
/// `text` has to be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: the loop stops at the NUL (`# Safety`).
    while unsafe { *text.add(len) } != 0 {
        len += 1;
    }
    len
}
