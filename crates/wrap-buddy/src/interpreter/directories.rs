//! Which directories a dynamic linker searches by itself.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::elf;

use super::Libc;
use crate::inspect::{Elf, Source};

/// Bytes of a dynamic linker looked through at most.
const MOST: u64 = 4 << 20;

/// Where a dynamic linker looks without being told.
#[derive(Clone, Debug, Default)]
pub struct Directories {
    /// In order.
    pub default: Vec<PathBuf>,
    /// The dynamic linker's own, unless that is one of those.
    pub own: Option<PathBuf>,
}

impl Directories {
    /// Of the dynamic linker at `path`. One that cannot be read has none.
    pub(super) fn of(path: &Path, libc: Libc, elf: &Elf) -> Self {
        let default = match libc {
            Libc::Musl => musl(path),
            _ => Source::open(path)
                .map(|mut source| embedded(elf, &mut source))
                .unwrap_or_default(),
        };
        let parent = path.parent().unwrap_or(Path::new("/"));
        let place = |directory: &Path| {
            let metadata = fs::metadata(directory).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let own = place(parent);
        let is_default = own.is_some() && default.iter().any(|one| place(one) == own);
        Self {
            own: (!is_default).then(|| parent.to_owned()),
            default,
        }
    }
}

/// glibc's ld.so has its system directories as strings. They are among its constants, where linkers keep those in a
/// segment of their own; else anywhere.
fn embedded(elf: &Elf, source: &mut Source) -> Vec<PathBuf> {
    let constants: Vec<(u64, u64)> = elf
        .loads()
        .filter(|load| load.flags & (elf::PF_W | elf::PF_X) == 0)
        .map(|load| (load.offset, load.file_len))
        .collect();
    let whole = [(0, source.file_len())];
    for ranges in [&constants[..], &whole] {
        let mut found = Vec::new();
        for &(offset, len) in ranges {
            if let Ok(bytes) = source.read(offset, len.min(MOST)) {
                strings(&bytes, &mut found);
            }
        }
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// Directories begin and end with a slash, with a NUL behind each.
fn strings(bytes: &[u8], found: &mut Vec<PathBuf>) {
    // Backwards from each `/` with a NUL behind it: most of the bytes are not text.
    let ends = bytes.windows(2).enumerate();
    for (end, _) in ends.filter(|(_, pair)| *pair == b"/\0") {
        let start = bytes[..end].iter().rposition(|&byte| byte == 0);
        let text = &bytes[start.map_or(0, |nul| nul + 1)..=end];
        let is_directory = text.len() > 1
            && text.starts_with(b"/")
            && text.iter().all(|byte| byte.is_ascii_graphic());
        if !is_directory {
            continue;
        }
        let path = PathBuf::from(OsStr::from_bytes(text));
        // Where it keeps profiles and looks at the kernel are no libraries.
        let elsewhere = ["/var", "/proc", "/etc"]
            .iter()
            .any(|directory| path.starts_with(directory));
        if !elsewhere && !found.contains(&path) {
            found.push(path);
        }
    }
}

/// musl reads a list from `PREFIX/etc/ld-musl-ARCH.path`, its own path being `PREFIX/lib/ld-musl-ARCH.so.1`.
fn musl(path: &Path) -> Vec<PathBuf> {
    let prefix = path
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new("/"));
    let name = Path::new(path.file_name().unwrap_or_default());
    let name = name.with_extension("").with_extension("path");
    let list = fs::read(prefix.join("etc").join(name))
        .unwrap_or_else(|_| b"/lib:/usr/local/lib:/usr/lib".to_vec());
    list.split(|byte| b":\n".contains(byte))
        .filter(|entry| !entry.is_empty())
        .map(|entry| PathBuf::from(OsStr::from_bytes(entry)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_told_from_other_strings() {
        let bytes = b"\0/lib/x86/\0/usr/lib/\0lib/\0/\0/proc/\0/a b/\0x/usr/lib\0/lib/x86/\0/cut/";
        let mut found = Vec::new();
        strings(bytes, &mut found);
        assert_eq!(found, ["/lib/x86/", "/usr/lib/"].map(PathBuf::from));
    }
}
