//! What there is at the path of a file's sidecar.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use sidecar::loader::{IMAGE_LEN, IMAGE_LEN_1};
use sidecar::{InPlace, Legacy, Sidecar};

use crate::scan::io_reason;

/// A sidecar is a few kilobytes; nothing larger is one.
const MAX_SIDECAR: u64 = 16 << 20;

/// What there is at the path of a sidecar.
#[derive(Debug, PartialEq, Eq)]
pub enum FoundSidecar {
    /// Nothing, or a file that is empty or all zeros: what a crash of the system may leave of one that was just created. There
    /// is nothing in it to lose.
    Nothing,
    /// A sidecar that this version reads to its end, of whichever program.
    Readable(Vec<u8>),
    /// Anything else, and why, in words that complete "it …". It may be the only copy of a program's first instructions.
    Unknown(String),
}

impl FoundSidecar {
    /// Reads what is at `path`. `class`: EI_CLASS of the file whose sidecar it is.
    pub fn at(path: &Path, class: u8) -> Self {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::Nothing,
            Err(error) => return Self::Unknown(unreadable(&error)),
        };
        if metadata.is_dir() {
            return Self::Unknown("is a directory".to_owned());
        }
        if !metadata.is_file() {
            return Self::Unknown("is not a regular file".to_owned());
        }
        if metadata.len() > MAX_SIDECAR {
            return Self::Unknown("is too large for a sidecar".to_owned());
        }
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => return Self::Unknown(unreadable(&error)),
        };
        if bytes.iter().all(|&byte| byte == 0) {
            return Self::Nothing;
        }
        match why_unknown(&bytes, class) {
            None => Self::Readable(bytes),
            Some(reason) => Self::Unknown(reason),
        }
    }
}

fn unreadable(error: &std::io::Error) -> String {
    format!("cannot be read ({})", io_reason(error))
}

fn why_unknown(bytes: &[u8], class: u8) -> Option<String> {
    let Err(stub) = Sidecar::parse(bytes) else {
        return None;
    };
    let Err(in_place) = InPlace::parse(bytes) else {
        return None;
    };
    // The sidecar of a self-contained program has its own magic behind a loader.
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
                true => error.to_string(),
                false => format!(
                    "has version {} of the format, which this wrap-buddy does not read",
                    version.escape_ascii()
                ),
            });
        }
    }
    let error = Legacy::parse(bytes, class).err()?;
    Some(format!(
        "is not of this wrap-buddy and, taken for one of the first wrap-buddy, {error}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (bytes, reason) in [
            (&b"\x7fwrapbd9 and more"[..], "version 9 of the format"),
            (b"\x7fwrapip9", "version 9 of the format"),
            (b"\x7fwrapip1", "damaged"),
            (b"text", "first wrap-buddy, is shorter than its header"),
        ] {
            fs::write(&path, bytes).unwrap();
            let FoundSidecar::Unknown(why) = found() else {
                panic!("{bytes:?}");
            };
            assert!(why.contains(reason), "{why}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(found(), FoundSidecar::Unknown("is a directory".to_owned()));
    }
}
