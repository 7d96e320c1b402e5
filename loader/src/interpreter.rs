//! Mapping the real ld.so as the kernel would have (fs/binfmt_elf.c, load_elf_interp).

use sidecar::Flags;
use sys::elf::{
    DT_NULL, DT_STRTAB, DT_SYMTAB, Dyn, ET_DYN, Ehdr, GNU_PROPERTY_AARCH64_FEATURE_1_AND,
    GNU_PROPERTY_AARCH64_FEATURE_1_BTI, MAGIC, PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_PROPERTY,
    PT_LOAD, Phdr, Sym,
};
use sys::stack::{at, is_same};
use sys::syscall::{self, map, open_flags, prot};

use crate::locate::PATH_MAX;
use crate::process::Loader;
use crate::report::fail;
use crate::text::{CUT, EMPTY, Message, NOT_ELF, NOT_LOADED, OTHER_MACHINE, R_DEBUG, Text};

/// More than any dynamic linker takes, and no overflow when added to an address, bytes.
const MAX_SPAN: usize = 1 << 28;

/// What the headers of a dynamic linker say; pure, so that it can be tested on any bytes.
pub struct Layout {
    /// The first program header.
    headers: *const Phdr,
    /// Behind the last.
    limit: *const Phdr,
    /// The first loadable segment.
    first: *const Phdr,
    /// Virtual address behind the last segment.
    pub end: usize,
    /// The largest p_align, at least a page.
    align: usize,
}

/// A dynamic linker; every failure ends the process.
struct Interpreter {
    path: Text,
    /// An address in the last mapping: the loader's own.
    near: usize,
    fd: usize,
    page: usize,
    layout: Layout,
    /// Load bias.
    base: usize,
    /// Protection that executable pages get besides.
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
        // SAFETY: the path ends in a NUL; the scratch memory is this large and aligned.
        let (fd, read) = unsafe {
            let fd = syscall::open(path.as_ptr(), open_flags::RDONLY | open_flags::NONBLOCK);
            *front.cast::<u32>() = 0;
            (fd, syscall::read_front(fd.0, front, PATH_MAX))
        };
        let page = self.page();
        let mut interpreter = Interpreter {
            path,
            near: EMPTY.text().as_ptr() as usize,
            fd: fd.0,
            page,
            layout: Layout::new(page),
            base: 0,
            bti: 0,
        };
        if fd.errno() != 0 {
            interpreter.fail(fd.errno());
        }
        // SAFETY: the scratch memory is PATH_MAX bytes, aligned, and stays.
        let problem = unsafe {
            interpreter
                .layout
                .problem(front, read, syscall::file_len(fd.0).0)
        };
        if problem != EMPTY {
            fail(path, problem, 0);
        }
        interpreter.reserve();
        interpreter.find_bti(self, read);
        interpreter.fill();
        syscall::close(fd.0);
        if self.has(Flags::SEED_DEBUG) {
            let debug = self.bias.wrapping_add(self.header().debug_address as usize);
            interpreter
                .layout
                .seed(interpreter.base, debug as *mut usize);
        }
        self.stack.set(at::BASE, interpreter.base);
        // SAFETY: it holds an ELF header.
        let entry = unsafe { (*front.cast::<Ehdr>()).e_entry };
        interpreter.base.wrapping_add(entry)
    }
}

impl Layout {
    /// Nothing known yet.
    #[inline(always)]
    pub fn new(page: usize) -> Self {
        Self {
            headers: core::ptr::null(),
            limit: core::ptr::null(),
            first: core::ptr::null(),
            end: 0,
            align: page,
        }
    }

    /// Looks at the first `read` bytes of a file of `file_len`, which are at `front`: what is wrong with them, [`EMPTY`] for
    /// nothing. Then the loadable segments are in ascending order, do not overlap, and lie inside the file, because touching a
    /// page behind its end is SIGBUS.
    ///
    /// # Safety
    /// `front` is PATH_MAX bytes, aligned as an ELF header, and stays while this is used.
    #[inline(always)]
    pub unsafe fn problem(&mut self, front: *const u8, read: usize, file_len: usize) -> Message {
        // SAFETY: any bytes are an ELF header, and its identification begins with four bytes of magic.
        let (elf, ident) = unsafe { (&*front.cast::<Ehdr>(), *front.cast::<u32>()) };
        if ident != MAGIC {
            return NOT_ELF;
        }
        // The class follows from the machine and the size of a program header.
        if elf.e_type != ET_DYN || elf.e_machine != sys::arch::MACHINE {
            return OTHER_MACHINE;
        }
        self.headers = front.wrapping_add(elf.e_phoff).cast();
        self.limit = self.headers.wrapping_add(elf.e_phnum as usize);
        if elf.e_phentsize as usize != size_of::<Phdr>()
            || elf.e_phoff & (size_of::<usize>() - 1) != 0
            || elf.e_phoff > PATH_MAX
            || self.limit as usize - front as usize > read
        {
            return CUT;
        }
        let mut at = self.headers;
        while at != self.limit {
            // SAFETY: the headers were read.
            let segment = unsafe { &*at };
            at = at.wrapping_add(1);
            if segment.p_type != PT_LOAD {
                continue;
            }
            if self.first.is_null() {
                self.first = segment;
            }
            if segment.p_vaddr < self.end
                || (segment.p_vaddr | segment.p_memsz) >= MAX_SPAN
                || segment.p_filesz > segment.p_memsz
                || segment.p_filesz.saturating_add(segment.p_offset) > file_len
            {
                return CUT;
            }
            self.end = segment.p_vaddr + segment.p_memsz;
            self.align = self.align.max(segment.p_align);
        }
        // Without a loadable segment the end is 0.
        if elf.e_entry >= self.end {
            return CUT;
        }
        EMPTY
    }

    #[inline(always)]
    fn first(&self) -> &'static Phdr {
        // SAFETY: `problem` has found it.
        unsafe { &*self.first }
    }

    /// The first header of a type.
    #[inline(never)]
    fn header(&self, p_type: u32) -> Option<&'static Phdr> {
        let mut at = self.headers;
        while at != self.limit {
            // SAFETY: the headers were read, and stay in the scratch memory.
            let header = unsafe { &*at };
            if header.p_type == p_type {
                return Some(header);
            }
            at = at.wrapping_add(1);
        }
        None
    }

    /// Stores the address of glibc's `_r_debug` in `debug`, the program's own DT_DEBUG: ld.so fills in only the one of the
    /// .dynamic it is shown. In a dynamic linker .dynstr follows .dynsym, which tells how many symbols there are.
    #[inline(always)]
    fn seed(&self, base: usize, debug: *mut usize) {
        let Some(header) = self.header(PT_DYNAMIC) else {
            return;
        };
        let inside = |address: usize| address.wrapping_sub(base) < self.end;
        let (mut symbols, mut strings) = (0, 0);
        // SAFETY: every address read lies in the mapped span, whose last bytes are behind all tables; the program's
        // .dynamic is writable.
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

    /// One mapping for the whole span, as the first segment wants it.
    #[inline(always)]
    fn reserve(&mut self) {
        let first = self.layout.first();
        let before = first.p_vaddr & (self.page - 1);
        let start = first.p_vaddr - before;
        let len = self.layout.end - start;
        // The kernel aligns to pages only, but follows a hint where nothing is in the way, and below the last mapping
        // nothing is. A dynamic linker runs at any page: its p_align is for kernels with larger ones.
        let below = self.near - self.page - len;
        let hint = below & self.layout.align.wrapping_neg();
        let offset = first.p_offset.wrapping_sub(before);
        self.base = self.map(hint, len, protection(first), map::PRIVATE, offset) - start;
    }

    /// Maps every segment but the first over the span, one that lies right already too: valgrind takes what is left of a mapping
    /// for no part of the file, and then does not read its symbols. And its zeros.
    #[inline(always)]
    fn fill(&self) {
        let mut at = self.layout.headers;
        while at != self.layout.limit {
            // SAFETY: the headers were read.
            let segment = unsafe { &*at };
            at = at.wrapping_add(1);
            if segment.p_type == PT_LOAD {
                self.fill_segment(segment);
            }
        }
    }

    #[inline(always)]
    fn fill_segment(&self, segment: &Phdr) {
        let first = self.layout.first();
        let mut prot = protection(segment);
        if prot & prot::EXEC != 0 {
            prot |= self.bti;
        }
        let before = segment.p_vaddr & (self.page - 1);
        let start = self.base.wrapping_add(segment.p_vaddr) - before;
        let file_len = before + segment.p_filesz;
        let offset = segment.p_offset.wrapping_sub(before);
        if file_len != 0 && !core::ptr::eq(segment, first) {
            self.map(start, file_len, prot, map::PRIVATE | map::FIXED, offset);
        }
        let mut zero = start + file_len;
        let end = start + before + segment.p_memsz;
        if segment.p_flags & PF_W != 0 && end > zero {
            while zero & (self.page - 1) != 0 {
                // SAFETY: the rest of the segment's last page, mapped writable.
                unsafe { (zero as *mut u8).write_volatile(0) };
                zero += 1;
            }
            if end > zero {
                let flags = map::PRIVATE | map::FIXED | map::ANONYMOUS;
                self.map(zero, end - zero, prot, flags, 0);
            }
        }
    }

    #[inline(never)]
    fn map(&self, address: usize, len: usize, prot: usize, flags: usize, offset: usize) -> usize {
        // SAFETY: new, or over the span, which is this file's own mapping.
        let mapped = unsafe { syscall::mmap(address, len, prot, flags, self.fd, offset) };
        if mapped.errno() != 0 {
            self.fail(mapped.errno());
        }
        mapped.0
    }

    /// PROT_BTI, if the processor has it and the object's PT_GNU_PROPERTY promises landing pads: the kernel does the same for an
    /// interpreter it loads (arch/arm64/kernel/process.c, arch_elf_adjust_prot). Linkers put the note in front, where it was read
    /// with the headers.
    #[inline(always)]
    fn find_bti(&mut self, loader: &Loader, read: usize) {
        if !sys::arch::HAS_BTI {
            return;
        }
        let Some(note) = self.layout.header(PT_GNU_PROPERTY) else {
            return;
        };
        // namesz, descsz, type, "GNU\0", then properties: type, size, data. They ascend, and this one is the lowest there is
        // on this architecture.
        if note.p_offset.saturating_add(28) > read {
            return;
        }
        // SAFETY: these 28 bytes were read.
        unsafe {
            let words = loader.scratch().wrapping_add(note.p_offset).cast::<u32>();
            if words.add(4).read_unaligned() == GNU_PROPERTY_AARCH64_FEATURE_1_AND
                && words.add(6).read_unaligned() & GNU_PROPERTY_AARCH64_FEATURE_1_BTI != 0
            {
                let known = sys::arch::protections(loader.stack.get(at::HWCAP2));
                self.bti = known & sys::arch::PROT_BTI;
            }
        }
    }
}

/// The protection a segment's flags ask for: the same three bits, the other way round.
#[inline(never)]
fn protection(segment: &Phdr) -> usize {
    const { assert!(PF_X == 1 && PF_W == 2 && PF_R == 4) };
    const { assert!(prot::READ == 1 && prot::WRITE == 2 && prot::EXEC == 4) };
    let flags = segment.p_flags as usize;
    flags >> 2 & prot::READ | flags & prot::WRITE | flags << 2 & prot::EXEC
}
