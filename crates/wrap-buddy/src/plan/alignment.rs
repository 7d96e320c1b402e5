//! Segments aligned to more than a page in programs that have a stub.
//!
//! The kernel places a program without PT_INTERP as it does a static PIE. It honours p_align there since "binfmt_elf: Honor
//! PT_LOAD alignment for static PIE" (fs/binfmt_elf.c, Linux 6.11). A program with fixed addresses is where it says.

use object::elf;

use elf_file::Elf;
use sys::arch::Arch;

/// Says that older kernels do not honour the alignment of the program `elf` once it has a stub; nothing where they do.
pub fn warning(elf: &Elf, arch: &Arch) -> Option<String> {
    let largest = elf.loads().map(|load| load.align).max().unwrap_or(0);
    (elf.kind == elf::ET_DYN && largest > arch.max_load_align).then(|| {
        format!(
            "its segments are aligned to {largest}, which kernels before Linux 6.11 do not honour for a wrapped program"
        )
    })
}

/// Whether this kernel honours it.
pub fn is_honoured_here() -> bool {
    let release = rustix::system::uname();
    let version = version(&release.release().to_string_lossy());
    version.is_some_and(|own| own >= (6, 11))
}

/// The two numbers in front of a release, such as `6.10.3-generic`.
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
