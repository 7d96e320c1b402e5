//! Plans how to restore a file: a [`Restoration`] is the inverse of a plan, and pure data.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use crate::plan::FileEdit;
use crate::plan::reason::Refusal;
use crate::scan::TargetFile;
use crate::state::prior::{Method, PriorWrap, Progress, State};
use crate::system::sidecar_path::{links_of, sidecar_of, temporary_of};
use elf_file::Source;
use ldso::Root;

#[derive(Clone, Debug)]
pub struct Restoration {
    pub file: TargetFile,
    pub edits: Vec<FileEdit>,
    /// Files to remove afterwards, in this order: temporary files of a stopped run, links and their directory, the sidecar.
    pub remove: Vec<PathBuf>,
    /// The sidecar, if it still has the interim name: it gets its usual name first.
    pub settle: Option<PendingSidecar>,
    /// The modification time to set; `None` if the original one is unknown.
    pub modified: Option<SystemTime>,
    /// Whether the first wrap-buddy wrapped it. Its sidecar applies only to a program without PT_INTERP, which is therefore restored last.
    pub legacy: bool,
}

/// A sidecar with its interim name, left by a stopped run.
#[derive(Clone, Debug)]
pub struct PendingSidecar {
    /// The usual path of the sidecar.
    pub usual: PathBuf,
    pub bytes: Vec<u8>,
    pub modified: Option<SystemTime>,
}

impl PendingSidecar {
    /// The interim sidecar of the file at `path`, if `prior` found one.
    pub fn of(path: &Path, prior: &PriorWrap) -> Option<Self> {
        (prior.is_next_to_file && prior.is_interim && !prior.sidecar.is_empty()).then(|| Self {
            usual: sidecar_of(path),
            bytes: prior.sidecar.clone(),
            modified: prior.sidecar_modified,
        })
    }
}

/// Temporary files next to the file at `path` in `root` that a stopped run has left.
pub fn leftovers(root: &Root, path: &Path) -> Vec<PathBuf> {
    let paths = temporary_of(path).into_iter();
    paths.filter(|path| is_file(root, path)).collect()
}

/// The links in the directory of links of the file at `path` in `root`, including those that a stopped run has not recorded. Only links to a file of
/// the same name count. `None` if the directory does not exist.
pub fn links_there(root: &Root, path: &Path) -> Option<Vec<OsString>> {
    let links = root.real_on_host(&links_of(path));
    let entries = fs::read_dir(links).ok()?.flatten();
    let names = entries.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        (target.file_name() == Some(&entry.file_name())).then(|| entry.file_name())
    });
    let mut names: Vec<OsString> = names.collect();
    names.sort();
    Some(names)
}

fn is_file(root: &Root, path: &Path) -> bool {
    let on_host = root.real_on_host(path);
    on_host
        .symlink_metadata()
        .is_ok_and(|found| found.is_file())
}

/// Plans the restoration of the file at `path`, which is absolute in `root` and has this `state`. `None` if it has no sidecar.
///
/// # Errors
/// Why it cannot be restored.
pub fn restoration(
    root: &Root,
    path: &Path,
    state: State,
    source: &mut Source,
) -> Result<Option<Restoration>, Refusal> {
    if let Some(unusable) = state.unusable() {
        return Err(unusable.into());
    }
    let prior = match state {
        State::Known(prior) => *prior,
        // An original, or a library. The sidecar next to it is valid and belongs to another file.
        _ => return Ok(stale(root, path, source)),
    };
    if prior.rewritten || prior.progress == Progress::Changed {
        return Err(Refusal::ChangedSinceEdit(prior.sidecar_path));
    }
    Ok(Some(planned(root, path, &prior, source)?))
}

fn planned(
    root: &Root,
    path: &Path,
    prior: &PriorWrap,
    source: &mut Source,
) -> Result<Restoration> {
    let edits = FileEdit::undo_all(prior, source)?;
    let links = links_of(path);
    let mut remove = leftovers(root, path);
    let there = links_there(root, path);
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
    // A sidecar of another name, or of the file that this is a copy of, stays.
    let settle = PendingSidecar::of(path, prior);
    if prior.is_next_to_file && !prior.sidecar.is_empty() {
        let usual = settle.as_ref().map(|settle| settle.usual.clone());
        remove.push(usual.unwrap_or_else(|| prior.sidecar_path.clone()));
    }
    Ok(Restoration {
        file: TargetFile::new(root, path, source.metadata()),
        edits,
        remove,
        settle,
        modified: prior.original_time(source.metadata()),
        legacy: prior.method == Method::Legacy,
    })
}

/// A file that replaced itself is an original, and its old sidecar is unused.
fn stale(root: &Root, path: &Path, source: &mut Source) -> Option<Restoration> {
    let sidecar = sidecar_of(path);
    let mut remove = leftovers(root, path);
    remove.extend(is_file(root, &sidecar).then_some(sidecar));
    (!remove.is_empty()).then(|| Restoration {
        file: TargetFile::new(root, path, source.metadata()),
        edits: Vec::new(),
        remove,
        settle: None,
        modified: None,
        legacy: false,
    })
}
