//! The state of the loader: values from the kernel and the stub, and the results of the steps.

use core::num::NonZero;

use sidecar::loader::BELOW;
use sidecar::{Flags, Header, Id, LOADER_OFFSET, RECORD_LEN_OFFSET};
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
    pub origin: Origin,
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
        origin: Origin,
    ) -> Self {
        // SAFETY: `stack` is the initial stack pointer (`# Safety`). The trailer follows the stub: the host has written both together, and
        // LINE_LEN_OFFSET, LOADER_OFFSET and the NULs of its paths are in its format (`sidecar::Trailer`).
        unsafe {
            let stack = Stack::new(stack);
            let mut path = trailer.add(LOADER_OFFSET);
            if !origin.is_sidecar() {
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
                origin,
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
        // SAFETY: the kernel has copied AT_EXECFN to the initial stack with its NUL.
        unsafe { Text::new(self.stack.get(at::EXECFN) as *const u8) }
    }

    /// The identity that the sidecar must have.
    #[inline(always)]
    pub fn id(&self) -> Id {
        // SAFETY: the trailer begins with the id (`sidecar::Trailer`); an id is bytes, with no alignment.
        unsafe { self.trailer.cast::<Id>().read() }
    }

    /// The length of the trailer's record; 0 if there is none.
    #[inline(always)]
    pub fn record_len(&self) -> usize {
        // SAFETY: the trailer has that field there (`sidecar::Trailer`), not aligned.
        let len = unsafe {
            self.trailer
                .add(RECORD_LEN_OFFSET)
                .cast::<u16>()
                .read_unaligned()
        };
        usize::from(len)
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
    pub fn header(&self) -> &Header {
        // SAFETY: `open_sidecar` has set `sidecar` to aligned memory of the loader's, larger than a header, which has only integers: any
        // bytes are valid. The header itself is written to by `open_sidecar` only, which borrows the loader mutably. `tell_linker` and
        // `find_interpreter` write in front of it and after it, where the host has placed no part of it.
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
        // SAFETY: `offset` is a field of a sidecar with the right checksum and id: the host has put a string with its NUL there.
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
        // SAFETY: the host has taken `debug_address` from the program's .dynamic, which the kernel has mapped at `bias`.
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
        // SAFETY: every message has a NUL.
        if !self.is_secure && unsafe { self.stack.has_variable(DEBUG.text().as_ptr()) } {
            report::step(subject, step, address);
        }
    }
}

/// The file with the loader.
#[derive(Clone, Copy)]
pub enum Origin {
    /// A file of its own.
    OwnFile,
    /// The sidecar of a self-contained program, of which the stub has read so many bytes to the front room.
    Sidecar(NonZero<usize>),
}

impl Origin {
    /// Bytes that the stub has read, 0 for none.
    #[inline(always)]
    pub fn read(self) -> usize {
        match self {
            Self::OwnFile => 0,
            Self::Sidecar(read) => read.get(),
        }
    }

    #[inline(always)]
    pub fn is_sidecar(self) -> bool {
        matches!(self, Self::Sidecar(_))
    }
}

/// Returns the same address. Without this, the compiler treats the distance from the stack as a constant, and computes each address
/// near it with two instructions instead of one.
#[inline(always)]
fn opaque(address: *mut u8) -> *mut u8 {
    let mut address = address as usize;
    // SAFETY: the assembly is a comment, without an instruction.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) address, options(nomem, nostack, preserves_flags));
    }
    address as *mut u8
}
