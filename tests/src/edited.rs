//! Checks that apply to every file edited in place.

use std::path::PathBuf;

use sidecar::{EditKind, InPlace};

use crate::check::sidecar_of;
use crate::root::Root;
use crate::run::on_host;

/// A file edited in place, with its original bytes.
pub struct Edited {
    /// The bytes before the edit.
    pub original: Vec<u8>,
    /// The bytes now.
    pub file: Vec<u8>,
    pub sidecar: Vec<u8>,
    /// The path on this machine.
    path: PathBuf,
}

impl Edited {
    /// Reads the file at `path` and its sidecar from the root, and checks them.
    #[track_caller]
    pub fn read(root: &Root, path: &str, original: Vec<u8>) -> Edited {
        let edited = Edited {
            original,
            file: root.read(path),
            sidecar: root.read(&sidecar_of(path)),
            path: root.path(path),
        };
        edited.check();
        edited
    }

    /// Asserts that the size is the same, nothing differs outside the edits, the sidecar has the bytes before and after each edit,
    /// and readelf prints no warning.
    #[track_caller]
    fn check(&self) {
        let Edited { original, file, .. } = self;
        assert_eq!(original.len(), file.len(), "size");
        let mut restored = file.clone();
        for written in self.record().edits() {
            let (kind, before) = (written.edit.kind, written.edit.original);
            let at = usize::try_from(written.edit.offset).expect("an offset inside the file");
            let range = at..at + before.len();
            assert_eq!(original[range.clone()], *before, "what {kind:?} replaced");
            assert_eq!(file[range.clone()], *written.written, "what {kind:?} wrote");
            restored[range].copy_from_slice(before);
        }
        assert!(restored == *original, "bytes outside the edits differ");
        assert_ne!(original, file, "a file that is edited differs");
        let output = readelf(&self.path, "-lSsdV");
        assert_eq!(output.stderr, "", "readelf complains; {output}");
    }

    pub fn kinds(&self) -> Vec<EditKind> {
        let edits = self.record().edits();
        edits.map(|written| written.edit.kind).collect()
    }

    /// The names in its directory of links.
    pub fn links(&self) -> Vec<String> {
        let names = self.record().links();
        names
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    /// The values of .dynamic entries called `tag` (`NEEDED`, `RUNPATH`, …), as readelf prints them.
    pub fn dynamic(&self, tag: &str) -> Vec<String> {
        let output = readelf(&self.path, "-d");
        let tag = format!("({tag})");
        let lines = output.stdout.lines().filter(|line| line.contains(&tag));
        let value = |line: &str| Some(line.split_once('[')?.1.rsplit_once(']')?.0.to_string());
        lines.filter_map(value).collect()
    }

    /// Asserts that readelf and patchelf print `entries` as the search path, which is a `tag` (`RUNPATH` or `RPATH`).
    #[track_caller]
    pub fn searches(&self, tag: &str, entries: &[&str]) {
        let path = entries.join(":");
        let other = ["RUNPATH", "RPATH"].into_iter().find(|known| *known != tag);
        assert_eq!(self.dynamic(tag), [path.as_str()], "{tag}");
        assert_eq!(
            self.dynamic(other.expect("one of two")),
            [""; 0],
            "not {tag}"
        );
        let file = self.path.to_str().expect("a path in UTF-8");
        let output = on_host("patchelf", &["--print-rpath", file]).success();
        assert_eq!(output.stdout.trim_end(), path, "{output}");
    }

    fn record(&self) -> InPlace<'_> {
        InPlace::parse(&self.sidecar).unwrap_or_else(|error| panic!("the sidecar {error}"))
    }
}

fn readelf(path: &std::path::Path, what: &str) -> crate::output::Output {
    let file = path.to_str().expect("a path in UTF-8");
    on_host("readelf", &["--wide", what, file]).success()
}
