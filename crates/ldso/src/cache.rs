//! Reads ld.so.cache as data: the format of glibc 2.2 and later, the older format, and files with both (glibc
//! sysdeps/generic/dl-cache.h, elf/dl-cache.c).

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use elf_file::bytes;

/// `CACHEMAGIC`, padded to the alignment of what follows.
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
/// `CACHEMAGIC_NEW` and `CACHE_VERSION`.
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// `cache_extension_magic`.
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
/// `cache_extension_tag_glibc_hwcaps`.
const TAG_HWCAPS: u32 = 1;
/// `DL_CACHE_HWCAP_EXTENSION`, of the upper half of `hwcap`.
const HWCAP_EXTENSION: u32 = 1 << 30;
/// The bits in the upper half of `hwcap` with the x86-64 level that a library requires.
const HWCAP_ISA_MASK: u32 = 0x3ff;

const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const NEW_HEADER: usize = 48;
const NEW_ENTRY: usize = 24;

/// The processors that an entry is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hwcap {
    /// Every processor of the architecture.
    Any,
    /// Processors that have this `glibc-hwcaps` subdirectory.
    Named(String),
    /// Processors with a legacy hardware capability (glibc before 2.33); the subdirectory in the path names it.
    Legacy,
}

/// A library in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The library's type and architecture.
    pub flags: u32,
    /// The processors that the library is for.
    pub hwcap: Hwcap,
    /// The library's absolute path.
    pub path: PathBuf,
}

/// The entries of a cache by file name, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    entries: HashMap<OsString, Vec<Entry>>,
}

impl Cache {
    /// Parses a cache. Returns `None` for data that ld.so would reject; skips entries that point outside the data.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(NEW_MAGIC) {
            return Self::parse_new(bytes);
        }
        if !bytes.starts_with(OLD_MAGIC) {
            return None;
        }
        let count = word(bytes, 12)? as usize;
        let end = OLD_HEADER.checked_add(count.checked_mul(OLD_ENTRY)?)?;
        // The new format follows the old entries, aligned for its 64-bit members.
        let rest = bytes.get(end.checked_next_multiple_of(8)?..);
        if let Some(newer) = rest.filter(|newer| newer.starts_with(NEW_MAGIC)) {
            return Self::parse_new(newer);
        }
        let strings = bytes.get(end..)?;
        let mut cache = Self::default();
        for entry in bytes.get(OLD_HEADER..end)?.chunks_exact(OLD_ENTRY) {
            cache.add(entry, strings, Hwcap::Any);
        }
        Some(cache)
    }

    /// String offsets count from the first byte of the new header.
    fn parse_new(bytes: &[u8]) -> Option<Self> {
        let count = word(bytes, 20)? as usize;
        let names = hwcap_names(bytes).unwrap_or_default();
        let end = NEW_HEADER.checked_add(count.checked_mul(NEW_ENTRY)?)?;
        let mut cache = Self::default();
        for entry in bytes.get(NEW_HEADER..end)?.chunks_exact(NEW_ENTRY) {
            let (low, high) = (word(entry, 16)?, word(entry, 20)?);
            let hwcap = if high & !HWCAP_ISA_MASK == HWCAP_EXTENSION {
                match names.get(low as usize) {
                    Some(name) => Hwcap::Named(name.clone()),
                    None => continue,
                }
            } else if (low, high) == (0, 0) {
                Hwcap::Any
            } else {
                Hwcap::Legacy
            };
            cache.add(entry, bytes, hwcap);
        }
        Some(cache)
    }

    fn add(&mut self, entry: &[u8], strings: &[u8], hwcap: Hwcap) {
        let string = |at| Some(string(strings, word(entry, at)?));
        let (Some(flags), Some(Some(name)), Some(Some(path))) =
            (word(entry, 0), string(4), string(8))
        else {
            return;
        };
        let entry = Entry {
            flags,
            hwcap,
            path: Path::new(path).to_owned(),
        };
        self.entries.entry(name.to_owned()).or_default().push(entry);
    }

    /// The entries for libraries called `name`.
    pub fn get(&self, name: &OsStr) -> &[Entry] {
        self.entries.get(name).map_or(&[], Vec::as_slice)
    }

    /// The library called `name` that ld.so takes (glibc elf/dl-cache.c, search_cache). Among the entries with one of these
    /// `flags`, it takes the one for the first of the `hwcaps`, else the first entry that is for every processor. `legacy` are the
    /// subdirectories for legacy hardware capabilities.
    pub fn lookup(
        &self,
        name: &OsStr,
        flags: &[u32],
        hwcaps: &[String],
        legacy: &[PathBuf],
    ) -> Option<&Entry> {
        let fitting = || {
            let entries = self.get(name).iter();
            entries.filter(|entry| flags.contains(&entry.flags))
        };
        let named = hwcaps.iter().find_map(|hwcap| {
            fitting().find(|entry| matches!(&entry.hwcap, Hwcap::Named(own) if own == hwcap))
        });
        let in_legacy = |path: &Path| {
            let directory = path.parent().unwrap_or(path);
            legacy.iter().any(|legacy| directory.ends_with(legacy))
        };
        named.or_else(|| {
            fitting().find(|entry| match entry.hwcap {
                Hwcap::Any => true,
                Hwcap::Legacy => in_legacy(&entry.path),
                Hwcap::Named(_) => false,
            })
        })
    }
}

/// The names of `glibc-hwcaps` subdirectories, in an extension after the strings.
fn hwcap_names(bytes: &[u8]) -> Option<Vec<String>> {
    let at = word(bytes, 32)? as usize;
    if at == 0 || word(bytes, at)? != EXTENSION_MAGIC {
        return None;
    }
    let sections = bytes.get(at.checked_add(8)?..)?;
    let count = word(bytes, at + 4)? as usize;
    let mut sections = sections.chunks_exact(16).take(count);
    let section = sections.find(|section| word(section, 0) == Some(TAG_HWCAPS))?;
    let (start, len) = (word(section, 8)? as usize, word(section, 12)? as usize);
    let offsets = bytes.get(start..start.checked_add(len)?)?.chunks_exact(4);
    offsets
        .map(|offset| {
            let name = string(bytes, word(offset, 0)?)?;
            Some(name.to_string_lossy().into_owned())
        })
        .collect()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

fn string(bytes: &[u8], at: u32) -> Option<&OsStr> {
    let rest = bytes.get(at as usize..)?;
    let end = bytes::position(rest, 0)?;
    Some(OsStr::from_bytes(&rest[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache in the new format. An entry is flags, hwcap, name and path.
    fn written(entries: &[(u32, u64, &str, &str)], hwcaps: &[&str]) -> Vec<u8> {
        let mut strings = Vec::new();
        let base = NEW_HEADER + entries.len() * NEW_ENTRY;
        let mut put = |text: &str| {
            let at = (base + strings.len()) as u32;
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        };
        let mut table = Vec::new();
        for &(flags, hwcap, name, path) in entries {
            table.extend(flags.to_le_bytes());
            table.extend(put(name).to_le_bytes());
            table.extend(put(path).to_le_bytes());
            table.extend(0u32.to_le_bytes());
            table.extend(hwcap.to_le_bytes());
        }
        let hwcaps: Vec<u32> = hwcaps.iter().map(|name| put(name)).collect();
        strings.resize(strings.len().next_multiple_of(4), 0);
        let extension = (base + strings.len()) as u32;
        let mut bytes = NEW_MAGIC.to_vec();
        bytes.extend((entries.len() as u32).to_le_bytes());
        bytes.extend((strings.len() as u32).to_le_bytes());
        bytes.extend([2, 0, 0, 0]);
        bytes.extend(extension.to_le_bytes());
        bytes.resize(NEW_HEADER, 0);
        bytes.extend(table);
        bytes.extend(strings);
        let list_at = extension + 8 + 16;
        for word in [
            EXTENSION_MAGIC,
            1,
            TAG_HWCAPS,
            0,
            list_at,
            4 * hwcaps.len() as u32,
        ] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(hwcaps.iter().flat_map(|at| at.to_le_bytes()));
        bytes
    }

    const NAMED: u64 = 1 << 62;

    fn sample() -> Vec<u8> {
        written(
            &[
                (
                    0x303,
                    NAMED,
                    "libx.so.1",
                    "/lib/glibc-hwcaps/x86-64-v2/libx.so.1",
                ),
                (
                    0x303,
                    NAMED | 1,
                    "libx.so.1",
                    "/lib/glibc-hwcaps/x86-64-v3/libx.so.1",
                ),
                (0x303, 1 << 63, "libx.so.1", "/lib/tls/libx.so.1"),
                (0x003, 0, "libx.so.1", "/lib32/libx.so.1"),
                (0x303, 0, "libx.so.1", "/lib/libx.so.1"),
                (0x303, 0, "liby.so.1", "/lib/liby.so.1"),
            ],
            &["x86-64-v2", "x86-64-v3"],
        )
    }

    fn found(cache: &Cache, flags: u32, hwcaps: &[&str], legacy: &[&str]) -> String {
        let hwcaps: Vec<String> = hwcaps.iter().map(|&name| name.to_owned()).collect();
        let legacy: Vec<PathBuf> = legacy.iter().map(PathBuf::from).collect();
        let entry = cache.lookup(OsStr::new("libx.so.1"), &[flags], &hwcaps, &legacy);
        entry.map_or(String::new(), |entry| entry.path.display().to_string())
    }

    #[test]
    fn the_best_entry_for_the_processor() {
        let cache = Cache::parse(&sample()).unwrap();
        assert_eq!(found(&cache, 0x303, &[], &[]), "/lib/libx.so.1");
        let v3 = "/lib/glibc-hwcaps/x86-64-v3/libx.so.1";
        assert_eq!(found(&cache, 0x303, &["x86-64-v3", "x86-64-v2"], &[]), v3);
        assert_eq!(found(&cache, 0x303, &[], &["tls"]), "/lib/tls/libx.so.1");
        assert_eq!(found(&cache, 0x003, &[], &[]), "/lib32/libx.so.1");
        assert_eq!(found(&cache, 0xa03, &[], &[]), "");
    }

    #[test]
    fn the_older_format_and_both_in_one() {
        let strings = b"libx.so.1\0/old/libx.so.1\0";
        let mut old = OLD_MAGIC.to_vec();
        for word in [1u32, 0x303, 0, 10] {
            old.extend(word.to_le_bytes());
        }
        let mut both = old.clone();
        old.extend(strings);
        let cache = Cache::parse(&old).unwrap();
        assert_eq!(found(&cache, 0x303, &[], &[]), "/old/libx.so.1");
        both.resize(both.len().next_multiple_of(8), 0);
        both.extend(sample());
        let cache = Cache::parse(&both).unwrap();
        assert_eq!(found(&cache, 0x303, &[], &[]), "/lib/libx.so.1");
    }

    #[test]
    fn damage_never_panics() {
        let whole = sample();
        for len in 0..whole.len() {
            let _ = Cache::parse(&whole[..len]);
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] = 0xff;
            let _ = Cache::parse(&bytes);
        }
        assert!(Cache::parse(b"").is_none() && Cache::parse(b"ld.so-2").is_none());
    }
}
