//! The program at the start of a runnable file: it unpacks the bundle after it to a directory of the user's cache, unless it is there
//! already, and executes one of its programs. [`sidecar::runnable`] describes the file.
#![no_std]
#![no_main]

extern crate alloc;
extern crate functions as _;

mod cache;
mod failure;
mod memory;
mod payload;
mod process;
mod tree;

use core::ffi::CStr;

use alloc::vec::Vec;
use sys::files::{self, flags};
use sys::stack::{Stack, at};
use sys::syscall::{AT_FDCWD, exit, open_flags};

use cache::Cache;
use failure::{Reason, fail};
use payload::Payload;
use process::Process;

const EXECUTABLE: &CStr = c"/proc/self/exe";

sys::launcher!(start);

/// # Safety
/// `pointer` has to be the initial stack pointer of this process.
unsafe extern "C" fn start(pointer: *mut usize) -> ! {
    // SAFETY: `pointer` is the initial stack (`# Safety`).
    let process = unsafe { Process::new(Stack::new(pointer)) };
    let own = process.own_name();
    if process.stack.get(at::SECURE) != 0 {
        // The caller's variables name the directory.
        fail(
            own,
            "set-id programs are not unpacked; unpack it, and install the programs",
            None,
        );
    }
    let opened = files::open(AT_FDCWD, EXECUTABLE, open_flags::RDONLY | flags::CLOEXEC, 0);
    let payload = match opened.errno() {
        0 => Payload::find(opened.0, process.image_len()),
        errno => Err(Reason::Kernel(errno)),
    };
    let payload = payload.unwrap_or_else(|reason| fail(own, "cannot be read", Some(reason)));
    if let Some(directory) = process.variable(sidecar::runnable::UNPACK) {
        unpack(own, payload, directory);
    }
    let program = payload.program(process.argv0()).to_vec();
    let place = Cache::of(&process).place(payload);
    let mut path =
        place.unwrap_or_else(|(directory, reason)| failure::not_unpacked(own, &directory, reason));
    path.push(b'/');
    path.extend(program);
    path.push(0);
    let errno = process.execute(&path);
    path.pop();
    fail(&path, "cannot be started", Some(Reason::Kernel(errno)))
}

/// Unpacks the bundle to a new directory.
fn unpack(own: &[u8], payload: Payload, directory: &CStr) -> ! {
    let made = files::make_directory(AT_FDCWD, directory, 0o777);
    let unpacked = match made.errno() {
        0 => tree::fill(AT_FDCWD, directory, payload).inspect_err(|_| {
            tree::remove(AT_FDCWD, directory);
        }),
        errno => Err(Reason::Kernel(errno)),
    };
    if let Err(reason) = unpacked {
        failure::not_unpacked(own, directory.to_bytes(), reason);
    }
    exit(0)
}

/// `bytes` with a NUL.
fn terminated(bytes: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(bytes.len() + 1);
    path.extend_from_slice(bytes);
    path.push(0);
    path
}

/// Appends `number` in decimal digits.
fn digits(number: u32, text: &mut Vec<u8>) {
    if number > 9 {
        digits(number / 10, text);
    }
    text.push(b'0' + (number % 10) as u8);
}
