//! Reads the file at the path of a sidecar.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use sidecar::loader::{IMAGE_LEN, IMAGE_LEN_1};
use sidecar::{InPlace, Legacy, Sidecar};
use thiserror::Error;

use crate::system::directory::{Directory, open_file};
use crate::system::trust::Ownership;
use elf_file::io_reason;

/// Largest sidecar. A real one has a few kilobytes.
const MAX_SIDECAR: u64 = 16 << 20;

/// The content of a valid sidecar, of any program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBytes {
    pub bytes: Vec<u8>,
    pub ownership: Ownership,
    pub modified: Option<SystemTime>,
}

/// The file at the path of a sidecar.
#[derive(Debug, PartialEq, Eq)]
pub enum FoundSidecar {
    /// No file, or one that is empty or all zeros, as a system crash may leave a new file. Overwriting it loses nothing.
    Nothing,
    /// A valid sidecar.
    Readable(FoundBytes),
    /// Anything else. It may be the only copy of a program's first instructions.
    Unknown(UnknownSidecar),
}

/// Why the file is not a usable sidecar: words that follow "it".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnknownSidecar {
    #[error("is a symbolic link, which is not followed")]
    Link,
    #[error("is a directory")]
    Directory,
    #[error("is not a regular file")]
    NotRegular,
    #[error("is too large for a sidecar")]
    TooLarge,
    #[error("cannot be read ({0})")]
    Unreadable(String),
    #[error(
        "has format version {}, which this wrap-buddy cannot read",
        .0.escape_ascii()
    )]
    OtherVersion(u8),
    #[error(transparent)]
    Damaged(sidecar::Error),
    #[error("is not a sidecar of this wrap-buddy; read as one of the first wrap-buddy, it {0}")]
    NoFormat(sidecar::Error),
    #[error(
        "is a sidecar of the first wrap-buddy for a program with its entry point at {of_sidecar:#x}, not {of_program:#x}"
    )]
    OtherEntry { of_sidecar: u64, of_program: u64 },
    #[error(
        "is a sidecar of the first wrap-buddy with more original bytes than the program's segment has"
    )]
    TooManyBytes,
    #[error(
        "is a sidecar of the first wrap-buddy, and the program's entry point does not have the original bytes: it may be wrapped, or a new version"
    )]
    OtherBytes,
    #[error("does not match the program: {0}")]
    DoesNotFit(String),
    #[error("would not restore a program that can start: {0}")]
    Implausible(String),
}

impl FoundSidecar {
    /// Reads the file at `path`, which must be absolute and free of symbolic links. `class`: EI_CLASS of the program.
    pub fn next_to(path: &Path, class: u8) -> Self {
        Self::of(open_file(path), class)
    }

    /// Reads a path from a stub or an argument. Its directories may be symbolic links.
    pub fn at(path: &Path, class: u8) -> Self {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mut open = File::options();
        Self::of(open.read(true).custom_flags(flags.bits()).open(path), class)
    }

    /// The content of the sidecar `name` in `directory`, which will be replaced.
    ///
    /// # Errors
    /// If the file is not a valid sidecar, so that replacing it could lose data.
    pub fn in_directory(directory: &Directory, name: &OsStr, class: u8) -> io::Result<Vec<u8>> {
        match Self::of(directory.own_file(name).map(|(file, _)| file), class) {
            Self::Nothing => Ok(Vec::new()),
            Self::Readable(found) => Ok(found.bytes),
            Self::Unknown(reason) => Err(io::Error::other(format!("the existing file {reason}"))),
        }
    }

    fn of(opened: io::Result<File>, class: u8) -> Self {
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::Nothing,
            Err(error) => return Self::Unknown(unreadable(&error)),
        };
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            Err(error) => return Self::Unknown(unreadable(&error)),
        };
        if metadata.is_dir() {
            return Self::Unknown(UnknownSidecar::Directory);
        }
        if !metadata.is_file() {
            return Self::Unknown(UnknownSidecar::NotRegular);
        }
        match read(&file, &metadata) {
            Err(error) => Self::Unknown(unreadable(&error)),
            Ok(bytes) if bytes.len() as u64 > MAX_SIDECAR => {
                Self::Unknown(UnknownSidecar::TooLarge)
            }
            Ok(bytes) if bytes.iter().all(|&byte| byte == 0) => Self::Nothing,
            Ok(bytes) => match why_unknown(&bytes, class) {
                None => Self::Readable(FoundBytes {
                    bytes,
                    ownership: Ownership::from(&metadata),
                    modified: metadata.modified().ok(),
                }),
                Some(reason) => Self::Unknown(reason),
            },
        }
    }
}

/// Reads at most one byte more than a sidecar may have. The file may grow in the meantime.
fn read(file: &File, metadata: &Metadata) -> io::Result<Vec<u8>> {
    let most = MAX_SIDECAR + 1;
    let mut bytes = Vec::with_capacity(metadata.len().saturating_add(1).min(most) as usize);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> UnknownSidecar {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => UnknownSidecar::Link,
        // A socket.
        Some(Errno::ENXIO) => UnknownSidecar::NotRegular,
        _ => UnknownSidecar::Unreadable(io_reason(error)),
    }
}

fn why_unknown(bytes: &[u8], class: u8) -> Option<UnknownSidecar> {
    let Err(stub) = Sidecar::parse(bytes) else {
        return None;
    };
    let Err(in_place) = InPlace::parse(bytes) else {
        return None;
    };
    // The sidecar of a self-contained program starts with a loader.
    let starts = [0, IMAGE_LEN, IMAGE_LEN_1].map(|at| bytes.get(at..).unwrap_or_default());
    let formats = [
        (&b"\x7fwrapbd"[..], stub, &b"12"[..]),
        (b"\x7fwrapip", in_place, b"1"),
    ];
    for (magic, error, known) in formats {
        let mut versions = starts
            .iter()
            .filter_map(|start| start.strip_prefix(magic)?.first());
        if let Some(version) = versions.next() {
            return Some(match known.contains(version) {
                true => UnknownSidecar::Damaged(error),
                false => UnknownSidecar::OtherVersion(*version),
            });
        }
    }
    let error = Legacy::parse(bytes, class).err()?;
    Some(UnknownSidecar::NoFormat(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_not_read_to_its_end_is_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".program.wrapbuddy");
        let found = || FoundSidecar::at(&path, 2);
        assert_eq!(found(), FoundSidecar::Nothing);
        for blank in [0, 8, 4096] {
            fs::write(&path, vec![0; blank]).unwrap();
            assert_eq!(found(), FoundSidecar::Nothing);
        }
        let damaged = InPlace::parse(b"\x7fwrapip1").unwrap_err();
        let short = Legacy::parse(b"text", 2).unwrap_err();
        for (bytes, reason) in [
            (
                &b"\x7fwrapbd9 and more"[..],
                UnknownSidecar::OtherVersion(b'9'),
            ),
            (b"\x7fwrapip9", UnknownSidecar::OtherVersion(b'9')),
            (b"\x7fwrapip1", UnknownSidecar::Damaged(damaged)),
            (b"text", UnknownSidecar::NoFormat(short)),
        ] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(found(), FoundSidecar::Unknown(reason));
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(found(), FoundSidecar::Unknown(UnknownSidecar::Directory));
        fs::remove_dir(&path).unwrap();
        for target in ["/dev/zero", "nothing"] {
            std::os::unix::fs::symlink(target, &path).unwrap();
            assert_eq!(found(), FoundSidecar::Unknown(UnknownSidecar::Link));
            fs::remove_file(&path).unwrap();
        }
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(found(), FoundSidecar::Unknown(UnknownSidecar::NotRegular));
        fs::remove_file(&path).unwrap();
        // A sparse file is read only up to the limit.
        let huge = File::create(&path).unwrap();
        huge.set_len(1 << 40).unwrap();
        assert_eq!(found(), FoundSidecar::Unknown(UnknownSidecar::TooLarge));
    }
}
