//! The settings of a sidecar, as ld.so gets them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use elf_file::Elf;

/// Adds the search path `search`, which libraries inherit or not, and the names `needed` to the original headers `elf`, as the loader does.
/// Returns whether there is a search path.
pub fn give<'n>(
    elf: &mut Elf,
    (search, is_inherited): (&[u8], bool),
    needed: impl Iterator<Item = &'n [u8]>,
) -> bool {
    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    let Some(dynamic) = &mut elf.dynamic else {
        return false;
    };
    if !search.is_empty() {
        let search = Some(text(search));
        (dynamic.rpath, dynamic.runpath) = match is_inherited {
            true => (search, None),
            false => (None, search),
        };
    }
    dynamic.needed.splice(0..0, needed.map(text));
    !search.is_empty()
}
