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

use sys::errno::{ENODATA, EOPNOTSUPP};
use sys::stack::at;
use sys::syscall::{self, Owner, open_flags};

use crate::process::Loader;
use crate::text::{CAPABILITY, EXECUTABLE};

const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_ALL: u32 = 0o002;
const WRITABLE_BY_OTHERS: u32 = WRITABLE_BY_GROUP | WRITABLE_BY_ALL;
const SET_ID: u32 = 0o6000;
const SET_UID: u32 = 0o4000;

impl Loader {
    /// Whether the file open as `fd` may say how the program is started.
    #[inline(never)]
    pub fn is_trusted(&self, fd: usize) -> bool {
        let euid = self.stack.get(at::EUID) as u32;
        let file = syscall::owner(fd);
        let guarded = file.mode & WRITABLE_BY_OTHERS == 0;
        let known = file.uid == 0 || !self.is_secure && file.uid == euid;
        // Most are, and then nothing else is asked for.
        if file.mode != 0 && guarded && known {
            return true;
        }
        let program = self.program_owner();
        let set_id = program.mode & SET_ID;
        let capable = self.is_secure && is_capable();
        let powerful = self.is_secure && (set_id != 0 || capable);
        let mut writable = if powerful { 0 } else { program.mode };
        if writable & WRITABLE_BY_ALL != 0 {
            writable |= WRITABLE_BY_GROUP;
        } else if file.gid != program.gid {
            writable &= !WRITABLE_BY_GROUP;
        }
        if file.mode == 0 || file.mode & WRITABLE_BY_OTHERS & !writable != 0 {
            return false;
        }
        if known {
            return true;
        }
        // Of a program that is not known, this is root, who is known.
        if file.uid == program.uid {
            // Who owns a set-group-id file, or one with capabilities, does not have what it gives.
            return !powerful || set_id == SET_UID && !capable;
        }
        !self.is_secure && file.uid == syscall::owner(self.fd).uid
    }

    /// Owner and mode of the program's file.
    #[inline(always)]
    fn program_owner(&self) -> Owner {
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
fn owner_at(path: *const u8) -> Owner {
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
