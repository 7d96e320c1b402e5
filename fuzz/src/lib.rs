//! Shared by the fuzz targets: a directory in memory, and dynamic linkers.

use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use sys::elf::{ET_DYN, Ehdr};
use tempfile::TempDir;

/// A directory for one process, in memory if possible: a disk would be synced for every input.
pub fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a temporary directory")
}

/// Makes a dynamic linker for each architecture in `directory`. A header alone is enough for the tool.
pub fn make_linkers(directory: &Path) -> Vec<PathBuf> {
    let linkers = sys::arch::all().iter().map(|arch| {
        // Long enough for both classes.
        let mut header = vec![0; 64];
        header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', arch.class, 1, 1]);
        let fields = [
            (offset_of!(Ehdr, e_type), ET_DYN),
            (offset_of!(Ehdr, e_machine), arch.machine),
        ];
        for (at, value) in fields {
            header[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        // e_flags, after three fields that are as long as an address.
        let at = if arch.class == 2 { 48 } else { 36 };
        header[at..at + 4].copy_from_slice(&arch.abi.value.to_le_bytes());
        let name = Path::new(arch.known_interpreters[0]).file_name();
        let path = directory.join(name.expect("the path of a file"));
        fs::write(&path, header).expect("a file in a fresh directory");
        path
    });
    linkers.collect()
}

/// Corrects the checksum in `bytes`, a sidecar of either kind, so that the code after the check is tested too.
pub fn fix_checksum(bytes: &mut [u8]) {
    // There is none if the text is longer than the file.
    let sum = sidecar::checksum_of(bytes).unwrap_or_default();
    let at = sidecar::CHECKED_FROM - 4;
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}
