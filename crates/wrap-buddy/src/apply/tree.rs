//! A new directory tree. It is made under a temporary name in the directory of its place, and renamed when it is complete. If that fails
//! at any point, the tree is removed.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::copy::copy_content;
use crate::plan::bundle::{Item, Kind};
use crate::system::directory::{Directory, EntryKind};
use crate::system::hex::hex;
use crate::system::workers::Stop;
use elf_file::{FileId, open_regular};
use nix::fcntl::OFlag;

/// Permission bits that a copy keeps.
const MODE: u32 = 0o777;

/// Rights that a directory needs, so that its owner can remove the tree.
const DIRECTORY_MODE: u32 = 0o700;

/// A tree that is being made.
pub struct NewTree {
    above: Directory,
    /// The path of `above`, which is free of symbolic links.
    path: PathBuf,
    name: OsString,
    temporary: OsString,
    top: Directory,
    /// Locked, so that another run leaves the tree alone.
    lock: File,
    /// The time of modification of each path that was written.
    times: BTreeMap<PathBuf, SystemTime>,
    is_placed: bool,
}

impl NewTree {
    /// Begins the tree `name` in the directory at `above`, which is free of symbolic links. `marker` is a file in it.
    ///
    /// # Errors
    /// If the directory cannot be written, or another run makes the same tree.
    pub fn begin(above: &Path, name: &OsStr, marker: &OsStr) -> Result<Self> {
        let temporary = named(name, ".wrapbuddy-bundle");
        let path = above.to_owned();
        let failed = || format!("cannot write to {}", path.display());
        let above = Directory::open(above).with_context(failed)?;
        if !above.make_directory(&temporary).with_context(failed)? {
            // A run was killed, or still works.
            let left = above.subdirectory(&temporary).with_context(failed)?;
            if let Ok((file, _)) = left.file(marker, OFlag::O_RDONLY)
                && let Err(TryLockError::WouldBlock) = file.try_lock()
            {
                bail!(
                    "another run makes {}; wait for it",
                    path.join(name).display()
                );
            }
            above.remove_tree(&temporary).with_context(failed)?;
            above.make_directory(&temporary).with_context(failed)?;
        }
        let top = above.subdirectory(&temporary).with_context(failed)?;
        let lock = top.create(marker, 0o644).with_context(failed)?;
        let _ = lock.try_lock();
        Ok(Self {
            above,
            path,
            name: name.to_owned(),
            temporary,
            top,
            lock,
            times: BTreeMap::new(),
            is_placed: false,
        })
    }

    /// The path of the tree while it is made.
    pub fn path(&self) -> PathBuf {
        self.path.join(&self.temporary)
    }

    /// Writes `items`, until `stop` returns true. No time is later than `latest`. Returns the SHA-256 of each file.
    ///
    /// # Errors
    /// If a file cannot be copied; the error names it.
    pub fn write(
        &mut self,
        items: &BTreeMap<PathBuf, Item>,
        latest: Option<SystemTime>,
        stop: &Stop<'_>,
    ) -> Result<HashMap<PathBuf, String>> {
        let mut written = Written {
            directories: HashMap::from([(PathBuf::new(), self.top.clone())]),
            links: HashMap::new(),
            sums: HashMap::new(),
        };
        for (path, item) in items {
            if stop() {
                bail!("stopped; nothing was made");
            }
            let modified = written.item(path, item).with_context(|| {
                format!(
                    "cannot copy {} to {}",
                    item.source.display(),
                    self.shown(path)
                )
            })?;
            // The other files are made by this run.
            if let Some(modified) = modified {
                let time = latest.map_or(modified, |latest| modified.min(latest));
                self.times.insert(path.clone(), time);
            }
        }
        Ok(written.sums)
    }

    fn shown(&self, path: &Path) -> String {
        self.path.join(&self.name).join(path).display().to_string()
    }

    /// Writes the marker, sets all times, and gives the tree its name. It replaces an earlier tree if `replaces`. Files that this run has
    /// made have the time `made`, or else that of the newest copied file.
    ///
    /// # Errors
    /// If the tree cannot be written or renamed.
    pub fn place(mut self, marker: &[u8], made: Option<SystemTime>, replaces: bool) -> Result<()> {
        self.finish(marker, made)?;
        let shown = self.shown(Path::new(""));
        let failed = || format!("cannot make {}", shown.trim_end_matches('/'));
        let old = named(&self.name, ".wrapbuddy-old");
        if replaces {
            self.above.remove_tree(&old).with_context(failed)?;
            self.above
                .rename_directory(&self.name, &old)
                .with_context(failed)?;
        }
        if let Err(error) = self.above.rename_directory(&self.temporary, &self.name) {
            if replaces {
                let _ = self.above.rename_directory(&old, &self.name);
            }
            return Err(error).with_context(failed);
        }
        self.is_placed = true;
        if replaces {
            self.above
                .remove_tree(&old)
                .with_context(|| format!("cannot remove {}", self.path.join(&old).display()))?;
        }
        Ok(())
    }

    /// Writes the marker and sets all times.
    ///
    /// # Errors
    /// If that fails.
    pub fn finish(&mut self, marker: &[u8], made: Option<SystemTime>) -> Result<()> {
        let failed = || format!("cannot write {}", self.path.join(&self.temporary).display());
        self.lock.write_all(marker).with_context(failed)?;
        let newest = self.times.values().max().copied();
        let made = made.or(newest).unwrap_or(SystemTime::UNIX_EPOCH);
        let top = self
            .above
            .subdirectory_listed(&self.temporary)
            .with_context(failed)?;
        self.set_times(&top, Path::new(""), made)
            .with_context(failed)?;
        self.above
            .set_modified(&self.temporary, made)
            .with_context(failed)
    }

    fn set_times(&self, directory: &Directory, path: &Path, made: SystemTime) -> io::Result<()> {
        let mut entries = Vec::new();
        directory.list(|name, kind| {
            entries.push((name.to_owned(), kind));
            true
        })?;
        for (name, kind) in entries {
            let below = path.join(&name);
            if kind == EntryKind::Directory {
                self.set_times(&directory.subdirectory_listed(&name)?, &below, made)?;
            }
            let time = self.times.get(&below).copied().unwrap_or(made);
            directory.set_modified(&name, time)?;
        }
        Ok(())
    }
}

impl Drop for NewTree {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = self.above.remove_tree(&self.temporary);
        }
    }
}

struct Written {
    directories: HashMap<PathBuf, Directory>,
    /// Files with several names: where the first is.
    links: HashMap<FileId, PathBuf>,
    sums: HashMap<PathBuf, String>,
}

impl Written {
    /// Returns the time of modification of the source, if this is a copy.
    fn item(&mut self, path: &Path, item: &Item) -> io::Result<Option<SystemTime>> {
        let above = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default();
        let directory = self.directory(above)?;
        match &item.kind {
            Kind::Directory => {
                let metadata = item.on_host.symlink_metadata()?;
                self.directory(path)?
                    .set_mode(metadata.mode() & MODE | DIRECTORY_MODE)?;
                metadata.modified().map(Some)
            }
            Kind::Link(target) => {
                directory.symlink(name, target)?;
                item.on_host.symlink_metadata()?.modified().map(Some)
            }
            Kind::Made { content, mode } => {
                let mut file = directory.create(name, 0o600)?;
                file.write_all(content)?;
                file.set_permissions(Permissions::from_mode(*mode))?;
                self.sums.insert(path.to_owned(), sum(&file)?);
                Ok(None)
            }
            Kind::File => {
                let file = open_regular(&item.on_host)?;
                let metadata = file.metadata()?;
                let first = item.id.and_then(|id| self.links.get(&id).cloned());
                // A program finds its sidecar in its own directory.
                let first = first.filter(|first| !item.is_elf || first.parent() == Some(above));
                if let Some(first) = first {
                    let from = self.directory(first.parent().unwrap_or(Path::new("")))?;
                    from.hard_link(first.file_name().unwrap_or_default(), &directory, name)?;
                    let sum = self.sums[&first].clone();
                    self.sums.insert(path.to_owned(), sum);
                    return metadata.modified().map(Some);
                }
                let copy = directory.create(name, 0o600)?;
                copy_content(&file, &copy, metadata.len())?;
                copy.set_permissions(Permissions::from_mode(metadata.mode() & MODE))?;
                self.sums.insert(path.to_owned(), sum(&copy)?);
                if let Some(id) = item.id {
                    self.links.insert(id, path.to_owned());
                }
                metadata.modified().map(Some)
            }
        }
    }

    fn directory(&mut self, path: &Path) -> io::Result<Directory> {
        if let Some(known) = self.directories.get(path) {
            return Ok(known.clone());
        }
        let above = self.directory(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or_default();
        above.make_directory(name)?;
        let made = above.subdirectory(name)?;
        self.directories.insert(path.to_owned(), made.clone());
        Ok(made)
    }
}

fn named(name: &OsStr, ending: &str) -> OsString {
    [OsStr::new("."), name, OsStr::new(ending)]
        .into_iter()
        .collect()
}

/// The SHA-256 of a file.
fn sum(mut file: &File) -> io::Result<String> {
    use std::io::Seek;
    let mut hash = Sha256::new();
    file.rewind()?;
    io::copy(&mut file, &mut hash)?;
    Ok(hex(&hash.finalize()))
}
