//! The initial stack as the kernel leaves it: argc, argv, envp, auxv (System V ABI, "Process Initialization").

/// Types of auxiliary vector entries (linux/auxvec.h).
pub mod at {
    /// End.
    pub const NULL: usize = 0;
    /// The program's headers.
    pub const PHDR: usize = 3;
    /// Their number.
    pub const PHNUM: usize = 5;
    /// System page size, bytes.
    pub const PAGESZ: usize = 6;
    /// Load bias of the dynamic linker.
    pub const BASE: usize = 7;
    /// Entry point of the program.
    pub const ENTRY: usize = 9;
    /// Effective user id.
    pub const EUID: usize = 12;
    /// Set-id or file capabilities were involved.
    pub const SECURE: usize = 23;
    /// 16 random bytes.
    pub const RANDOM: usize = 25;
    /// Second word of hardware capabilities.
    pub const HWCAP2: usize = 26;
    /// The path given to execve.
    pub const EXECFN: usize = 31;
}

/// One entry of the auxiliary vector.
#[repr(C)]
struct Entry {
    kind: usize,
    value: usize,
}

/// The initial stack of this process.
#[derive(Clone, Copy)]
pub struct Stack {
    pointer: *mut usize,
    auxv: *mut Entry,
}

impl Stack {
    /// Finds the parts.
    ///
    /// # Safety
    /// `pointer` is the stack pointer the kernel started this process with.
    #[inline(always)]
    pub unsafe fn new(pointer: *mut usize) -> Self {
        // SAFETY: argc is followed by argc pointers and NULL, then by the environment and NULL.
        unsafe {
            let mut cursor = pointer.add(*pointer + 2);
            while *cursor != 0 {
                cursor = cursor.add(1);
            }
            Self {
                pointer,
                auxv: cursor.add(1).cast(),
            }
        }
    }

    /// The first argument, or NULL.
    #[inline(always)]
    pub fn argv0(self) -> *const u8 {
        // SAFETY: argc is followed by argv, which ends with NULL.
        unsafe { *self.pointer.add(1) as *const u8 }
    }

    /// That many bytes below it.
    #[inline(always)]
    pub fn below(self, bytes: usize) -> *mut u8 {
        self.pointer.cast::<u8>().wrapping_sub(bytes)
    }

    /// Behind the last entry of the auxiliary vector.
    #[inline(always)]
    pub fn end(self) -> *mut usize {
        self.value(at::NULL).wrapping_add(1)
    }

    /// Where the value of an entry is; without one, that of the last entry, AT_NULL, which is 0.
    #[inline(never)]
    pub fn value(self, kind: usize) -> *mut usize {
        let mut entry = self.auxv;
        // SAFETY: the vector ends with AT_NULL, and nothing is read behind it.
        unsafe {
            while (*entry).kind != kind && (*entry).kind != at::NULL {
                entry = entry.add(1);
            }
            &raw mut (*entry).value
        }
    }

    /// Value of an entry; 0 where the kernel gave none.
    #[inline(always)]
    pub fn get(self, kind: usize) -> usize {
        // SAFETY: `value` gives a place in the vector; AT_NULL's value is 0.
        unsafe { *self.value(kind) }
    }

    /// Changes an entry the kernel gave.
    #[inline(always)]
    pub fn set(self, kind: usize, value: usize) {
        // SAFETY: the vector is on this process's writable stack, and only the loader looks at it now.
        unsafe { *self.value(kind) = value };
    }

    /// Whether the environment has exactly this `NAME=VALUE`.
    ///
    /// # Safety
    /// `wanted` is NUL-terminated.
    #[inline(always)]
    pub unsafe fn has_variable(self, wanted: *const u8) -> bool {
        // SAFETY: the environment lies between argv's NULL and its own, and holds NUL-terminated strings.
        unsafe {
            let mut cursor = self.pointer.add(*self.pointer + 2).cast::<*const u8>();
            while !(*cursor).is_null() {
                if is_same(*cursor, wanted) {
                    return true;
                }
                cursor = cursor.add(1);
            }
        }
        false
    }
}

/// Whether two strings are the same.
///
/// # Safety
/// Both are NUL-terminated.
#[inline(never)]
pub unsafe fn is_same(mut one: *const u8, mut other: *const u8) -> bool {
    // SAFETY: a mismatch, at the latest with the NUL, ends the comparison.
    unsafe {
        while *one == *other {
            if *one == 0 {
                return true;
            }
            one = one.add(1);
            other = other.add(1);
        }
    }
    false
}

/// Bytes of the string at `text`, without its NUL.
///
/// # Safety
/// `text` is NUL-terminated.
#[inline(never)]
pub unsafe fn length(text: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: the caller vouches for the NUL.
    while unsafe { *text.add(len) } != 0 {
        len += 1;
        // Or else the compiler calls strlen, which is not here.
        core::hint::black_box(());
    }
    len
}
