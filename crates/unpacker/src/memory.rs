//! The allocator. Blocks have powers of two as sizes, and a freed one serves the next request of its size; larger ones are mapped.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

use sys::files::unmap;
use sys::syscall::{map, mmap, prot};

/// The size of the smallest blocks, as a power of two.
const SMALLEST: u32 = 4;
/// The size of the largest blocks that are not mapped, as a power of two.
const LARGEST: u32 = 16;
/// Bytes that are mapped for small blocks at once.
const CHUNK: usize = 1 << 18;

struct Memory(UnsafeCell<State>);

struct State {
    /// The first free block of each size; each has the address of the next.
    free: [*mut u8; (LARGEST - SMALLEST + 1) as usize],
    /// Memory that is in no block yet.
    next: usize,
    end: usize,
}

// SAFETY: this program has one thread.
unsafe impl Sync for Memory {}

#[global_allocator]
static MEMORY: Memory = Memory(UnsafeCell::new(State {
    free: [null_mut(); (LARGEST - SMALLEST + 1) as usize],
    next: 0,
    end: 0,
}));

/// The size of the block for `layout`, as a power of two.
fn power(layout: Layout) -> u32 {
    let size = layout.size().max(layout.align());
    size.next_power_of_two().trailing_zeros().max(SMALLEST)
}

/// `len` bytes of zeros; 0 if there is no memory.
fn mapped(len: usize) -> usize {
    let (protection, flags) = (prot::READ | prot::WRITE, map::PRIVATE | map::ANONYMOUS);
    // SAFETY: the mapping is not fixed.
    let mapped = unsafe { mmap(0, len, protection, flags, usize::MAX, 0) };
    if mapped.errno() == 0 { mapped.0 } else { 0 }
}

// SAFETY: a block is as large as its layout, aligned to its size or to a page, and is handed out once until it is freed. No layout here
// is aligned to more than a page.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let power = power(layout);
        if power > LARGEST {
            return mapped(layout.size()) as *mut u8;
        }
        let size = 1 << power;
        // SAFETY: there is one thread, and no reference to the state outlives a call. A block in a list has room for an address.
        unsafe {
            let state = &mut *self.0.get();
            let first = &mut state.free[(power - SMALLEST) as usize];
            if !first.is_null() {
                let block = *first;
                *first = *block.cast::<*mut u8>();
                return block;
            }
            let mut block = state.next.next_multiple_of(size);
            if block + size > state.end {
                let chunk = mapped(CHUNK);
                if chunk == 0 {
                    return null_mut();
                }
                state.end = chunk + CHUNK;
                block = chunk.next_multiple_of(size);
            }
            state.next = block + size;
            block as *mut u8
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let power = power(layout);
        // SAFETY: the caller has got the block for this layout, and does not use it any more. As for `alloc`.
        unsafe {
            if power > LARGEST {
                return unmap(block as usize, layout.size());
            }
            let first = &mut (*self.0.get()).free[(power - SMALLEST) as usize];
            *block.cast::<*mut u8>() = *first;
            *first = block;
        }
    }
}
