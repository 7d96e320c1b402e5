//! What was beside a library that is gone: its sidecar, of use to nothing but `restore`, and its links.
//!
//! The sidecar of a program that has a stub is left: copies of the program, and what it has compiled out of itself, find it by its path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sidecar::InPlace;

use super::processed::Stamp;
use crate::apply::{self, Options};
use crate::state::found_sidecar::FoundSidecar;
use crate::system::sidecar_path::{links_name, sidecar_of};

/// Whether there is anything beside `file`, which was removed.
pub fn has_any(file: &Path) -> bool {
    sidecar_of(file).is_some_and(|sidecar| Stamp::at(&sidecar).is_some())
}

/// Removes what this tool has left beside `file`, which is no longer there; says which sidecar is gone.
pub fn remove(file: &Path, options: Options) -> Option<PathBuf> {
    let sidecar = sidecar_of(file)?;
    let FoundSidecar::Readable(found) = FoundSidecar::beside(&sidecar, 0) else {
        return None;
    };
    let record = InPlace::parse(&found.bytes).ok()?;
    let links = file.with_file_name(links_name(file.file_name()?));
    let mut unused = vec![sidecar.clone()];
    let names = record.links().map(OsStr::from_bytes);
    let names = names.filter(|name| Path::new(name).file_name() == Some(name));
    unused.extend(names.map(|name| links.join(name)));
    unused.push(links);
    apply::remove(file, &unused, options).ok()?;
    sidecar.symlink_metadata().is_err().then_some(sidecar)
}
