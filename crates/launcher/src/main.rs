//! A launcher: a small program of a bundle that starts a script with its interpreter, or a program with an environment. It finds both from
//! its own path, so the bundle can be anywhere. [`sidecar::launcher`] describes its settings.
#![no_std]
#![no_main]

use core::mem::size_of;

use sidecar::launcher::{ARGUMENT, BEFORE, BUNDLE, PROGRAM, UNLESS, VARIABLE};
use sys::elf::Phdr;
use sys::stack::{Stack, at, length};
use sys::syscall::{self, map, open_flags, prot};
use sys::terminal::{STDERR, say};

/// Room for arguments, for the environment, and twice for strings. The kernel takes 6 MiB of all of these together (fs/exec.c,
/// bprm_stack_limits), and the settings add little.
const PART: usize = 8 << 20;

const PATH_MAX: usize = 4096;

static TEXTS: [u8; 48] = *b"/proc/self/exe\0wrap-buddy: \0: cannot be started\0";
/// The positions of these texts.
const EXECUTABLE: usize = 0;
const START: usize = 15;
const NOT_STARTED: usize = 28;

sys::launcher!(start);

/// Starts the program that the settings name.
///
/// # Safety
/// `pointer` has to be the initial stack pointer of this process.
unsafe extern "C" fn start(pointer: *mut usize) -> ! {
    // SAFETY: `pointer` is the initial stack (`# Safety`): arguments and environment are arrays that end with NULL, of strings with their
    // NULs. The settings follow the program headers, and each has its NUL, as the tool writes them. `room` is four parts of zeros, more than
    // the kernel lets a process have, and nothing else uses it.
    unsafe {
        let stack = Stack::new(pointer);
        let headers = stack.get(at::PHDR) + stack.get(at::PHNUM) * size_of::<Phdr>();
        let settings = headers as *const u8;
        let flags = map::PRIVATE | map::ANONYMOUS | map::NORESERVE;
        let room = syscall::mmap(0, 4 * PART, prot::READ | prot::WRITE, flags, usize::MAX, 0);
        let executable = text(EXECUTABLE);
        if room.errno() != 0 {
            fail(executable);
        }
        let bundle = room.0 + 2 * PART;
        let mut launch = Launch {
            bundle: bundle as *const u8,
            next: (bundle + PATH_MAX) as *mut u8,
            environment: (room.0 + PART) as *mut usize,
        };
        let path = bundle as *mut u8;
        let read = syscall::readlink(executable, path, PATH_MAX - 1);
        if read.errno() != 0 || *path != b'/' {
            fail(executable);
        }
        // Up to the slash before the launcher's path below the bundle.
        let (mut len, mut above) = (read.0, *settings);
        while above != 0 && len != 0 {
            len -= 1;
            above -= u8::from(*path.add(len) == b'/');
        }
        path.add(len).write_volatile(0);

        let (mut from, mut to) = (stack.environment(), launch.environment);
        while *from != 0 {
            to.write(*from);
            to = to.add(1);
            from = from.add(1);
        }
        let arguments = room.0 as *mut usize;
        let (count, given) = (*stack.arguments(), stack.arguments().add(1));
        if count != 0 {
            arguments.write(*given);
        }
        let mut last = arguments.add(1);
        let mut program = path.cast_const();
        let mut setting = settings.add(1);
        while *setting != 0 {
            let (kind, string) = (*setting, setting.add(1));
            setting = string.add(length(string) + 1);
            if kind == PROGRAM {
                program = launch.expand(string, core::ptr::null());
            } else if kind == ARGUMENT {
                arguments.write(program as usize);
                last.write(launch.expand(string, core::ptr::null()) as usize);
                last = last.add(1);
            } else if kind == VARIABLE {
                launch.variable(string);
            } else if kind == UNLESS && exists(string) {
                setting = setting.add(length(setting) + 1);
            }
        }
        let mut at = 1;
        while at < count {
            last.write(*given.add(at));
            last = last.add(1);
            at += 1;
        }
        syscall::execve(program, arguments, launch.environment);
        fail(program)
    }
}

struct Launch {
    /// The path of the bundle.
    bundle: *const u8,
    /// Room for the next string.
    next: *mut u8,
    /// The room after the NULL at its end has zeros.
    environment: *mut usize,
}

impl Launch {
    /// Writes `string` with the paths in it, and the caller's value if that is neither null nor empty.
    ///
    /// # Safety
    /// Both have to be NUL-terminated, or the second null, and `next` needs room for the result.
    #[inline(never)]
    unsafe fn expand(&mut self, mut string: *const u8, before: *const u8) -> *const u8 {
        let written = self.next;
        // SAFETY: both strings and the path of the bundle have a NUL, where the loops stop, and there is room (`# Safety`).
        unsafe {
            while *string != 0 {
                match *string {
                    BUNDLE => self.add(self.bundle),
                    BEFORE if !before.is_null() && *before != 0 => {
                        self.add(before);
                        break;
                    }
                    BEFORE => {}
                    byte => {
                        self.next.write(byte);
                        self.next = self.next.add(1);
                    }
                }
                string = string.add(1);
            }
            // The room has zeros.
            self.next = self.next.add(1);
        }
        written
    }

    /// # Safety
    /// `string` has to be NUL-terminated, and `next` needs room for it.
    #[inline(never)]
    unsafe fn add(&mut self, mut string: *const u8) {
        // SAFETY: `string` has a NUL, where the loop stops, and there is room (`# Safety`).
        unsafe {
            while *string != 0 {
                self.next.write_volatile(*string);
                self.next = self.next.add(1);
                string = string.add(1);
            }
        }
    }

    /// Sets a variable.
    ///
    /// # Safety
    /// As for `expand`.
    #[inline(always)]
    unsafe fn variable(&mut self, setting: *const u8) {
        // SAFETY: the setting and all strings of the environment have a NUL. The environment ends with NULL, and has room for one more.
        unsafe {
            let mut place = self.environment;
            let mut value = core::ptr::null();
            while *place != 0 {
                value = rest(*place as *const u8, setting, b'=');
                if !value.is_null() {
                    break;
                }
                place = place.add(1);
            }
            if !value.is_null() && rest(setting, setting, BEFORE).is_null() {
                return;
            }
            let expanded = self.expand(setting, value);
            // A launcher has started this one, and the value begins with what this one would add.
            if !value.is_null() && *value != 0 && is_nested(expanded, value) {
                return;
            }
            place.write(expanded as usize);
        }
    }
}

/// The part of `string` after the first `end`, if it begins as `wanted` does up to there. Otherwise null.
///
/// # Safety
/// Both have to be NUL-terminated.
#[inline(never)]
unsafe fn rest(mut string: *const u8, mut wanted: *const u8, end: u8) -> *const u8 {
    // SAFETY: both have a NUL (`# Safety`), and the loop goes on only while the bytes are equal and not NUL.
    unsafe {
        while *string == *wanted && *string != 0 {
            string = string.add(1);
            wanted = wanted.add(1);
            if *string.sub(1) == end {
                return string;
            }
        }
    }
    core::ptr::null()
}

/// Whether the value in `expanded` begins with the same directory twice: once as added, and once as `before` has it.
///
/// # Safety
/// Both have to be NUL-terminated, and `before` has to be the end of `expanded`.
#[inline(always)]
unsafe fn is_nested(expanded: *const u8, before: *const u8) -> bool {
    // SAFETY: `before` is the end of `expanded` (`# Safety`), so that what precedes it there is as long as the difference.
    unsafe {
        let mut from = expanded;
        while *from != b'=' {
            from = from.add(1);
        }
        from = from.add(1);
        let mut left = length(from) - length(before);
        let mut other = before;
        while left != 0 && *from == *other {
            from = from.add(1);
            other = other.add(1);
            left -= 1;
        }
        left == 0
    }
}

/// # Safety
/// `path` has to be NUL-terminated.
#[inline(always)]
unsafe fn exists(path: *const u8) -> bool {
    // SAFETY: as above.
    let opened = unsafe { syscall::open(path, open_flags::PATH) };
    if opened.errno() == 0 {
        syscall::close(opened.0);
    }
    opened.errno() == 0
}

/// The text at this position.
#[inline(always)]
fn text(position: usize) -> *const u8 {
    let start: *const u8;
    sys::address!(start, TEXTS);
    start.wrapping_add(position)
}

/// # Safety
/// `path` has to be NUL-terminated.
#[cold]
#[inline(never)]
unsafe fn fail(path: *const u8) -> ! {
    // SAFETY: the texts and `path` have a NUL (`# Safety`).
    unsafe {
        say(text(START));
        say(path);
        say(text(NOT_STARTED));
        // Not as a part of the text, where it is a control character.
        let line_feed = b'\n';
        syscall::write(STDERR, &raw const line_feed, 1);
    }
    syscall::exit(127)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    syscall::exit(127)
}
