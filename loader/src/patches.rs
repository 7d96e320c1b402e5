//! What ld.so is to read instead of what the file says: the words the host has prepared. They give the program headers for
//! ld.so their addresses, and .dynamic the search path and the extra DT_NEEDED. The strings stay in the sidecar: their
//! offsets are plain additions to DT_STRTAB in glibc and musl.
//!
//! The headers in the mapped program, and the kernel's saved AT_PHDR, stay as they are: debuggers compare both with the file.

use sidecar::Patch;
use sys::stack::at;

use crate::process::Loader;

impl Loader {
    /// Writes the words, and tells auxv of the headers and the entry point.
    #[inline(always)]
    pub fn apply_patches(&self) {
        let header = self.header();
        let sidecar = self.sidecar as usize;
        let mut patch = self.in_sidecar(header.patches.at).cast::<Patch>();
        let end = patch.cast::<u8>().wrapping_add(header.patches.len as usize);
        while patch.cast::<u8>() < end {
            // SAFETY: the host has made the patches for this very program, as the checksum and the id say.
            unsafe {
                let base = if (*patch).in_sidecar != 0 {
                    sidecar
                } else {
                    self.bias
                };
                let mut value = (*patch).value as usize;
                if (*patch).points_to_sidecar != 0 {
                    value = value.wrapping_add(sidecar).wrapping_sub(self.bias);
                }
                *(base.wrapping_add((*patch).address as usize) as *mut usize) = value;
                patch = patch.add(1);
            }
        }
        let headers = self.in_sidecar(header.headers.at) as usize;
        self.stack.set(at::PHDR, headers);
        self.stack.set(at::PHNUM, header.headers_count as usize);
        self.stack.set(at::ENTRY, self.entry());
    }
}
