//! How the kernel treats a file: formats of other machines, noexec file systems.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

/// Registered handlers of other formats (Documentation/admin-guide/binfmt-misc.rst).
const BINFMT_MISC: &str = "/proc/sys/fs/binfmt_misc";

pub fn is_noexec(path: &Path) -> bool {
    statvfs(path).is_ok_and(|file_system| file_system.flags().contains(FsFlags::ST_NOEXEC))
}

/// The mount point of the file system of `path`.
pub fn mount_of(path: &Path) -> PathBuf {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let own = device(path);
    let same = path
        .ancestors()
        .skip(1)
        .take_while(|above| device(above) == own);
    same.last().unwrap_or(path).to_owned()
}

/// A registered binfmt_misc handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    pub name: String,
    pub interpreter: PathBuf,
    /// Whether the kernel has the interpreter open (flag F), so that it need not exist in this root.
    pub is_open: bool,
}

/// The handler for a file that begins with `head`.
pub fn handler(head: &[u8]) -> Option<Handler> {
    let mut names: Vec<PathBuf> = fs::read_dir(BINFMT_MISC)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    names.sort_unstable();
    names.iter().find_map(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        parse(&name, &fs::read_to_string(path).ok()?, head)
    })
}

/// Parses a registration; `None` if it does not apply to files that begin with `head`.
fn parse(name: &str, text: &str, head: &[u8]) -> Option<Handler> {
    let value = |key: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(key).map(str::trim))
    };
    let bytes = |key: &str| -> Option<Vec<u8>> {
        let digits = value(key)?.as_bytes().chunks_exact(2);
        let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        bytes.collect()
    };
    if text.lines().next() != Some("enabled") {
        return None;
    }
    let offset: usize = value("offset ")?.parse().ok()?;
    let magic = bytes("magic ")?;
    let mask = bytes("mask ").unwrap_or_else(|| vec![0xff; magic.len()]);
    let found = head.get(offset..offset.checked_add(magic.len())?)?;
    let mut all = found.iter().zip(&magic).zip(&mask);
    all.all(|((byte, magic), mask)| byte & mask == magic & mask)
        .then(|| {
            Some(Handler {
                name: name.to_owned(),
                interpreter: PathBuf::from(value("interpreter ")?),
                is_open: value("flags:").is_some_and(|flags| flags.contains('F')),
            })
        })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_for_what_its_mask_leaves() {
        let text = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POCF\noffset 0\n\
                    magic 7f454c460201\nmask ffffffffff00\n";
        let found = parse("qemu-aarch64", text, b"\x7fELF\x02\x09rest").unwrap();
        assert_eq!(found.interpreter, Path::new("/usr/bin/qemu-aarch64-static"));
        assert!(found.is_open);
        assert_eq!(parse("x", text, b"\x7fELF\x01\x01"), None);
        assert_eq!(parse("x", text, b"\x7fE"), None);
        let disabled = text.replace("enabled", "disabled");
        assert_eq!(parse("x", &disabled, b"\x7fELF\x02\x01"), None);
        assert_eq!(parse("status", "enabled", b"\x7fELF\x02\x01"), None);
    }
}
