//! Recognises the results of earlier runs: files that are wrapped, edited in place, or half done because a run was stopped.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use object::elf;
use sidecar::{Edit, EditKind, Id, InPlace, Legacy, Sidecar, ToolVersion, Written};
use stages::Stage;

use crate::scan::Candidate;
use crate::state::found_sidecar::{FoundSidecar, UnknownSidecar};
use crate::state::identity::{identity, identity_in_place};
use crate::state::legacy;
use crate::state::limits::check_loader_takes;
use crate::state::past_edit::PastEdit;
use crate::state::settings::Settings;
use crate::state::stub::{self, Stub};
use crate::state::unusable::{ReadFailure, Unusable};
use crate::system::privilege::Privilege;
use crate::system::sidecar_path::{
    interim_of, interim_sidecar_of, is_interim, program_of, sidecar_of,
};
use crate::system::trust::Ownership;
use elf_file::io_reason;
use elf_file::{Elf, FileId, Identity, Segment, Source, identify};

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

    fn is_done(&self) -> bool {
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
    /// Whether the sidecar has the modification time of the original file. The first wrap-buddy did not keep it.
    pub fn keeps_time(&self) -> bool {
        self.method != Method::Legacy && !self.derived && !self.rewritten && self.bytes_of.is_none()
    }

    /// Whether all edits are in the file.
    fn is_done(&self) -> bool {
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

/// The state of a file for commands that do not plan.
pub enum FileState {
    /// Not a file that can be wrapped.
    NotElf,
    Unreadable(ReadFailure),
    /// An ELF file.
    File(Box<Source>, State),
}

pub fn file_state(candidate: &Candidate, stages: &[Stage]) -> FileState {
    let mut source = match candidate.open().and_then(Source::of) {
        Ok(source) => source,
        Err(error) => {
            return FileState::Unreadable(ReadFailure::Unopenable(io_reason(&error)));
        }
    };
    match identify(&mut source) {
        Ok(Identity::Elf {
            little_endian: true,
            ..
        }) => {}
        Ok(Identity::Malformed(reason)) => {
            return FileState::Unreadable(ReadFailure::Malformed(reason));
        }
        _ => return FileState::NotElf,
    }
    match Elf::read(&mut source) {
        Ok(elf) => {
            let state = state(&candidate.path, &elf, &mut source, stages);
            FileState::File(Box::new(source), state)
        }
        Err(error) => FileState::Unreadable(ReadFailure::malformed(&error)),
    }
}

/// The state of the file at `path`, which is absolute.
pub fn state(path: &Path, elf: &Elf, source: &mut Source, stages: &[Stage]) -> State {
    let state = state_by_sidecar(path, elf, source, stages, true);
    if let State::Known(prior) = &state
        && !prior.without_interp
        && let Err(error) = check_plausible(prior, source)
    {
        source.uncover();
        return State::Unusable(Unusable::UnknownSidecar {
            sidecar: prior.sidecar_path.clone(),
            reason: UnknownSidecar::Implausible(format!("{error:#}")),
        });
    }
    state
}

/// Whether the file with the original bytes laid over it could be an original.
fn check_plausible(prior: &PriorWrap, source: &mut Source) -> Result<()> {
    let elf = Elf::read(source)?;
    match prior.method {
        Method::InPlace => Ok(()),
        Method::Stub | Method::Legacy => check_program(&elf),
    }
}

/// Whether the kernel could start the program `elf`. If not, it is neither wrapped nor restored.
pub fn check_program(elf: &Elf) -> Result<()> {
    let interp = elf.interp.as_ref().context("it has no PT_INTERP")?;
    let path = interp.path.as_bytes();
    ensure!(
        !path.is_empty() && !path.iter().any(u8::is_ascii_control),
        "its PT_INTERP is not a path"
    );
    let offset = elf.offset_of(elf.entry).filter(|_| {
        let mut loads = elf.loads();
        let has_entry = |load: &Segment| load.flags & elf::PF_X != 0 && load.contains(elf.entry);
        loads.any(has_entry)
    });
    offset.with_context(|| {
        format!(
            "its entry point {:#x} is in no executable segment",
            elf.entry
        )
    })?;
    Ok(())
}

/// `with_origin`: if a stub's sidecar is gone, use the original bytes of the program that this one is a copy of.
fn state_by_sidecar(
    path: &Path,
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
    with_origin: bool,
) -> State {
    let adjacent = sidecar_of(path);
    let looked_at = match FoundSidecar::next_to(&adjacent, elf.class) {
        FoundSidecar::Nothing => Ok(None),
        FoundSidecar::Readable(found) if !is_no_weaker(found.ownership, source) => {
            Err(Unusable::Untrusted(adjacent.clone()))
        }
        FoundSidecar::Readable(found) => Ok(Some(found)),
        FoundSidecar::Unknown(reason) => Err(Unusable::UnknownSidecar {
            sidecar: adjacent.clone(),
            reason,
        }),
    };
    let found = match looked_at {
        Ok(found) => found,
        // At a start, the loader may skip it, or trust it because of the loader's owner.
        Err(unusable) => {
            return match state_with(None, adjacent, elf, source, stages, false) {
                State::Known(prior) if prior.is_done() => State::Known(Box::new(PriorWrap {
                    passed_over: Some(unusable),
                    ..*prior
                })),
                _ => {
                    source.uncover();
                    State::Unusable(unusable)
                }
            };
        }
    };
    let bytes = found.as_ref().map(|found| &*found.bytes);
    let mut state = state_with(bytes, adjacent.clone(), elf, source, stages, with_origin);
    if bytes.is_some() && !state.is_done() {
        source.uncover();
        if let Some(prior) = by_interim_sidecar(path, elf, source, stages) {
            return State::Known(prior);
        }
        source.uncover();
        state = state_with(bytes, adjacent.clone(), elf, source, stages, with_origin);
    }
    if let State::Known(prior) = &mut state
        && prior.sidecar_path == adjacent
    {
        prior.sidecar_modified = found.and_then(|found| found.modified);
    }
    state
}

/// The state that a stopped run left when it changed the settings of a file: the new sidecar still has its interim name.
fn by_interim_sidecar(
    path: &Path,
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
) -> Option<Box<PriorWrap>> {
    let sidecar_path = interim_sidecar_of(path);
    let FoundSidecar::Readable(found) = FoundSidecar::next_to(&sidecar_path, elf.class) else {
        return None;
    };
    if !is_no_weaker(found.ownership, source) {
        return None;
    }
    let bytes = Some(&*found.bytes);
    match state_with(bytes, sidecar_path, elf, source, stages, false) {
        State::Known(mut prior) if prior.is_done() && prior.is_next_to_file => {
            prior.sidecar_modified = found.modified;
            Some(prior)
        }
        _ => None,
    }
}

/// The state with the sidecar `bytes` at `adjacent`.
fn state_with(
    bytes: Option<&[u8]>,
    adjacent: PathBuf,
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
    with_origin: bool,
) -> State {
    let directory = adjacent.parent().unwrap_or(Path::new("/"));
    if let Some(prior) = bytes.and_then(|bytes| in_place(&adjacent, elf, source, bytes)) {
        return State::Known(Box::new(prior));
    }
    let former_interp = legacy::former_interp(elf, source);
    let mut stub = stub::code_at_entry(elf, source, stages);
    stub = stub.or_else(|| stub::described_by(bytes?, source));
    if former_interp.is_some() {
        stub = stub.or_else(|| stub::of_another_build(elf, source));
    }
    if elf.interp.is_some() {
        // A run changes PT_INTERP last. If it is still there, the stub is the work of a run that was stopped.
        let half_done = bytes.and_then(|bytes| known(&adjacent, true, elf, source, bytes));
        if let Some(prior) = half_done {
            return State::Known(Box::new(prior));
        }
    }
    match stub {
        Some((_, stub)) if elf.interp.is_some() => {
            return State::Unusable(Unusable::Orphan(directory.join(stub.sidecar)));
        }
        Some((code, stub)) => {
            let state = match wrapped(&code, &stub, &adjacent, elf, source) {
                State::Unusable(Unusable::Orphan(gone)) if with_origin => {
                    let origin = from_origin(&code, &stub, &gone, elf, source, stages);
                    origin.map_or(State::Unusable(Unusable::Orphan(gone)), |prior| {
                        State::Known(Box::new(prior))
                    })
                }
                state => state,
            };
            return state;
        }
        None => {}
    }
    let legacy = bytes.and_then(|bytes| Some((bytes, Legacy::parse(bytes, elf.class).ok()?)));
    match (legacy, former_interp) {
        (None, None) => State::Original,
        (None, Some(_)) => State::Unusable(Unusable::Orphan(adjacent)),
        (Some((bytes, legacy)), interp) => {
            by_first_tool(adjacent, bytes, &legacy, interp, elf, source)
        }
    }
}

/// The state of a file with a sidecar of the first wrap-buddy. `interp`: the program header that was PT_INTERP.
fn by_first_tool(
    adjacent: PathBuf,
    bytes: &[u8],
    legacy: &Legacy<'_>,
    interp: Option<usize>,
    elf: &Elf,
    source: &mut Source,
) -> State {
    let edits = match interp {
        Some(interp) => legacy::edits(legacy, elf, interp, source),
        None if legacy::is_leftover(legacy, elf, source) => return State::Original,
        None => Err(UnknownSidecar::OtherBytes),
    };
    let edits = match edits {
        Ok(edits) => edits,
        Err(reason) => {
            return State::Unusable(Unusable::UnknownSidecar {
                sidecar: adjacent,
                reason,
            });
        }
    };
    for edit in &edits {
        source.lay_over(edit.offset, &edit.original);
    }
    State::Known(Box::new(PriorWrap {
        method: Method::Legacy,
        progress: Progress::Done,
        rewritten: false,
        derived: false,
        without_interp: false,
        passed_over: None,
        not_found_at: None,
        bytes_of: None,
        settings: Settings::of_legacy(legacy),
        sidecar_path: adjacent,
        sidecar_modified: None,
        is_next_to_file: true,
        is_interim: false,
        sidecar: bytes.to_vec(),
        id: Id::default(),
        edits,
        links: Vec::new(),
        tool: ToolVersion::default(),
        has_stub: false,
        loader: None,
        own_sidecar: None,
    }))
}

/// The state of a program without PT_INTERP that has this stub, with its code at `code`. The sidecar is searched for as at a start
/// (loader/src/locate.rs, loader/src/trust.rs), and then under the file's own name.
fn wrapped(
    code: &Range<u64>,
    stub: &Stub,
    adjacent: &Path,
    elf: &Elf,
    source: &mut Source,
) -> State {
    let directory = adjacent.parent().unwrap_or(Path::new("/"));
    let in_directory = directory.join(stub.sidecar.file_name().unwrap_or_default());
    // `join` with an absolute path returns that path.
    let named = directory.join(&stub.sidecar);
    let is_secure = Privilege::of(source.file(), source.metadata()).is_some();
    // `by_start`: how many of these paths are tried at a start. `status::own_loader_problem` checks that of a self-contained stub.
    let (sidecar_paths, by_start) = match &stub.loader {
        None if !is_interim(&in_directory) => ([adjacent, &named, &in_directory], 3),
        None => ([&*in_directory, &named, adjacent], 3),
        Some(_) if is_secure => ([&*named, &in_directory, adjacent], 1),
        Some(_) => ([&*in_directory, &named, adjacent], 2),
    };
    let has_own = |sidecar_path: &Path| match FoundSidecar::at(sidecar_path, elf.class) {
        FoundSidecar::Readable(found) if has_id(&found.bytes, stub.id) => Some(found),
        _ => None,
    };
    let mut found = sidecar_paths.into_iter();
    let Some((sidecar_path, found)) =
        found.find_map(|sidecar_path| Some((sidecar_path, has_own(sidecar_path)?)))
    else {
        return State::Unusable(Unusable::Orphan(named.clone()));
    };
    let not_found_at =
        (!sidecar_paths[..by_start].contains(&sidecar_path)).then(|| sidecar_paths[0].to_owned());
    let trusted = is_no_weaker(found.ownership, source);
    if !trusted && (is_secure || !is_no_weaker_for_loader(found.ownership, stub, directory, source))
    {
        return State::Unusable(Unusable::Untrusted(sidecar_path.to_owned()));
    }
    let bytes = found.bytes;
    let is_next_to_file = sidecar_path == adjacent || *sidecar_path == interim_of(adjacent);
    let known = known(sidecar_path, is_next_to_file, elf, source, &bytes)
        .or_else(|| known_of_derived(code, sidecar_path, is_next_to_file, elf, source, &bytes));
    match known {
        Some(prior) => State::Known(Box::new(PriorWrap {
            sidecar_modified: found.modified,
            passed_over: (!trusted).then(|| Unusable::Untrusted(sidecar_path.to_owned())),
            not_found_at,
            ..prior
        })),
        None => State::Unusable(Unusable::Changed(sidecar_path.to_owned())),
    }
}

/// Whether the loader trusts the sidecar because of its own owner.
fn is_no_weaker_for_loader(
    sidecar: Ownership,
    stub: &Stub,
    directory: &Path,
    source: &Source,
) -> bool {
    let loader = stub.loader.as_ref().map(|loader| directory.join(loader));
    let loader = loader.and_then(|loader| loader.metadata().ok());
    loader.is_some_and(|loader| {
        let program = Ownership::from(source.metadata());
        sidecar.is_no_weaker_than(program.with_owner_of(&loader))
    })
}

/// Lays the original bytes over a wrapped program, if the sidecar `bytes` belongs to it.
fn known(
    sidecar_path: &Path,
    is_next_to_file: bool,
    elf: &Elf,
    source: &mut Source,
    bytes: &[u8],
) -> Option<PriorWrap> {
    let sidecar = Sidecar::parse(bytes).ok()?;
    let edits = undo(elf, source, &sidecar)?;
    Some(by_stub(
        sidecar_path,
        is_next_to_file,
        source,
        bytes,
        &sidecar,
        edits,
    ))
}

/// The same for a derived program: the sidecar was written for another file, but e_entry leads to the stub, and PT_INTERP has become
/// PT_NULL.
fn known_of_derived(
    code: &Range<u64>,
    sidecar_path: &Path,
    is_next_to_file: bool,
    elf: &Elf,
    source: &mut Source,
    bytes: &[u8],
) -> Option<PriorWrap> {
    let sidecar = Sidecar::parse(bytes).ok()?;
    let header = sidecar.header();
    let slot = code.start..code.start.checked_add(u64::from(header.slot.len))?;
    let same = (header.machine, header.class) == (elf.machine, elf.class)
        && (header.slot_offset, header.slot_address) == (slot.start, elf.entry)
        && u64::from(header.stub_len) == code.end - code.start
        && elf.offset_of(elf.entry) == Some(slot.start)
        && slot.end <= elf.file_len;
    let interp = legacy::former_interp(elf, source);
    let without_interp = interp.is_none();
    let starts = || is_interp_reused(elf, &sidecar) && check_loader_takes(elf, &sidecar).is_ok();
    if !same || without_interp && !starts() {
        return None;
    }
    let original = sidecar.slot().to_vec();
    let edits = edits_of_stub(slot.start, original, header.entry, interp, elf);
    for edit in &edits {
        source.lay_over(edit.offset, &edit.original);
    }
    let prior = by_stub(
        sidecar_path,
        is_next_to_file,
        source,
        bytes,
        &sidecar,
        edits,
    );
    Some(PriorWrap {
        derived: true,
        without_interp,
        ..prior
    })
}

/// Whether the program header that was PT_INTERP according to the sidecar is used for something else.
fn is_interp_reused(elf: &Elf, sidecar: &Sidecar<'_>) -> bool {
    let header_len = elf.program_headers.len() / elf.segments.len().max(1);
    let mut edits = sidecar.edits().flatten();
    let edit = edits.find(|edit| edit.kind == EditKind::Interp);
    let at = edit.and_then(|edit| edit.offset.checked_sub(elf.phoff));
    let index = at.map(|at| at as usize / header_len.max(1));
    let header = index.and_then(|index| elf.segments.get(index));
    elf.interp.is_none() && header.is_some_and(|header| header.kind != elf::PT_NULL)
}

/// The edits of a program with a stub, in the order in which they are made. `entry`: the original e_entry.
fn edits_of_stub(
    offset: u64,
    original: Vec<u8>,
    entry: u64,
    interp: Option<usize>,
    elf: &Elf,
) -> Vec<PastEdit> {
    let slot = PastEdit {
        kind: EditKind::Slot,
        offset,
        original,
        written: None,
    };
    // e_entry follows e_ident, e_type, e_machine and e_version in both classes.
    let word = |address: u64| address.to_le_bytes()[..elf.word()].to_vec();
    let moved = (entry != elf.entry).then(|| PastEdit {
        kind: EditKind::Entry,
        offset: 24,
        original: word(entry),
        written: Some(word(elf.entry)),
    });
    let edits = [slot].into_iter().chain(moved);
    let interp = interp.map(|interp| legacy::interp_edit(elf, interp));
    edits.chain(interp).collect()
}

/// The result for a program with a stub. `edits` have its original bytes.
fn by_stub(
    sidecar_path: &Path,
    is_next_to_file: bool,
    source: &mut Source,
    bytes: &[u8],
    sidecar: &Sidecar<'_>,
    edits: Vec<PastEdit>,
) -> PriorWrap {
    let id = sidecar.header().id;
    let trailer_at = |edit: &PastEdit, source: &mut Source| {
        let stub_len = u64::from(sidecar.header().stub_len);
        stub::trailer_at(source, edit.offset.checked_add(stub_len)?)
    };
    let progress = Progress::of(&edits, source, |slot, source| {
        trailer_at(slot, source).is_some_and(|found| found.id == id)
    });
    let mut slots = edits.iter().filter(|edit| edit.kind == EditKind::Slot);
    let stub = slots.find_map(|slot| trailer_at(slot, source));
    let loader = stub.as_ref().and_then(|stub| stub.loader.clone());
    PriorWrap {
        method: Method::Stub,
        progress,
        rewritten: false,
        derived: false,
        without_interp: false,
        passed_over: None,
        not_found_at: None,
        bytes_of: None,
        settings: Settings::of_sidecar(sidecar, loader.as_deref()),
        sidecar_path: sidecar_path.to_owned(),
        sidecar_modified: None,
        is_next_to_file,
        is_interim: is_interim(sidecar_path),
        id,
        edits,
        links: Vec::new(),
        tool: sidecar.header().tool,
        has_stub: stub.is_some(),
        own_sidecar: stub
            .filter(|stub| stub.loader.is_none())
            .map(|stub| stub.sidecar),
        loader,
        sidecar: bytes.to_vec(),
    }
}

/// The state of a copy of a wrapped program, whose sidecar `gone` does not exist. The program next to that path may have the original
/// bytes, in its own sidecar or because it was restored. The identity in the stub proves that they are the right ones.
fn from_origin(
    code: &Range<u64>,
    stub: &Stub,
    gone: &Path,
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
) -> Option<PriorWrap> {
    let path = program_of(gone)?;
    let mut origin = Source::open(&path).ok()?;
    let ownership = Ownership::from(origin.metadata());
    if FileId::from(origin.metadata()) == FileId::from(source.metadata())
        || !is_no_weaker(ownership, source)
    {
        return None;
    }
    let raw = Elf::read(&mut origin).ok()?;
    match state_by_sidecar(&path, &raw, &mut origin, stages, false) {
        State::Original => {}
        State::Known(prior) if prior.passed_over.is_none() => {}
        _ => return None,
    }
    let original_elf = Elf::read(&mut origin).ok()?;
    let slot_len = code.end - code.start + stub.trailer_len;
    let original = origin.read(code.start, slot_len).ok()?;
    let stub_len = u32::try_from(code.end - code.start).ok()?;
    if identity(&original_elf, &original, stub_len) != stub.id {
        return None;
    }
    let interp = legacy::former_interp(elf, source)?;
    let edits = edits_of_stub(code.start, original, original_elf.entry, Some(interp), elf);
    for edit in &edits {
        source.lay_over(edit.offset, &edit.original);
    }
    Some(PriorWrap {
        method: Method::Stub,
        progress: Progress::Done,
        rewritten: false,
        derived: false,
        without_interp: false,
        passed_over: None,
        not_found_at: None,
        bytes_of: Some(path),
        settings: Settings::default(),
        sidecar_path: gone.to_owned(),
        sidecar_modified: None,
        is_next_to_file: false,
        is_interim: false,
        id: stub.id,
        edits,
        links: Vec::new(),
        tool: ToolVersion::default(),
        has_stub: true,
        own_sidecar: stub.loader.is_none().then(|| stub.sidecar.clone()),
        loader: stub.loader.clone(),
        sidecar: Vec::new(),
    })
}

impl Progress {
    /// `is_stub` checks whether the slot has a stub.
    fn of(
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

/// Lays the original bytes over a file edited in place; `None` if the sidecar is not one of such a file, or belongs to another.
fn in_place(
    sidecar_path: &Path,
    elf: &Elf,
    source: &mut Source,
    bytes: &[u8],
) -> Option<PriorWrap> {
    let record = InPlace::parse(bytes).ok()?;
    if (record.machine, record.class) != (elf.machine, elf.class) {
        return None;
    }
    for written in record.edits() {
        source.lay_over(written.edit.offset, written.edit.original);
    }
    // The identity covers these bytes: it proves that they belong to this file.
    let original = Elf::read(source);
    let settings = match &original {
        Ok(original) => Settings::of_file(elf, original),
        Err(_) => Settings::default(),
    };
    let id = original.and_then(|original| identity_in_place(&original, source));
    let same = id.is_ok_and(|id| id == record.id);
    let rewritten = !same && lay_over_entries(&record, elf, source);
    if !same && !rewritten {
        source.uncover();
        return None;
    }
    let past = record.edits().map(|one| PastEdit {
        kind: one.edit.kind,
        offset: one.edit.offset,
        original: one.edit.original.to_vec(),
        written: Some(one.written.to_vec()),
    });
    let edits: Vec<PastEdit> = past.collect();
    let progress = Progress::of(&edits, source, |_, _| false);
    let links = record
        .links()
        .map(|name| OsStr::from_bytes(name).to_owned());
    Some(PriorWrap {
        method: Method::InPlace,
        progress,
        rewritten,
        derived: false,
        without_interp: false,
        passed_over: None,
        not_found_at: None,
        bytes_of: None,
        settings,
        sidecar_path: sidecar_path.to_owned(),
        sidecar_modified: None,
        is_next_to_file: true,
        is_interim: is_interim(sidecar_path),
        id: record.id,
        links: links.collect(),
        tool: record.tool,
        has_stub: false,
        loader: None,
        own_sidecar: None,
        edits,
        sidecar: bytes.to_vec(),
    })
}

/// Lays the originals over those entries of .dynamic and strings that are still as they were written. Returns true if there are such
/// entries: the file is then the same one, rewritten by another tool.
fn lay_over_entries(record: &InPlace<'_>, elf: &Elf, source: &mut Source) -> bool {
    source.uncover();
    // PT_INTERP still describes the new path, so that string is in use.
    let mut segments = elf.segments.iter();
    let interp = segments.find(|segment| segment.kind == elf::PT_INTERP);
    let in_use = |edit: &Edit<'_>| {
        interp.is_some_and(|interp| {
            let end = edit.end().unwrap_or(u64::MAX);
            edit.offset < interp.file_end() && interp.offset < end
        })
    };
    let mut ours = false;
    for Written { edit, written } in record.edits() {
        let there = source.read_raw(edit.offset, written.len() as u64);
        let left = there.is_ok_and(|there| there == written);
        let kind = matches!(edit.kind, EditKind::Dynamic | EditKind::Text);
        if left && kind && !in_use(&edit) {
            source.lay_over(edit.offset, edit.original);
            ours |= edit.kind == EditKind::Dynamic;
        }
    }
    ours && Elf::read(source).is_ok()
}

fn has_id(bytes: &[u8], id: Id) -> bool {
    Sidecar::parse(bytes).is_ok_and(|sidecar| sidecar.header().id == id)
}

/// Reads the sidecar of this tool at `path`.
pub fn read(path: &Path) -> Option<Vec<u8>> {
    match FoundSidecar::at(path, 0) {
        FoundSidecar::Readable(found) => Some(found.bytes),
        FoundSidecar::Nothing | FoundSidecar::Unknown(_) => None,
    }
}

/// Whether everybody who can write the sidecar can write the file: its bytes will be written to the file.
fn is_no_weaker(sidecar: Ownership, source: &Source) -> bool {
    sidecar.is_no_weaker_than(Ownership::from(source.metadata()))
}

/// Lays the sidecar's original bytes over the file, if they belong to it.
fn undo(elf: &Elf, source: &mut Source, sidecar: &Sidecar<'_>) -> Option<Vec<PastEdit>> {
    let edits = sidecar.edits().collect::<Result<Vec<_>, _>>().ok()?;
    let table = elf.phoff..elf.phoff + elf.program_headers.len() as u64;
    let mut original = elf.clone();
    for edit in &edits {
        let end = edit.offset.checked_add(edit.original.len() as u64)?;
        let sidecar_path = match edit.kind {
            EditKind::Slot => edit.original == sidecar.slot() && end <= elf.file_len,
            EditKind::Entry => end <= elf.header.len() as u64,
            EditKind::Interp => table.contains(&edit.offset) && end <= table.end,
            // These kinds do not occur in the sidecar of a wrapped program.
            EditKind::Text | EditKind::Dynamic | EditKind::Segment | EditKind::Section => false,
        };
        if !sidecar_path {
            return None;
        }
        lay_over(&mut original.header, 0, edit);
        lay_over(&mut original.program_headers, elf.phoff, edit);
    }
    // The identity covers these bytes: it proves that they belong to this file.
    let header = sidecar.header();
    let same_kind = (header.machine, header.class) == (elf.machine, elf.class);
    let same = same_kind && identity(&original, sidecar.slot(), header.stub_len) == header.id;
    if !same {
        return None;
    }
    let past = edits.iter().map(|edit| {
        source.lay_over(edit.offset, edit.original);
        PastEdit {
            kind: edit.kind,
            offset: edit.offset,
            original: edit.original.to_vec(),
            written: match edit.kind {
                EditKind::Interp => Some(elf::PT_NULL.to_le_bytes().to_vec()),
                EditKind::Entry => {
                    let address = header.slot_address.to_le_bytes();
                    address.get(..edit.original.len()).map(<[u8]>::to_vec)
                }
                _ => None,
            },
        }
    });
    Some(past.collect())
}

/// Writes the original bytes of `edit` into a table that begins at file offset `start`, as far as they are in it.
fn lay_over(table: &mut [u8], start: u64, edit: &Edit<'_>) {
    for (at, &byte) in (edit.offset..).zip(edit.original) {
        let index = at
            .checked_sub(start)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(sidecar_path) = index.and_then(|index| table.get_mut(index)) {
            *sidecar_path = byte;
        }
    }
}
