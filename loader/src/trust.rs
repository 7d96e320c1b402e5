//! Whether a sidecar is trusted: it chooses the interpreter and the libraries of the program.
//!
//! | the process | the sidecar's owner | others may write to it |
//! |---|---|---|
//! | has its caller's power | root; who runs it; the owner of the program, or of the loader | as far as they may write to the program |
//! | more, but not by the program: its caller is a set-id program | root; the owner of the program | the same |
//! | more, by the program | root; the owner of a set-user-id program | not at all |
//!
//! The owner of the loader counts because that is code which runs already: in a user namespace the owners of a store are all
//! nobody, while a copy of one of its programs, which has no sidecar of its own, belongs to a user.

use sidecar::Ownership;
use sys::errno::{ENODATA, EOPNOTSUPP};
use sys::stack::at;
use sys::syscall::{self, open_flags};

use crate::process::Loader;
use crate::text::{CAPABILITY, EXECUTABLE};

const SET_ID: u32 = 0o6000;
const SET_UID: u32 = 0o4000;

impl Loader {
    /// Whether the file open as `fd` may say how the program is started.
    #[inline(never)]
    pub fn is_trusted(&self, fd: usize) -> bool {
        let file = syscall::owner(fd);
        if file.mode == 0 {
            return false;
        }
        // A caller with less power than the process has no say.
        let caller = match self.is_secure {
            true => 0,
            false => self.stack.get(at::EUID) as u32,
        };
        let nobody_else = Ownership {
            user: 0,
            group: 0,
            mode: 0,
        };
        // Most are, and then nothing else is asked for.
        if file.is_no_weaker_than(nobody_else, caller) {
            return true;
        }
        let mut program = self.program_owner();
        if self.is_secure {
            let (set_id, capable) = (program.mode & SET_ID, is_capable());
            if set_id != 0 || capable {
                program.mode = 0;
                if set_id != SET_UID || capable {
                    // Who owns a set-group-id file, or one with capabilities, does not have what it gives.
                    program.user = 0;
                }
            }
        }
        if file.is_no_weaker_than(program, caller) {
            return true;
        }
        program.user = syscall::owner(self.fd).user;
        !self.is_secure && file.is_no_weaker_than(program, caller)
    }

    /// Owner and mode of the program's file.
    #[inline(always)]
    fn program_owner(&self) -> Ownership {
        let mut program = owner_at(EXECUTABLE.text().as_ptr());
        // Without /proc, or where that is ld.so, what counts is what the caller has named. A caller with less power has no say.
        if !self.is_secure && (!self.is_by_kernel || program.mode == 0) {
            program = owner_at(match self.is_by_kernel {
                true => self.stack.get(at::EXECFN) as *const u8,
                false => self.stack.argv0(),
            });
        }
        program
    }
}

/// Owner and mode of the file at `path`, a message or of the initial stack. It is opened for that: as an emulator sees it, /proc/self/exe is the
/// emulated program only for those who open it.
#[inline(never)]
fn owner_at(path: *const u8) -> Ownership {
    // SAFETY: these are strings, or missing, which is an error of the kernel's.
    let fd = unsafe { syscall::open(path, open_flags::PATH).0 };
    let owner = syscall::owner(fd);
    syscall::close(fd);
    owner
}

/// Whether the program's file has capabilities, or may have.
#[inline(always)]
fn is_capable() -> bool {
    // SAFETY: messages are strings.
    let found =
        unsafe { syscall::attribute_len(EXECUTABLE.text().as_ptr(), CAPABILITY.text().as_ptr()) };
    !matches!(found.errno(), ENODATA | EOPNOTSUPP)
}
