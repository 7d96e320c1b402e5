//! Detects the state of a file: original, wrapped, edited in place, or left half done by a stopped run.

use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use object::elf;
use sidecar::{Id, Legacy, Sidecar};
use stages::Stage;

use crate::scan::Target;
use crate::state::edited::in_place;
use crate::state::found_sidecar::{FoundSidecar, UnknownSidecar};
use crate::state::identity::identity;
use crate::state::legacy;
use crate::state::prior::{Method, PriorWrap, State};
use crate::state::settings::Settings;
use crate::state::stub::{self, Stub};
use crate::state::unusable::{ReadFailure, Unusable};
use crate::state::wrapped::{edits_of_stub, known, known_by_record, known_of_derived};
use crate::system::privilege::Privilege;
use crate::system::sidecar_path::{
    interim_of, interim_sidecar_of, is_interim, program_of, sidecar_of,
};
use crate::system::trust::Ownership;
use elf_file::io_reason;
use elf_file::{Elf, FileId, Identity, Segment, Source, identify};
use ldso::Root;

/// The state of a file for commands that do not plan.
pub enum FileState {
    /// Not a file that can be wrapped.
    NotElf,
    Unreadable(ReadFailure),
    /// An ELF file.
    File(Box<Source>, State),
}

pub fn file_state(target: &Target, stages: &[Stage]) -> FileState {
    let mut source = match target.open().and_then(Source::of) {
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
            let state = state(&target.root, &target.path, &elf, &mut source, stages);
            FileState::File(Box::new(source), state)
        }
        Err(error) => FileState::Unreadable(ReadFailure::malformed(&error)),
    }
}

/// The state of the file at `path`, which is absolute in `root`, as are all paths in the state.
pub fn state(root: &Root, path: &Path, elf: &Elf, source: &mut Source, stages: &[Stage]) -> State {
    let state = state_by_sidecar(root, path, elf, source, stages, true);
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
    let offset = elf.offset_of(elf.entry_address()).filter(|_| {
        let mut loads = elf.loads();
        let has_entry =
            |load: &Segment| load.flags & elf::PF_X != 0 && load.contains(elf.entry_address());
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
    root: &Root,
    path: &Path,
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
    with_origin: bool,
) -> State {
    let adjacent = sidecar_of(path);
    let looked_at = match FoundSidecar::next_to(&root.real_on_host(&adjacent), elf.class) {
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
            return match state_with(root, None, adjacent, elf, source, stages, false) {
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
    let judge = |source: &mut Source| {
        let adjacent = adjacent.clone();
        state_with(root, bytes, adjacent, elf, source, stages, with_origin)
    };
    let mut state = judge(source);
    if bytes.is_some() && !state.is_done() {
        source.uncover();
        if let Some(prior) = by_interim_sidecar(root, path, elf, source, stages) {
            return State::Known(prior);
        }
        source.uncover();
        state = judge(source);
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
    root: &Root,
    path: &Path,
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
) -> Option<Box<PriorWrap>> {
    let sidecar_path = interim_sidecar_of(path);
    let FoundSidecar::Readable(found) =
        FoundSidecar::next_to(&root.real_on_host(&sidecar_path), elf.class)
    else {
        return None;
    };
    if !is_no_weaker(found.ownership, source) {
        return None;
    }
    let bytes = Some(&*found.bytes);
    match state_with(root, bytes, sidecar_path, elf, source, stages, false) {
        State::Known(mut prior) if prior.is_done() && prior.is_next_to_file => {
            prior.sidecar_modified = found.modified;
            Some(prior)
        }
        _ => None,
    }
}

/// The state with the sidecar `bytes` at `adjacent`.
fn state_with(
    root: &Root,
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
            let state = match wrapped(root, &code, &stub, &adjacent, elf, source) {
                State::Unusable(Unusable::Orphan(gone)) if with_origin => {
                    let origin = from_origin(root, &code, &stub, &gone, elf, source, stages);
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
    let settings = Settings::of_legacy(legacy);
    State::Known(Box::new(PriorWrap {
        is_next_to_file: true,
        sidecar: bytes.to_vec(),
        ..PriorWrap::new(Method::Legacy, adjacent, settings, edits)
    }))
}

/// The state of a program without PT_INTERP that has this stub, with its code at `code`. The sidecar is searched for as at a start
/// (loader/src/locate.rs, loader/src/trust.rs), and then under the file's own name.
fn wrapped(
    root: &Root,
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
    let has_own = |sidecar_path: &Path| match FoundSidecar::at(
        &root.entry_on_host(sidecar_path),
        elf.class,
    ) {
        FoundSidecar::Readable(found) if has_id(&found.bytes, stub.id) => Some(found),
        _ => None,
    };
    let mut found = sidecar_paths.into_iter();
    let Some((sidecar_path, found)) =
        found.find_map(|sidecar_path| Some((sidecar_path, has_own(sidecar_path)?)))
    else {
        let by_record = known_by_record(code, stub, &named, adjacent, elf, source);
        return by_record.map_or(State::Unusable(Unusable::Orphan(named.clone())), |prior| {
            State::Known(Box::new(prior))
        });
    };
    let is_found_by_start =
        !stub.record.is_empty() || sidecar_paths[..by_start].contains(&sidecar_path);
    let not_found_at = (!is_found_by_start).then(|| sidecar_paths[0].to_owned());
    let trusted = is_no_weaker(found.ownership, source);
    if !trusted && let Some(prior) = known_by_record(code, stub, &named, adjacent, elf, source) {
        return State::Known(Box::new(PriorWrap {
            passed_over: Some(Unusable::Untrusted(sidecar_path.to_owned())),
            ..prior
        }));
    }
    if !trusted
        && (is_secure || !is_no_weaker_for_loader(root, found.ownership, stub, directory, source))
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
    root: &Root,
    sidecar: Ownership,
    stub: &Stub,
    directory: &Path,
    source: &Source,
) -> bool {
    let loader = stub.loader.as_ref().map(|loader| directory.join(loader));
    let loader = loader.and_then(|loader| root.on_host(&loader).metadata().ok());
    loader.is_some_and(|loader| {
        let program = Ownership::from(source.metadata());
        sidecar.is_no_weaker_than(program.with_owner_of(&loader))
    })
}

/// The state of a copy of a wrapped program, whose sidecar `gone` does not exist. The program next to that path may have the original
/// bytes, in its own sidecar or because it was restored. The identity in the stub proves that they are the right ones.
fn from_origin(
    root: &Root,
    code: &Range<u64>,
    stub: &Stub,
    gone: &Path,
    elf: &Elf,
    source: &mut Source,
    stages: &[Stage],
) -> Option<PriorWrap> {
    let path = program_of(gone)?;
    let mut origin = Source::open(&root.on_host(&path)).ok()?;
    let ownership = Ownership::from(origin.metadata());
    if FileId::from(origin.metadata()) == FileId::from(source.metadata())
        || !is_no_weaker(ownership, source)
    {
        return None;
    }
    let raw = Elf::read(&mut origin).ok()?;
    match state_by_sidecar(root, &path, &raw, &mut origin, stages, false) {
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
        bytes_of: Some(path),
        id: stub.id,
        has_stub: true,
        own_sidecar: stub.loader.is_none().then(|| stub.sidecar.clone()),
        loader: stub.loader.clone(),
        ..PriorWrap::new(Method::Stub, gone.to_owned(), Settings::default(), edits)
    })
}

fn has_id(bytes: &[u8], id: Id) -> bool {
    Sidecar::parse(bytes).is_ok_and(|sidecar| sidecar.header().id == id)
}

/// Reads the sidecar of this tool at `path` in `root`.
pub fn read(root: &Root, path: &Path) -> Option<Vec<u8>> {
    match FoundSidecar::at(&root.entry_on_host(path), 0) {
        FoundSidecar::Readable(found) => Some(found.bytes),
        FoundSidecar::Nothing | FoundSidecar::Unknown(_) => None,
    }
}

/// Whether everybody who can write the sidecar can write the file: its bytes will be written to the file.
fn is_no_weaker(sidecar: Ownership, source: &Source) -> bool {
    sidecar.is_no_weaker_than(Ownership::from(source.metadata()))
}
