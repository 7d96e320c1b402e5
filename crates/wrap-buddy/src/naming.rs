//! What sidecars are called, and how they are tied to their file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use object::elf;
use sha2::{Digest, Sha256};
use sidecar::Id;

use crate::hex::hex;
use crate::inspect::{Elf, Source};

/// Longest file name on Linux, in bytes.
const NAME_MAX: usize = 255;

/// The file name of the sidecar of a file called `name`.
pub fn sidecar_name(name: &OsStr) -> OsString {
    named_after(name, ".wrapbuddy")
}

/// The program whose sidecar is at `sidecar`; none where the sidecar is not called after it, but after a digest of its name.
pub fn program_of(sidecar: &Path) -> Option<PathBuf> {
    let name = sidecar.file_name()?.as_bytes();
    let name = name.strip_prefix(b".")?.strip_suffix(b".wrapbuddy")?;
    let program = sidecar.with_file_name(OsStr::from_bytes(name));
    (sidecar_name(program.file_name()?) == sidecar.file_name()?).then_some(program)
}

/// The name of the directory of symbolic links beside a library called `name`.
pub fn links_name(name: &OsStr) -> OsString {
    named_after(name, ".wrapbuddy.d")
}

/// What a changed copy of a file called `name` is called until it takes the file's place.
pub fn copy_name(name: &OsStr) -> OsString {
    named_after(name, ".wrapbuddy-copy")
}

fn named_after(name: &OsStr, ending: &str) -> OsString {
    let mut usual = OsString::from(".");
    usual.push(name);
    usual.push(ending);
    if usual.len() <= NAME_MAX {
        return usual;
    }
    let digest = hex(&Sha256::digest(name.as_bytes())[..16]);
    OsString::from(format!(".{digest}{ending}"))
}

/// Whether a file is a sidecar by its name.
pub fn is_sidecar_name(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(b".wrapbuddy")
}

/// Whether a directory is one of symbolic links by its name.
pub fn is_links_name(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(b".wrapbuddy.d")
}

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
    let told = [elf::PT_DYNAMIC, elf::PT_NOTE];
    let segments = original.segments.iter();
    let mut content = Vec::new();
    for segment in segments.filter(|segment| told.contains(&segment.kind)) {
        content.extend(source.read(segment.offset, segment.file_len)?);
    }
    Ok(identity(original, &content, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_is_called_after_its_program_while_that_fits() {
        assert_eq!(sidecar_name(OsStr::new("node")), ".node.wrapbuddy");
        let longest = OsString::from("n".repeat(255 - 11));
        assert_eq!(sidecar_name(&longest).len(), 255);
        let longer = OsString::from("n".repeat(255));
        let name = sidecar_name(&longer);
        assert_eq!(name.len(), 1 + 32 + 10);
        assert!(is_sidecar_name(&name));
        assert_ne!(name, sidecar_name(&OsString::from("n".repeat(254))));
    }
}
