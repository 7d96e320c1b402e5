//! Finds new and changed files and directories by scanning, for file systems without change notifications.

use std::collections::HashMap;
use std::fs::Metadata;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use elf_file::FileId;

/// The state of files at the last scan. It keeps only hashes of path and state: 16 bytes per file.
#[derive(Debug, Default)]
pub struct Snapshot {
    hasher: RandomState,
    before: HashMap<u64, u64>,
    now: HashMap<u64, u64>,
}

impl Snapshot {
    /// Whether `path` is new or has changed since the last scan. A change of a directory's content does not count.
    pub fn is_news(&mut self, path: &Path, metadata: &Metadata) -> bool {
        let file_id = FileId::from(metadata);
        let state = match metadata.is_dir() {
            true => self.hasher.hash_one(file_id),
            false => {
                let modified = (metadata.mtime(), metadata.mtime_nsec());
                self.hasher.hash_one((file_id, modified, metadata.len()))
            }
        };
        let path = self.hasher.hash_one(path);
        self.now.insert(path, state);
        self.before.get(&path) != Some(&state)
    }

    /// Ends a scan.
    pub fn next(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn new_and_changed_files_are_news_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut snapshot = Snapshot::default();
        let mut look = || {
            let news = [directory.path(), &path]
                .map(|path| fs::metadata(path).is_ok_and(|found| snapshot.is_news(path, &found)));
            snapshot.next();
            news
        };
        assert_eq!(look(), [true, false]);
        fs::write(&path, "x").unwrap();
        assert_eq!(look(), [false, true]);
        assert_eq!(look(), [false, false]);
        fs::write(&path, "xy").unwrap();
        assert_eq!(look(), [false, true]);
        fs::remove_file(&path).unwrap();
        assert_eq!(look(), [false, false]);
        fs::write(&path, "xy").unwrap();
        assert_eq!(look(), [false, true]);
    }
}
