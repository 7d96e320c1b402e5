//! The hwcaps subdirectories of a library directory that ld.so searches first.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::interpreter::{Interpreter, Libc};
use sys::arch::Arch;

/// The processor that programs will run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Processor {
    /// Any processor of the architecture. Subdirectories for some processors only are left out.
    #[default]
    Any,
    /// This machine's processor.
    Own,
}

/// Subdirectories in order of preference, without the directory itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subdirectories {
    /// Names below `glibc-hwcaps`.
    pub named: Vec<String>,
    /// Legacy subdirectories of glibc 2.36 and earlier.
    pub legacy: Vec<PathBuf>,
}

/// The contents of /proc/cpuinfo.
struct CpuInfo {
    flags: Vec<String>,
    intel: bool,
}

fn cpu_info() -> &'static CpuInfo {
    static INFO: OnceLock<CpuInfo> = OnceLock::new();
    INFO.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |names: &[&str]| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let found = lines.find(|(name, _)| names.contains(&name.trim()));
            found.map_or("", |(_, value)| value.trim())
        };
        let flags = value(&["flags", "Features"]).split_ascii_whitespace();
        CpuInfo {
            flags: flags.map(str::to_owned).collect(),
            intel: value(&["vendor_id"]) == "GenuineIntel",
        }
    })
}

impl Processor {
    fn has(self, flags: &[&str]) -> bool {
        let known = |flag: &&str| cpu_info().flags.iter().any(|own| own == flag);
        flags.is_empty() || (self == Processor::Own && flags.iter().all(known))
    }

    /// The value of `$PLATFORM`. glibc has special names for some Intel processors (sysdeps/x86/cpu-features.c).
    pub fn platform(self, arch: &Arch) -> Option<&'static str> {
        let v3 = arch.hwcaps.iter().find(|(name, _)| *name == "x86-64-v3");
        match v3 {
            Some((_, flags)) if self == Processor::Own && cpu_info().intel && self.has(flags) => {
                Some("haswell")
            }
            _ => arch.platform,
        }
    }

    /// The subdirectories that `interpreter` searches before the directory itself.
    pub fn subdirectories(self, interpreter: &Interpreter, arch: &Arch) -> Subdirectories {
        let mut found = Subdirectories::default();
        if interpreter.libc != Libc::Glibc || self == Processor::Any {
            return found;
        }
        let built_in = interpreter.built_in();
        if built_in.has_hwcaps {
            let levels = arch.hwcaps.iter().filter(|(_, flags)| self.has(flags));
            found.named = levels.map(|(name, _)| (*name).to_owned()).collect();
        }
        if built_in.has_legacy_hwcaps {
            let own = arch.legacy_hwcaps.iter();
            let own = own.filter(|(_, flags)| self.has(flags));
            let names: Vec<&str> = std::iter::once("tls")
                .chain(self.platform(arch))
                .chain(own.map(|(name, _)| *name))
                .collect();
            found.legacy = combined(&names);
        }
        found
    }
}

/// Every subset of `names` as a path, the longest first (glibc elf/dl-hwcaps.c, _dl_important_hwcaps).
fn combined(names: &[&str]) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for choice in (1..1u32 << names.len()).rev() {
        let bits = names.iter().rev().enumerate().rev();
        let chosen = bits.filter(|(bit, _)| choice & (1 << bit) != 0);
        let path: PathBuf = chosen.map(|(_, name)| *name).collect();
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_the_fullest_first() {
        let expected = [
            "tls/i686/sse2",
            "tls/i686",
            "tls/sse2",
            "tls",
            "i686/sse2",
            "i686",
            "sse2",
        ];
        assert_eq!(
            combined(&["tls", "i686", "sse2"]),
            expected.map(PathBuf::from)
        );
        assert_eq!(combined(&["a", "a"]), ["a/a", "a"].map(PathBuf::from));
    }
}
