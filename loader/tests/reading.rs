//! The checks of a dynamic linker and of a sidecar, which the loader makes before it maps one and trusts the other. Miri can run
//! them, because there are no system calls and no assembly.

use loader::{EMPTY, Layout, PATH_MAX, sidecar_problem};
use sidecar::{Draft, Edit, EditKind, Flags, Header, Id, ToolVersion};
use sys::elf::{ET_DYN, Ehdr, MAGIC, PT_LOAD, Phdr};

const PAGE: usize = 4096;
const FILE_LEN: usize = 0x3000;

/// The first page of a file, aligned as the loader's memory.
#[repr(C, align(16))]
struct Front([u8; PATH_MAX]);

/// A dynamic linker of two segments, which tests change.
struct Linker {
    header: Ehdr,
    segments: [Phdr; 2],
}

fn segment(offset: usize, len: usize) -> Phdr {
    Phdr {
        p_type: PT_LOAD,
        p_flags: 5,
        p_offset: offset,
        p_vaddr: offset,
        p_paddr: offset,
        p_filesz: len,
        p_memsz: len,
        p_align: PAGE,
    }
}

impl Linker {
    fn new() -> Self {
        let mut e_ident = [0; 16];
        e_ident[..4].copy_from_slice(&MAGIC.to_le_bytes());
        Self {
            header: Ehdr {
                e_ident,
                e_type: ET_DYN,
                e_machine: sys::arch::MACHINE,
                e_version: 1,
                e_entry: 0x1010,
                e_phoff: size_of::<Ehdr>(),
                e_shoff: 0,
                e_flags: 0,
                e_ehsize: size_of::<Ehdr>() as u16,
                e_phentsize: size_of::<Phdr>() as u16,
                e_phnum: 2,
                e_shentsize: 0,
                e_shnum: 0,
                e_shstrndx: 0,
            },
            segments: [segment(0, 0x1800), segment(0x2000, 0x800)],
        }
    }

    /// The end of the mapping if the loader accepts the file, when it can read this many bytes.
    fn is_accepted(&self, read: usize) -> Option<usize> {
        let mut front = Box::new(Front([0; PATH_MAX]));
        let start = front.0.as_mut_ptr();
        let mut layout = Layout::UNKNOWN;
        // SAFETY: the headers fit, the memory is aligned for them, and it outlives the layout.
        let problem = unsafe {
            start.cast::<Ehdr>().write(self.header);
            let table = start.add(size_of::<Ehdr>());
            table.cast::<[Phdr; 2]>().write(self.segments);
            layout.problem(start, read, FILE_LEN)
        };
        (problem == EMPTY).then_some(layout.end)
    }

    #[track_caller]
    fn is_refused(&self) {
        assert_eq!(self.is_accepted(PATH_MAX), None);
    }
}

fn with(change: impl FnOnce(&mut Linker)) -> Linker {
    let mut linker = Linker::new();
    change(&mut linker);
    linker
}

#[test]
fn complete_dynamic_linker_is_accepted() {
    let linker = Linker::new();
    assert_eq!(linker.is_accepted(PATH_MAX), Some(0x2800));
    let headers = size_of::<Ehdr>() + 2 * size_of::<Phdr>();
    assert_eq!(linker.is_accepted(headers), Some(0x2800));
    assert_eq!(linker.is_accepted(headers - 1), None);
}

#[test]
fn overlapping_segments_are_refused() {
    let linker = with(|linker| linker.segments[1].p_vaddr = 0x1800);
    assert_eq!(linker.is_accepted(PATH_MAX), Some(0x2000));
    with(|linker| linker.segments[1].p_vaddr = 0x17ff).is_refused();
}

/// Such a segment once ended the mapping too early, and the segment before it was mapped over later mappings.
#[test]
fn empty_last_segment_is_refused() {
    with(|linker| {
        linker.segments[1] = segment(0x1000, 0);
        linker.header.e_entry = 0x10;
    })
    .is_refused();
}

#[test]
fn offsets_outside_the_file_or_the_mapping_are_refused() {
    with(|linker| linker.segments[1].p_offset = FILE_LEN - 0x7ff).is_refused();
    with(|linker| linker.segments[1].p_offset = usize::MAX).is_refused();
    with(|linker| linker.segments[1].p_filesz = 0x801).is_refused();
    with(|linker| linker.segments[0].p_memsz = usize::MAX).is_refused();
    with(|linker| linker.segments[1].p_vaddr = 1 << 28).is_refused();
    with(|linker| linker.header.e_entry = 0x2800).is_refused();
    with(|linker| linker.header.e_phoff = PATH_MAX + 8).is_refused();
    with(|linker| linker.header.e_phoff = usize::MAX - 7).is_refused();
    with(|linker| linker.header.e_phoff += 1).is_refused();
    with(|linker| linker.header.e_phnum = u16::MAX).is_refused();
    with(|linker| linker.header.e_phnum = 0).is_refused();
}

#[test]
fn wrong_machine_type_or_magic_is_refused() {
    with(|linker| linker.header.e_machine ^= 1).is_refused();
    with(|linker| linker.header.e_type = 2).is_refused();
    with(|linker| linker.header.e_ident[0] = b'#').is_refused();
}

/// A sidecar as words, for its alignment, and its length in bytes.
fn sidecar(id: Id) -> (Vec<u64>, usize) {
    let slot = [0x55; 40];
    let edit = Edit {
        kind: EditKind::Slot,
        offset: 0x1040,
        original: &slot,
    };
    let draft = Draft {
        machine: sys::arch::MACHINE,
        class: 2,
        loader: &[],
        flags: Flags(0),
        id,
        tool: ToolVersion::new(1, 2, 3),
        stub_len: 24,
        entry: 0x1040,
        slot_address: 0x1040,
        slot_protection: 5,
        debug_address: 0,
        interpreter: b"/x",
        search: b"",
        needed: &[],
        dynamic_len: 0,
        own_dynamic_len: 0,
        strings: 0,
        patches: &[],
        edits: &[edit],
    };
    let mut bytes = vec![0; draft.max_encoded_len()];
    let len = draft.encode(&mut bytes).expect("it fits");
    let words = bytes[..len].chunks(8);
    let words = words.map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
    (words.collect(), len)
}

#[test]
fn changed_truncated_or_foreign_sidecar_is_refused() {
    let id = *b"0123456789abcdef";
    let (words, len) = sidecar(id);
    let is_taken = |words: &[u64], len: usize, id: &Id| {
        assert!(len <= size_of_val(words));
        // SAFETY: as many bytes as that, aligned.
        unsafe { sidecar_problem(words.as_ptr().cast::<Header>(), len, id) == EMPTY }
    };
    assert!(is_taken(&words, len, &id));
    assert!(!is_taken(&words, len, b"another program!"));
    assert!(!is_taken(&words, len - 8, &id));
    assert!(!is_taken(&words, len - 1, &id));
    // SAFETY: the front of a sidecar is a header.
    let text = unsafe { (*words.as_ptr().cast::<Header>()).text_len } as usize;
    // The text after that may be changed.
    for at in 0..(len - text) / 8 {
        let mut changed = words.clone();
        changed[at] ^= 1 << (at % 64);
        assert!(!is_taken(&changed, len, &id), "word {at}");
    }
}
