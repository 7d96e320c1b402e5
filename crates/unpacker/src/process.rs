//! What the kernel and the caller give to this process.

use core::ffi::CStr;
use core::mem::size_of;

use alloc::vec::Vec;
use sys::elf::{Ehdr, Phdr};
use sys::stack::{Stack, at};
use sys::syscall;

pub struct Process {
    pub stack: Stack,
}

impl Process {
    /// # Safety
    /// `stack` has to be the initial stack of this process.
    pub unsafe fn new(stack: Stack) -> Self {
        Self { stack }
    }

    /// The path by which this file was executed.
    pub fn own_name(&self) -> &'static [u8] {
        match self.stack.get(at::EXECFN) {
            0 => self.argv0(),
            // SAFETY: the kernel has put this string with its NUL above the stack, where nothing writes to it.
            path => unsafe { CStr::from_ptr(path as *const _) }.to_bytes(),
        }
    }

    pub fn argv0(&self) -> &'static [u8] {
        let name = self.stack.argv0();
        match name.is_null() {
            true => b"",
            // SAFETY: an argument has a NUL, and nothing writes to it.
            false => unsafe { CStr::from_ptr(name.cast()) }.to_bytes(),
        }
    }

    pub fn user(&self) -> u32 {
        self.stack.get(at::EUID) as u32
    }

    /// The value of a variable that is set, and not empty.
    pub fn variable(&self, name: &str) -> Option<&'static CStr> {
        let mut at = self.stack.environment();
        // SAFETY: the environment is an array of strings with their NULs, and ends with NULL, where the loop stops. Nothing writes to it.
        unsafe {
            while *at != 0 {
                let entry = CStr::from_ptr(*at as *const _);
                let value = entry.to_bytes_with_nul().strip_prefix(name.as_bytes());
                let value = value.and_then(|rest| rest.strip_prefix(b"="));
                if let Some(value) = value.filter(|value| value.len() > 1) {
                    return CStr::from_bytes_with_nul(value).ok();
                }
                at = at.add(1);
            }
        }
        None
    }

    /// The length of this program's ELF file, whose section headers are at its end.
    pub fn image_len(&self) -> usize {
        let headers = self.stack.get(at::PHDR) as *const Phdr;
        // SAFETY: the linker has put the ELF header before the program headers, in the same segment, and images are linked with it.
        unsafe {
            let header = headers.cast::<Ehdr>().sub(1).read();
            header.e_shoff + usize::from(header.e_shnum) * usize::from(header.e_shentsize)
        }
    }

    /// Executes the program at `path`, which ends with a NUL, with the arguments of this process, the first of which becomes the path.
    /// Returns the error number.
    pub fn execute(&self, path: &[u8]) -> usize {
        let mut arguments = Vec::new();
        arguments.push(path.as_ptr() as usize);
        let given = self.stack.arguments();
        // SAFETY: `given` is the number of arguments and the arguments. All strings have a NUL, and both arrays end with NULL.
        unsafe {
            for index in 1..*given {
                arguments.push(*given.add(1 + index));
            }
            arguments.push(0);
            syscall::execve(path.as_ptr(), arguments.as_ptr(), self.stack.environment()).errno()
        }
    }
}

const _: () = assert!(size_of::<Ehdr>() == if size_of::<usize>() == 8 { 64 } else { 52 });
