//! The tables that ld.so reads instead of those in the file: program headers, which are copied from the process's own, and entries
//! of .dynamic.
//!
//! The headers are made when the program starts, not when it is wrapped: an executable that was made from a wrapped one (`bun build
//! --compile`) has the same stub and sidecar but other headers. Only necessary changes are made. The headers in the mapped program,
//! and the kernel's saved AT_PHDR, stay as they are, because debuggers compare both with the file.

use sidecar::Patch;
use sidecar::loader::HEADERS_ROOM;
use sys::elf::{DT_NULL, DT_STRTAB, Dyn, PF_R, PT_DYNAMIC, PT_INTERP, PT_NULL, PT_PHDR, Phdr};
use sys::stack::at;

use crate::locate::copy;
use crate::process::Loader;
use crate::report::fail;
use crate::text::{DYNAMIC_CHANGED, TOO_MANY};

/// Maximum number of program headers of a process, to which two are added.
const MAX_HEADERS: usize = HEADERS_ROOM / size_of::<Phdr>() - 2;

impl Loader {
    /// Makes the program headers, before the sidecar, writes to .dynamic, and stores the addresses in auxv. Returns the address of
    /// the headers: the program starts below it.
    ///
    /// PT_PHDR is the first header, because ld.so takes the load bias from it before it reads any other (glibc elf/rtld.c,
    /// rtld_setup_main_map; musl ldso/dynlink.c).
    #[inline(always)]
    pub fn tell_linker(&self) -> *mut u8 {
        let header = self.header();
        let (table, count) = (self.stack.value(at::PHDR), self.stack.value(at::PHNUM));
        let end = self.sidecar.cast::<Phdr>();
        let mut to = end;
        let mut dynamic = core::ptr::null_mut::<u8>();
        let mut to_strings = 0;
        // SAFETY: AT_PHDR and AT_PHNUM are the kernel's: so many headers are mapped there. MAX_HEADERS and two more fit in HEADERS_ROOM, in
        // front of the sidecar, so that no write reaches its header. The copy of .dynamic and the patches are parts of the sidecar after
        // its header: the host has placed them, and checksum and id say that this is its record for this program.
        unsafe {
            if *count > MAX_HEADERS {
                fail(self.program(), TOO_MANY, 0);
            }
            let first = *table as *const Phdr;
            let mut from = first.add(*count);
            while from != first {
                from = from.sub(1);
                if matches!((*from).p_type, PT_NULL | PT_INTERP | PT_PHDR) {
                    continue;
                }
                to = to.sub(1);
                // An assignment would call memmove on riscv64.
                copy(to.cast(), from.cast(), size_of::<Phdr>());
                if (*to).p_type == PT_DYNAMIC {
                    dynamic = self.bias.wrapping_add((*to).p_vaddr) as *mut u8;
                    to_strings = self.moved_strings(dynamic.cast());
                    if header.dynamic.len != 0 {
                        let place = self.in_sidecar(header.dynamic.at);
                        copy(place, dynamic, header.own_dynamic_len as usize);
                        dynamic = place;
                        self.describe(to, dynamic, header.dynamic.len as usize);
                    }
                }
            }
            to = to.sub(1);
            self.add(
                to,
                PT_INTERP,
                self.interpreter.as_ptr(),
                self.interpreter.len() + 1,
            );
            to = to.sub(1);
            let len = end as usize - to as usize;
            self.add(to, PT_PHDR, to.cast(), len);
            *table = to as usize;
            *count = len / size_of::<Phdr>();
            self.stack.set(at::ENTRY, self.entry());

            let mut patch = self.in_sidecar(header.patches.at).cast::<Patch>();
            let end = patch.cast::<u8>().wrapping_add(header.patches.len as usize);
            while patch.cast::<u8>() < end {
                let mut value = (*patch).value as usize;
                if (*patch).points_to_sidecar != 0 {
                    value = value
                        .wrapping_add(self.distance(self.sidecar.cast()))
                        .wrapping_add(to_strings);
                }
                *dynamic.add((*patch).offset as usize).cast::<usize>() = value;
                patch = patch.add(1);
            }
        }
        to.cast()
    }

    /// The difference that has to be added to string offsets, because DT_STRTAB has changed since the program was wrapped. If the
    /// number of entries in .dynamic has changed, the patches do not apply.
    #[inline(always)]
    unsafe fn moved_strings(&self, dynamic: *const Dyn) -> usize {
        let header = self.header();
        let mut strings = header.strings as usize;
        if strings == 0 {
            return 0;
        }
        let end = dynamic.wrapping_byte_add(header.own_dynamic_len as usize);
        let mut entry = dynamic;
        // SAFETY: the kernel has mapped the program's .dynamic, which `dynamic` is, by its own program header. A DT_NULL
        // ends it; the loop stops there, or at `end`, and reads nothing further.
        unsafe {
            while entry != end && (*entry).d_tag != DT_NULL {
                if (*entry).d_tag == DT_STRTAB {
                    strings = strings.wrapping_sub((*entry).d_val);
                }
                entry = entry.add(1);
            }
            if entry != end || (*entry).d_tag != DT_NULL {
                fail(self.program(), DYNAMIC_CHANGED, 0);
            }
        }
        strings
    }

    /// Adds a header at `to` for `len` bytes at `address`.
    #[inline(never)]
    unsafe fn add(&self, to: *mut Phdr, kind: u32, address: *const u8, len: usize) {
        // SAFETY: `tell_linker`, the only caller, has counted the headers: `to` is aligned, and in HEADERS_ROOM.
        unsafe {
            *to = Phdr {
                p_type: kind,
                p_flags: PF_R,
                p_offset: 0,
                p_vaddr: self.distance(address),
                p_paddr: 0,
                p_filesz: len,
                p_memsz: len,
                p_align: 0,
            };
        }
    }

    /// Makes the header at `to` describe `len` bytes at `address`.
    #[inline(always)]
    unsafe fn describe(&self, to: *mut Phdr, address: *const u8, len: usize) {
        // SAFETY: `to` is a header that `tell_linker` has just written to HEADERS_ROOM.
        unsafe {
            (*to).p_vaddr = self.distance(address);
            (*to).p_filesz = len;
            (*to).p_memsz = len;
        }
    }

    /// An address without the load bias, which ld.so adds.
    #[inline(always)]
    fn distance(&self, address: *const u8) -> usize {
        (address as usize).wrapping_sub(self.bias)
    }
}
