//! Mount points, and changes of them. inotify does not report them: it keeps watching the covered directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const LIST: &str = "/proc/self/mountinfo";

/// The mounts of this process's namespace.
#[derive(Debug)]
pub struct Mounts {
    /// `None` without /proc.
    list: Option<File>,
    /// The topmost mount at each mount point.
    known: BTreeMap<PathBuf, u64>,
}

impl Mounts {
    /// The present mounts; none if /proc is not available.
    pub fn open() -> Self {
        let mut mounts = Self {
            list: File::open(LIST).ok(),
            known: BTreeMap::new(),
        };
        mounts.changed();
        mounts
    }

    /// It reports POLLPRI when the mounts have changed, once for each poll; see proc_pid_mountinfo(5).
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.list.as_ref().map(AsFd::as_fd)
    }

    /// Whether something is mounted at `path`, which is free of symbolic links.
    pub fn is_point(&self, path: &Path) -> bool {
        self.known.contains_key(path)
    }

    /// Mount points whose topmost mount has changed since the last call.
    pub fn changed(&mut self) -> Vec<PathBuf> {
        // A new descriptor, because reading the polled one would hide changes since the poll.
        let now = fs::read(LIST).map_or_else(|_| BTreeMap::new(), |text| parse(&text));
        let before = std::mem::replace(&mut self.known, now);
        let points = before.keys().chain(self.known.keys());
        let mut changed: Vec<PathBuf> = points
            .filter(|point| before.get(*point) != self.known.get(*point))
            .cloned()
            .collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}

/// Mount points and mount IDs: the fifth and first field of each line of proc_pid_mountinfo(5). A later mount covers an earlier one.
fn parse(text: &[u8]) -> BTreeMap<PathBuf, u64> {
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let identity = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let point = OsString::from_vec(unescaped(fields.nth(3)?));
        Some((PathBuf::from(point), identity))
    });
    lines.collect()
}

/// Decodes spaces, tabs, newlines and backslashes, which are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        plain.push(code.unwrap_or(*first));
        rest = &after[code.map_or(0, |_| 3)..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_the_fifth_field_without_escapes() {
        let text = b"22 1 0:20 / / rw - ext4 /dev/vda rw
36 22 98:0 /mnt1 /a\\040b\\134c\\011\\1 rw,noatime master:1 - ext3 /dev/root rw
37 22 98:1 / /a rw - tmpfs none rw
38 37 98:2 / /a rw - tmpfs none rw
nonsense
";
        let expected = [("/", 22), ("/a", 38), ("/a b\\c\t\\1", 36)];
        let expected = expected.map(|(point, identity)| (PathBuf::from(point), identity));
        assert_eq!(parse(text), BTreeMap::from(expected));
    }

    #[test]
    fn nothing_has_changed_at_once() {
        let mut mounts = Mounts::open();
        assert!(mounts.is_point(Path::new("/proc")) && mounts.descriptor().is_some());
        assert!(!mounts.is_point(Path::new("/proc/self")));
        assert_eq!(mounts.changed(), Vec::<PathBuf>::new());
        mounts.known.remove(Path::new("/proc"));
        mounts.known.insert(PathBuf::from("/gone"), 0);
        assert_eq!(mounts.changed(), ["/gone", "/proc"].map(PathBuf::from));
    }
}
