//! Files that the watch has processed: none is processed again unless it changes.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use elf_file::FileId;
use object::elf;

use super::writers::Writers;
use crate::system::directory::open_file;
use crate::system::sidecar_path::sidecar_of;

/// Identifies one state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    file_id: FileId,
    len: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file_id: FileId::from(metadata),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    /// The state of `path`, if it is a regular file.
    pub fn at(path: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok()?;
        metadata.is_file().then(|| Self::of(&metadata))
    }
}

/// What to do with a file that has settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wrap it, as far as its first bytes show.
    Ready(Stamp),
    /// Wait: a process has it open for writing.
    Held,
    /// It no longer exists.
    Gone,
    /// Leave it alone: somebody has restored it.
    Restored,
    /// Leave it alone: it has been processed, or is not an ELF file.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    stamp: Stamp,
    failed: bool,
    /// The modification time of the original, if the file is wrapped or edited.
    original: Option<(i64, i64)>,
}

/// Files that were processed, with any result.
#[derive(Debug, Default)]
pub struct Processed {
    known: HashMap<PathBuf, Known>,
    /// Files with missing libraries. The libraries may arrive later.
    lacking: BTreeSet<PathBuf>,
}

impl Processed {
    /// Whether `path` was processed in its present state.
    pub fn knows(&self, path: &Path) -> bool {
        let known = self.known.get(path);
        known.is_some_and(|known| Stamp::at(path) == Some(known.stamp))
    }

    pub fn judge(&mut self, path: &Path, writers: &mut Writers) -> Action {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Action::Nothing,
            Err(error) if error.kind() == ErrorKind::NotFound => return Action::Gone,
            Err(_) => return Action::Nothing,
        };
        let stamp = Stamp::of(&metadata);
        if let Some(known) = self.known.get_mut(path) {
            if known.stamp == stamp {
                return Action::Nothing;
            }
            // Only `restore` removes the sidecar and resets the modification time.
            if known.original == Some(stamp.modified) && original(path).is_none() {
                known.stamp = stamp;
                self.lacking.remove(path);
                return Action::Restored;
            }
        }
        // A file that cannot be read is reported when it is processed.
        let Ok(file) = open_file(path) else {
            return Action::Ready(stamp);
        };
        let mut magic = [0; 4];
        if !file
            .read_at(&mut magic, 0)
            .is_ok_and(|_| magic == elf::ELFMAG)
        {
            self.forget(path);
            return Action::Nothing;
        }
        match writers.has(&file, &metadata) {
            true => Action::Held,
            false => Action::Ready(stamp),
        }
    }

    /// Records that a file was processed. `before` is its state when the decision was made.
    pub fn done(&mut self, path: &Path, before: Stamp, failed: bool, lacks: bool) {
        match lacks {
            true => self.lacking.insert(path.to_owned()),
            false => self.lacking.remove(path),
        };
        let failed_before = self.known.get(path).is_some_and(|known| known.failed);
        // If the file was replaced or changed meanwhile, it has to be processed again: its event is still to come. After a second failure
        // it is not, in case the attempt itself changes it.
        let stamp = match Stamp::at(path) {
            Some(now) if now.file_id == before.file_id && (!failed || failed_before) => now,
            _ => before,
        };
        let known = Known {
            stamp,
            failed,
            original: original(path),
        };
        self.known.insert(path.to_owned(), known);
    }

    /// Files that failed because libraries are missing.
    pub fn lacking(&self) -> impl Iterator<Item = &PathBuf> {
        self.lacking.iter()
    }

    /// Forgets `path` and everything below.
    pub fn forget(&mut self, path: &Path) {
        self.lacking.remove(path);
        if self.known.remove(path).is_none() {
            self.lacking.retain(|known| !known.starts_with(path));
            self.known.retain(|known, _| !known.starts_with(path));
        }
    }

    /// Files at `path` or below may have been replaced unnoticed: one that looks restored may be a different file.
    pub fn distrust(&mut self, path: &Path) {
        if let Some(known) = self.known.get_mut(path) {
            known.original = None;
            return;
        }
        let below = self.known.iter_mut();
        for (_, known) in below.filter(|(known, _)| known.starts_with(path)) {
            known.original = None;
        }
    }

    /// Forgets everything, so that all files are processed again.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The modification time of the original of `path`: its sidecar has the same.
fn original(path: &Path) -> Option<(i64, i64)> {
    Stamp::at(&sidecar_of(path)).map(|stamp| stamp.modified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_ready_when_closed_and_dealt_with_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        let mut processed = Processed::default();
        let judge = |processed: &mut Processed| processed.judge(&path, &mut Writers::default());
        assert_eq!(judge(&mut processed), Action::Gone);
        let mut file = fs::File::create(&path).unwrap();
        assert_eq!(judge(&mut processed), Action::Nothing);
        file.write_all(b"\x7fELF").unwrap();
        assert_eq!(judge(&mut processed), Action::Held);
        drop(file);
        let Action::Ready(stamp) = judge(&mut processed) else {
            panic!("not ready");
        };
        // Wrapping writes to it.
        fs::write(&path, "\x7fELF wrapped").unwrap();
        processed.done(&path, stamp, false, false);
        assert!(processed.knows(&path));
        assert_eq!(judge(&mut processed), Action::Nothing);
        fs::write(&path, "\x7fELF of another length").unwrap();
        assert!(matches!(judge(&mut processed), Action::Ready(_)));
    }

    #[test]
    fn what_was_restored_is_left_alone_until_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        let sidecar = sidecar_of(&path);
        let mut processed = Processed::default();
        let judge = |processed: &mut Processed| processed.judge(&path, &mut Writers::default());
        let write_as_of = |path: &Path, content: &str, seconds: u64| {
            fs::write(path, content).unwrap();
            let file = fs::File::options().append(true).open(path).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            file.set_modified(time).unwrap();
        };
        for (trusted, with_sidecar) in [(true, false), (true, true), (false, false)] {
            write_as_of(&path, "\x7fELF", 1000);
            let before = Stamp::at(&path).unwrap();
            write_as_of(&path, "\x7fELG", 2000);
            write_as_of(&sidecar, "", 1000);
            processed.done(&path, before, false, false);
            if !trusted {
                processed.distrust(directory.path());
            }
            write_as_of(&path, "\x7fELF", 1000);
            if !with_sidecar {
                fs::remove_file(&sidecar).unwrap();
            }
            let expected = trusted && !with_sidecar;
            assert_eq!(judge(&mut processed) == Action::Restored, expected);
            if expected {
                assert_eq!(judge(&mut processed), Action::Nothing);
                assert!(processed.knows(&path));
                write_as_of(&path, "\x7fELF", 1001);
                assert!(matches!(judge(&mut processed), Action::Ready(_)));
            }
        }
    }

    #[test]
    fn a_file_that_was_replaced_meanwhile_is_looked_at_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        fs::write(&path, "\x7fELF").unwrap();
        let before = Stamp::at(&path).unwrap();
        let other = directory.path().join("other");
        fs::write(&other, "\x7fELF").unwrap();
        fs::rename(&other, &path).unwrap();
        let mut processed = Processed::default();
        processed.done(&path, before, false, false);
        assert!(!processed.knows(&path));
    }

    #[test]
    fn what_fails_is_tried_again_once_if_it_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        let mut processed = Processed::default();
        for (content, known) in [("\x7fELF", false), ("\x7fELF.", true)] {
            fs::write(&path, content).unwrap();
            let before = Stamp::at(&path).unwrap();
            fs::write(&path, format!("{content} changed")).unwrap();
            processed.done(&path, before, true, true);
            assert_eq!(processed.knows(&path), known, "{content}");
        }
        assert_eq!(processed.lacking().count(), 1);
        processed.forget(directory.path());
        assert!(processed.lacking().next().is_none() && !processed.knows(&path));
    }
}
