//! Defaults that are built into a dynamic linker: its directories, their subdirectories, its cache.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use object::elf;

use super::Libc;
use crate::root::Root;
use elf_file::bytes;
use elf_file::{Elf, FileId, Source, read_regular};
use sys::arch::Arch;

/// Maximum number of bytes of a dynamic linker that are searched.
const MOST: u64 = 4 << 20;

/// Maximum length in bytes of musl's list of directories.
const MAX_LIST: u64 = 1 << 20;

/// Defaults that are built into a dynamic linker.
#[derive(Clone, Debug, Default)]
pub struct BuiltIn {
    /// The default directories, in order.
    pub default: Vec<PathBuf>,
    /// The directory that the dynamic linker is in, unless it is a default directory.
    pub own: Option<PathBuf>,
    /// The path of its ld.so.cache.
    pub cache: Option<PathBuf>,
    /// The path of glibc's ld.so.preload, whose libraries are loaded into every program.
    pub preload: Option<PathBuf>,
    /// The value of `$LIB`, if it is known.
    pub lib_token: Option<&'static str>,
    /// Whether it searches `glibc-hwcaps` subdirectories (glibc 2.33 and later).
    pub has_hwcaps: bool,
    /// Whether it searches `tls` and platform subdirectories (glibc 2.36 and earlier).
    pub has_legacy_hwcaps: bool,
}

impl BuiltIn {
    /// Reads the defaults of the dynamic linker at `path` in `root`. Those of an unreadable file are empty.
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
        let file_id = |directory: &Path| {
            let metadata = fs::metadata(root.on_host(directory)).ok()?;
            Some(FileId::from(&metadata))
        };
        let own = file_id(parent);
        let is_default = own.is_some() && found.default.iter().any(|one| file_id(one) == own);
        found.own = (!is_default).then(|| parent.to_owned());
        found
    }
}

impl BuiltIn {
    /// The defaults that most distributions build into the dynamic linker of `libc` for `arch` at `path`.
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

/// Finds the defaults among the strings of glibc's ld.so. They are constants, which most linkers put into a read-only segment of
/// their own; otherwise, the whole file is searched.
fn glibc(elf: &Elf, source: &mut Source) -> BuiltIn {
    let loads = elf.loads();
    let constants = loads.filter(|load| load.flags & (elf::PF_W | elf::PF_X) == 0);
    let mut ranges: Vec<(u64, u64)> = constants.map(|load| (load.offset, load.file_len)).collect();
    // The first segment has headers and symbols.
    ranges.reverse();
    ranges.push((0, source.file_len()));
    let tokens = elf.target().arch().map_or(&[][..], |arch| arch.lib_tokens);
    for (offset, len) in ranges {
        let Ok(bytes) = source.read(offset, len.min(MOST)) else {
            continue;
        };
        let mut found = BuiltIn::default();
        for text in strings_with_slash(&bytes) {
            found.take(text, tokens);
        }
        if found.default.is_empty() {
            continue;
        }
        let has = |text: &[u8]| bytes::contain(&bytes, text);
        let string = |text: &str| has(&[b"\0", text.as_bytes(), b"\0"].concat());
        let has_hwcaps = has(b"glibc-hwcaps");
        let plain = tokens.iter().filter(|token| !token.contains('/'));
        return BuiltIn {
            lib_token: found
                .lib_token
                .or_else(|| plain.copied().find(|token| string(token))),
            has_hwcaps,
            // A version that has both says so in its help text.
            has_legacy_hwcaps: !has_hwcaps || has(b"Legacy HWCAP subdirectories"),
            ..found
        };
    }
    BuiltIn::default()
}

impl BuiltIn {
    /// Records `text`, one of the strings, if it is a directory, a known file or one of the `tokens`.
    fn take(&mut self, text: &[u8], tokens: &[&'static str]) {
        let token = tokens.iter().find(|token| token.as_bytes() == text);
        self.lib_token = self.lib_token.or(token.copied());
        if !text.starts_with(b"/") || !text.iter().all(u8::is_ascii_graphic) {
            return;
        }
        let path = PathBuf::from(OsStr::from_bytes(text));
        if text.ends_with(b"/") {
            // Paths of profiles and of kernel interfaces, not of libraries.
            let elsewhere = ["/var", "/proc", "/etc"]
                .iter()
                .any(|directory| path.starts_with(directory));
            if text.len() > 1 && !elsewhere && !self.default.contains(&path) {
                // Collecting the components removes the slash at the end.
                self.default.push(path.components().collect());
            }
        } else if text.ends_with(b"/ld.so.cache") {
            // SYSCONFDIR "/ld.so.cache" (glibc elf/dl-cache.h).
            self.cache.get_or_insert(path);
        } else if text.ends_with(b".so.preload") {
            // /etc/ld.so.preload (glibc elf/rtld.c). NixOS has one of its own, /etc/ld-nix.so.preload.
            self.preload.get_or_insert(path);
        }
    }
}

/// Strings that have a slash, each from after the NUL before it to the NUL after it.
fn strings_with_slash(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Searches from the last slash of each string in both directions, because most of the bytes are not text.
    bytes::positions(bytes, b'/').filter_map(|slash| {
        let mut rest = bytes[slash + 1..].iter();
        let end = slash + 1 + rest.position(|&byte| byte == 0 || byte == b'/')?;
        if bytes[end] == b'/' {
            return None;
        }
        let start = bytes[..slash].iter().rposition(|&byte| byte == 0);
        Some(&bytes[start.map_or(0, |nul| nul + 1)..end])
    })
}

/// musl reads `PREFIX/etc/ld-musl-ARCH.path`, where its own path is `PREFIX/lib/ld-musl-ARCH.so.1` (musl ldso/dynlink.c,
/// load_library).
fn musl(root: &Root, path: &Path) -> Vec<PathBuf> {
    let prefix = path
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new("/"));
    let name = Path::new(path.file_name().unwrap_or_default());
    let name = name.with_extension("").with_extension("path");
    let list = read_regular(&root.on_host(&prefix.join("etc").join(name)), MAX_LIST)
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
    fn directories_are_recognised_among_strings() {
        let bytes = b"\0/lib/x86/\0/usr/lib/\0lib/\0/\0/proc/\0/a b/\0x/usr/lib\0/lib/x86/\0/cut/";
        let mut found = BuiltIn::default();
        for text in strings_with_slash(bytes) {
            found.take(text, &[]);
        }
        assert_eq!(found.default, ["/lib/x86/", "/usr/lib/"].map(PathBuf::from));
    }

    #[test]
    fn files_and_tokens_are_recognised_among_strings() {
        let bytes = b"\0Do not use /etc/ld.so.cache\0/a/etc/ld.so.cache\0/b/etc/ld.so.cache\0\
            ld.so.preload\0/etc/ld-nix.so.preload\0a lib/x86\0lib/x86\0lib/x86/y\0";
        let mut found = BuiltIn::default();
        for text in strings_with_slash(bytes) {
            found.take(text, &["lib", "lib/x86"]);
        }
        assert_eq!(found.cache, Some(PathBuf::from("/a/etc/ld.so.cache")));
        assert_eq!(found.preload, Some(PathBuf::from("/etc/ld-nix.so.preload")));
        assert_eq!(found.lib_token, Some("lib/x86"));
        assert_eq!(found.default, [] as [PathBuf; 0]);
    }
}
