//! Puts the original bytes back over the stub.

use sidecar::Flags;
use sys::stack::at;
use sys::syscall::{self, map, open_flags, prot};

use crate::locate::copy;
use crate::process::Loader;
use crate::report::fail;
use crate::text::{EXECUTABLE, MEMORY, NOT_RESTORED};

impl Loader {
    /// Copies the original bytes from the sidecar over the stub, and restores the protection of the pages.
    ///
    /// If the kernel does not make written pages executable again (PR_SET_MDWE, SELinux execmod), this maps the file's own pages
    /// again and writes them through /proc/self/mem. The code has to stay a mapping of the executable, because perf, uprobes and
    /// crash reporters attribute addresses by mapping. If ld.so has started the program, /proc/self/exe is that ld.so, and there is
    /// no other way. A slot in padding stays as it is: it is not worth a page of memory.
    #[inline(always)]
    pub fn restore_slot(&self, is_started: bool) {
        if self.has(Flags::SLOT_STAYS) {
            return;
        }
        let header = self.header();
        let original = self.in_sidecar(header.slot.at);
        let len = header.slot.len as usize;
        let address = self.bias.wrapping_add(header.slot_address as usize);
        let before = address & (self.page() - 1);
        let (start, all) = (address - before, before + len);
        let prot =
            header.slot_protection as usize & sys::arch::protections(self.stack.get(at::HWCAP2));
        // SAFETY: the slot is the stub's place in the program, as the sidecar with this program's id says: `len` bytes that the host has
        // taken from it. The stub has jumped here and is not returned to, the program has not begun, and there is one thread.
        unsafe {
            let mut errno = syscall::mprotect(start, all, prot::READ | prot::WRITE).errno();
            if errno == 0 {
                copy(address as *mut u8, original, len);
                sys::arch::sync_code(address, len);
                errno = syscall::mprotect(start, all, prot).errno();
            }
            if errno == 0 {
                return;
            }
            if is_started {
                fail(MEMORY.text(), NOT_RESTORED, errno);
            }
            let file = syscall::open(EXECUTABLE.text().as_ptr(), open_flags::RDONLY).0;
            let offset = header.slot_offset as usize - before;
            syscall::mmap(start, all, prot, map::PRIVATE | map::FIXED, file, offset);
            syscall::close(file);
            let memory = syscall::open(MEMORY.text().as_ptr(), open_flags::RDWR).0;
            let written = syscall::write_at(memory, original, len, address);
            syscall::close(memory);
            if written != len {
                fail(MEMORY.text(), NOT_RESTORED, errno);
            }
        }
    }
}
