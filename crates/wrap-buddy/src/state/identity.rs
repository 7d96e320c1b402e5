//! The identity that connects a sidecar with its file.

use anyhow::Result;
use elf_file::{Elf, Source};
use object::elf;
use sha2::{Digest, Sha256};
use sidecar::Id;

/// The identity of a program: a hash over its original headers, the bytes of the slot, its length, and the length of the stub. The loader
/// derives the program's address from the length of the stub, and two stubs of different length may have slots of the same length.
pub fn identity(original: &Elf, slot: &[u8], stub_len: u32) -> Id {
    let mut hash = Sha256::new();
    hash.update(&original.header);
    hash.update(&original.program_headers);
    hash.update(slot);
    hash.update(original.file_len.to_le_bytes());
    hash.update(stub_len.to_le_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|n| digest[n])
}

/// The identity of a file edited in place: a hash over its original headers, .dynamic, notes (with the build ID) and length. `source`
/// provides the original bytes.
pub fn identity_in_place(original: &Elf, source: &mut Source) -> Result<Id> {
    let hashed = [elf::PT_DYNAMIC, elf::PT_NOTE];
    let segments = original.segments.iter();
    let mut content = Vec::new();
    for segment in segments.filter(|segment| hashed.contains(&segment.kind)) {
        content.extend(source.read(segment.offset, segment.file_len)?);
    }
    Ok(identity(original, &content, 0))
}
