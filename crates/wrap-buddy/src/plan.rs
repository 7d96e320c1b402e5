//! Decides everything about one program before anything is written: a [`Plan`] is pure data.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use object::elf;
use sidecar::{Draft, Edit, EditKind, Flags, Id, Trailer};

use crate::arch::Arch;
use crate::classify::Program;
use crate::inject::{Wanted, inject};
use crate::inspect::{self, Elf, Segment, Source};
use crate::loaders::{Loader, Loaders};
use crate::naming::{identity, sidecar_name};
use crate::privilege::Privilege;
use crate::resolve::{Resolution, relative_file, search_path};
use crate::slot::{Ground, Place, Slot, Surroundings};

/// Longest path the kernel opens, in bytes with its NUL.
const PATH_MAX: usize = 4096;

/// One place of the program's file that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEdit {
    /// What it is for.
    pub kind: EditKind,
    /// Offset in the file.
    pub offset: u64,
    /// What stands there in the original program.
    pub original: Vec<u8>,
    /// What stands there now: the same, unless a run was stopped half way.
    pub before: Vec<u8>,
    /// What is to stand there.
    pub after: Vec<u8>,
}

/// Everything that is to be written for one program, and why.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program, absolute and free of symbolic links.
    pub path: PathBuf,
    /// Its architecture.
    pub arch: &'static Arch,
    /// Whether it is position-independent.
    pub position_independent: bool,
    /// Length of its file in bytes.
    pub file_len: u64,
    /// The dynamic linker it asks for.
    pub asks_for: OsString,
    /// The one it gets; relative to its directory in relocatable mode.
    pub interpreter: PathBuf,
    /// Original e_entry.
    pub entry: u64,
    /// Offset of the entry point in the file.
    pub entry_offset: u64,
    /// Bytes from the entry point to the end of its segment.
    pub room_at_entry: u64,
    /// Where the stub goes.
    pub slot: Slot,
    /// Bytes of stub code, without its trailer.
    pub stub_len: usize,
    /// Ties program and sidecar together.
    pub id: Id,
    /// Device and inode of the file, and how many names it has.
    pub inode: (u64, u64, u64),
    /// Where the sidecar goes.
    pub sidecar_path: PathBuf,
    /// Who is to own it: user and group.
    pub sidecar_owner: (u32, u32),
    /// Its content.
    pub sidecar: Vec<u8>,
    /// Where the sidecar's path ended up in the trailer: in full, or the file name only.
    pub sidecar_in_trailer: OsString,
    /// The loader.
    pub loader: Loader,
    /// What changes in the file, in the order in which it is written.
    pub edits: Vec<FileEdit>,
    /// Search path to be injected; empty when the file's own will do.
    pub search: Vec<OsString>,
    /// Libraries.
    pub resolution: Resolution,
    /// What the user may want to know.
    pub notes: Vec<String>,
}

/// How plans are made.
#[derive(Debug)]
pub struct Style<'a> {
    /// Paths relative to the executable.
    pub relocatable: bool,
    /// Where loaders are.
    pub loaders: &'a Loaders,
}

struct Around<'a> {
    elf: &'a Elf,
    source: &'a mut Source,
}

impl Surroundings for Around<'_> {
    fn zeros_behind(&mut self, segment: &Segment) -> Result<u64> {
        inspect::zeros_behind(self.elf, segment, self.source)
    }

    fn relocates(&mut self, addresses: &Range<u64>) -> Result<bool> {
        inspect::relocates(self.elf, addresses, self.source)
    }
}

/// Plans the wrapping of `program` at `path`, an absolute path free of symbolic links.
///
/// # Errors
/// Says why the program cannot be wrapped.
pub fn plan(
    path: &Path,
    program: Program<'_>,
    resolution: Resolution,
    style: &Style<'_>,
) -> Result<Plan> {
    let Program {
        elf,
        mut source,
        arch,
        stage,
        interpreter,
    } = program;
    let metadata = source.file().metadata()?;
    let privilege = Privilege::of(source.file(), &metadata);
    if style.relocatable && privilege.is_some() {
        return Err(anyhow!(
            "is set-id or has capabilities, and a relocatable program cannot: clear them, or leave out --relocatable"
        ));
    }
    let directory = path.parent().context("has no directory")?;
    let name = path.file_name().context("has no file name")?;
    let sidecar_path = directory.join(sidecar_name(name));
    let origin = style.relocatable.then_some(directory);
    let search = if resolution.search_changes {
        search_path(&resolution.search, origin)
    } else {
        Vec::new()
    };
    // The user's directories have none, but a path to one may.
    if let Some(entry) = search.iter().find(|entry| entry.as_bytes().contains(&b':')) {
        return Err(anyhow!(
            "cannot have {} on its search path: ld.so takes the colon for the end of the directory",
            entry.display()
        ));
    }
    let (stub, loader, interpreter_path) = match origin {
        None => (
            stage.stub,
            style.loaders.absolute(arch, stage)?,
            interpreter.path.clone(),
        ),
        Some(origin) => (
            stage.relocatable_stub,
            style.loaders.relative(arch, stage, origin)?,
            relative_file(&interpreter.path, origin),
        ),
    };

    let trailers = trailer_choices(&sidecar_path, style.relocatable);
    let trailer = |sidecar: &OsStr, id: Id| {
        let trailer = Trailer {
            id,
            loader: loader.path.as_os_str().as_bytes(),
            sidecar: sidecar.as_bytes(),
        };
        let mut bytes = vec![0; trailer.encoded_len()];
        let encoded = trailer.encode(&mut bytes);
        encoded
            .map(|_| bytes)
            .map_err(|error| anyhow!("the stub's trailer {error}"))
    };
    let lengths: Vec<u64> = trailers
        .iter()
        .map(|sidecar| Ok((stub.len() + trailer(sidecar, Id::default())?.len()) as u64))
        .collect::<Result<_>>()?;

    let ground = Ground::new(&elf, arch.entry_align).map_err(anyhow::Error::msg)?;
    let mut around = Around {
        elf: &elf,
        source: &mut source,
    };
    let (slot, chosen) = ground
        .choose(&lengths, &mut around)
        .map_err(|reason| anyhow!("there is no place for a stub: {reason}"))?;
    let original = source.read(slot.offset, slot.len)?;
    let id = identity(&elf, &original);
    let sidecar_in_trailer = trailers[chosen].clone();
    if let Some(privilege) = &privilege {
        if !Path::new(&sidecar_in_trailer).is_absolute() {
            return Err(anyhow!(
                "is set-id or has capabilities, and has no room for the absolute path of its sidecar: move it to a shorter path"
            ));
        }
        let trusted = [loader.path.as_path(), &interpreter_path];
        let trusted = trusted.into_iter().chain(search.iter().map(Path::new));
        for path in trusted.filter(|path| path.is_absolute()) {
            if let Some(part) = privilege.weak_part(path) {
                return Err(anyhow!(
                    "is set-id or has capabilities, and would trust {}, but others can change {}: use a directory of root's",
                    path.display(),
                    part.display()
                ));
            }
        }
    }
    let mut code = stub.to_vec();
    code.extend(trailer(&sidecar_in_trailer, id)?);

    let edits = edits(&elf, arch, &slot, original, code, &mut source)?;
    let needed: Vec<&[u8]> = resolution
        .added
        .iter()
        .map(|added| added.soname.as_bytes())
        .collect();
    let search_text = search.join(OsStr::new(":"));
    let mut flags = Flags::default();
    if style.relocatable {
        flags = flags.union(Flags::RELOCATABLE);
    }
    if elf.dynamic.as_ref().is_some_and(|own| own.is_inherited()) {
        flags = flags.union(Flags::RPATH);
    }
    let path_len = match style.relocatable {
        true => PATH_MAX,
        false => interpreter_path.as_os_str().len() + 1,
    };
    let wanted = Wanted {
        interpreter_len: path_len,
        needed: needed.len(),
        search: !search.is_empty(),
    };
    let injection = inject(&elf, arch, wanted).map_err(anyhow::Error::msg)?;
    if injection.seed_debug {
        flags = flags.union(Flags::SEED_DEBUG);
    }
    let mut slot_protection = ground.protection();
    if let Some(guard) = &arch.branch_protection
        && inspect::has_property(&elf, guard, &mut source)?
    {
        slot_protection |= guard.protection;
    }
    let sidecar_edits: Vec<Edit<'_>> = edits
        .iter()
        .map(|edit| Edit {
            kind: edit.kind,
            offset: edit.offset,
            original: &edit.original,
        })
        .collect();
    let draft = Draft {
        machine: elf.machine,
        class: elf.class,
        flags,
        id,
        stub_len: stub.len() as u32,
        entry: elf.entry,
        slot_address: slot.address,
        slot_protection,
        debug_address: injection.debug_address,
        interpreter: interpreter_path.as_os_str().as_bytes(),
        search: search_text.as_bytes(),
        needed: &needed,
        headers: &injection.headers,
        headers_count: injection.headers_count,
        dynamic: &injection.dynamic,
        patches: &injection.patches,
        edits: &sidecar_edits,
    };
    let mut sidecar = vec![0; draft.max_encoded_len()];
    let len = draft
        .encode(&mut sidecar)
        .map_err(|error| anyhow!("the sidecar {error}"))?;
    sidecar.truncate(len);
    // It is kept until all programs are planned.
    sidecar.shrink_to_fit();

    let notes = notes(&elf, arch, &metadata, &source, privilege.is_some());
    let owner = (metadata.uid(), metadata.gid());
    Ok(Plan {
        path: path.to_owned(),
        arch,
        position_independent: elf.kind == elf::ET_DYN,
        file_len: elf.file_len,
        asks_for: elf.interp.map(|interp| interp.path).unwrap_or_default(),
        interpreter: interpreter_path,
        entry: elf.entry,
        entry_offset: ground.entry_offset(),
        room_at_entry: ground.room_at_entry(),
        slot,
        stub_len: stub.len(),
        id,
        inode: (metadata.dev(), metadata.ino(), metadata.nlink()),
        sidecar_path,
        sidecar_owner: privilege.map_or(owner, |privilege| privilege.sidecar_owner()),
        sidecar,
        sidecar_in_trailer,
        loader,
        edits,
        search,
        resolution,
        notes,
    })
}

/// What the trailer may call the sidecar, best first.
fn trailer_choices(sidecar: &Path, relocatable: bool) -> Vec<OsString> {
    let name = sidecar.file_name().unwrap_or_default().to_owned();
    let absolute = sidecar.as_os_str();
    if relocatable || absolute.len() >= PATH_MAX {
        vec![name]
    } else {
        vec![absolute.to_owned(), name]
    }
}

fn edits(
    elf: &Elf,
    arch: &Arch,
    slot: &Slot,
    original: Vec<u8>,
    code: Vec<u8>,
    source: &mut Source,
) -> Result<Vec<FileEdit>> {
    let mut edits = vec![FileEdit {
        kind: EditKind::Slot,
        offset: slot.offset,
        before: source.read_raw(slot.offset, slot.len)?,
        original,
        after: code,
    }];
    if slot.place == Place::SegmentEnd {
        let (offset, len) = arch.entry_field();
        edits.push(FileEdit {
            kind: EditKind::Entry,
            offset,
            original: source.read(offset, len as u64)?,
            before: source.read_raw(offset, len as u64)?,
            after: slot.address.to_le_bytes()[..len].to_vec(),
        });
    }
    let interp = elf.interp.as_ref().context("it has no PT_INTERP")?;
    // p_type is the first field of a program header in either class.
    let offset = elf.phoff + (interp.index * arch.phentsize()) as u64;
    edits.push(FileEdit {
        kind: EditKind::Interp,
        offset,
        original: source.read(offset, 4)?,
        before: source.read_raw(offset, 4)?,
        after: elf::PT_NULL.to_le_bytes().to_vec(),
    });
    Ok(edits)
}

fn notes(
    elf: &Elf,
    arch: &Arch,
    metadata: &Metadata,
    source: &Source,
    privileged: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    let align = elf.loads().map(|load| load.align).max().unwrap_or(0);
    if align > arch.max_load_align {
        notes.push(format!(
            "its segments are aligned to {align} bytes, which kernels from before 2024 ignore in a file without PT_INTERP"
        ));
    }
    if metadata.nlink() > 1 {
        notes.push(format!(
            "the file has {} names (hard links): it is wrapped under each of them",
            metadata.nlink()
        ));
    }
    if privileged {
        notes.push(
            "is set-id or has capabilities: it only starts while its sidecar belongs to root, or to the owner of a set-user-id program"
                .to_owned(),
        );
    }
    if source.is_laid_over() {
        notes.push("a run was stopped while wrapping it: this one completes it".to_owned());
    }
    notes
}
