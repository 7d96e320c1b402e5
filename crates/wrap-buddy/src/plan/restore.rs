//! Decides how a file becomes what it was before any run: a [`Restoration`] is the inverse of a plan, and pure data.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use crate::plan::FileEdit;
use crate::plan::reason::Refusal;
use crate::state::prior::{Method, PriorWrap, Progress, State};
use crate::system::sidecar_path::{links_of, sidecar_of, temporary_of};
use elf_file::{FileId, Source};

/// What makes a file the original again.
#[derive(Clone, Debug)]
pub struct Restoration {
    /// The file, absolute and free of symbolic links.
    pub path: PathBuf,
    pub file_id: FileId,
    /// How many names it has (hard links).
    pub names: u64,
    /// Length of its file in bytes.
    pub file_len: u64,
    /// What changes in the file.
    pub edits: Vec<FileEdit>,
    /// What is removed then: what a run has left that was stopped, links and their directory, the sidecar, in this order.
    pub remove: Vec<PathBuf>,
    /// The sidecar, if it has not got its usual name yet: it gets that before anything else is done.
    pub settle: Option<Interim>,
    /// The time of modification it gets; none: that of now, because it is not known.
    pub modified: Option<SystemTime>,
    /// Whether the first wrap-buddy wrapped it: its sidecar describes a program without PT_INTERP only, which is put back last.
    pub legacy: bool,
}

/// A sidecar that a stopped run has left under the name it has until nothing uses the one before any more.
#[derive(Clone, Debug)]
pub struct Interim {
    /// The usual path of the sidecar.
    pub usual: PathBuf,
    pub bytes: Vec<u8>,
    /// Its time of modification.
    pub modified: Option<SystemTime>,
}

impl Interim {
    /// If `earlier` has left such a one of the file at `path`.
    pub fn of(path: &Path, prior: &PriorWrap) -> Option<Self> {
        (prior.is_beside && prior.is_interim).then(|| Self {
            usual: sidecar_of(path),
            bytes: prior.sidecar.clone(),
            modified: prior.sidecar_modified,
        })
    }
}

/// What is next to the file at `path` because a run was stopped, and is of no use once another run is done.
pub fn leftovers(path: &Path) -> Vec<PathBuf> {
    let paths = temporary_of(path).into_iter();
    paths.filter(|path| is_file(path)).collect()
}

/// Names of the links next to the file at `path`, whichever run has made them: one that was stopped may have recorded other ones. None
/// is removed for its name alone. No list where there is no directory for them.
pub fn links_there(path: &Path) -> Option<Vec<OsString>> {
    let entries = fs::read_dir(links_of(path)).ok()?.flatten();
    let names = entries.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        (target.file_name() == Some(&entry.file_name())).then(|| entry.file_name())
    });
    let mut names: Vec<OsString> = names.collect();
    names.sort();
    Some(names)
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}

/// Plans the restoration of the file at `path`, absolute, of which earlier runs have left `state`.
///
/// # Errors
/// Says why it cannot be restored. Nothing is to be done for a file that has no sidecar at all.
pub fn restoration(
    path: &Path,
    state: State,
    source: &mut Source,
) -> Result<Option<Restoration>, Refusal> {
    if let Some(unusable) = state.unusable() {
        return Err(unusable.into());
    }
    let prior = match state {
        State::Known(prior) => *prior,
        // The file is an original, or a library: what is beside it was read to its end, and is another file's.
        _ => return Ok(stale(path, source)),
    };
    if prior.rewritten || prior.progress == Progress::Changed {
        return Err(Refusal::ChangedSinceEdit(prior.sidecar_path));
    }
    Ok(Some(planned(path, &prior, source)?))
}

fn planned(path: &Path, prior: &PriorWrap, source: &mut Source) -> Result<Restoration> {
    let edits = FileEdit::undo_all(prior, source)?;
    let links = links_of(path);
    let mut remove = leftovers(path);
    let there = links_there(path);
    let has_directory = there.is_some();
    let mut names = there.unwrap_or_default();
    let recorded = prior.links.iter().filter(|name| !names.contains(name));
    let recorded: Vec<OsString> = recorded.cloned().collect();
    names.extend(recorded);
    names.retain(|name| Path::new(name).file_name() == Some(name));
    remove.extend(names.iter().map(|name| links.join(name)));
    if has_directory || !names.is_empty() {
        remove.push(links);
    }
    // What belongs to another name, or to the file this is a copy of, stays.
    let settle = Interim::of(path, prior);
    if prior.is_beside {
        let usual = settle.as_ref().map(|settle| settle.usual.clone());
        remove.push(usual.unwrap_or_else(|| prior.sidecar_path.clone()));
    }
    Ok(Restoration {
        path: path.to_owned(),
        file_id: FileId::from(source.metadata()),
        names: source.metadata().nlink(),
        file_len: source.file_len(),
        edits,
        remove,
        settle,
        modified: prior.original_time(source.metadata()),
        legacy: prior.method == Method::Legacy,
    })
}

/// A file that replaced itself is the original again, and its old sidecar of no use.
fn stale(path: &Path, source: &mut Source) -> Option<Restoration> {
    let sidecar = sidecar_of(path);
    let mut remove = leftovers(path);
    remove.extend(is_file(&sidecar).then_some(sidecar));
    (!remove.is_empty()).then(|| Restoration {
        path: path.to_owned(),
        file_id: FileId::from(source.metadata()),
        names: source.metadata().nlink(),
        file_len: source.file_len(),
        edits: Vec::new(),
        remove,
        settle: None,
        modified: None,
        legacy: false,
    })
}
