//! Maps the real ld.so as the kernel would (fs/binfmt_elf.c, load_elf_interp).

use sidecar::Flags;
use sys::elf::{
    DT_NULL, DT_STRTAB, DT_SYMTAB, Dyn, ET_DYN, Ehdr, MAGIC, PF_R, PF_W, PF_X, PT_DYNAMIC,
    PT_GNU_PROPERTY, PT_LOAD, Phdr, Sym,
};
use sys::stack::{at, is_same};
use sys::syscall::{self, map, open_flags, prot};

use crate::locate::PATH_MAX;
use crate::process::Loader;
use crate::report::fail;
use crate::text::{DAMAGED, EMPTY, Message, NOT_ELF, NOT_LOADED, OTHER_MACHINE, R_DEBUG, Text};

/// Larger than any dynamic linker, and too small for an overflow when added to an address, in bytes.
const MAX_SPAN: usize = 1 << 28;

/// The layout of a dynamic linker. It makes no system calls, so tests can run it on any bytes.
pub struct Layout {
    /// The first program header.
    headers: *const Phdr,
    /// The end of the program headers.
    limit: *const Phdr,
    /// The virtual address after the last segment.
    pub end: usize,
}

/// A dynamic linker. Every failure ends the process.
struct Interpreter {
    path: Text,
    /// The dynamic linker is mapped below this address.
    ceiling: usize,
    fd: usize,
    page: usize,
    layout: Layout,
    /// Load bias.
    base: usize,
    /// Additional protection of executable pages.
    bti: usize,
}

impl Loader {
    /// Bytes of a page.
    #[inline(always)]
    pub fn page(&self) -> usize {
        self.stack.get(at::PAGESZ)
    }

    /// Maps the dynamic linker and returns the address of its entry point.
    #[inline(always)]
    pub fn map_interpreter(&self) -> usize {
        let path = self.interpreter;
        let front = self.scratch();
        // SAFETY: a `Text` has a NUL; `scratch` is PATH_MAX writable bytes, aligned to 16, and nothing else uses it until `map_interpreter`
        // returns.
        let (fd, read) = unsafe {
            let fd = syscall::open(path.as_ptr(), open_flags::RDONLY | open_flags::NONBLOCK);
            *front.cast::<u32>() = 0;
            (fd, syscall::read_at(fd.0, front, PATH_MAX, 0))
        };
        let page = self.page();
        let mut interpreter = Interpreter {
            path,
            ceiling: 0,
            fd: fd.0,
            page,
            layout: Layout::UNKNOWN,
            base: 0,
            bti: 0,
        };
        if fd.errno() != 0 {
            interpreter.fail(fd.errno());
        }
        // SAFETY: `scratch` is PATH_MAX bytes, aligned to 16, and nothing else writes to it until `map_interpreter` returns.
        let problem = unsafe {
            interpreter
                .layout
                .problem(front, read, syscall::file_len(fd.0).0)
        };
        if problem != EMPTY {
            fail(path, problem, 0);
        }
        interpreter.find_bti(self, read);
        interpreter.ceiling = self.ceiling();
        interpreter.place();
        syscall::close(fd.0);
        if self.has(Flags::SEED_DEBUG) {
            let debug = self.bias.wrapping_add(self.header().debug_address as usize);
            interpreter
                .layout
                .seed(interpreter.base, debug as *mut usize);
        }
        self.stack.set(at::BASE, interpreter.base);
        // SAFETY: `problem` found an ELF header there, and nothing has written to the scratch memory since.
        let entry = unsafe { (*front.cast::<Ehdr>()).e_entry };
        interpreter.base.wrapping_add(entry)
    }
}

impl Layout {
    pub const UNKNOWN: Self = Self {
        headers: core::ptr::null(),
        limit: core::ptr::null(),
        end: 0,
    };

    /// Checks the first `read` bytes, at `front`, of a file of `file_len` bytes. Returns the problem, or [`EMPTY`]. Without a
    /// problem, the loadable segments are in ascending order, do not overlap, and lie inside the file: access to a page after the
    /// end of the file is SIGBUS.
    ///
    /// # Safety
    /// `front` has to be PATH_MAX bytes, aligned as an ELF header, and to stay while this is used.
    #[inline(always)]
    pub unsafe fn problem(&mut self, front: *const u8, read: usize, file_len: usize) -> Message {
        // SAFETY: `front` is PATH_MAX bytes and aligned (`# Safety`), more than either type takes, and both have only integers, for which
        // any bytes are valid.
        let (elf, words) = unsafe { (&*front.cast::<Ehdr>(), &*front.cast::<[u32; 5]>()) };
        if words[0] != MAGIC {
            return NOT_ELF;
        }
        // e_type and e_machine in one word. The class follows from the machine and the size of a program header.
        if words[4] != ET_DYN as u32 | (sys::arch::MACHINE as u32) << 16 {
            return OTHER_MACHINE;
        }
        self.headers = front.wrapping_add(elf.e_phoff).cast();
        self.limit = self.headers.wrapping_add(elf.e_phnum as usize);
        if elf.e_phentsize as usize != size_of::<Phdr>()
            || elf.e_phoff & (size_of::<usize>() - 1) != 0
            || elf.e_phoff > PATH_MAX
            || self.limit as usize - front as usize > read
        {
            return DAMAGED;
        }
        let mut at = self.headers;
        while at != self.limit {
            // SAFETY: `limit` was compared with `read` above: all headers are among the bytes that were read, and e_phoff is aligned.
            let segment = unsafe { &*at };
            at = at.wrapping_add(1);
            if segment.p_type != PT_LOAD {
                continue;
            }
            if segment.p_vaddr < self.end
                || (segment.p_vaddr | segment.p_memsz) >= MAX_SPAN
                || segment.p_filesz > segment.p_memsz
                || segment.p_filesz.saturating_add(segment.p_offset) > file_len
            {
                return DAMAGED;
            }
            self.end = segment.p_vaddr + segment.p_memsz;
        }
        // Without a loadable segment, the end is 0.
        if elf.e_entry >= self.end {
            return DAMAGED;
        }
        EMPTY
    }

    /// The first header of this type.
    #[inline(never)]
    fn header(&self, p_type: u32) -> Option<&'static Phdr> {
        let mut at = self.headers;
        while at != self.limit {
            // SAFETY: `problem` has checked that the headers up to `limit` were read and are aligned. They stay in the scratch memory, on the
            // initial stack, which is never unmapped, and which nothing writes to while a header is in use.
            let header = unsafe { &*at };
            if header.p_type == p_type {
                return Some(header);
            }
            at = at.wrapping_add(1);
        }
        None
    }

    /// Stores the address of glibc's `_r_debug` in `debug`, the program's own DT_DEBUG. ld.so fills in only that of the .dynamic
    /// that it gets, a copy. In a dynamic linker, .dynstr follows .dynsym, so its address gives the number of symbols.
    #[inline(always)]
    fn seed(&self, base: usize, debug: *mut usize) {
        let Some(header) = self.header(PT_DYNAMIC) else {
            return;
        };
        let inside = |address: usize| address.wrapping_sub(base) < self.end;
        let (mut symbols, mut strings) = (0, 0);
        // SAFETY: every address read lies in the span, and the tables of a dynamic linker in its segments, which are mapped; the
        // program's .dynamic is writable. What lies between segments is not: reached only by tables that were altered.
        unsafe {
            let mut at = base.wrapping_add(header.p_vaddr);
            while inside(at) {
                let entry = &*(at as *const Dyn);
                let address = base.wrapping_add(entry.d_val);
                if entry.d_tag == DT_NULL {
                    break;
                }
                if entry.d_tag == DT_SYMTAB {
                    symbols = address;
                }
                if entry.d_tag == DT_STRTAB {
                    strings = address;
                }
                at += size_of::<Dyn>();
            }
            while inside(symbols) && inside(strings) && symbols < strings {
                let symbol = &*(symbols as *const Sym);
                let name = strings + symbol.st_name as usize;
                if inside(name) && is_same(name as *const u8, R_DEBUG.text().as_ptr()) {
                    *debug = base.wrapping_add(symbol.st_value);
                    break;
                }
                symbols += size_of::<Sym>();
            }
        }
    }
}

impl Interpreter {
    #[cold]
    #[inline(always)]
    fn fail(&self, errno: usize) -> ! {
        fail(self.path, NOT_LOADED, errno)
    }

    /// Maps the segments directly below the ceiling. Nothing is mapped there as a rule, so the kernel follows a hint, and each
    /// segment is a new mapping. A mapping over a part of another would take twice as long. This aligns to pages only, as the
    /// kernel does: a larger p_align is for kernels with larger pages.
    #[inline(always)]
    fn place(&mut self) {
        self.base = (self.ceiling - self.layout.end) & self.page.wrapping_neg();
        let mut flags = map::PRIVATE;
        while !self.fill(flags) {
            // Maps the whole span at any address, and then the segments over it.
            let anywhere = map::PRIVATE | map::ANONYMOUS;
            self.base = self.map(0, self.layout.end, 0, anywhere, 0);
            flags = map::PRIVATE | map::FIXED;
        }
    }

    /// Maps every segment with its zeros. Returns whether each is at the intended address.
    #[inline(always)]
    fn fill(&self, flags: usize) -> bool {
        let mut at = self.layout.headers;
        while at != self.layout.limit {
            // SAFETY: `problem` has checked that the headers up to `limit` were read and are aligned, and they stay in the scratch memory.
            let segment = unsafe { &*at };
            at = at.wrapping_add(1);
            if segment.p_type != PT_LOAD {
                continue;
            }
            let mut prot = protection(segment);
            if sys::arch::HAS_BTI && prot & prot::EXEC != 0 {
                prot |= self.bti;
            }
            let address = self.base.wrapping_add(segment.p_vaddr);
            let before = address & (self.page - 1);
            let zero = address + segment.p_filesz;
            let end = address + segment.p_memsz;
            let (start, len) = (address - before, before + segment.p_filesz);
            let offset = segment.p_offset.wrapping_sub(before);
            const { assert!(prot::WRITE << 14 == map::POPULATE) };
            // ld.so relocates the writable pages first. To populate them now costs less than its page faults.
            let populate = (prot & prot::WRITE) << 14;
            if len != 0 && self.map(start, len, prot, flags | populate, offset) != start {
                return false;
            }
            if prot & prot::WRITE != 0 && end > zero {
                let pages = zero.wrapping_add(self.page - 1) & self.page.wrapping_neg();
                // SAFETY: from the end of the file's bytes to the end of their page, which `map` has just mapped writable and private.
                unsafe { sys::arch::zero(zero, pages) };
                if end > pages
                    && self.map(pages, end - pages, prot, flags | map::ANONYMOUS, 0) != pages
                {
                    return false;
                }
            }
        }
        true
    }

    #[inline(never)]
    fn map(&self, address: usize, len: usize, prot: usize, flags: usize, offset: usize) -> usize {
        // SAFETY: without MAP_FIXED, the kernel takes free addresses. With it, the range is in the span that `place` has mapped for this
        // file, because `problem` has bounded every segment by `end`, and nothing uses it yet.
        let mapped = unsafe { syscall::mmap(address, len, prot, flags, self.fd, offset) };
        if mapped.errno() != 0 {
            self.fail(mapped.errno());
        }
        mapped.0
    }

    /// Sets PROT_BTI if the processor has it and the object's PT_GNU_PROPERTY promises landing pads. The kernel does the same for
    /// an interpreter that it loads (arch/arm64/kernel/process.c, arch_elf_adjust_prot). Linkers put the note near the headers, so
    /// it was read with them.
    #[inline(always)]
    fn find_bti(&mut self, loader: &Loader, read: usize) {
        if !sys::arch::HAS_BTI {
            return;
        }
        let Some(note) = self.layout.header(PT_GNU_PROPERTY) else {
            return;
        };
        if note.p_offset.saturating_add(sys::arch::PROPERTY_LEN) > read {
            return;
        }
        // SAFETY: PROPERTY_LEN bytes from p_offset on are among the `read` bytes of the scratch memory.
        unsafe {
            let note = loader.scratch().wrapping_add(note.p_offset).cast();
            if sys::arch::has_landing_pads(note) {
                let known = sys::arch::protections(loader.stack.get(at::HWCAP2));
                self.bti = known & sys::arch::PROT_BTI;
            }
        }
    }
}

/// The protection that a segment's flags ask for: the same three bits in reverse order.
#[inline(always)]
fn protection(segment: &Phdr) -> usize {
    const { assert!(PF_X == 1 && PF_W == 2 && PF_R == 4) };
    const { assert!(prot::READ == 1 && prot::WRITE == 2 && prot::EXEC == 4) };
    let flags = segment.p_flags as usize;
    flags >> 2 & prot::READ | flags & prot::WRITE | flags << 2 & prot::EXEC
}
