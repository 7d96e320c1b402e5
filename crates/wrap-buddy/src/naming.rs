//! What sidecars are called, and how they are tied to their program.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use sha2::{Digest, Sha256};
use sidecar::Id;

use crate::hex::hex;
use crate::inspect::Elf;

/// Longest file name on Linux, in bytes.
const NAME_MAX: usize = 255;

/// The file name of the sidecar of a program called `name`.
pub fn sidecar_name(name: &OsStr) -> OsString {
    let mut usual = OsString::from(".");
    usual.push(name);
    usual.push(".wrapbuddy");
    if usual.len() <= NAME_MAX {
        return usual;
    }
    let digest = hex(&Sha256::digest(name.as_bytes())[..16]);
    OsString::from(format!(".{digest}.wrapbuddy"))
}

/// Whether a file is a sidecar by its name.
pub fn is_sidecar_name(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(b".wrapbuddy")
}

/// The identity of a program, from its original content: its headers, the bytes of the slot, and its length.
pub fn identity(original: &Elf, slot: &[u8]) -> Id {
    let mut hash = Sha256::new();
    hash.update(&original.header);
    hash.update(&original.program_headers);
    hash.update(slot);
    hash.update(original.file_len.to_le_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|n| digest[n])
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
