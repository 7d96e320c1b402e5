//! What a dynamic linker does by itself: the directories it searches, the subdirectories of those, its cache.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::elf;

use super::Libc;
use crate::arch::{self, Arch};
use crate::bytes;
use crate::inspect::{Elf, Source};
use crate::root::Root;

/// Bytes of a dynamic linker looked through at most.
const MOST: u64 = 4 << 20;

/// What was decided when a dynamic linker was built.
#[derive(Clone, Debug, Default)]
pub struct BuiltIn {
    /// Directories it searches without being told, in order.
    pub default: Vec<PathBuf>,
    /// The directory it is in, unless that is one of those.
    pub own: Option<PathBuf>,
    /// Its ld.so.cache.
    pub cache: Option<PathBuf>,
    /// The file that names libraries to be loaded into every program: glibc's.
    pub preload: Option<PathBuf>,
    /// What it substitutes for `$LIB`, if that can be told.
    pub lib_token: Option<&'static str>,
    /// Whether it looks into `glibc-hwcaps` subdirectories: glibc 2.33 and later.
    pub has_hwcaps: bool,
    /// Whether it looks into `tls` and the subdirectories of a platform: glibc until 2.36.
    pub has_legacy_hwcaps: bool,
}

impl BuiltIn {
    /// Of the dynamic linker at `path` in `root`. One that cannot be read has nothing.
    pub(super) fn of(root: &Root, path: &Path, libc: Libc, elf: &Elf) -> Self {
        let mut found = match libc {
            Libc::Musl => Self {
                default: musl(root, path),
                ..Self::default()
            },
            _ => Source::open(&root.on_host(path))
                .map(|mut source| glibc(elf, &mut source))
                .unwrap_or_default(),
        };
        let parent = path.parent().unwrap_or(Path::new("/"));
        let place = |directory: &Path| {
            let metadata = fs::metadata(root.on_host(directory)).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let own = place(parent);
        let is_default = own.is_some() && found.default.iter().any(|one| place(one) == own);
        found.own = (!is_default).then(|| parent.to_owned());
        found
    }
}

impl BuiltIn {
    /// What most distributions build into the one of `libc` for `arch` that is at `path`.
    pub(super) fn usual(root: &Root, path: &Path, libc: Libc, arch: &Arch) -> Self {
        if libc == Libc::Musl {
            return Self {
                default: musl(root, path),
                ..Self::default()
            };
        }
        let named = arch.lib_tokens.iter().rev();
        let mut default: Vec<PathBuf> = Vec::new();
        for name in named.chain(&["lib"]) {
            for prefix in ["/", "/usr"] {
                let directory = Path::new(prefix).join(name);
                if !default.contains(&directory) {
                    default.push(directory);
                }
            }
        }
        Self {
            default,
            cache: Some(PathBuf::from("/etc/ld.so.cache")),
            preload: Some(PathBuf::from("/etc/ld.so.preload")),
            has_hwcaps: true,
            ..Self::default()
        }
    }
}

/// What glibc's ld.so has among its strings: they are among its constants, where linkers keep those in a segment of their
/// own; else anywhere.
fn glibc(elf: &Elf, source: &mut Source) -> BuiltIn {
    let loads = elf.loads();
    let constants = loads.filter(|load| load.flags & (elf::PF_W | elf::PF_X) == 0);
    let mut ranges: Vec<(u64, u64)> = constants.map(|load| (load.offset, load.file_len)).collect();
    // In front are its headers and symbols.
    ranges.reverse();
    ranges.push((0, source.file_len()));
    let tokens = arch::find(elf.machine, elf.class).map_or(&[][..], |arch| arch.lib_tokens);
    for (offset, len) in ranges {
        let Ok(bytes) = source.read(offset, len.min(MOST)) else {
            continue;
        };
        let mut default = Vec::new();
        strings(&bytes, &mut default);
        if default.is_empty() {
            continue;
        }
        let has = |text: &[u8]| bytes::contain(&bytes, text);
        let string = |text: &str| has(&[b"\0", text.as_bytes(), b"\0"].concat());
        let has_hwcaps = has(b"glibc-hwcaps");
        return BuiltIn {
            default,
            own: None,
            cache: path_in(&bytes, b"/ld.so.cache\0"),
            // NixOS has one of its own, /etc/ld-nix.so.preload.
            preload: path_in(&bytes, b".so.preload\0"),
            lib_token: tokens.iter().copied().find(|token| string(token)),
            has_hwcaps,
            // Those that have both say so in their help.
            has_legacy_hwcaps: !has_hwcaps || has(b"Legacy HWCAP subdirectories"),
        };
    }
    BuiltIn::default()
}

/// The path that ends in `name`, such as `SYSCONFDIR "/ld.so.cache"` (glibc elf/dl-cache.h) or `/etc/ld.so.preload`
/// (elf/rtld.c), with its NUL.
fn path_in(bytes: &[u8], name: &[u8]) -> Option<PathBuf> {
    bytes::occurrences(bytes, name).find_map(|at| {
        let end = at + name.len() - 1;
        let start = bytes[..end].iter().rposition(|&byte| byte == 0);
        let text = &bytes[start.map_or(0, |nul| nul + 1)..end];
        let is_path = text.starts_with(b"/") && text.iter().all(u8::is_ascii_graphic);
        is_path.then(|| PathBuf::from(OsStr::from_bytes(text)))
    })
}

/// Directories begin and end with a slash, with a NUL behind each.
fn strings(bytes: &[u8], found: &mut Vec<PathBuf>) {
    // Backwards from each `/` with a NUL behind it: most of the bytes are not text.
    for end in bytes::positions(bytes, b'/').filter(|end| bytes.get(end + 1) == Some(&0)) {
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

/// musl reads a list from `PREFIX/etc/ld-musl-ARCH.path`, its own path being `PREFIX/lib/ld-musl-ARCH.so.1` (musl
/// ldso/dynlink.c, load_library).
fn musl(root: &Root, path: &Path) -> Vec<PathBuf> {
    let prefix = path
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new("/"));
    let name = Path::new(path.file_name().unwrap_or_default());
    let name = name.with_extension("").with_extension("path");
    let list = fs::read(root.on_host(&prefix.join("etc").join(name)))
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
