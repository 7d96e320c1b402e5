//! Decides how a file becomes what it was before any run: a [`Restoration`] is the inverse of a plan, and pure data.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use crate::plan::{FileEdit, inode};
use crate::state::prior::{Earlier, Progress, State, Way};
use crate::system::sidecar_path::{links_name, sidecar_name};
use elf_file::Source;

/// What makes a file the original again.
#[derive(Clone, Debug)]
pub struct Restoration {
    /// The file, absolute and free of symbolic links.
    pub path: PathBuf,
    /// Device and inode of the file, and how many names it has.
    pub inode: (u64, u64, u64),
    /// Length of its file in bytes.
    pub file_len: u64,
    /// What changes in the file.
    pub edits: Vec<FileEdit>,
    /// What is removed then: the sidecar, links and their directory, in this order.
    pub remove: Vec<PathBuf>,
    /// The time of modification it gets; none: that of now, because it is not known.
    pub modified: Option<SystemTime>,
    /// Whether the first wrap-buddy wrapped it: its sidecar describes a program without PT_INTERP only, which is put back last.
    pub legacy: bool,
}

/// Plans the restoration of the file at `path`, absolute, of which earlier runs have left `state`.
///
/// # Errors
/// Says why it cannot be restored. Nothing is to be done for a file that has no sidecar at all.
pub fn restoration(
    path: &Path,
    state: State,
    source: &mut Source,
) -> Result<Option<Restoration>, String> {
    if let Some(refusal) = state.refusal() {
        return Err(refusal);
    }
    let earlier = match state {
        State::Known(earlier) => *earlier,
        // The file is an original, or a library: what is beside it was read to its end, and is another file's.
        _ => return Ok(stale(path, source)),
    };
    if earlier.rewritten || earlier.progress == Progress::Changed {
        return Err(format!(
            "was changed since it was edited (strip, patchelf, an update?), and its sidecar {} does not describe it any more: restore it from where it came",
            earlier.sidecar_path.display()
        ));
    }
    planned(path, &earlier, source)
        .map(Some)
        .map_err(|error| format!("{error:#}"))
}

fn planned(path: &Path, earlier: &Earlier, source: &mut Source) -> Result<Restoration> {
    let edits = FileEdit::undo_all(earlier, source)?;
    let links = path.with_file_name(links_name(path.file_name().unwrap_or_default()));
    let mut remove = Vec::new();
    // What belongs to another name, or to the file this is a copy of, stays.
    if earlier.is_beside {
        remove.push(earlier.sidecar_path.clone());
    }
    let names = earlier.links.iter();
    let names = names.filter(|name| Path::new(name).file_name() == Some(name));
    remove.extend(names.map(|name| links.join(name)));
    if !earlier.links.is_empty() {
        remove.push(links);
    }
    Ok(Restoration {
        path: path.to_owned(),
        inode: inode(source.metadata()),
        file_len: source.file_len(),
        edits,
        remove,
        modified: match earlier.keeps_time() {
            true => earlier.sidecar_modified,
            false => None,
        },
        legacy: earlier.way == Way::Legacy,
    })
}

/// A file that replaced itself is the original again, and its old sidecar of no use.
fn stale(path: &Path, source: &mut Source) -> Option<Restoration> {
    let sidecar = path.with_file_name(sidecar_name(path.file_name()?));
    let is_file = sidecar
        .symlink_metadata()
        .is_ok_and(|found| found.is_file());
    is_file.then(|| Restoration {
        path: path.to_owned(),
        inode: inode(source.metadata()),
        file_len: source.file_len(),
        edits: Vec::new(),
        remove: vec![sidecar],
        modified: None,
        legacy: false,
    })
}
