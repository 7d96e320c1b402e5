//! The result of an earlier run, as it was found in a file.

use std::ffi::OsString;
use std::fs::Metadata;
use std::path::PathBuf;
use std::time::SystemTime;

use object::elf;
use sidecar::{EditKind, Id, Legacy, ToolVersion};

use crate::state::past_edit::PastEdit;
use crate::state::settings::Settings;
use crate::state::unusable::Unusable;
use crate::system::sidecar_path::is_interim;
use elf_file::{Elf, Source};

/// The state of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Original,
    /// Wrapped or edited, and the original bytes are known: `source` has them laid over the file ([`Source::lay_over`]).
    Known(Box<PriorWrap>),
    Unusable(Unusable),
}

impl State {
    /// Whether wrapping removed the PT_INTERP of `elf`. If the original headers are unknown, a PT_NULL is taken for it.
    pub fn lost_interp(&self, elf: &Elf) -> bool {
        let has_null = || elf.segments.iter().any(|one| one.kind == elf::PT_NULL);
        elf.interp.is_none()
            && match self {
                State::Original => false,
                State::Known(prior) => prior.method != Method::InPlace,
                _ => has_null(),
            }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, State::Known(prior) if prior.is_done())
    }

    /// Why the file cannot be changed; `None` if it can be.
    pub fn unusable(&self) -> Option<Unusable> {
        match self {
            State::Known(prior) if prior.without_interp => {
                Some(Unusable::InterpReused(prior.sidecar_path.clone()))
            }
            State::Known(prior) => prior.passed_over.clone(),
            State::Original => None,
            State::Unusable(reason) => Some(reason.clone()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Stub,
    /// The file itself was edited.
    InPlace,
    /// By the first wrap-buddy.
    Legacy,
}

/// How many of the edits are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Nothing,
    /// Some, or parts.
    Half,
    Done,
    /// The bytes are neither the original nor the written ones.
    Changed,
}

/// The result of an earlier run, and the sidecar that describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct PriorWrap {
    pub method: Method,
    pub progress: Progress,
    /// Whether a tool that keeps .dynamic, such as strip, has rewritten the file since. Its .dynamic still has our entries, but the strings
    /// are usually gone. Only in place.
    pub rewritten: bool,
    /// Whether the file is not the one that the sidecar was written for, but has its stub: a derived program, or one that another tool
    /// rewrote. Only with a stub.
    pub derived: bool,
    /// A derived program in which the former PT_INTERP header is used for something else.
    pub without_interp: bool,
    /// A sidecar that no command uses or replaces, although the program starts: the loader trusts it because of the loader's owner, or uses
    /// another one.
    pub passed_over: Option<Unusable>,
    /// The path at which the stub looks for the sidecar, if it was found elsewhere: the program does not start.
    pub not_found_at: Option<PathBuf>,
    /// The program of which this one is a copy, if the sidecar is gone and that program still has the original bytes.
    pub bytes_of: Option<PathBuf>,
    /// The settings that ld.so gets.
    pub settings: Settings,
    pub sidecar_path: PathBuf,
    /// Modification time of the sidecar, which is that of the original file if [`keeps_time`](Self::keeps_time).
    pub sidecar_modified: Option<SystemTime>,
    /// Whether the sidecar is next to the file, under a name made from the file's.
    pub is_next_to_file: bool,
    /// Whether the sidecar has the interim name, because a run was stopped while it replaced a sidecar.
    pub is_interim: bool,
    /// The content of the sidecar; empty if it is gone.
    pub sidecar: Vec<u8>,
    /// The settings in the program itself, which the loader uses instead of those in the sidecar; empty if there are none.
    pub record: Vec<u8>,
    pub id: Id,
    /// In the order in which they were written.
    pub edits: Vec<PastEdit>,
    /// Names of the links in the directory next to the file.
    pub links: Vec<OsString>,
    /// Version of the tool that wrote the sidecar.
    pub tool: ToolVersion,
    /// Whether the file has a stub with its trailer.
    pub has_stub: bool,
    /// The loader that the stub starts, absolute or relative to the directory of the file; `None` if it is in the sidecar.
    pub loader: Option<PathBuf>,
    /// The self-contained sidecar that the stub looks for, absolute or relative likewise; `None` if there is a loader.
    pub own_sidecar: Option<PathBuf>,
}

impl PriorWrap {
    /// A file with all of these edits. The sidecar is gone, or its content and the rest are still to be set.
    pub(super) fn new(
        method: Method,
        sidecar_path: PathBuf,
        settings: Settings,
        edits: Vec<PastEdit>,
    ) -> Self {
        Self {
            method,
            progress: Progress::Done,
            rewritten: false,
            derived: false,
            without_interp: false,
            passed_over: None,
            not_found_at: None,
            bytes_of: None,
            settings,
            is_next_to_file: false,
            is_interim: is_interim(&sidecar_path),
            sidecar_path,
            sidecar_modified: None,
            sidecar: Vec::new(),
            record: Vec::new(),
            id: Id::default(),
            edits,
            links: Vec::new(),
            tool: ToolVersion::default(),
            has_stub: false,
            loader: None,
            own_sidecar: None,
        }
    }

    /// Whether the sidecar has the modification time of the original file. The first wrap-buddy did not keep it.
    pub fn keeps_time(&self) -> bool {
        self.method != Method::Legacy && !self.derived && !self.rewritten && self.bytes_of.is_none()
    }

    /// The sidecar, or the record, from which the loader takes the settings; empty if both are gone.
    pub fn used(&self) -> &[u8] {
        match &*self.record {
            [] => &self.sidecar,
            record => record,
        }
    }

    /// Whether all edits are in the file.
    pub(super) fn is_done(&self) -> bool {
        self.progress == Progress::Done && !self.rewritten
    }

    /// Whether a run was stopped before it finished the file.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.progress, Progress::Nothing | Progress::Half) && !self.rewritten
    }

    /// The modification time of the original, if it is known. `now`: metadata of the file. If nothing has been written to the file, it may
    /// still have that time itself, because a stopped run had not set the time of the new sidecar or restored that of the file. A time set
    /// later is never earlier, so the earlier one counts.
    pub fn original_time(&self, now: &Metadata) -> Option<SystemTime> {
        let kept = self.sidecar_modified.filter(|_| self.keeps_time())?;
        let own = now.modified().ok();
        match self.progress {
            Progress::Nothing => Some(own.map_or(kept, |own| own.min(kept))),
            _ => Some(kept),
        }
    }

    /// The sidecar of the first wrap-buddy, if it is one.
    pub fn legacy(&self) -> Option<Legacy<'_>> {
        // Read with the wrong class, the sidecar of a 32-bit program has letters of a string in the upper bytes of a length, which is then
        // invalid.
        let mut classes = [elf::ELFCLASS64, elf::ELFCLASS32].into_iter();
        let is_legacy = self.method == Method::Legacy;
        is_legacy.then(|| classes.find_map(|class| Legacy::parse(&self.sidecar, class).ok()))?
    }

    pub fn edit(&self, kind: EditKind) -> Option<&PastEdit> {
        self.edits.iter().find(|edit| edit.kind == kind)
    }
}

impl Progress {
    /// `is_stub` checks whether the slot has a stub.
    pub(super) fn of(
        edits: &[PastEdit],
        source: &mut Source,
        is_stub: impl Fn(&PastEdit, &mut Source) -> bool,
    ) -> Self {
        let (mut done, mut nothing) = (true, true);
        for edit in edits {
            let Ok(now) = source.read_raw(edit.offset, edit.original.len() as u64) else {
                return Self::Changed;
            };
            nothing &= now == edit.original;
            match &edit.written {
                Some(written) => {
                    done &= now == *written;
                    let mut sides = now.iter().zip(edit.original.iter().zip(written));
                    if !sides.all(|(now, (one, other))| now == one || now == other) {
                        return Self::Changed;
                    }
                }
                None => done &= is_stub(edit, source),
            }
        }
        match (done, nothing) {
            (true, _) => Self::Done,
            (false, true) => Self::Nothing,
            (false, false) => Self::Half,
        }
    }
}
