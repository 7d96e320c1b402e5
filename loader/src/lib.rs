//! The loader runs between the stub and ld.so, in a process that contains only the wrapped program.
//!
//! [`start`] calls the steps in order; each is in the file of its name. The loader allocates nothing and never returns. Every
//! failure is one line on stderr and exit status 127. All state is in one `Loader`, and each step is a function, because one large
//! function with its spills would be larger.
#![cfg_attr(not(test), no_std)]

mod interpreter;
mod locate;
mod patches;
mod process;
mod randomize;
mod report;
mod slot;
mod text;
mod trust;

pub use interpreter::Layout;
pub use locate::{PATH_MAX, sidecar_problem};
pub use text::{EMPTY, Message};

use core::num::NonZero;

use process::{Loader, Origin};

/// Continues where the stub stopped. `trailer` follows the stub's code, `stack` is the initial stack pointer, `fini` the register
/// with rtld_fini, `fd` the open file with the loader. `read` is the number of its bytes that a self-contained stub has read to the
/// front room, or 0 if the loader is a file of its own.
///
/// # Safety
/// The stub has to call this once, in the process as the kernel started it, with the stack pointer `sidecar::loader::BELOW` bytes
/// below `stack`.
pub unsafe extern "C" fn start(
    trailer: *const u8,
    stack: *mut usize,
    fini: usize,
    fd: usize,
    read: u32,
) -> ! {
    let origin = NonZero::new(read as usize).map_or(Origin::OwnFile, Origin::Sidecar);
    // SAFETY: the conditions of `start` are those of `new`, and the entry code of the image, which alone calls it, keeps them.
    let mut loader = unsafe { Loader::new(trailer, stack, fini, fd, origin) };
    loader.find_sidecar();
    loader.find_program();
    let is_started = loader.is_started();
    loader.restore_slot(is_started);
    let (mut entry, mut top) = (loader.entry(), loader.sidecar.cast());
    // Otherwise ld.so was started with this program as its argument, and has done its work.
    if !is_started {
        loader.find_interpreter();
        entry = loader.map_interpreter();
        // The memory before the sidecar was in use until here.
        top = loader.tell_linker();
    }
    loader.trace(loader.interpreter, text::ENTERS, entry);
    // SAFETY: `entry` is the entry point of the program or of ld.so. auxv says what the kernel would have said, and no code of this image
    // runs afterwards; what the program needs of the sidecar and the headers lies above `top`.
    unsafe { sys::arch::enter(stack, loader.stack.end(), top, entry, fini) }
}
