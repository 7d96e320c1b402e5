//! Finding the sidecar: the trailer's path, else its file name beside the executable.

use sidecar::loader::{
    FRONT_LEN, FRONT_ROOM, HEADERS_ROOM, IMAGE_LEN, MAX_RECORD, RECORD_LEAD, RECORD_ROOM,
};
use sidecar::{CHECKED_FROM, Flags, HEADER_LEN, Header, Id, MAGIC, checksum};
use sys::stack::{at, length};
use sys::syscall::{self, AT_FDCWD, open_flags};

use crate::process::Loader;
use crate::report::fail;
use crate::text::{
    DAMAGED, EMPTY, EXECUTABLE, FOREIGN, MISSING, Message, NOT_A_SIDECAR, Text, UNTRUSTED,
};

/// PATH_MAX, bytes (linux/limits.h).
pub const PATH_MAX: usize = 4096;

/// Bytes of a sidecar that go into the front room.
const FRONT_RECORD: usize = FRONT_LEN - RECORD_LEAD;

/// The sidecar is the right one.
const FOUND: usize = EMPTY.0 as usize;

impl Loader {
    /// Reads the first sidecar whose id is the trailer's.
    #[inline(always)]
    pub fn find_sidecar(&mut self) {
        let mut failure = MISSING.0 as usize;
        if self.read != 0 || self.path.is_absolute() {
            failure = self.open_sidecar(self.path);
        }
        // Whoever may link a set-id executable into a directory of his own may not choose its sidecar.
        let mut link = EXECUTABLE.text().as_ptr();
        while failure != FOUND && self.read == 0 && !self.is_secure && !link.is_null() {
            // SAFETY: a message, or AT_EXECFN, a string on the initial stack.
            let executable = unsafe { Text::new(link) };
            self.beside(executable, self.path.file_name(), self.scratch());
            // SAFETY: `beside` wrote a string there.
            let outcome = self.open_sidecar(unsafe { Text::new(self.scratch()) });
            // A file that is there and is not right tells more than one that is not there.
            if outcome <= MISSING.0 as usize {
                failure = outcome;
            }
            let execfn = self.stack.get(at::EXECFN) as *const u8;
            link = if link == execfn {
                core::ptr::null()
            } else {
                execfn
            };
        }
        if failure != FOUND {
            let missing = MISSING.0 as usize;
            let what = Message(failure.min(missing) as u8);
            fail(self.path, what, failure.saturating_sub(missing));
        }
    }

    /// Reads the file at `path`, unless the stub has: gives [`FOUND`] if it is this program's sidecar, else what is wrong with
    /// it, or, if it cannot be opened, the kernel's error number above [`MISSING`].
    #[inline(never)]
    fn open_sidecar(&mut self, path: Text) -> usize {
        let (mut fd, mut len, mut start) =
            (self.fd, self.read.wrapping_sub(RECORD_LEAD), IMAGE_LEN);
        self.sidecar = self.stack.below(FRONT_ROOM - RECORD_LEAD).cast();
        if self.read == 0 {
            // A FIFO must not hold the program up.
            let flags = open_flags::RDONLY | open_flags::NONBLOCK;
            // SAFETY: the path ends in a NUL.
            let opened = unsafe { syscall::open(path.as_ptr(), flags) };
            if opened.errno() != 0 {
                return opened.errno() + MISSING.0 as usize;
            }
            (fd, start) = (opened.0, 0);
            // SAFETY: there is room for as much.
            len = unsafe { syscall::read_at(fd, self.sidecar.cast(), FRONT_RECORD, 0) };
        }
        // The path of the interpreter needs room behind it.
        if len == FRONT_RECORD || self.has(Flags::RELOCATABLE) {
            self.sidecar = self.stack.below(RECORD_ROOM - HEADERS_ROOM).cast();
            // SAFETY: there is room for as much.
            len = unsafe { syscall::read_at(fd, self.sidecar.cast(), MAX_RECORD, start) };
        }
        let trusted = !self.is_secure || is_trusted(fd);
        syscall::close(fd);
        if !trusted {
            return UNTRUSTED.0 as usize;
        }
        // SAFETY: as much was read, aligned as a header; an error number is no length of a sidecar.
        unsafe { sidecar_problem(self.sidecar, len, &self.id()).0 as usize }
    }

    /// Finds the path of the real dynamic linker.
    #[inline(always)]
    pub fn find_interpreter(&mut self) {
        let header = self.header();
        self.interpreter = self.text_at(header.interpreter.at);
        if self.has(Flags::RELOCATABLE) {
            // ld.so and debuggers keep the name: it must stay where it is.
            let place = self.in_sidecar(header.interpreter_room.at);
            self.beside(EXECUTABLE.text(), self.interpreter, place);
            // SAFETY: `beside` wrote a string there.
            self.interpreter = unsafe { Text::new(place) };
        }
    }

    /// Writes to `to`, PATH_MAX bytes, the path of `name` in the directory of `path`, or of what that is a link to; nothing,
    /// an empty path, if it is too long. Of a link with a relative target, its own directory is as good.
    #[inline(never)]
    fn beside(&self, mut path: Text, name: Text, to: *mut u8) {
        // SAFETY: nothing is written behind PATH_MAX bytes; the kernel's answer gets its NUL.
        unsafe {
            let len = syscall::readlink(path.as_ptr(), to, PATH_MAX - 1).0;
            if len < PATH_MAX && *to == b'/' {
                *to.add(len) = 0;
                path = Text::new(to);
            }
            let directory = path.file_name().as_ptr() as usize - path.as_ptr() as usize;
            let len = length(name.as_ptr()) + 1;
            if directory + len > PATH_MAX {
                *to = 0;
                return;
            }
            copy(to, path.as_ptr(), directory);
            copy(to.add(directory), name.as_ptr(), len);
        }
    }
}

/// What is wrong with the sidecar of `len` bytes at `sidecar`, which is to have this id; [`EMPTY`] for nothing. The id covers its
/// machine and class; what else it says is trusted. Pure, so that it can be tested on any bytes.
///
/// # Safety
/// `len` bytes can be read, or [`HEADER_LEN`] if that is more, aligned as a header. A `len` of more than [`MAX_RECORD`] is as good
/// as none.
#[inline(always)]
pub unsafe fn sidecar_problem(sidecar: *const Header, len: usize, id: &Id) -> Message {
    // SAFETY: the caller vouches for the bytes, and any are a header.
    let header = unsafe { &*sidecar };
    if header.magic != MAGIC || !(HEADER_LEN..=MAX_RECORD).contains(&len) {
        return NOT_A_SIDECAR;
    }
    let behind = len - CHECKED_FROM;
    let checked = behind.wrapping_sub(header.text_len as usize);
    if checked > behind {
        return DAMAGED;
    }
    // SAFETY: it ends in front of the text, inside the file.
    let words = unsafe {
        let from = sidecar.cast::<u8>().add(CHECKED_FROM).cast::<u32>();
        core::slice::from_raw_parts(from, checked / 4)
    };
    if checksum(words.iter().copied()) != header.checksum {
        return DAMAGED;
    }
    if header.id != *id {
        return FOREIGN;
    }
    EMPTY
}

/// Whether nobody can have written the file whom the program's power is not already: root, or the owner of a set-user-id
/// executable. The owner of a set-group-id one, or of one with capabilities, does not have what it gives.
#[inline(always)]
fn is_trusted(fd: usize) -> bool {
    const WRITABLE_BY_OTHERS: u16 = 0o022;
    const SET_ID: u16 = 0o6000;
    const SET_UID: u16 = 0o4000;
    // SAFETY: both paths end in a NUL.
    let (file, executable) = unsafe {
        (
            syscall::owner(fd, EMPTY.text().as_ptr()),
            syscall::owner(AT_FDCWD, EXECUTABLE.text().as_ptr()),
        )
    };
    // What the kernel does not tell stays zero: without /proc, root it must be.
    let is_owner_s = (file.uid == executable.uid) & (executable.mode & SET_ID == SET_UID);
    (file.mode != 0) & ((file.uid == 0) | is_owner_s) & (file.mode & WRITABLE_BY_OTHERS == 0)
}

/// Copies bytes forward.
///
/// # Safety
/// `len` bytes can be read and written.
#[inline(never)]
pub unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    let mut at = 0;
    while at < len {
        // SAFETY: the caller vouches for both.
        unsafe { to.add(at).write_volatile(*from.add(at)) };
        at += 1;
    }
}
