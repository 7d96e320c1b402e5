//! The names and paths of sidecars, directories of links and temporary copies. No other module composes them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::system::hex::hex;

/// Longest file name on Linux, in bytes.
const NAME_MAX: usize = 255;

/// Suffix of a sidecar.
const USUAL: &str = ".wrapbuddy";

/// Suffix of a sidecar that is to replace one that is in use.
const INTERIM: &str = ".wrap-next";

const NEW: &str = ".wrapbuddy-new";

const COPY: &str = ".wrapbuddy-copy";

/// The sidecar's file name for a file called `name`.
pub fn sidecar_name(name: &OsStr) -> OsString {
    named_after(name, USUAL)
}

/// The name of a new sidecar while the old one is still in use. It has the length of the usual name, so that the stub's size is the same
/// with both.
pub fn interim_sidecar_name(name: &OsStr) -> OsString {
    named_after(name, INTERIM)
}

/// The path of the interim sidecar, given the path of the sidecar.
pub fn interim_of(sidecar: &Path) -> PathBuf {
    let name = sidecar.file_name().unwrap_or_default().as_bytes();
    let endings = [USUAL, INTERIM].map(str::as_bytes);
    let stem = endings.iter().find_map(|ending| name.strip_suffix(*ending));
    let stem = stem.unwrap_or(name);
    sidecar.with_file_name(OsStr::from_bytes(&[stem, INTERIM.as_bytes()].concat()))
}

pub fn is_interim(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_bytes().ends_with(INTERIM.as_bytes())
}

/// The temporary name of a file that is to replace the sidecar of a file called `name`.
pub fn new_sidecar_name(name: &OsStr) -> OsString {
    named_after(name, NEW)
}

/// The path of the sidecar of `file`, whether it exists or not.
pub fn sidecar_of(file: &Path) -> PathBuf {
    next_to(file, sidecar_name)
}

/// The path of the interim sidecar of `file`, whether it exists or not.
pub fn interim_sidecar_of(file: &Path) -> PathBuf {
    next_to(file, interim_sidecar_name)
}

/// The path of the directory of links of `file`, whether it exists or not.
pub fn links_of(file: &Path) -> PathBuf {
    next_to(file, links_name)
}

/// The temporary files next to `file` while a run changes it.
pub fn temporary_of(file: &Path) -> [PathBuf; 3] {
    [interim_sidecar_name, new_sidecar_name, copy_name].map(|name| next_to(file, name))
}

fn next_to(file: &Path, name: impl Fn(&OsStr) -> OsString) -> PathBuf {
    file.with_file_name(name(file.file_name().unwrap_or_default()))
}

/// The program whose sidecar is at `sidecar`; `None` if the sidecar's name is a digest of the program's.
pub fn program_of(sidecar: &Path) -> Option<PathBuf> {
    let name = sidecar.file_name()?.as_bytes().strip_prefix(b".")?;
    let name = [USUAL, INTERIM]
        .iter()
        .find_map(|ending| name.strip_suffix(ending.as_bytes()))?;
    let program = sidecar.with_file_name(OsStr::from_bytes(name));
    let own = program.file_name()?;
    let names = [sidecar_name(own), interim_sidecar_name(own)];
    names
        .iter()
        .any(|one| one == sidecar.file_name().unwrap_or_default())
        .then_some(program)
}

/// The name of the directory of links next to a library called `name`.
pub fn links_name(name: &OsStr) -> OsString {
    named_after(name, ".wrapbuddy.d")
}

/// The temporary name of a copy that is to replace the file `name`.
pub fn copy_name(name: &OsStr) -> OsString {
    named_after(name, COPY)
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

/// Whether `name` is the name of a sidecar, or of a temporary file that a stopped run may leave.
pub fn is_own_file_name(name: &OsStr) -> bool {
    let endings = [USUAL, INTERIM, NEW, COPY];
    let name = name.as_bytes();
    name.starts_with(b".")
        && endings
            .iter()
            .any(|ending| name.ends_with(ending.as_bytes()))
}

/// Whether `name` is the name of a directory of links.
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
        assert!(is_own_file_name(&name));
        assert_ne!(name, sidecar_name(&OsString::from("n".repeat(254))));
        for name in [OsStr::new("node"), &longest, &longer] {
            let interim = interim_sidecar_name(name);
            assert_eq!(interim.len(), sidecar_name(name).len());
            assert!(is_own_file_name(&interim));
            assert_eq!(
                interim_of(Path::new(&sidecar_name(name))),
                Path::new(&interim)
            );
            assert_eq!(interim_of(Path::new(&interim)), Path::new(&interim));
            assert!(is_interim(Path::new(&interim)) && !is_interim(Path::new(name)));
            for other in [new_sidecar_name(name), copy_name(name)] {
                assert!(other.len() <= NAME_MAX && is_own_file_name(&other));
            }
        }
        for sidecar in [
            sidecar_name(OsStr::new("node")),
            interim_sidecar_name(OsStr::new("node")),
        ] {
            let program = program_of(&Path::new("/bin").join(sidecar));
            assert_eq!(program.as_deref(), Some(Path::new("/bin/node")));
        }
    }
}
