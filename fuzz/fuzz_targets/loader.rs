//! Runs the loader's own code on the headers of a dynamic linker, and on the front of a sidecar: everything that it reads before it
//! maps one, or trusts the other.
#![no_main]

use std::alloc::Layout as Memory;
use std::ptr;

use libfuzzer_sys::fuzz_target;
use loader::{EMPTY, Layout, PATH_MAX, sidecar_problem};
use sidecar::{HEADER_LEN, Header, Id, MAGIC, Sidecar};
use sys::elf::{Ehdr, PT_LOAD, Phdr};

const PAGE: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    // The file may be longer than the part that the loader reads. The last byte is the number of pages.
    let more = bytes.last().map_or(0, |&pages| usize::from(pages) * PAGE);
    read_linker(bytes, bytes.len() + more);
    let mut fixed = bytes.to_vec();
    fuzz::fix_checksum(&mut fixed);
    for bytes in [bytes, &fixed] {
        if bytes.len() >= HEADER_LEN {
            read_sidecar(bytes);
        }
    }
});

/// Memory of exactly this length, page-aligned as from mmap, so that the sanitizer sees each read after its end.
struct Exactly {
    start: *mut u8,
    memory: Memory,
}

impl Exactly {
    fn new(bytes: &[u8]) -> Self {
        let memory = Memory::from_size_align(bytes.len(), 16).expect("inputs are small");
        assert!(!bytes.is_empty());
        // SAFETY: the length is not zero, and as many bytes are copied.
        let start = unsafe {
            let start = std::alloc::alloc(memory);
            assert!(!start.is_null());
            ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len());
            start
        };
        Self { start, memory }
    }
}

impl Drop for Exactly {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.start, self.memory) };
    }
}

fn read_linker(bytes: &[u8], file_len: usize) {
    let read = bytes.len().min(PATH_MAX);
    let mut front = vec![0xaa; PATH_MAX];
    front[..4].fill(0);
    front[..read].copy_from_slice(&bytes[..read]);
    let front = Exactly::new(&front);
    let mut layout = Layout::UNKNOWN;
    // SAFETY: PATH_MAX bytes, aligned, which outlive the layout.
    let problem = unsafe { layout.problem(front.start, read, file_len) };
    if problem != EMPTY {
        return;
    }
    // SAFETY: an ELF header is smaller than PATH_MAX, and made of numbers.
    let elf = unsafe { front.start.cast::<Ehdr>().read() };
    let mut end = 0;
    for index in 0..usize::from(elf.e_phnum) {
        let at = elf.e_phoff + index * size_of::<Phdr>();
        assert!(at + size_of::<Phdr>() <= read, "a header that was not read");
        // SAFETY: it lies in front of `read`.
        let segment = unsafe { front.start.add(at).cast::<Phdr>().read_unaligned() };
        if segment.p_type != PT_LOAD {
            continue;
        }
        assert!(segment.p_vaddr >= end, "segments overlap");
        assert!(segment.p_offset + segment.p_filesz <= file_len);
        assert!(segment.p_filesz <= segment.p_memsz);
        end = segment.p_vaddr + segment.p_memsz;
        // Addresses have to fit into 32 bits too.
        assert!(end < 1 << 30);
    }
    assert_eq!(end, layout.end, "the mapping covers every segment");
    assert!(elf.e_entry < end);
}

fn read_sidecar(bytes: &[u8]) {
    let memory = Exactly::new(bytes);
    let problem = |id: &Id| {
        // SAFETY: as many bytes as that, aligned, and at least a header.
        unsafe { sidecar_problem(memory.start.cast::<Header>(), bytes.len(), id) }
    };
    let id = bytes[24..40].try_into().expect("16 bytes");
    let mut other: Id = id;
    other[0] ^= 1;
    assert_ne!(problem(&other), EMPTY, "a sidecar of another program");
    // The host checks more than the loader, never less. It also reads the previous version.
    if let Ok(sidecar) = Sidecar::parse(bytes)
        && !sidecar.is_self_contained()
        && bytes.starts_with(&MAGIC.to_le_bytes())
    {
        assert_eq!(sidecar.header().id, id);
        assert_eq!(problem(&id), EMPTY);
    }
}
