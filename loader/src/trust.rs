//! Whether a sidecar is trusted. It chooses the interpreter and the libraries of the program.
//!
//! | the process | the sidecar's owner has to be | others may write to the sidecar |
//! |---|---|---|
//! | has the rights of its caller | root, the caller, or the owner of the program or of the loader | if they may write to the program |
//! | has more, because its caller is a set-id program | root, or the owner of the program | if they may write to the program |
//! | has more, because the program has set-id bits or capabilities | root, or the owner of a set-user-id program | never |
//!
//! The owner of the loader is trusted because the loader runs already. In a user namespace, the files of a store all belong to
//! nobody, but a copy of one of its programs, which has no sidecar of its own, belongs to a user.

use sidecar::Ownership;
use sys::errno::{ENODATA, EOPNOTSUPP};
use sys::stack::at;
use sys::syscall::{self, open_flags};

use crate::process::Loader;
use crate::text::{CAPABILITY, EXECUTABLE};

const SET_ID: u32 = 0o6000;
const SET_UID: u32 = 0o4000;

impl Loader {
    /// Whether the file `fd` may decide how the program is started.
    #[inline(never)]
    pub fn is_trusted(&self, fd: usize) -> bool {
        let file = syscall::owner(fd);
        if file.mode == 0 {
            return false;
        }
        // A caller with fewer rights than the process is not trusted.
        let caller = match self.is_secure {
            true => 0,
            false => self.stack.get(at::EUID) as u32,
        };
        let nobody = Ownership {
            user: 0,
            group: 0,
            mode: 0,
        };
        // Most sidecars pass this check, which needs no more system calls.
        if file.is_no_weaker_than(nobody, caller) {
            return true;
        }
        let mut program = self.program_owner();
        if self.is_secure {
            let (set_id, capable) = (program.mode & SET_ID, is_capable());
            if set_id != 0 || capable {
                program.mode = 0;
                if set_id != SET_UID || capable {
                    // The owner of a set-group-id file, or of one with capabilities, does not have the rights that it gives.
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
        // Without /proc, or if /proc/self/exe is ld.so, this is the file that the caller has named. A caller with fewer rights is
        // not trusted.
        if !self.is_secure && (!self.is_by_kernel || program.mode == 0) {
            program = owner_at(match self.is_by_kernel {
                true => self.stack.get(at::EXECFN) as *const u8,
                false => self.stack.argv0(),
            });
        }
        program
    }
}

/// Owner and mode of the file at `path`, a message or a string on the initial stack. The file is opened, because an emulator
/// resolves /proc/self/exe to the emulated program only in open.
#[inline(never)]
fn owner_at(path: *const u8) -> Ownership {
    // SAFETY: a message, AT_EXECFN or argv[0]: each has a NUL. Of a null pointer the kernel says EFAULT.
    let fd = unsafe { syscall::open(path, open_flags::PATH).0 };
    let owner = syscall::owner(fd);
    syscall::close(fd);
    owner
}

/// Whether the program's file has, or may have, capabilities.
#[inline(always)]
fn is_capable() -> bool {
    // SAFETY: every message has a NUL.
    let found =
        unsafe { syscall::attribute_len(EXECUTABLE.text().as_ptr(), CAPABILITY.text().as_ptr()) };
    !matches!(found.errno(), ENODATA | EOPNOTSUPP)
}
