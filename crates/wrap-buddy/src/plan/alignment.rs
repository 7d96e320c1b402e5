//! Segments of wrapped programs with an alignment larger than a page.
//!
//! Without PT_INTERP, the kernel places a program like a static PIE. It honours p_align there since "binfmt_elf: Honor PT_LOAD alignment
//! for static PIE" (fs/binfmt_elf.c, Linux 6.11). A program with fixed addresses is not affected.

use object::elf;

use elf_file::Elf;
use sys::arch::Arch;

/// A warning if older kernels would not honour the alignment of the program `elf` once it has a stub.
pub fn warning(elf: &Elf, arch: &Arch) -> Option<String> {
    let largest = elf.loads().map(|load| load.align).max().unwrap_or(0);
    (elf.kind == elf::ET_DYN && largest > arch.max_load_align).then(|| {
        format!(
            "its segments need an alignment of {largest}, which kernels before Linux 6.11 do not honour for a wrapped program"
        )
    })
}

pub fn is_honoured_here() -> bool {
    let system = nix::sys::utsname::uname().ok();
    let version = system.and_then(|system| version(&system.release().to_string_lossy()));
    version.is_some_and(|own| own >= (6, 11))
}

/// Major and minor version of a release such as `6.10.3-generic`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_two_numbers() {
        assert_eq!(version("6.10.3-generic"), Some((6, 10)));
        assert_eq!(version("6.1-rc1"), Some((6, 1)));
        assert_eq!(version("none"), None);
    }
}
