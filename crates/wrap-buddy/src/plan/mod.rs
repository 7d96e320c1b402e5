//! Decides everything about one file before anything is written: a [`Plan`] is pure data.

pub mod alignment;
pub mod classify;
pub mod defaults;
pub mod edits;
mod in_place;
pub mod inject;
pub mod library_directories;
pub mod openers;
pub mod options;
pub mod outcome;
pub mod outside;
pub mod planner;
pub mod reason;
pub mod restore;
pub mod search;
pub mod slot;
mod stub;

pub use in_place::{InPlacePlan, Links, NotEdited, in_place};
pub use stub::{StubPlan, stub};

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, anyhow, bail};
use sidecar::{EditKind, Id, ToolVersion};

use crate::plan::restore::Interim;
use crate::plan::search::{Prepended, Relative, Resolution, search_path};
use crate::state::loaders::{Loader, Loaders};
use crate::state::past_edit::PastEdit;
use crate::state::prior::PriorWrap;
use crate::state::settings::Change;
use crate::system::privilege::Privilege;
use crate::system::relative::relative_file;
use elf_file::{FileId, Source};
use sys::arch::Arch;

/// One place of a file that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEdit {
    /// What it is for.
    pub kind: EditKind,
    /// Offset in the file.
    pub offset: u64,
    /// What stands there in the original file.
    pub original: Vec<u8>,
    /// What stands there now: the same, unless an earlier run was there.
    pub before: Vec<u8>,
    /// What is to stand there.
    pub after: Vec<u8>,
}

impl FileEdit {
    fn new(kind: EditKind, offset: u64, after: Vec<u8>, source: &mut Source) -> Result<Self> {
        let len = after.len() as u64;
        Ok(Self {
            kind,
            offset,
            original: source.read(offset, len)?,
            before: source.read_raw(offset, len)?,
            after,
        })
    }

    fn undo(past: &PastEdit, source: &mut Source) -> Result<Self> {
        let original = past.original.clone();
        Self::new(past.kind, past.offset, original, source)
    }

    /// What takes back all edits of an earlier run, the last one first.
    pub fn undo_all(prior: &PriorWrap, source: &mut Source) -> Result<Vec<Self>> {
        let edits = prior.edits.iter().rev();
        edits.map(|edit| Self::undo(edit, source)).collect()
    }

    /// Whether there is anything to write.
    pub fn is_due(&self) -> bool {
        self.before != self.after
    }
}

/// Everything that is to be written for one file, and why.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file, absolute and free of symbolic links.
    pub path: PathBuf,
    pub arch: &'static Arch,
    pub position_independent: bool,
    /// Length of its file in bytes.
    pub file_len: u64,
    /// Ties file and sidecar together.
    pub id: Id,
    pub file_id: FileId,
    /// How many names it has (hard links).
    pub names: u64,
    /// Where the sidecar goes.
    pub sidecar_path: PathBuf,
    /// Who is to own it: user and group.
    pub sidecar_owner: (u32, u32),
    pub sidecar: Vec<u8>,
    /// When the original file was last modified: kept as the sidecar's own time, which is no part of what it says.
    pub modified: SystemTime,
    /// What is taken back before anything else is done: a stub that was made for other settings.
    pub undo_first: Vec<FileEdit>,
    /// Whether the first wrap-buddy made that: PT_INTERP is taken back last then, see [`Restoration`].
    ///
    /// [`Restoration`]: crate::plan::restore::Restoration
    pub undo_legacy: bool,
    /// Whether what is in the file now uses the sidecar at `sidecar_path`, or is recorded there: it stays until that is gone.
    pub sidecar_in_use: bool,
    /// The sidecar in use, where a stopped run has left that under another name.
    pub settle: Option<Interim>,
    /// What stopped runs have left next to the file.
    pub leftovers: Vec<PathBuf>,
    /// Settings that are other ones than those of the run before.
    pub settings_changed: Vec<Change>,
    /// What changes in the file, in the order in which it is written.
    pub edits: Vec<FileEdit>,
    /// Whether all this is there already, so that nothing is to be written.
    pub settled: bool,
    /// The search path it is to have; empty when the file's own will do.
    pub search: Vec<OsString>,
    pub resolution: Resolution,
    /// What the user may want to know.
    pub notes: Vec<String>,
    /// How ld.so comes to know of all this.
    pub method: Method,
}

/// How ld.so is told.
#[derive(Clone, Debug)]
pub enum Method {
    /// By a loader that a stub over the entry point starts.
    Stub(StubPlan),
    /// By the file itself.
    InPlace(InPlacePlan),
}

impl Plan {
    /// What there is of a stub.
    pub fn stub(&self) -> Option<&StubPlan> {
        match &self.method {
            Method::Stub(stub) => Some(stub),
            Method::InPlace(_) => None,
        }
    }

    /// What there is of edits in place.
    pub fn in_place(&self) -> Option<&InPlacePlan> {
        match &self.method {
            Method::InPlace(plan) => Some(plan),
            Method::Stub(_) => None,
        }
    }

    /// Whether something else than the original is in the file, which other settings have put there.
    pub fn replaces(&self) -> bool {
        self.undo_first.iter().any(FileEdit::is_due)
    }

    /// Whether the file is a shared library.
    pub fn is_library(&self) -> bool {
        self.interpreter().is_none()
    }

    /// The dynamic linker that a program asks for, and the one it gets.
    pub fn interpreter(&self) -> Option<(&OsStr, &Path)> {
        match &self.method {
            Method::Stub(stub) => Some((&stub.asks_for, &stub.interpreter)),
            Method::InPlace(plan) => {
                let (asks_for, interpreter) = plan.interpreter.as_ref()?;
                Some((asks_for, interpreter))
            }
        }
    }

    /// The loader it relies on, unless it has its own.
    pub fn loader(&self) -> Option<&Loader> {
        self.stub()?.loader.as_ref()
    }

    /// The symbolic links beside it.
    pub fn links(&self) -> Option<&Links> {
        self.in_place()?.links.as_ref()
    }
}

/// How plans are made.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions<'a> {
    /// Whether what has no room in a program is told by a stub instead.
    pub or_stub: bool,
    /// Paths relative to the executable.
    pub relocatable: bool,
    /// Loaders in the sidecars.
    pub self_contained: bool,
    /// Where loaders are otherwise.
    pub loaders: &'a Loaders,
}

/// The search path as ld.so reads it, for a file in the directory `origin`; empty where nothing changes. For a file that is
/// privileged, ld.so ignores what is relative to it.
fn search(
    resolution: &Resolution,
    origin: &Path,
    is_relocatable: bool,
    is_privileged: bool,
) -> Result<Vec<OsString>> {
    if !resolution.search_changes {
        return Ok(Vec::new());
    }
    let relative = match (is_relocatable, is_privileged) {
        (true, _) => Relative::All,
        (false, false) => Relative::Within,
        (false, true) => Relative::None,
    };
    let search = search_path(&resolution.search, origin, relative);
    // The user's directories have none, but a path to one may.
    if let Some(entry) = search.iter().find(|entry| entry.as_bytes().contains(&b':')) {
        bail!(
            "cannot have {} on its search path: ld.so takes the colon for the end of the directory",
            entry.display()
        );
    }
    Ok(search)
}

/// The extra DT_NEEDED, and whether they go in front of the file's own; as ld.so reads them, relative to `origin` where there
/// is one.
fn needed(resolution: &Resolution, origin: Option<&Path>) -> (Vec<OsString>, bool) {
    if resolution.prepended.is_empty() {
        return (added(resolution), false);
    }
    let prepended = resolution
        .prepended
        .iter()
        .map(|prepended| match (prepended, origin) {
            (Prepended::Name(name), _) => name.clone(),
            (Prepended::File(path), None) => path.clone().into_os_string(),
            (Prepended::File(path), Some(origin)) => {
                let relative = relative_file(path, origin);
                OsString::from_iter([OsStr::new("$ORIGIN/"), relative.as_os_str()])
            }
        });
    (prepended.collect(), true)
}

/// The names that libraries, or the user, want to be loaded.
fn added(resolution: &Resolution) -> Vec<OsString> {
    let added = resolution.added.iter();
    added.map(|added| added.soname.clone()).collect()
}

/// The files that are loaded by their paths.
pub fn frozen(resolution: &Resolution) -> impl Iterator<Item = &Path> {
    resolution
        .prepended
        .iter()
        .filter_map(|prepended| match prepended {
            Prepended::File(path) => Some(path.as_path()),
            Prepended::Name(_) => None,
        })
}

/// A set-id program trusts what nobody else can change.
fn check_trusted<'p>(
    privilege: &Privilege,
    files: impl IntoIterator<Item = &'p Path>,
    resolution: &'p Resolution,
    search: &'p [OsString],
) -> Result<()> {
    let found = resolution.found.iter().map(|(_, path)| path.as_path());
    let files = files.into_iter().chain(frozen(resolution)).chain(found);
    let trusted = files.chain(search.iter().map(Path::new));
    for path in trusted.filter(|path| path.is_absolute()) {
        if let Some(part) = privilege.weak_part(path) {
            return Err(anyhow!(
                "is set-id or has capabilities, and would trust {}, but others can change {}: use a directory of root's",
                path.display(),
                part.display()
            ));
        }
    }
    Ok(())
}

/// Whose the sidecar is to be.
fn sidecar_owner(privilege: Option<&Privilege>, metadata: &Metadata) -> (u32, u32) {
    let owner = (metadata.uid(), metadata.gid());
    privilege.map_or(owner, |privilege| privilege.sidecar_owner())
}

/// When the file was last modified, before any run of this tool.
fn modified(metadata: &Metadata, prior: Option<&PriorWrap>) -> Result<SystemTime> {
    let prior = prior.filter(|prior| prior.is_beside);
    match prior.and_then(|prior| prior.original_time(metadata)) {
        Some(kept) => Ok(kept),
        None => Ok(metadata.modified()?),
    }
}

/// Whether what `earlier` has left in the file goes with the sidecar at the usual path.
fn is_sidecar_in_use(prior: &PriorWrap) -> bool {
    prior.is_beside && !prior.is_interim && prior.bytes_of.is_none()
}

pub fn tool_version() -> ToolVersion {
    let number = |text: &str| text.parse().unwrap_or(0);
    ToolVersion::new(
        number(env!("CARGO_PKG_VERSION_MAJOR")),
        number(env!("CARGO_PKG_VERSION_MINOR")),
        number(env!("CARGO_PKG_VERSION_PATCH")),
    )
}

fn join(search: &[OsString]) -> OsString {
    search.join(OsStr::new(":"))
}
