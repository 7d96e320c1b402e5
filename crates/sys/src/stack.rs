//! The initial stack of a process: argc, argv, envp, auxv (System V ABI, "Process Initialization").

/// Types of auxiliary vector entries (linux/auxvec.h).
pub mod at {
    pub const NULL: usize = 0;
    pub const PHDR: usize = 3;
    pub const PHNUM: usize = 5;
    pub const PAGESZ: usize = 6;
    pub const BASE: usize = 7;
    pub const ENTRY: usize = 9;
    pub const EUID: usize = 12;
    /// 1 for a program with set-id bits or file capabilities.
    pub const SECURE: usize = 23;
    pub const RANDOM: usize = 25;
    pub const HWCAP2: usize = 26;
    pub const EXECFN: usize = 31;
}

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
    /// # Safety
    /// `pointer` has to be the stack pointer with which the kernel started this process.
    #[inline(always)]
    pub unsafe fn new(pointer: *mut usize) -> Self {
        // SAFETY: `pointer` is the initial stack pointer (`# Safety`). The kernel has put argc there, then argc pointers and NULL, then
        // the environment and NULL, then auxv (System V ABI).
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

    /// The word with the number of arguments. The arguments follow, and NULL.
    #[inline(always)]
    pub fn arguments(self) -> *const usize {
        self.pointer
    }

    /// The environment, which ends with NULL.
    #[inline(always)]
    pub fn environment(self) -> *const usize {
        // SAFETY: `new` was given the initial stack: the environment follows argc, argv and the NULL of argv.
        unsafe { self.pointer.add(*self.pointer + 2) }
    }

    /// The first argument, or NULL.
    #[inline(always)]
    pub fn argv0(self) -> *const u8 {
        // SAFETY: `new` was given the initial stack: argc is followed by argv, which has at least its NULL.
        unsafe { *self.pointer.add(1) as *const u8 }
    }

    /// The address that many bytes below the stack.
    #[inline(always)]
    pub fn below(self, bytes: usize) -> *mut u8 {
        self.pointer.cast::<u8>().wrapping_sub(bytes)
    }

    /// The end of the auxiliary vector.
    #[inline(always)]
    pub fn end(self) -> *mut usize {
        self.value(at::NULL).wrapping_add(1)
    }

    /// The address of an entry's value. If there is no such entry, that of the AT_NULL at the end, which is 0.
    #[inline(never)]
    pub fn value(self, kind: usize) -> *mut usize {
        let mut entry = self.auxv;
        // SAFETY: `new` has found the vector, the kernel ends it with AT_NULL, and the loop stops there.
        unsafe {
            while (*entry).kind != kind && (*entry).kind != at::NULL {
                entry = entry.add(1);
            }
            &raw mut (*entry).value
        }
    }

    /// The value of an entry; 0 if there is none.
    #[inline(always)]
    pub fn get(self, kind: usize) -> usize {
        // SAFETY: `value` returns the address of a word in the vector.
        unsafe { *self.value(kind) }
    }

    /// Changes an existing entry.
    #[inline(always)]
    pub fn set(self, kind: usize, value: usize) {
        // SAFETY: `value` returns the address of a word in the vector. The stack is writable, and no Rust reference to the vector exists:
        // everything goes through raw pointers.
        unsafe { *self.value(kind) = value };
    }

    /// Whether the environment has exactly this `NAME=VALUE`.
    ///
    /// # Safety
    /// `wanted` has to be NUL-terminated.
    #[inline(always)]
    pub unsafe fn has_variable(self, wanted: *const u8) -> bool {
        // SAFETY: `new` was given the initial stack: the environment follows argv's NULL and ends with its own, and the kernel has copied
        // every string with its NUL. `wanted` has a NUL (`# Safety`).
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

/// Whether two strings are equal.
///
/// # Safety
/// Both have to be NUL-terminated.
#[inline(never)]
pub unsafe fn is_same(mut one: *const u8, mut other: *const u8) -> bool {
    // SAFETY: both have a NUL (`# Safety`), and the loop goes on only while the bytes are equal and not NUL.
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

/// The length in bytes of the string at `text`, without its NUL.
///
/// # Safety
/// `text` has to be NUL-terminated.
#[inline(never)]
pub unsafe fn length(text: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: `text` has a NUL (`# Safety`), and no byte after it is read.
    while unsafe { *text.add(len) } != 0 {
        len += 1;
        // Keeps the compiler from calling strlen, which does not exist here.
        core::hint::black_box(());
    }
    len
}
