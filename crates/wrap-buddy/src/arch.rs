//! The architectures this tool knows: one row each, and nothing else anywhere in the tool differs between them.

use sidecar::{loader, machine};

/// Code that the kernel guards when the program's note says that it was made for that.
#[derive(Debug)]
pub struct BranchProtection {
    /// Type of the GNU property.
    pub property: u32,
    /// Bit of its value.
    pub bit: u32,
    /// What mprotect calls it.
    pub protection: u32,
}

/// Who can read code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disassembler {
    /// x86, of so many bits.
    X86(u32),
    /// AArch64.
    A64,
}

/// What the host tool has to know about an architecture.
#[derive(Debug)]
pub struct Arch {
    /// `x86_64`, `aarch64` or `i686`, as in file names of loaders and in messages.
    pub name: &'static str,
    /// The same architecture as `std::env::consts::ARCH` calls it.
    rust_name: &'static str,
    /// `e_machine`.
    pub machine: u16,
    /// EI_CLASS: 1 is 32-bit, 2 is 64-bit.
    pub class: u8,
    /// Alignment of the first instruction of a stub that is not at the original entry point.
    pub entry_align: u64,
    /// Largest segment alignment that every kernel honours for a file without PT_INTERP.
    pub max_load_align: u64,
    /// What ld.so substitutes for `$LIB`, most likely first.
    pub lib_tokens: &'static [&'static str],
    /// What ld.so substitutes for `$PLATFORM`.
    pub platform: &'static str,
    /// What marks the libraries of this architecture in ld.so.cache (`_DL_CACHE_DEFAULT_ID` in glibc's dl-cache.h).
    pub cache_flags: &'static [u32],
    /// `glibc-hwcaps` subdirectories, best first, each with what /proc/cpuinfo says of processors that have it (glibc
    /// sysdeps/x86_64/dl-hwcaps_subdirs.c).
    pub hwcaps: &'static [(&'static str, &'static [&'static str])],
    /// Legacy hardware capabilities, which glibc 2.36 and earlier have subdirectories for, in their order there
    /// (`HWCAP_IMPORTANT` in glibc's dl-procinfo.h).
    pub legacy_hwcaps: &'static [(&'static str, &'static [&'static str])],
    /// How its code is shown.
    pub disassembler: Disassembler,
    /// Names of other architectures whose processors and kernels usually run its programs, too.
    runs_on: &'static [&'static str],
    /// Branch target identification.
    pub branch_protection: Option<BranchProtection>,
    /// Where this architecture's dynamic linkers are on a conventional system.
    pub known_interpreters: &'static [&'static str],
}

static ROWS: [Arch; 3] = [
    Arch {
        name: "x86_64",
        rust_name: "x86_64",
        machine: machine::X86_64,
        class: 2,
        entry_align: 16,
        max_load_align: 4096,
        lib_tokens: &["lib64", "lib/x86_64-linux-gnu", "lib"],
        platform: "x86_64",
        cache_flags: &[0x0303],
        hwcaps: &[
            (
                "x86-64-v4",
                &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
            ),
            (
                "x86-64-v3",
                &["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"],
            ),
            (
                "x86-64-v2",
                &[
                    "cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2",
                ],
            ),
        ],
        legacy_hwcaps: &[
            (
                "avx512_1",
                &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
            ),
            ("x86_64", &[]),
        ],
        disassembler: Disassembler::X86(64),
        runs_on: &[],
        branch_protection: None,
        known_interpreters: &["/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"],
    },
    Arch {
        name: "aarch64",
        rust_name: "aarch64",
        machine: machine::AARCH64,
        class: 2,
        entry_align: 4,
        max_load_align: 65536,
        lib_tokens: &["lib64", "lib/aarch64-linux-gnu", "lib"],
        platform: "aarch64",
        cache_flags: &[0x0a03],
        hwcaps: &[],
        legacy_hwcaps: &[("atomics", &["atomics"])],
        disassembler: Disassembler::A64,
        runs_on: &[],
        // GNU_PROPERTY_AARCH64_FEATURE_1_AND, its BTI bit, PROT_BTI.
        branch_protection: Some(BranchProtection {
            property: 0xc000_0000,
            bit: 1,
            protection: 0x10,
        }),
        known_interpreters: &["/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"],
    },
    Arch {
        name: "i686",
        rust_name: "x86",
        machine: machine::I686,
        class: 1,
        entry_align: 16,
        max_load_align: 4096,
        lib_tokens: &["lib", "lib/i386-linux-gnu"],
        platform: "i686",
        // Also "of unknown libc", which a library is that needs none (glibc sysdeps/generic/dl-cache.h,
        // _dl_cache_check_flags; the others have a stricter one of their own).
        cache_flags: &[0x0003, 0x0001],
        hwcaps: &[],
        legacy_hwcaps: &[("sse2", &["sse2"])],
        disassembler: Disassembler::X86(32),
        runs_on: &["x86_64"],
        branch_protection: None,
        known_interpreters: &["/lib/ld-linux.so.2", "/lib/ld-musl-i386.so.1"],
    },
];

/// Every row.
pub fn all() -> &'static [Arch] {
    &ROWS
}

/// The row for programs with this `e_machine` and EI_CLASS; x32 (EM_X86_64, 32-bit) has none.
pub fn find(machine: u16, class: u8) -> Option<&'static Arch> {
    ROWS.iter()
        .find(|arch| arch.machine == machine && arch.class == class)
}

/// The architecture this tool was compiled for.
pub fn host() -> Option<&'static Arch> {
    ROWS.iter()
        .find(|arch| arch.rust_name == std::env::consts::ARCH)
}

/// The ABI of EM_X86_64 with 32-bit addresses.
pub const X32: &str = "x32";

/// An architecture in words, also one without a row.
pub fn describe(machine: u16, class: u8) -> String {
    if let Some(arch) = find(machine, class) {
        return arch.name.to_owned();
    }
    let name = match machine {
        machine::X86_64 => X32,
        2 | 18 | 43 => "SPARC",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "PowerPC64",
        22 => "s390",
        40 => "32-bit ARM",
        243 => "RISC-V",
        258 => "LoongArch",
        _ => return format!("e_machine {machine}"),
    };
    name.to_owned()
}

impl Arch {
    /// File names a loader image may have, the best one first: with its ABI in the name it stays what programs wrapped now
    /// expect, whatever the directory is updated to.
    pub fn loader_names(&self) -> Vec<String> {
        let qualified = format!("loader-{}.bin", self.name);
        let mut names = vec![
            self.versioned_loader_name(),
            self.usual_loader_name(),
            qualified,
        ];
        names.dedup();
        names
    }

    /// The name a loader image keeps, whatever comes after it.
    pub fn versioned_loader_name(&self) -> String {
        format!("loader-{}.v{}.bin", self.name, loader::ABI)
    }

    /// The name a loader image usually has. The host's own is plain `loader.bin`, so that one directory can serve every
    /// architecture.
    pub fn usual_loader_name(&self) -> String {
        match (host().map_or("", |host| host.name), self.name) {
            (host, name) if host == name => "loader.bin".to_owned(),
            ("x86_64", "i686") => "loader32.bin".to_owned(),
            (_, name) => format!("loader-{name}.bin"),
        }
    }

    /// Whether this machine runs its programs itself.
    pub fn is_native(&self) -> bool {
        let own = host().map_or("", |host| host.name);
        self.name == own || self.runs_on.contains(&own)
    }

    /// Bytes of a program header.
    pub fn phentsize(&self) -> usize {
        if self.class == 2 { 56 } else { 32 }
    }

    /// Offset and length of e_entry in the ELF header.
    pub fn entry_field(&self) -> (u64, usize) {
        (24, if self.class == 2 { 8 } else { 4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x32_is_no_architecture_of_ours() {
        assert!(find(machine::X86_64, 1).is_none());
        assert_eq!(describe(machine::X86_64, 1), "x32");
        assert_eq!(describe(machine::X86_64, 2), "x86_64");
    }

    #[test]
    fn every_loader_is_also_known_by_its_architecture() {
        for arch in all() {
            let names = arch.loader_names();
            assert!(names.contains(&format!("loader-{}.bin", arch.name)));
            assert!(names.contains(&arch.usual_loader_name()));
            assert_eq!(names[0], format!("loader-{}.v2.bin", arch.name));
        }
    }
}
