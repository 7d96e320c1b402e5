//! Recognises what earlier runs have left: files that are wrapped or edited in place, and those that a stopped run left half
//! done.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::elf;
use sidecar::{Edit, EditKind, Id, InPlace, Sidecar, ToolVersion, Trailer, Written};
use stages::Stage;

use crate::foreign::edits_of_another_tool;
use crate::inspect::{Elf, Identity, Source, identify};
use crate::naming::{identity, identity_in_place, sidecar_name};
use crate::scan::{Candidate, io_reason};

/// Bytes of stub looked through for the trailer behind it.
const MAX_STUB: u64 = 4096;

/// A sidecar is a few kilobytes; nothing larger is one.
const MAX_SIDECAR: u64 = 16 << 20;

/// What earlier runs have left.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Original,
    /// Something, and the original bytes are known: [`Source::lay_over`] has been told of them.
    Known(Box<Earlier>),
    /// Wrapped, and changed since: its sidecar, at this path, describes another file.
    Changed(PathBuf),
    /// Wrapped, but no sidecar with its identity is where it will be looked for, this path first.
    Orphan(PathBuf),
    /// Who can write the sidecar at this path could not write the file: what it says must not get there.
    Untrusted(PathBuf),
}

/// How ld.so is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a stub.
    Stub,
    /// By edits of the file itself.
    InPlace,
    /// By the first wrap-buddy.
    Foreign,
}

/// How far the edits are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// None of them.
    Nothing,
    /// Some, or parts.
    Half,
    /// All of them.
    Done,
    /// What stands there is neither what stood there before nor what was written.
    Changed,
}

/// An edit of an earlier run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEdit {
    /// What it was for.
    pub kind: EditKind,
    /// Offset in the file.
    pub offset: u64,
    /// What stood there before.
    pub original: Vec<u8>,
    /// What was written; not known of a stub.
    pub written: Option<Vec<u8>>,
}

/// What an earlier run has left, with the sidecar that describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Earlier {
    /// How the file was dealt with.
    pub way: Way,
    /// How far.
    pub progress: Progress,
    /// Whether the file was rewritten since by something that keeps .dynamic, such as strip: it is another file now, with
    /// entries of ours in it and, mostly, without the strings. Only in place.
    pub rewritten: bool,
    /// Where the sidecar was found.
    pub sidecar_path: PathBuf,
    /// Whether that is beside the file, under its own name.
    pub is_beside: bool,
    /// The sidecar.
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

/// What to do about [`State::Untrusted`].
pub fn untrusted(sidecar: &Path) -> String {
    format!(
        "its sidecar {} can be written by somebody who cannot write the file: remove it if it is not yours, else give it the file's owner and mode",
        sidecar.display()
    )
}

impl Earlier {
    /// The edit of this kind, if there is one.
    pub fn edit(&self, kind: EditKind) -> Option<&PastEdit> {
        self.edits.iter().find(|edit| edit.kind == kind)
    }
}

/// What a file is to commands that only care for what earlier runs have left.
pub enum Sight {
    /// Nothing that could ever have been wrapped.
    NotElf,
    /// Why it cannot be looked at.
    Unreadable(String),
    /// A file that may have been.
    File(Box<Source>, State),
}

/// Looks at a file.
pub fn look_at(candidate: &Candidate, stages: &[Stage]) -> Sight {
    let mut source = match candidate.open().and_then(Source::of) {
        Ok(source) => source,
        Err(error) => return Sight::Unreadable(format!("cannot be opened: {}", io_reason(&error))),
    };
    match identify(&mut source) {
        Ok(Identity::Elf {
            little_endian: true,
            ..
        }) => {}
        Ok(Identity::Malformed(reason)) => {
            return Sight::Unreadable(format!("malformed ELF file: {reason}"));
        }
        _ => return Sight::NotElf,
    }
    match Elf::read(&mut source) {
        Ok(elf) => {
            let state = state(&candidate.path, &elf, &mut source, stages);
            Sight::File(Box::new(source), state)
        }
        Err(error) => Sight::Unreadable(format!("malformed ELF file: {error:#}")),
    }
}

/// Finds out what earlier runs have left of the file at `path`, absolute.
pub fn state(path: &Path, elf: &Elf, source: &mut Source, stages: &[Stage]) -> State {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let beside = directory.join(sidecar_name(path.file_name().unwrap_or_default()));
    let sidecar = read(&beside);
    if let Some(bytes) = &sidecar {
        let is_ours = InPlace::parse(bytes).is_ok() || Sidecar::parse(bytes).is_ok();
        if is_ours && !is_no_weaker(&beside, source) {
            return State::Untrusted(beside);
        }
        if let Some(earlier) = in_place(&beside, elf, source, bytes) {
            return State::Known(Box::new(earlier));
        }
    }
    let stub = stub_at_entry(elf, source, stages);
    if elf.interp.is_none() {
        let described = || described_by(sidecar.as_deref()?, source);
        if let Some(stub) = stub.or_else(described) {
            return wrapped(&stub, beside, elf, source);
        }
        let other = sidecar.and_then(|bytes| by_another_tool(beside, elf, source, bytes));
        return other.map_or(State::Original, |earlier| State::Known(Box::new(earlier)));
    }
    // PT_INTERP is the last thing a run changes: with it, a stub is what a stopped run left.
    let half_done = sidecar.and_then(|bytes| known(&beside, true, elf, source, bytes));
    if let Some(earlier) = half_done {
        return State::Known(Box::new(earlier));
    }
    match stub {
        Some(stub) => State::Orphan(directory.join(stub.sidecar)),
        None => State::Original,
    }
}

/// What the first wrap-buddy has left.
fn by_another_tool(
    beside: PathBuf,
    elf: &Elf,
    source: &mut Source,
    bytes: Vec<u8>,
) -> Option<Earlier> {
    if !is_no_weaker(&beside, source) {
        return None;
    }
    let edits = edits_of_another_tool(&bytes, elf, source)?;
    for edit in &edits {
        source.lay_over(edit.offset, &edit.original);
    }
    Some(Earlier {
        way: Way::Foreign,
        progress: Progress::Done,
        rewritten: false,
        sidecar_path: beside,
        is_beside: true,
        sidecar: bytes,
        id: Id::default(),
        edits,
        links: Vec::new(),
        tool: ToolVersion::default(),
        has_stub: false,
        loader: None,
        own_sidecar: None,
    })
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
}

/// A program without PT_INTERP that has this stub.
fn wrapped(stub: &Stub, beside: PathBuf, elf: &Elf, source: &mut Source) -> State {
    let directory = beside.parent().unwrap_or(Path::new("/"));
    // As the loader looks for it: a path that is absolute replaces the directory.
    let in_directory = directory.join(stub.sidecar.file_name().unwrap_or_default());
    let named = directory.join(&stub.sidecar);
    let places = [&beside, &named, &in_directory];
    let found = places.into_iter().find_map(|place| {
        let bytes = read(place).filter(|bytes| has_id(bytes, stub.id))?;
        Some((place, bytes))
    });
    let Some((place, bytes)) = found else {
        return State::Orphan(named);
    };
    if !is_no_weaker(place, source) {
        return State::Untrusted(place.clone());
    }
    match known(place, *place == beside, elf, source, bytes) {
        Some(earlier) => State::Known(Box::new(earlier)),
        None => State::Changed(place.clone()),
    }
}

/// Lays the original bytes of a wrapped program over it, if the sidecar at `place`, which is `bytes`, is this program's.
fn known(
    place: &Path,
    is_beside: bool,
    elf: &Elf,
    source: &mut Source,
    bytes: Vec<u8>,
) -> Option<Earlier> {
    let sidecar = Sidecar::parse(&bytes).ok()?;
    let id = sidecar.header().id;
    let edits = undo(elf, source, &sidecar)?;
    let trailer_at = |edit: &PastEdit, source: &mut Source| {
        let stub_len = u64::from(sidecar.header().stub_len);
        trailer_at(source, edit.offset.checked_add(stub_len)?)
    };
    let progress = Progress::of(&edits, source, |slot, source| {
        trailer_at(slot, source).is_some_and(|found| found.id == id)
    });
    let mut slots = edits.iter().filter(|edit| edit.kind == EditKind::Slot);
    let stub = slots.find_map(|slot| trailer_at(slot, source));
    Some(Earlier {
        way: Way::Stub,
        progress,
        rewritten: false,
        sidecar_path: place.to_owned(),
        is_beside,
        id,
        edits,
        links: Vec::new(),
        tool: sidecar.header().tool,
        has_stub: stub.is_some(),
        own_sidecar: stub
            .as_ref()
            .filter(|stub| stub.loader.is_none())
            .map(|stub| stub.sidecar.clone()),
        loader: stub.and_then(|stub| stub.loader),
        sidecar: bytes,
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
fn in_place(place: &Path, elf: &Elf, source: &mut Source, bytes: &[u8]) -> Option<Earlier> {
    let record = InPlace::parse(bytes).ok()?;
    if (record.machine, record.class) != (elf.machine, elf.class) {
        return None;
    }
    for written in record.edits() {
        source.lay_over(written.edit.offset, written.edit.original);
    }
    // The identity covers what matters of these bytes: it says whether they are this file's.
    let original = Elf::read(source);
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
    Some(Earlier {
        way: Way::InPlace,
        progress,
        rewritten,
        sidecar_path: place.to_owned(),
        is_beside: true,
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

/// What is in the sidecar at `path`, unless it cannot be one.
pub fn read(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= MAX_SIDECAR).then(|| fs::read(path).ok())?
}

/// Whether nobody can write the sidecar who cannot write the file: its bytes go into the file again.
fn is_no_weaker(sidecar: &Path, source: &Source) -> bool {
    let file = source.metadata();
    let writable = |metadata: &Metadata| metadata.mode() & 0o022;
    fs::metadata(sidecar).is_ok_and(|sidecar| {
        let known = [0, file.uid(), nix::unistd::geteuid().as_raw()].contains(&sidecar.uid());
        known && writable(&sidecar) & !writable(file) == 0
    })
}

/// What the trailer says behind a stub of this build at the entry point.
fn stub_at_entry(elf: &Elf, source: &mut Source, stages: &[Stage]) -> Option<Stub> {
    let (_, stub) = code_at_entry(elf, source, stages)?;
    Some(stub)
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
        loader,
        sidecar,
    })
}

/// The same, of a stub of any build, when the sidecar beside the program, which is `bytes`, says where it is.
fn described_by(bytes: &[u8], source: &mut Source) -> Option<Stub> {
    let sidecar = Sidecar::parse(bytes).ok()?;
    let slot = sidecar
        .edits()
        .flatten()
        .find(|edit| edit.kind == EditKind::Slot)?;
    let stub_len = u64::from(sidecar.header().stub_len);
    let trailer = (stub_len <= MAX_STUB).then(|| slot.offset.checked_add(stub_len))??;
    let stub = trailer_at(source, trailer)?;
    (stub.id == sidecar.header().id).then_some(stub)
}

/// Lays a sidecar's original bytes over the file, if they are this file's.
fn undo(elf: &Elf, source: &mut Source, sidecar: &Sidecar<'_>) -> Option<Vec<PastEdit>> {
    let edits = sidecar.edits().collect::<Result<Vec<_>, _>>().ok()?;
    let table = elf.phoff..elf.phoff + elf.program_headers.len() as u64;
    let mut original = elf.clone();
    for edit in &edits {
        let end = edit.offset.checked_add(edit.original.len() as u64)?;
        let place = match edit.kind {
            EditKind::Slot => edit.original == sidecar.slot() && end <= elf.file_len,
            EditKind::Entry => end <= elf.header.len() as u64,
            EditKind::Interp => table.contains(&edit.offset) && end <= table.end,
            // Not in a sidecar of a wrapped program.
            EditKind::Text | EditKind::Dynamic | EditKind::Segment | EditKind::Section => false,
        };
        if !place {
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
        if let Some(place) = index.and_then(|index| table.get_mut(index)) {
            *place = byte;
        }
    }
}
