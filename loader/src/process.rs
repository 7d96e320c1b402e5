//! The state of the loader: values from the kernel and the stub, and the results of the steps.

use sidecar::loader::BELOW;
use sidecar::{Flags, Header, Id, LOADER_OFFSET};
use sys::stack::{Stack, at, length};

use crate::report;
use crate::text::{DEBUG, LOAD_BIAS, Message, Text};

/// Maximum length of a stub in bytes.
const MAX_STUB: usize = 512;

pub struct Loader {
    pub stack: Stack,
    pub trailer: *const u8,
    /// Path of the sidecar.
    pub path: Text,
    /// The sidecar, once it was found. The program will start below it.
    pub sidecar: *mut Header,
    /// The load bias; valid once the sidecar was found.
    pub bias: usize,
    /// Path of the real ld.so.
    pub interpreter: Text,
    /// The open file with this loader.
    pub fd: usize,
    /// Bytes that the stub has read to the front room, if this file is the sidecar too; else 0.
    pub read: usize,
    /// Whether identities or capabilities changed at exec (AT_SECURE), so that the caller is not trusted.
    pub is_secure: bool,
    /// Whether the kernel itself has started the stub. Then there is no rtld_fini, which glibc's ld.so always passes, and AT_ENTRY
    /// is the stub, which musl's ld.so leaves unchanged.
    pub is_by_kernel: bool,
}

impl Loader {
    /// # Safety
    /// `trailer` has to follow the stub, `stack` has to be the initial stack pointer, and the [`BELOW`] bytes below it have to be
    /// unused.
    #[inline(always)]
    pub unsafe fn new(
        trailer: *const u8,
        stack: *mut usize,
        fini: usize,
        fd: usize,
        read: usize,
    ) -> Self {
        // SAFETY: the caller vouches for all; the trailer is the program's own, written with the stub that runs.
        unsafe {
            let stack = Stack::new(stack);
            let mut path = trailer.add(LOADER_OFFSET);
            if read == 0 {
                path = path.add(length(path) + 1);
            }
            let path = Text::new(path);
            let stub = (trailer as usize).wrapping_sub(stack.get(at::ENTRY));
            Self {
                stack,
                trailer,
                path,
                sidecar: core::ptr::null_mut(),
                bias: 0,
                interpreter: path,
                fd,
                read,
                is_secure: stack.get(at::SECURE) != 0,
                is_by_kernel: fini == 0 && stub <= MAX_STUB,
            }
        }
    }

    /// PATH_MAX bytes of temporary memory, 16-byte aligned.
    #[inline(always)]
    pub fn scratch(&self) -> *mut u8 {
        opaque(self.stack.below(BELOW))
    }

    /// Path of the program, as the caller gave it. The path of the sidecar is lost once the stub is overwritten.
    #[cold]
    pub fn program(&self) -> Text {
        // SAFETY: the kernel has put a string there.
        unsafe { Text::new(self.stack.get(at::EXECFN) as *const u8) }
    }

    /// The identity that the sidecar must have.
    #[inline(always)]
    pub fn id(&self) -> Id {
        // SAFETY: the trailer begins with it.
        unsafe { self.trailer.cast::<Id>().read() }
    }

    /// Finds the load bias. It is computed from the trailer's own address, so it is right both under the kernel and under ld.so.
    #[inline(always)]
    pub fn find_program(&mut self) {
        let header = self.header();
        let stub = (self.trailer as usize).wrapping_sub(header.stub_len as usize);
        self.bias = stub.wrapping_sub(header.slot_address as usize);
        self.trace(self.path, LOAD_BIAS, self.bias);
    }

    /// The sidecar's fixed part.
    #[inline(always)]
    pub fn header(&self) -> &'static Header {
        // SAFETY: any bytes are a header, and they stay where they are; what it says holds once it was found.
        unsafe { &*self.sidecar }
    }

    /// Address of an offset in the sidecar.
    #[inline(always)]
    pub fn in_sidecar(&self, offset: u32) -> *mut u8 {
        self.sidecar.cast::<u8>().wrapping_add(offset as usize)
    }

    /// A string of the sidecar.
    #[inline(always)]
    pub fn text_at(&self, offset: u32) -> Text {
        // SAFETY: the host puts a NUL behind every string.
        unsafe { Text::new(self.in_sidecar(offset)) }
    }

    /// Address of the program's original entry point.
    #[inline(always)]
    pub fn entry(&self) -> usize {
        self.bias.wrapping_add(self.header().entry as usize)
    }

    /// Whether ld.so has already run: AT_BASE is set, which requires a PT_INTERP, or DT_DEBUG is, which is zero in every file.
    ///
    /// If the kernel itself has started the stub, DT_DEBUG is not read, because that costs a page fault.
    #[inline(always)]
    pub fn is_started(&self) -> bool {
        let header = self.header();
        let debug = self.bias.wrapping_add(header.debug_address as usize) as *const usize;
        // SAFETY: it lies in the program's .dynamic.
        self.stack.get(at::BASE) != 0
            || !self.is_by_kernel && header.debug_address != 0 && unsafe { *debug } != 0
    }

    #[inline(always)]
    pub fn has(&self, flag: Flags) -> bool {
        self.header().flags.contains(flag)
    }

    /// Prints a step if WRAP_BUDDY_DEBUG=1 is set.
    #[inline(never)]
    pub fn trace(&self, subject: Text, step: Message, address: usize) {
        // SAFETY: the message ends in a NUL.
        if !self.is_secure && unsafe { self.stack.has_variable(DEBUG.text().as_ptr()) } {
            report::line(subject, step, address, 16);
        }
    }
}

/// Returns the same address. Without this, the compiler treats the distance from the stack as a constant, and computes each address
/// near it with two instructions instead of one.
#[inline(always)]
fn opaque(address: *mut u8) -> *mut u8 {
    let mut address = address as usize;
    // SAFETY: there is no instruction in it.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) address, options(nomem, nostack, preserves_flags));
    }
    address as *mut u8
}
