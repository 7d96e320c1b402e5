//! A wrapped copy of a program, in a directory of the user's cache, while the program itself stays as it is.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::apply::copy::Copy;
use crate::apply::sidecar_file;
use crate::plan::Plan;
use crate::system::directory::{Directory, EntryKind, open_file};
use crate::system::sidecar_path::{new_sidecar_name, sidecar_name};

/// All rights but those of set-id programs.
const RIGHTS: u32 = 0o777;

/// The place of a copy. It has a directory of its own, which never changes once the copy is there.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The directory for all copies of this program.
    pub parent: PathBuf,
    /// Stands for the content of the program.
    pub file: String,
    /// Stands for the way in which it is wrapped.
    pub settings: String,
}

impl Entry {
    pub fn path(&self) -> PathBuf {
        self.parent.join(self.name())
    }

    fn name(&self) -> String {
        format!("{}-{}", self.file, self.settings)
    }
}

/// Makes the copy that `plan` describes, if it is not there yet, and returns its path. The sidecar of `plan` is in the directory of
/// `entry`. Copies of earlier versions of the program are removed.
///
/// # Errors
/// As `open(2)`, `write(2)` and `rename(2)`.
pub fn make(plan: &Plan, entry: &Entry) -> io::Result<PathBuf> {
    // The user has chosen the directory, so symbolic links are followed.
    fs::create_dir_all(&entry.parent)?;
    let parent = Directory::open(&fs::canonicalize(&entry.parent)?)?;
    parent.set_mode(0o700)?;
    parent.make_directory(entry.name().as_ref())?;
    let directory = parent.subdirectory(entry.name().as_ref())?;
    let name = plan.file.path.file_name().unwrap_or_default();
    let made = entry.path().join(name);
    if directory.metadata_of(name).is_ok() {
        return Ok(made);
    }
    if let Err(error) = fill(plan, &directory, name) {
        let _ = directory.unlink(&sidecar_name(name));
        let _ = parent.remove_directory(entry.name().as_ref());
        return Err(error);
    }
    remove_earlier(&entry.parent, &entry.file)?;
    Ok(made)
}

/// Writes the sidecar, and then the copy: where a copy is, its sidecar is complete.
fn fill(plan: &Plan, directory: &Directory, name: &OsStr) -> io::Result<()> {
    let content = sidecar_file::Content {
        bytes: &plan.sidecar,
        mode: 0o600,
        owner: None,
        modified: None,
    };
    let sidecar = sidecar_name(name);
    sidecar_file::write(directory, &sidecar, new_sidecar_name(name), &content, false)?;
    let program = open_file(&plan.file.path)?;
    let metadata = program.metadata()?;
    let copy = Copy::of(&program, directory, name)?;
    let is_other = || io::Error::other("the program has changed meanwhile; start it again");
    if !plan.file.is(&metadata) {
        return Err(is_other());
    }
    for edit in &plan.edits {
        let mut before = vec![0; edit.before.len()];
        program.read_exact_at(&mut before, edit.offset)?;
        if before != edit.before {
            return Err(is_other());
        }
        copy.file().write_all_at(&edit.after, edit.offset)?;
    }
    let mode = metadata.permissions().mode() & RIGHTS;
    copy.file().set_permissions(Permissions::from_mode(mode))?;
    copy.file().set_modified(metadata.modified()?)?;
    copy.replace(name).map(drop)
}

/// Removes the copies in `parent` whose program has changed since.
fn remove_earlier(parent: &Path, current: &str) -> io::Result<()> {
    let parent = Directory::open_listed(&fs::canonicalize(parent)?)?;
    let mut earlier = Vec::new();
    parent.list(|name, kind| {
        let is_current = name.to_string_lossy().starts_with(current);
        if kind == EntryKind::Directory && !is_current {
            earlier.push(name.to_owned());
        }
        true
    })?;
    for name in earlier {
        let directory = parent.subdirectory_listed(&name)?;
        let mut files = Vec::new();
        directory.list(|file, _| {
            files.push(file.to_owned());
            true
        })?;
        for file in files {
            directory.unlink(&file)?;
        }
        parent.remove_directory(OsStr::new(&name))?;
    }
    Ok(())
}
