//! The loader: runs between the stub and ld.so, in a process that holds nothing but the wrapped program.
//!
//! [`start`] is the whole policy; each step is in the file of its name. Nothing is allocated, nothing is returned to,
//! and every failure is one line on stderr and exit status 127. All state is in one `Loader`, and steps are functions
//! of their own: that is smaller than one large function with its spills.
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

use process::Loader;

/// Continues where the stub stopped: `trailer` is what follows its code, `stack` the initial stack pointer, `fini` the
/// register that carries rtld_fini, `fd` the open file with the loader, and `read` the bytes of it that a self-contained stub has
/// read to the front room, 0 if the loader is in a file of its own.
///
/// # Safety
/// Called once, by the stub, with the process as the kernel started it, and the stack pointer `sidecar::loader::BELOW` bytes
/// further down.
pub unsafe extern "C" fn start(
    trailer: *const u8,
    stack: *mut usize,
    fini: usize,
    fd: usize,
    read: u32,
) -> ! {
    // SAFETY: the stub passes what it was given.
    let mut loader = unsafe { Loader::new(trailer, stack, fini, fd, read as usize) };
    loader.find_sidecar();
    loader.find_program();
    let is_started = loader.is_started();
    loader.restore_slot(is_started);
    let (mut entry, mut room) = (loader.entry(), loader.sidecar.cast());
    // Otherwise an ld.so is there already: it was told to run this program, and has done its part.
    if !is_started {
        loader.find_interpreter();
        entry = loader.map_interpreter();
        // The memory in front of the sidecar was needed until here.
        room = loader.tell_linker();
    }
    loader.trace(loader.interpreter, text::ENTERS, entry);
    // SAFETY: what is at the entry finds the stack and auxv as the kernel would have left them.
    unsafe { sys::arch::enter(stack, loader.stack.end(), room, entry, fini) }
}
