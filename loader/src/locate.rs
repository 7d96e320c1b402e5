//! Finds the sidecar: next to the executable, or else at the trailer's path.

use sidecar::loader::{
    FRONT_RECORD, FRONT_ROOM, HEADERS_ROOM, IMAGE_LEN, MAX_RECORD, RECORD_LEAD, RECORD_ROOM,
};
use sidecar::{CHECKED_FROM, Flags, HEADER_LEN, Header, Id, MAGIC, checksum};
use sys::stack::{at, length};
use sys::syscall::{self, open_flags};

use crate::process::Loader;
use crate::report::fail;
use crate::text::{
    DAMAGED, EMPTY, EXECUTABLE, FOREIGN, MISSING, Message, NOT_A_SIDECAR, Text, UNTRUSTED,
};

/// linux/limits.h.
pub const PATH_MAX: usize = 4096;

/// The sidecar is the right one.
const FOUND: usize = EMPTY.0 as usize;

// The outcome of a path is one number: a message up to MISSING, or MISSING and an error number more.
const _: () = {
    let messages = [EMPTY, UNTRUSTED, NOT_A_SIDECAR, DAMAGED, FOREIGN];
    let mut at = 0;
    while at < messages.len() {
        assert!(messages[at].0 < MISSING.0);
        at += 1;
    }
};

impl Loader {
    /// Copies the trailer's record, or reads the first sidecar with the trailer's id: next to the executable, at the trailer's path, or next to
    /// AT_EXECFN. An untrusted sidecar ends the process, so that an attack does not go unnoticed.
    #[inline(always)]
    pub fn find_sidecar(&mut self) {
        let len = self.record_len();
        if len != 0 {
            self.copy_record(len);
        } else {
            self.read_sidecar();
        }
        if !self.origin.is_sidecar() {
            syscall::close(self.fd);
        }
    }

    /// Copies the record to where a sidecar would be. Its owner is that of the program.
    #[inline(always)]
    fn copy_record(&mut self, len: usize) {
        // SAFETY: the record follows the sidecar's path and its NUL (`sidecar::Trailer`).
        let record = unsafe { self.path.as_ptr().add(length(self.path.as_ptr()) + 1) };
        let mut room = FRONT_ROOM - RECORD_LEAD;
        loop {
            self.sidecar = self.stack.below(room).cast();
            // SAFETY: the host makes no record longer than FRONT_RECORD, so `len` bytes fit between `sidecar` and the initial stack, and
            // that memory is the loader's (`Loader::new`). The trailer is in the program's code, elsewhere. No reference to a header is alive.
            unsafe { copy(self.sidecar.cast(), record, len) };
            // The path of the interpreter needs room after the record.
            if !self.has(Flags::RELOCATABLE) || room != FRONT_ROOM - RECORD_LEAD {
                break;
            }
            room = RECORD_ROOM - HEADERS_ROOM;
        }
        // SAFETY: `sidecar` is aligned to 16, with `len` bytes that were written to, and at least HEADER_LEN readable ones after it.
        let problem = unsafe { sidecar_problem(self.sidecar, len, &self.id()) };
        if problem != EMPTY {
            fail(self.program(), problem, 0);
        }
    }

    #[inline(always)]
    fn read_sidecar(&mut self) {
        let mut failure = MISSING.0 as usize;
        // A user who links a set-id executable into their own directory must not choose its sidecar.
        let only_named = self.origin.is_sidecar() || self.is_secure;
        let execfn = self.stack.get(at::EXECFN) as *const u8;
        let mut links = [EXECUTABLE.text().as_ptr(), core::ptr::null(), execfn];
        // The caller has started the program by a path in that directory, so the caller chose it. A look-up in /proc takes longer,
        // because the kernel has to make the entries of a new process.
        // SAFETY: the kernel has copied AT_EXECFN to the initial stack with its NUL; NULL, without one, was tested for.
        if !only_named && !execfn.is_null() && unsafe { is_in_directory_of(execfn, self.path) } {
            links.swap(0, 1);
        }
        let (mut place, last) = if only_named { (1, 1) } else { (0, 2) };
        while failure != FOUND && place <= last {
            let (mut path, link) = (self.path, links[place]);
            let is_named = link.is_null();
            if !is_named {
                // SAFETY: a message, or AT_EXECFN, which the kernel has copied to the initial stack with its NUL.
                self.write_sibling(unsafe { Text::new(link) }, path.file_name(), self.scratch());
                // SAFETY: `write_sibling` has written a string with its NUL there, and nothing else uses the scratch memory until it was opened.
                path = unsafe { Text::new(self.scratch()) };
            }
            place += 1;
            if is_named && !self.origin.is_sidecar() && !path.is_absolute() {
                continue;
            }
            let outcome = self.open_sidecar(path);
            if outcome == UNTRUSTED.0 as usize {
                fail(path, UNTRUSTED, 0);
            }
            // Reports a wrong file rather than a missing one.
            let missing = failure >= MISSING.0 as usize;
            if outcome <= MISSING.0 as usize || is_named && missing {
                failure = outcome;
            }
        }
        if failure != FOUND {
            let missing = MISSING.0 as usize;
            let what = Message(failure.min(missing) as u8);
            fail(self.path, what, failure.saturating_sub(missing));
        }
    }

    /// Reads the file at `path`, unless the stub has read it. Returns [`FOUND`] if it is this program's sidecar, or else the
    /// problem. If the file cannot be opened, the result is the kernel's error number plus [`MISSING`].
    #[inline(never)]
    fn open_sidecar(&mut self, path: Text) -> usize {
        let (mut fd, mut len, mut start) = (
            self.fd,
            self.origin.read().wrapping_sub(RECORD_LEAD),
            IMAGE_LEN,
        );
        self.sidecar = self.stack.below(FRONT_ROOM - RECORD_LEAD).cast();
        if !self.origin.is_sidecar() {
            // Does not wait for the writer of a FIFO, and follows no link: its owner can change the target, and need not own that.
            let flags = open_flags::RDONLY | open_flags::NONBLOCK | open_flags::NOFOLLOW;
            // SAFETY: a `Text` has a NUL.
            let opened = unsafe { syscall::open(path.as_ptr(), flags) };
            if opened.errno() != 0 {
                return opened.errno() + MISSING.0 as usize;
            }
            (fd, start) = (opened.0, 0);
            // SAFETY: FRONT_RECORD bytes fit between `sidecar` and the initial stack, by the definition of FRONT_ROOM, and that memory is
            // the loader's (`Loader::new`). No reference to a header is alive.
            len = unsafe { syscall::read_at(fd, self.sidecar.cast(), FRONT_RECORD, 0) };
        }
        // The path of the interpreter needs room after the sidecar.
        if len == FRONT_RECORD || self.has(Flags::RELOCATABLE) {
            self.sidecar = self.stack.below(RECORD_ROOM - HEADERS_ROOM).cast();
            // SAFETY: MAX_RECORD bytes fit between `sidecar` and the initial stack, by the definition of RECORD_ROOM, and that memory is
            // the loader's (`Loader::new`). No reference to a header is alive.
            len = unsafe { syscall::read_at(fd, self.sidecar.cast(), MAX_RECORD, start) };
        }
        // SAFETY: `sidecar` is aligned to 16, with more than MAX_RECORD or FRONT_RECORD bytes after it. `len` of them were read; a negated
        // error number is more than MAX_RECORD.
        let mut problem = unsafe { sidecar_problem(self.sidecar, len, &self.id()) };
        // A self-contained program's sidecar contains the loader, so the stub has already trusted it.
        if problem == EMPTY && !self.origin.is_sidecar() && !self.is_trusted(fd) {
            problem = UNTRUSTED;
        }
        syscall::close(fd);
        problem.0 as usize
    }

    /// Finds the path of the real dynamic linker.
    #[inline(always)]
    pub fn find_interpreter(&mut self) {
        self.interpreter = self.text_at(self.header().interpreter.at);
        if self.has(Flags::RELOCATABLE) {
            // ld.so and debuggers keep a pointer to the name, so it has to stay in memory.
            let place = self.in_sidecar(self.header().interpreter_room.at);
            self.write_sibling(EXECUTABLE.text(), self.interpreter, place);
            // SAFETY: `write_sibling` has written a string with its NUL there, and only it writes to that part of the sidecar.
            self.interpreter = unsafe { Text::new(place) };
        }
    }

    /// Writes to `to`, PATH_MAX bytes, the path of `name` in the directory of `path`, or of the target if `path` is a link. Writes
    /// an empty path if that is too long. For a link with a relative target, its own directory does as well.
    #[inline(never)]
    fn write_sibling(&self, mut path: Text, name: Text, to: *mut u8) {
        // SAFETY: `to` is PATH_MAX bytes: the scratch memory, or the end of the record,
        // after which MAX_RECORD leaves as many. The link takes at
        // most PATH_MAX - 1 of them and gets its NUL, and both lengths are added up before anything is copied.
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

/// Whether both paths begin with the same directory.
///
/// # Safety
/// `one` has to be NUL-terminated.
#[inline(always)]
unsafe fn is_in_directory_of(one: *const u8, other: Text) -> bool {
    // SAFETY: both have a NUL (`# Safety`; `Text`). The loop reads no further than `len`, the length of either directory.
    unsafe {
        let name = Text::new(one).file_name().as_ptr();
        let len = other.file_name().as_ptr() as usize - other.as_ptr() as usize;
        let mut same = name as usize - one as usize == len;
        let mut at = 0;
        while same && at < len {
            same = *one.add(at) == *other.as_ptr().add(at);
            at += 1;
        }
        same
    }
}

/// Checks the `len` bytes at `sidecar`, which should have this id. Returns the problem, or [`EMPTY`]. The id covers machine and
/// class; the other fields are trusted. It makes no system calls, so tests can run it on any bytes.
///
/// # Safety
/// `len` bytes, or [`HEADER_LEN`] if that is more, have to be readable and aligned as a header. A `len` of more than [`MAX_RECORD`]
/// counts as no sidecar.
#[inline(always)]
pub unsafe fn sidecar_problem(sidecar: *const Header, len: usize, id: &Id) -> Message {
    // SAFETY: HEADER_LEN aligned bytes are readable (`# Safety`), and a header has only integers, for which any bytes are valid.
    let header = unsafe { &*sidecar };
    if header.magic != MAGIC || !(HEADER_LEN..=MAX_RECORD).contains(&len) {
        return NOT_A_SIDECAR;
    }
    let rest = len - CHECKED_FROM;
    let checked = rest.wrapping_sub(header.text_len as usize);
    if checked > rest {
        return DAMAGED;
    }
    // SAFETY: CHECKED_FROM + `checked` is at most `len`, and as many bytes are readable (`# Safety`); CHECKED_FROM is a multiple of 4.
    let words = unsafe {
        let from = sidecar.cast::<u8>().add(CHECKED_FROM).cast::<u32>();
        core::slice::from_raw_parts(from, checked / 4)
    };
    if checksum(words.iter().copied()) != header.checksum {
        return DAMAGED;
    }
    // Compares numbers, because for arrays the compiler may call a function that does not exist here.
    if u128::from_ne_bytes(header.id) != u128::from_ne_bytes(*id) {
        return FOREIGN;
    }
    EMPTY
}

/// Copies bytes forward.
///
/// # Safety
/// `len` bytes have to be readable at `from` and writable at `to`.
#[inline(never)]
pub unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    let mut at = 0;
    while at < len {
        // SAFETY: `at` is less than `len`, and as many bytes are readable and writable (`# Safety`).
        unsafe { to.add(at).write_volatile(*from.add(at)) };
        at += 1;
    }
}
