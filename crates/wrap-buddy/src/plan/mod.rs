//! Decides everything about one file before anything is written: a [`Plan`] is pure data.

pub mod alignment;
pub mod bundle;
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
mod unpatched;

pub use in_place::{InPlacePlan, Links, NotEdited, in_place};
pub use stub::{StubPlan, stub};

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, bail};
use sidecar::{EditKind, Id, ToolVersion};

use crate::plan::reason::{NotForPrivileged, Refusal};
use crate::plan::restore::PendingSidecar;
use crate::plan::search::{Prepended, Relative, Resolution, search_path};
use crate::scan::TargetFile;
use crate::state::loaders::{Loader, Loaders};
use crate::state::past_edit::PastEdit;
use crate::state::prior::PriorWrap;
use crate::state::settings::Change;
use crate::system::privilege::Privilege;
use crate::system::relative::relative_file;
use elf_file::{Elf, Source};
use ldso::Root;
use sys::arch::Arch;

/// A change of one range of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEdit {
    pub kind: EditKind,
    /// File offset.
    pub offset: u64,
    /// The original bytes.
    pub original: Vec<u8>,
    /// The bytes that are there now, which an earlier run may have written.
    pub before: Vec<u8>,
    /// The new bytes.
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

    /// Edits that undo those of an earlier run, last one first.
    pub fn undo_all(prior: &PriorWrap, source: &mut Source) -> Result<Vec<Self>> {
        let edits = prior.edits.iter().rev();
        edits.map(|edit| Self::undo(edit, source)).collect()
    }

    /// Whether the edit changes anything.
    pub fn is_due(&self) -> bool {
        self.before != self.after
    }
}

/// Everything that is to be written for one file, and the reasons.
#[derive(Clone, Debug)]
pub struct Plan {
    pub file: TargetFile,
    pub arch: &'static Arch,
    pub position_independent: bool,
    /// The identity that file and sidecar share.
    pub id: Id,
    pub sidecar_path: PathBuf,
    /// User and group.
    pub sidecar_owner: (u32, u32),
    pub sidecar: Vec<u8>,
    /// Modification time of the original file. The sidecar file gets the same time.
    pub modified: SystemTime,
    /// Edits that undo a stub with other settings, before anything else is written.
    pub undo_first: Vec<FileEdit>,
    /// Whether the first wrap-buddy made that stub: PT_INTERP is then restored last, see [`Restoration`].
    ///
    /// [`Restoration`]: crate::plan::restore::Restoration
    pub undo_legacy: bool,
    /// Whether the file uses, or is described by, the sidecar at `sidecar_path` now. It must stay until the file has changed.
    pub sidecar_in_use: bool,
    /// The sidecar in use, if a stopped run has left it under another name.
    pub settle: Option<PendingSidecar>,
    /// Files of stopped runs to remove.
    pub leftovers: Vec<PathBuf>,
    /// Settings that differ from those of the previous run.
    pub settings_changed: Vec<Change>,
    /// Edits in the order in which they are written.
    pub edits: Vec<FileEdit>,
    /// Whether everything is in place already, so that nothing has to be written.
    pub settled: bool,
    /// The new search path; empty if the file's own is sufficient.
    pub search: Vec<OsString>,
    pub resolution: Resolution,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// How ld.so gets the settings.
    pub method: Method,
}

/// How ld.so gets the settings.
#[derive(Clone, Debug)]
pub enum Method {
    /// From a loader that a stub over the entry point starts.
    Stub(StubPlan),
    /// From the file itself.
    InPlace(InPlacePlan),
}

impl Plan {
    pub fn stub(&self) -> Option<&StubPlan> {
        match &self.method {
            Method::Stub(stub) => Some(stub),
            Method::InPlace(_) => None,
        }
    }

    pub fn in_place(&self) -> Option<&InPlacePlan> {
        match &self.method {
            Method::InPlace(plan) => Some(plan),
            Method::Stub(_) => None,
        }
    }

    /// Whether the file has a stub or edits of other settings.
    pub fn replaces(&self) -> bool {
        self.undo_first.iter().any(FileEdit::is_due)
    }

    pub fn is_library(&self) -> bool {
        self.interpreter().is_none()
    }

    /// The dynamic linker of a program, and the new one.
    pub fn interpreter(&self) -> Option<(&OsStr, &Path)> {
        match &self.method {
            Method::Stub(stub) => Some((&stub.asks_for, &stub.interpreter)),
            Method::InPlace(plan) => {
                let (asks_for, interpreter) = plan.interpreter.as_ref()?;
                Some((asks_for, interpreter))
            }
        }
    }

    /// The shared loader that it needs; `None` if it has its own.
    pub fn loader(&self) -> Option<&Loader> {
        self.stub()?.loader.as_ref()
    }

    /// The directory of links next to it.
    pub fn links(&self) -> Option<&Links> {
        self.in_place()?.links.as_ref()
    }
}

/// Options of planning.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions<'a> {
    /// The root in which all paths are absolute.
    pub root: &'a Root,
    /// Use a stub if a program has no room for edits in place.
    pub or_stub: bool,
    /// Use paths relative to the program.
    pub relocatable: bool,
    /// Put loaders into the sidecars.
    pub self_contained: bool,
    /// Put the settings into the programs, where there is room.
    pub embedded: bool,
    /// Where sidecars are when the programs run; `None` means next to each program.
    pub sidecar_directory: Option<&'a Path>,
    /// Where shared loaders are.
    pub loaders: &'a Loaders,
}

/// The search path as ld.so reads it, for a file in the directory `origin`; empty if it does not change. ld.so ignores relative entries for
/// privileged programs.
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
    // Directories with a colon are rejected earlier, but the path to one may have a colon.
    if let Some(entry) = search.iter().find(|entry| entry.as_bytes().contains(&b':')) {
        bail!(Refusal::Colon(entry.clone()));
    }
    Ok(search)
}

/// Additional DT_NEEDED, and whether they go before the file's own. `origin`: make paths relative to this directory.
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

/// The names that libraries or the user add.
fn added(resolution: &Resolution) -> Vec<OsString> {
    let added = resolution.added.iter();
    added.map(|added| added.soname.clone()).collect()
}

/// The files that are loaded by path.
pub fn frozen(resolution: &Resolution) -> impl Iterator<Item = &Path> {
    resolution
        .prepended
        .iter()
        .filter_map(|prepended| match prepended {
            Prepended::File(path) => Some(path.as_path()),
            Prepended::Name(_) => None,
        })
}

/// Checks that only root and the owner can change the files that a set-id program trusts.
fn check_trusted<'p>(
    root: &Root,
    privilege: &Privilege,
    files: impl IntoIterator<Item = &'p Path>,
    resolution: &'p Resolution,
    search: &'p [OsString],
) -> Result<()> {
    let found = resolution.found.iter().map(|(_, path)| path.as_path());
    let files = files.into_iter().chain(frozen(resolution)).chain(found);
    let trusted = files.chain(search.iter().map(Path::new));
    for path in trusted.filter(|path| path.is_absolute()) {
        if let Some(part) = privilege.weak_part(root, path) {
            bail!(Refusal::from(NotForPrivileged::Untrusted {
                path: path.to_owned(),
                part: part.to_owned(),
            }));
        }
    }
    Ok(())
}

fn sidecar_owner(privilege: Option<&Privilege>, metadata: &Metadata) -> (u32, u32) {
    let owner = (metadata.uid(), metadata.gid());
    privilege.map_or(owner, |privilege| privilege.sidecar_owner())
}

/// Modification time of the file before any run of this tool.
fn modified(metadata: &Metadata, prior: Option<&PriorWrap>) -> Result<SystemTime> {
    let prior = prior.filter(|prior| prior.is_next_to_file);
    match prior.and_then(|prior| prior.original_time(metadata)) {
        Some(kept) => Ok(kept),
        None => Ok(metadata.modified()?),
    }
}

/// Whether the file needs the sidecar at the usual path now.
fn is_sidecar_in_use(prior: &PriorWrap) -> bool {
    prior.is_next_to_file && !prior.is_interim && !prior.sidecar.is_empty()
}

/// The note about `.note.nixos.ldcache` of a file that gets the search path `search`.
fn stale_cache(elf: &Elf, search: &[OsString]) -> Option<String> {
    let is_stale = !elf.resolved.is_empty() && !search.is_empty();
    is_stale.then(|| {
        "its .note.nixos.ldcache has libraries of another search path, which only an ld.so that reads it uses; patchelf --set-rpath removes it, before you run wrap-buddy".to_owned()
    })
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
