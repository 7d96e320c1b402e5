//! Recognises what earlier runs have left: files that are wrapped or edited in place, and those that a stopped run left half
//! done.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use object::elf;
use sidecar::{
    Edit, EditKind, Id, InPlace, LINE_OFFSET, LINE_START, Legacy, Sidecar, ToolVersion, Trailer,
    Written,
};
use stages::Stage;

use crate::scan::Candidate;
use crate::state::found_sidecar::{FoundSidecar, UnknownSidecar};
use crate::state::identity::{identity, identity_in_place};
use crate::state::legacy;
use crate::state::limits::check_loader_takes;
use crate::state::past_edit::PastEdit;
use crate::state::settings::Settings;
use crate::state::unusable::{ReadFailure, Unusable};
use crate::system::privilege::Privilege;
use crate::system::sidecar_path::{
    interim_of, interim_sidecar_of, is_interim, program_of, sidecar_of,
};
use crate::system::trust::Ownership;
use elf_file::bytes;
use elf_file::io_reason;
use elf_file::{Elf, FileId, Identity, Segment, Source, identify};

/// Bytes of stub looked through for the trailer behind it.
const MAX_STUB: u64 = 4096;

/// Bytes at an entry point looked through for the trailer of a stub of another build: no stub was ever longer than 384 bytes.
const MAX_FOUND_STUB: u64 = 512;

/// What earlier runs have left.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Original,
    /// Something, and the original bytes are known: [`Source::lay_over`] has been told of them.
    Known(Box<PriorWrap>),
    Unusable(Unusable),
}

impl State {
    /// Whether the file `elf` has lost its PT_INTERP by being wrapped. Where its original headers are not known, a PT_NULL was that.
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

    /// Why nothing can be done to the file; none for a file that can be worked on. Every command says the same.
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

/// How ld.so is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Stub,
    /// By edits of the file itself.
    InPlace,
    /// By the first wrap-buddy.
    Legacy,
}

/// How far the edits are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Nothing,
    /// Some, or parts.
    Half,
    Done,
    /// What stands there is neither what stood there before nor what was written.
    Changed,
}

/// What an earlier run has left, with the sidecar that describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct PriorWrap {
    /// How the file was dealt with.
    pub method: Method,
    pub progress: Progress,
    /// Whether the file was rewritten since by something that keeps .dynamic, such as strip: it is another file now, with
    /// entries of ours in it and, mostly, without the strings. Only in place.
    pub rewritten: bool,
    /// Whether the file is another one than the sidecar was written for, and has its stub: a program that wrote a new one out of
    /// itself copied it, or something rewrote the file and kept it. Only with a stub.
    pub derived: bool,
    /// Of such a file: the program header that was the PT_INTERP is used for something else.
    pub without_interp: bool,
    /// Such a sidecar, although the program starts: the loader trusts it for the loader's owner, or uses another one.
    pub passed_over: Option<Unusable>,
    /// Where a start looks for the sidecar, if that is not where it was found: the program does not start.
    pub not_found_at: Option<PathBuf>,
    /// The program that this one is a copy of, where the sidecar is gone and that program still has the original bytes.
    pub bytes_of: Option<PathBuf>,
    /// What ld.so is told.
    pub settings: Settings,
    /// Where the sidecar was found.
    pub sidecar_path: PathBuf,
    /// When it was modified: as the original file, where it [keeps](Self::keeps_time) that time.
    pub sidecar_modified: Option<SystemTime>,
    /// Whether that is next to the file, under a name made from its own.
    pub is_beside: bool,
    /// Whether that name is the one of the time in which a sidecar takes the place of another: a run was stopped then.
    pub is_interim: bool,
    /// The sidecar; empty where it is gone.
    pub sidecar: Vec<u8>,
    /// What ties it to the file.
    pub id: Id,
    /// The edits, in the order in which they were written.
    pub edits: Vec<PastEdit>,
    /// Names of links in the directory beside the file.
    pub links: Vec<OsString>,
    /// Version of the tool that did it.
    pub tool: ToolVersion,
    /// Whether a stub with its trailer stands in the file.
    pub has_stub: bool,
    /// What that starts, absolute or relative to the directory of the file; none where that is in the sidecar.
    pub loader: Option<PathBuf>,
    /// Where it looks for a sidecar with the loader in it, absolute or relative likewise; none where there is a loader.
    pub own_sidecar: Option<PathBuf>,
}

impl PriorWrap {
    /// Whether the sidecar's time of modification is that of the file as it originally was. The first wrap-buddy kept no time.
    pub fn keeps_time(&self) -> bool {
        self.method != Method::Legacy && !self.derived && !self.rewritten && self.bytes_of.is_none()
    }

    /// Whether the file is as the sidecar says.
    fn is_done(&self) -> bool {
        self.progress == Progress::Done && !self.rewritten
    }

    /// Whether a run was stopped before it was as the sidecar says.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.progress, Progress::Nothing | Progress::Half) && !self.rewritten
    }

    /// When the file `now` was last modified before any run; none where that is not known. While nothing is written to it, it may
    /// have that time itself: a run that was stopped had not given it to a new sidecar yet, or not back to the file. Either got a
    /// later one then.
    pub fn original_time(&self, now: &Metadata) -> Option<SystemTime> {
        let kept = self.sidecar_modified.filter(|_| self.keeps_time())?;
        let own = now.modified().ok();
        match self.progress {
            Progress::Nothing => Some(own.map_or(kept, |own| own.min(kept))),
            _ => Some(kept),
        }
    }

    /// The sidecar, if it is one of the first wrap-buddy.
    pub fn legacy(&self) -> Option<Legacy<'_>> {
        // Read as one of a 64-bit program, that of a 32-bit program has a string's first letters for the highest bytes of the
        // number of original bytes.
        let mut classes = [elf::ELFCLASS64, elf::ELFCLASS32].into_iter();
        let is_legacy = self.method == Method::Legacy;
        is_legacy.then(|| classes.find_map(|class| Legacy::parse(&self.sidecar, class).ok()))?
    }

    /// The edit of this kind, if there is one.
    pub fn edit(&self, kind: EditKind) -> Option<&PastEdit> {
        self.edits.iter().find(|edit| edit.kind == kind)
    }
}

/// What a file is to commands that only care for what earlier runs have left.
pub enum FileState {
    /// Nothing that could ever have been wrapped.
    NotElf,
    Unreadable(ReadFailure),
    /// A file that may have been.
    File(Box<Source>, State),
}

/// Looks at a file.
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

/// Finds out what earlier runs have left of the file at `path`, absolute.
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

/// Whether the file is one that could be an original, as it reads with the original bytes laid over it.
fn check_plausible(prior: &PriorWrap, source: &mut Source) -> Result<()> {
    let elf = Elf::read(source)?;
    match prior.method {
        Method::InPlace => Ok(()),
        Method::Stub | Method::Legacy => check_program(&elf),
    }
}

/// Whether the kernel could start the program `elf`: what this refuses is neither wrapped nor restored.
pub fn check_program(elf: &Elf) -> Result<()> {
    let interp = elf.interp.as_ref().context("it has no PT_INTERP")?;
    let path = interp.path.as_bytes();
    ensure!(
        !path.is_empty() && !path.iter().any(u8::is_ascii_control),
        "its PT_INTERP is no path"
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

/// `with_origin`: where a stub's sidecar is gone, the original bytes may come from the program that this one is a copy of.
fn state_by_sidecar(
    path: &Path,
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
    with_origin: bool,
) -> State {
    let beside = sidecar_of(path);
    let looked_at = match FoundSidecar::beside(&beside, elf.class) {
        FoundSidecar::Nothing => Ok(None),
        FoundSidecar::Readable(found) if !is_no_weaker(found.ownership, source) => {
            Err(Unusable::Untrusted(beside.clone()))
        }
        FoundSidecar::Readable(found) => Ok(Some(found)),
        FoundSidecar::Unknown(reason) => Err(Unusable::UnknownSidecar {
            sidecar: beside.clone(),
            reason,
        }),
    };
    let found = match looked_at {
        Ok(found) => found,
        // A start may pass it over, or trust it for the loader's owner.
        Err(unusable) => {
            return match state_with(None, beside, elf, source, stages, false) {
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
    let mut state = state_with(bytes, beside.clone(), elf, source, stages, with_origin);
    if bytes.is_some() && !state.is_done() {
        source.uncover();
        if let Some(prior) = by_interim_sidecar(path, elf, source, stages) {
            return State::Known(prior);
        }
        source.uncover();
        state = state_with(bytes, beside.clone(), elf, source, stages, with_origin);
    }
    if let State::Known(prior) = &mut state
        && prior.sidecar_path == beside
    {
        prior.sidecar_modified = found.and_then(|found| found.modified);
    }
    state
}

/// What a run that was stopped has left of a file that it had given other settings: the sidecar of these has not got its usual name
/// yet.
fn by_interim_sidecar(
    path: &Path,
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
) -> Option<Box<PriorWrap>> {
    let sidecar_path = interim_sidecar_of(path);
    let FoundSidecar::Readable(found) = FoundSidecar::beside(&sidecar_path, elf.class) else {
        return None;
    };
    if !is_no_weaker(found.ownership, source) {
        return None;
    }
    let bytes = Some(&*found.bytes);
    match state_with(bytes, sidecar_path, elf, source, stages, false) {
        State::Known(mut prior) if prior.is_done() && prior.is_beside => {
            prior.sidecar_modified = found.modified;
            Some(prior)
        }
        _ => None,
    }
}

/// The same, with the content of the sidecar at `beside`.
fn state_with(
    bytes: Option<&[u8]>,
    beside: PathBuf,
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
    with_origin: bool,
) -> State {
    let directory = beside.parent().unwrap_or(Path::new("/"));
    if let Some(prior) = bytes.and_then(|bytes| in_place(&beside, elf, source, bytes)) {
        return State::Known(Box::new(prior));
    }
    let former_interp = legacy::former_interp(elf, source);
    let mut stub = code_at_entry(elf, source, stages);
    stub = stub.or_else(|| described_by(bytes?, source));
    if former_interp.is_some() {
        stub = stub.or_else(|| stub_of_another_build(elf, source));
    }
    if elf.interp.is_some() {
        // PT_INTERP is the last thing a run changes: with it, a stub is what a stopped run left.
        let half_done = bytes.and_then(|bytes| known(&beside, true, elf, source, bytes));
        if let Some(prior) = half_done {
            return State::Known(Box::new(prior));
        }
    }
    match stub {
        Some((_, stub)) if elf.interp.is_some() => {
            return State::Unusable(Unusable::Orphan(directory.join(stub.sidecar)));
        }
        Some((code, stub)) => {
            let state = match wrapped(&code, &stub, &beside, elf, source) {
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
        (None, Some(_)) => State::Unusable(Unusable::Orphan(beside)),
        (Some((bytes, legacy)), interp) => {
            by_first_tool(beside, bytes, &legacy, interp, elf, source)
        }
    }
}

/// What the first wrap-buddy has left: its sidecar at `beside`, and the program header `interp` that was the PT_INTERP.
fn by_first_tool(
    beside: PathBuf,
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
                sidecar: beside,
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
        sidecar_path: beside,
        sidecar_modified: None,
        is_beside: true,
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

/// What the trailer behind a stub says.
#[derive(Debug)]
pub struct Stub {
    /// What ties it to its sidecar.
    pub id: Id,
    /// What it starts, absolute or relative to the directory of the file; none where that is in the sidecar.
    pub loader: Option<PathBuf>,
    /// Where its sidecar is.
    pub sidecar: PathBuf,
    /// Bytes of the trailer.
    trailer_len: u64,
}

/// A program without PT_INTERP that has this stub, with its code at `code`. Its sidecar is looked for as by a start (loader/src/locate.rs,
/// loader/src/trust.rs), then under the file's own name.
fn wrapped(code: &Range<u64>, stub: &Stub, beside: &Path, elf: &Elf, source: &mut Source) -> State {
    let directory = beside.parent().unwrap_or(Path::new("/"));
    let in_directory = directory.join(stub.sidecar.file_name().unwrap_or_default());
    // A path that is absolute replaces the directory.
    let named = directory.join(&stub.sidecar);
    let is_secure = Privilege::of(source.file(), source.metadata()).is_some();
    // How many of them a start looks at. That of a self-contained stub is `status::own_loader_problem`'s to judge.
    let (sidecar_paths, by_start) = match &stub.loader {
        None if !is_interim(&in_directory) => ([beside, &named, &in_directory], 3),
        None => ([&*in_directory, &named, beside], 3),
        Some(_) if is_secure => ([&*named, &in_directory, beside], 1),
        Some(_) => ([&*in_directory, &named, beside], 2),
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
    let is_beside = sidecar_path == beside || *sidecar_path == interim_of(beside);
    let known = known(sidecar_path, is_beside, elf, source, &bytes)
        .or_else(|| known_of_derived(code, sidecar_path, is_beside, elf, source, &bytes));
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

/// Whether a start trusts the sidecar because of who owns the loader that runs by then.
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

/// Lays the original bytes of a wrapped program over it, if the sidecar at `place`, which is `bytes`, is this program's.
fn known(
    sidecar_path: &Path,
    is_beside: bool,
    elf: &Elf,
    source: &mut Source,
    bytes: &[u8],
) -> Option<PriorWrap> {
    let sidecar = Sidecar::parse(bytes).ok()?;
    let edits = undo(elf, source, &sidecar)?;
    Some(by_stub(
        sidecar_path,
        is_beside,
        source,
        bytes,
        &sidecar,
        edits,
    ))
}

/// The same for a file that is not the one the sidecar was written for, but has its stub and all that goes with it: e_entry
/// leads to the stub, and a PT_NULL stands where the PT_INTERP was.
fn known_of_derived(
    code: &Range<u64>,
    sidecar_path: &Path,
    is_beside: bool,
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
    let prior = by_stub(sidecar_path, is_beside, source, bytes, &sidecar, edits);
    Some(PriorWrap {
        derived: true,
        without_interp,
        ..prior
    })
}

/// Whether the program header that the sidecar says was the PT_INTERP is used for something else.
fn is_interp_reused(elf: &Elf, sidecar: &Sidecar<'_>) -> bool {
    let header_len = elf.program_headers.len() / elf.segments.len().max(1);
    let mut edits = sidecar.edits().flatten();
    let edit = edits.find(|edit| edit.kind == EditKind::Interp);
    let at = edit.and_then(|edit| edit.offset.checked_sub(elf.phoff));
    let index = at.map(|at| at as usize / header_len.max(1));
    let header = index.and_then(|index| elf.segments.get(index));
    elf.interp.is_none() && header.is_some_and(|header| header.kind != elf::PT_NULL)
}

/// The edits of a program that has a stub, in the order in which they are made. `entry`: the original e_entry.
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
    // e_entry follows e_ident, e_type, e_machine and e_version in either class.
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

/// What the sidecar at `place` says of the program open as `source`, whose original bytes are known from `edits`.
fn by_stub(
    sidecar_path: &Path,
    is_beside: bool,
    source: &mut Source,
    bytes: &[u8],
    sidecar: &Sidecar<'_>,
    edits: Vec<PastEdit>,
) -> PriorWrap {
    let id = sidecar.header().id;
    let trailer_at = |edit: &PastEdit, source: &mut Source| {
        let stub_len = u64::from(sidecar.header().stub_len);
        trailer_at(source, edit.offset.checked_add(stub_len)?)
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
        is_beside,
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

/// A copy of a wrapped program, without the sidecar at `gone`: the program that had it is next to that, and may have the
/// original bytes, in its own sidecar or because it was restored. The stub's identity proves that they are the right ones.
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
        is_beside: false,
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
    /// Looks at every edit; `is_stub` tells whether the slot has a stub in it.
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

/// Lays the original bytes of a file edited in place over it; nothing if the sidecar is not such a file's, or another's.
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
    // The identity covers what matters of these bytes: it says whether they are this file's.
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
        is_beside: true,
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

/// Lays the originals over what is still as it was written of entries of .dynamic and strings; says whether there are any such
/// entries, which tell that the file is the same, rewritten.
fn lay_over_entries(record: &InPlace<'_>, elf: &Elf, source: &mut Source) -> bool {
    source.uncover();
    // PT_INTERP goes on describing the path it was made to: that string is in use.
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

/// The sidecar of this tool at `path`, if that is one.
pub fn read(path: &Path) -> Option<Vec<u8>> {
    match FoundSidecar::at(path, 0) {
        FoundSidecar::Readable(found) => Some(found.bytes),
        FoundSidecar::Nothing | FoundSidecar::Unknown(_) => None,
    }
}

/// Whether nobody can write the sidecar who cannot write the file: its bytes go into the file again.
fn is_no_weaker(sidecar: Ownership, source: &Source) -> bool {
    sidecar.is_no_weaker_than(Ownership::from(source.metadata()))
}

/// Where in the file a stub of this build is, from its first byte to its trailer, and what that says.
pub fn code_at_entry(
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
) -> Option<(Range<u64>, Stub)> {
    let at = elf.offset_of(elf.entry)?;
    let mut codes: Vec<&[u8]> = Vec::new();
    for stage in stages.iter().filter(|stage| stage.machine == elf.machine) {
        codes.extend(stage.stubs());
    }
    codes.into_iter().find_map(|code| {
        let found = source.read_raw(at, code.len() as u64).ok()?;
        let end = at + code.len() as u64;
        let stub = (!code.is_empty() && found == code).then(|| trailer_at(source, end))??;
        Some((at..end, stub))
    })
}

/// The same of a stub of any build, by how its trailer begins.
fn stub_of_another_build(elf: &Elf, source: &mut Source) -> Option<(Range<u64>, Stub)> {
    let at = elf.offset_of(elf.entry)?;
    let len = MAX_FOUND_STUB.min(source.file_len().checked_sub(at)?);
    let code = source.read_raw(at, len).ok()?;
    let line = bytes::occurrences(&code, LINE_START).next()?;
    let end = at + line.checked_sub(LINE_OFFSET)? as u64;
    Some((at..end, trailer_at(source, end)?))
}

/// What the trailer at offset `at` says.
pub fn trailer_at(source: &mut Source, at: u64) -> Option<Stub> {
    // Two paths of PATH_MAX and the fixed part.
    let most = 2 * 4096 + sidecar::LOADER_OFFSET as u64;
    let bytes = source
        .read_raw(at, most.min(source.file_len().checked_sub(at)?))
        .ok()?;
    let trailer = Trailer::parse(&bytes).ok()?;
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let (loader, sidecar) = match trailer.sidecar {
        [] => (None, path(trailer.loader)),
        sidecar => (Some(path(trailer.loader)), path(sidecar)),
    };
    Some(Stub {
        id: trailer.id,
        trailer_len: trailer.encoded_len() as u64,
        loader,
        sidecar,
    })
}

/// The same, of a stub of any build, when the sidecar beside the program, which is `bytes`, says where it is.
fn described_by(bytes: &[u8], source: &mut Source) -> Option<(Range<u64>, Stub)> {
    let sidecar = Sidecar::parse(bytes).ok()?;
    let slot = sidecar
        .edits()
        .flatten()
        .find(|edit| edit.kind == EditKind::Slot)?;
    let stub_len = u64::from(sidecar.header().stub_len);
    let trailer = (stub_len <= MAX_STUB).then(|| slot.offset.checked_add(stub_len))??;
    let stub = trailer_at(source, trailer)?;
    (stub.id == sidecar.header().id).then_some((slot.offset..trailer, stub))
}

/// Lays a sidecar's original bytes over the file, if they are this file's.
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
            // Not in a sidecar of a wrapped program.
            EditKind::Text | EditKind::Dynamic | EditKind::Segment | EditKind::Section => false,
        };
        if !sidecar_path {
            return None;
        }
        lay_over(&mut original.header, 0, edit);
        lay_over(&mut original.program_headers, elf.phoff, edit);
    }
    // The identity covers all these bytes: it says whether they are this file's.
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

/// Puts the original bytes of `edit` into a table that is at `start` in the file, as far as they belong there.
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
