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
use crate::text::{DAMAGED, EMPTY, Message, NOT_ELF, NOT_LOADED, OTHER_MACHINE, R_DEBUG, Text};

/// More than any dynamic linker takes, and no overflow when added to an address, bytes.
const MAX_SPAN: usize = 1 << 28;

/// What the headers of a dynamic linker say; pure, so that it can be tested on any bytes.
pub struct Layout {
    /// The first program header.
    headers: *const Phdr,
    /// Behind the last.
    limit: *const Phdr,
    /// Virtual address behind the last segment.
    pub end: usize,
}

/// A dynamic linker; every failure ends the process.
struct Interpreter {
    path: Text,
    /// What it is mapped below.
    ceiling: usize,
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
        // SAFETY: the scratch memory is PATH_MAX bytes, aligned, and stays.
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
        // SAFETY: it holds an ELF header.
        let entry = unsafe { (*front.cast::<Ehdr>()).e_entry };
        interpreter.base.wrapping_add(entry)
    }
}

impl Layout {
    /// Nothing known yet.
    pub const UNKNOWN: Self = Self {
        headers: core::ptr::null(),
        limit: core::ptr::null(),
        end: 0,
    };

    /// Looks at the first `read` bytes of a file of `file_len`, which are at `front`: what is wrong with them, [`EMPTY`] for
    /// nothing. Then the loadable segments are in ascending order, do not overlap, and lie inside the file, because touching a
    /// page behind its end is SIGBUS.
    ///
    /// # Safety
    /// `front` is PATH_MAX bytes, aligned as an ELF header, and stays while this is used.
    #[inline(always)]
    pub unsafe fn problem(&mut self, front: *const u8, read: usize, file_len: usize) -> Message {
        // SAFETY: any bytes are an ELF header, and its identification begins with four bytes of magic.
        let (elf, words) = unsafe { (&*front.cast::<Ehdr>(), &*front.cast::<[u32; 5]>()) };
        if words[0] != MAGIC {
            return NOT_ELF;
        }
        // e_type and e_machine at once. The class follows from the machine and the size of a program header.
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
            // SAFETY: the headers were read.
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
        // Without a loadable segment the end is 0.
        if elf.e_entry >= self.end {
            return DAMAGED;
        }
        EMPTY
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

    /// Maps the segments right below the ceiling. Nothing lies there, as a rule, and then the kernel follows a hint: every segment is a
    /// new mapping, while one over a part of another takes twice as long. As the kernel does, this aligns to pages only: a larger
    /// p_align is for kernels with larger ones.
    #[inline(always)]
    fn place(&mut self) {
        self.base = (self.ceiling - self.layout.end) & self.page.wrapping_neg();
        let mut flags = map::PRIVATE;
        while !self.fill(flags) {
            // The whole span, wherever there is room, and the segments over it.
            let anywhere = map::PRIVATE | map::ANONYMOUS;
            self.base = self.map(0, self.layout.end, 0, anywhere, 0);
            flags = map::PRIVATE | map::FIXED;
        }
    }

    /// Maps every segment, and its zeros; says whether each is where it was wanted.
    #[inline(always)]
    fn fill(&self, flags: usize) -> bool {
        let mut at = self.layout.headers;
        while at != self.layout.limit {
            // SAFETY: the headers were read.
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
            // What is writable is what ld.so relocates first, and to have it there costs less than its page faults.
            let populate = (prot & prot::WRITE) << 14;
            if len != 0 && self.map(start, len, prot, flags | populate, offset) != start {
                return false;
            }
            if prot & prot::WRITE != 0 && end > zero {
                let pages = zero.wrapping_add(self.page - 1) & self.page.wrapping_neg();
                // SAFETY: the rest of the segment's last page, mapped writable.
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
        // SAFETY: new, where the kernel finds room, or over the span that was mapped for this file.
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
#[inline(always)]
fn protection(segment: &Phdr) -> usize {
    const { assert!(PF_X == 1 && PF_W == 2 && PF_R == 4) };
    const { assert!(prot::READ == 1 && prot::WRITE == 2 && prot::EXEC == 4) };
    let flags = segment.p_flags as usize;
    flags >> 2 & prot::READ | flags & prot::WRITE | flags << 2 & prot::EXEC
}
