//! The identity that ties a sidecar to its file.

use anyhow::Result;
use elf_file::{Elf, Source};
use object::elf;
use sha2::{Digest, Sha256};
use sidecar::Id;

/// The identity of a program, from its original content: its headers, the bytes of the slot, and its length; and the length of the
/// stub, by which the loader knows where the program lies: two stubs may come to slots of the same length.
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

/// The identity of a file that is edited in place: its headers, .dynamic and notes, the build-id among them, as `source` has
/// them, and its length.
pub fn identity_in_place(original: &Elf, source: &mut Source) -> Result<Id> {
    let hashed = [elf::PT_DYNAMIC, elf::PT_NOTE];
    let segments = original.segments.iter();
    let mut content = Vec::new();
    for segment in segments.filter(|segment| hashed.contains(&segment.kind)) {
        content.extend(source.read(segment.offset, segment.file_len)?);
    }
    Ok(identity(original, &content, 0))
}
