//! Puts ld.so at a random distance from the program, so that it cannot be guessed from the program's own address.
//!
//! The kernel maps a program without PT_INTERP in the area of mappings, from the top down, so later mappings would follow directly
//! below it: ld.so, and the libraries that it maps. One known address of the program would reveal them all. So the loader maps
//! inaccessible address space of random size between the program and ld.so. It stays mapped, so that later mappings are below it
//! too.

use sys::stack::at;
use sys::syscall::{self, map};

use crate::process::Loader;
use crate::text::EMPTY;

impl Loader {
    /// The address below which ld.so is mapped: that of this image or of the program, or lower.
    #[inline(always)]
    pub fn ceiling(&self) -> usize {
        let page = self.page();
        // The image has at most two pages before a message.
        let mut top = (EMPTY.text().as_ptr() as usize & page.wrapping_neg()) - page;
        // The kernel may have aligned the program to more than a page, and then this image is in the gap above it.
        if self.bias.wrapping_sub(1) < top {
            top = self.bias;
        }
        // Debuggers and `setarch -R` need the same addresses in each run. A program that is linked for a fixed address is far away.
        let subtracted = !self.stack.get(at::EXECFN);
        // QEMU 7.2 puts the stack elsewhere, and takes 37 ms for a mapping of 1 GiB.
        let is_random = subtracted & sys::arch::STACK_AT_TOP != 0
            && subtracted & sys::arch::STACK_OF_KERNEL == 0;
        if self.bias == 0 || !is_random || !syscall::has_endless_address_space() {
            return top;
        }
        let random = self.stack.get(at::RANDOM) as *const usize;
        // SAFETY: AT_RANDOM is the address of 16 bytes that the kernel has put on the initial stack.
        // glibc makes its stack protector's secret of the first word, and its pointer guard of the second: the sum reveals neither.
        let sum = unsafe { random.read().wrapping_add(random.add(1).read()) };
        let gap = sum >> (usize::BITS - sys::arch::GAP_BITS) & page.wrapping_neg();
        // SAFETY: without MAP_FIXED the address is a hint, and the kernel takes free addresses.
        let mapped =
            unsafe { syscall::mmap(top - gap, gap, 0, map::PRIVATE | map::ANONYMOUS, 0, 0) };
        match mapped.errno() {
            0 => mapped.0,
            _ => top,
        }
    }
}
