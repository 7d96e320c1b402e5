//! The names of sidecars, of directories of links, and of copies: composed here only.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::system::hex::hex;

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
