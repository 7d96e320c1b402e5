//! Checks that apply to every wrapped program.

use std::ops::Range;

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, read};
use sidecar::{EditKind, Sidecar};

use crate::offsets::E_ENTRY;
use crate::root::Root;
use crate::run::Run;

/// Asserts that a program cannot run in its root, which does not have its dynamic linker.
#[track_caller]
pub fn assert_fails_unwrapped(run: Run<'_>) {
    match run.try_output() {
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
        // The emulator starts, and prints the error itself.
        Ok(output) => assert!(
            output.status != Some(0) && output.stderr.contains("Could not open '/lib"),
            "ran without its dynamic linker; {output}"
        ),
    }
}

/// A wrapped program with its original bytes.
pub struct Wrapped {
    /// The bytes before wrapping.
    pub original: Vec<u8>,
    /// The bytes now.
    pub file: Vec<u8>,
    pub sidecar: Vec<u8>,
}

impl Wrapped {
    /// Reads `program` and its sidecar from the root.
    pub fn read(root: &Root, program: &str, original: Vec<u8>) -> Wrapped {
        Wrapped {
            original,
            file: root.read(program),
            sidecar: root.read(&sidecar_of(program)),
        }
    }

    /// Asserts that the size is the same, PT_INTERP is PT_NULL, nothing differs outside the edits, and the edits hold the original
    /// bytes.
    #[track_caller]
    pub fn check(&self) {
        let Wrapped {
            original,
            file,
            sidecar,
        } = self;
        assert_eq!(original.len(), file.len(), "size");
        let sidecar = Sidecar::parse(sidecar).unwrap_or_else(|error| panic!("the sidecar {error}"));
        let mut restored = file.clone();
        let mut kinds = Vec::new();
        for edit in sidecar.edits() {
            let edit = edit.unwrap_or_else(|error| panic!("the sidecar {error}"));
            let at = usize::try_from(edit.offset).expect("an offset inside the file");
            let range = at..at + edit.original.len();
            assert_eq!(
                original[range.clone()],
                *edit.original,
                "original bytes of {:?}",
                edit.kind
            );
            restored[range].copy_from_slice(edit.original);
            kinds.push(edit.kind);
        }
        assert!(restored == *original, "bytes outside the edits differ");
        assert!(
            kinds.contains(&EditKind::Slot) && kinds.contains(&EditKind::Interp),
            "{kinds:?}"
        );
        assert_eq!(count_segments(original, elf::PT_INTERP), 1);
        assert_eq!(count_segments(file, elf::PT_INTERP), 0);
        assert_eq!(
            count_segments(file, elf::PT_NULL),
            count_segments(original, elf::PT_NULL) + 1
        );
    }

    pub fn kinds(&self) -> Vec<EditKind> {
        let sidecar = Sidecar::parse(&self.sidecar).expect("checked before");
        sidecar
            .edits()
            .map(|edit| edit.expect("checked before").kind)
            .collect()
    }
}

/// The path of a program's sidecar.
pub fn sidecar_of(program: &str) -> String {
    let (dir, name) = program.rsplit_once('/').expect("an absolute path");
    if name.len() + ".".len() + ".wrapbuddy".len() <= 255 {
        return format!("{dir}/.{name}.wrapbuddy");
    }
    format!("{dir}/.{}.wrapbuddy", &plain_digest(name)[..32])
}

fn plain_digest(name: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The number of program headers of type `kind`.
pub fn count_segments(file: &[u8], kind: u32) -> usize {
    segments(file)
        .iter()
        .filter(|segment| segment.kind == kind)
        .count()
}

/// The fields of a program header that tests use.
#[derive(Clone, Debug)]
pub struct Segment {
    /// `p_type`.
    pub kind: u32,
    /// The offset of the program header itself in the file.
    pub header_at: usize,
    /// `p_vaddr`.
    pub address: u64,
    /// The segment's bytes in the file.
    pub file: Range<usize>,
}

pub fn segments(file: &[u8]) -> Vec<Segment> {
    match read::FileKind::parse(file).expect("an ELF file") {
        read::FileKind::Elf32 => segments_of::<elf::FileHeader32<Endianness>>(file),
        _ => segments_of::<elf::FileHeader64<Endianness>>(file),
    }
}

fn segments_of<H: FileHeader<Endian = Endianness>>(file: &[u8]) -> Vec<Segment> {
    let header = H::parse(file).expect("an ELF file");
    let endian = header.endian().expect("little-endian");
    let table = header
        .program_headers(endian, file)
        .expect("program headers");
    let start: u64 = header.e_phoff(endian).into();
    let size = usize::from(header.e_phentsize(endian));
    let describe = |(index, segment): (usize, &H::ProgramHeader)| {
        let (offset, size_in_file) = segment.file_range(endian);
        Segment {
            kind: segment.p_type(endian),
            header_at: start as usize + index * size,
            address: segment.p_vaddr(endian).into(),
            file: offset as usize..(offset + size_in_file) as usize,
        }
    };
    table.iter().enumerate().map(describe).collect()
}

/// The file offset of the entry point.
///
/// # Panics
/// When it is in no segment.
pub fn entry_offset(file: &[u8]) -> usize {
    let field = file[E_ENTRY..][..word(file)].iter().rev();
    let entry = field.fold(0, |value, &byte| value << 8 | u64::from(byte));
    let mut loads = segments(file)
        .into_iter()
        .filter(|segment| segment.kind == elf::PT_LOAD);
    let at = loads.find_map(|load| {
        let into = entry.checked_sub(load.address)? as usize;
        (into < load.file.len()).then_some(load.file.start + into)
    });
    at.expect("an entry point inside a segment")
}

/// The number of bytes in a word of the file: 4 or 8.
pub fn word(file: &[u8]) -> usize {
    match read::FileKind::parse(file).expect("an ELF file") {
        read::FileKind::Elf32 => 4,
        _ => 8,
    }
}

/// The tags of .dynamic, including every DT_NULL.
pub fn dynamic_tags(file: &[u8]) -> Vec<u64> {
    let dynamic = segments(file)
        .into_iter()
        .find(|segment| segment.kind == elf::PT_DYNAMIC);
    let word = word(file);
    let tag = |entry: &[u8]| {
        let bytes = entry[..word].iter().rev();
        bytes.fold(0, |tag, byte| tag << 8 | u64::from(*byte))
    };
    let entries = file[dynamic.expect("a dynamic file").file].chunks_exact(2 * word);
    entries.map(tag).collect()
}
