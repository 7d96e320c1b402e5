//! Cleans up after a removed library: its sidecar, which only `restore` needs, and its directory of links.
//!
//! The sidecar of a program with a stub stays: copies of the program and derived programs find it by its path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sidecar::InPlace;

use super::processed::Stamp;
use crate::apply::{self, Options};
use crate::state::found_sidecar::FoundSidecar;
use crate::system::sidecar_path::{links_of, sidecar_of};

/// Whether the removed file `file` has left a sidecar.
pub fn has_any(file: &Path) -> bool {
    Stamp::at(&sidecar_of(file)).is_some()
}

/// Removes the sidecar and links of `file`, which no longer exists. Returns the path of the removed sidecar.
pub fn remove(file: &Path, options: Options) -> Option<PathBuf> {
    let sidecar = sidecar_of(file);
    let FoundSidecar::Readable(found) = FoundSidecar::next_to(&sidecar, 0) else {
        return None;
    };
    let record = InPlace::parse(&found.bytes).ok()?;
    let links = links_of(file);
    let mut unused = vec![sidecar.clone()];
    let names = record.links().map(OsStr::from_bytes);
    let names = names.filter(|name| Path::new(name).file_name() == Some(name));
    unused.extend(names.map(|name| links.join(name)));
    unused.push(links);
    apply::remove(file, &unused, options).ok()?;
    sidecar.symlink_metadata().is_err().then_some(sidecar)
}
