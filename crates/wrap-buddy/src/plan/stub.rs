//! Plans the wrapping of a program: a stub over its entry point, PT_NULL instead of PT_INTERP, and a sidecar.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use object::elf;
use sidecar::loader::FRONT_RECORD;
use sidecar::{Draft, Edit, EditKind, Flags, Id, Sidecar, Trailer};
use stages::Stage;

use super::{
    FileEdit, Method, Plan, PlanOptions, check_trusted, is_sidecar_in_use, join, modified, needed,
    search, sidecar_owner, stale_cache, tool_version,
};
use crate::plan::alignment;
use crate::plan::classify::Subject;
use crate::plan::inject::{Wanted, inject};
use crate::plan::reason::{NotForPrivileged, Refusal};
use crate::plan::restore::{PendingSidecar, leftovers};
use crate::plan::search::Resolution;
use crate::plan::slot::{PatchSpace, Slot, SlotPosition, Surroundings};
use crate::scan::TargetFile;
use crate::state::identity::identity;
use crate::state::loaders::Loader;
use crate::state::prior::{self, PriorWrap, Progress};
use crate::state::settings::Settings;
use crate::system::privilege::Privilege;
use crate::system::relative::relative_file;
use crate::system::sidecar_path::{interim_of, sidecar_name, sidecar_of};
use elf_file::{self, Elf, Segment, Source};
use sys::arch::Arch;

/// Longest path for the kernel, in bytes with its NUL.
const PATH_MAX: usize = 4096;

/// The part of a plan that only a stub has.
#[derive(Clone, Debug)]
pub struct StubPlan {
    /// The program's own dynamic linker.
    pub asks_for: OsString,
    /// The new one, relative to the program's directory if it is relocatable.
    pub interpreter: PathBuf,
    /// The original e_entry.
    pub entry: u64,
    /// File offset of the entry point.
    pub entry_offset: u64,
    /// Bytes from the entry point to the end of its segment.
    pub room_at_entry: u64,
    pub slot: Slot,
    /// Bytes of the stub's code, without its trailer.
    pub stub_len: usize,
    /// The sidecar in the trailer: the full path, or the file name only.
    pub sidecar_in_trailer: OsString,
    /// Whether the settings follow the stub, so that the program starts without its sidecar.
    pub has_record: bool,
    /// The shared loader; `None` if it is in the sidecar.
    pub loader: Option<Loader>,
    /// The stub with the interim name of the sidecar, used while a sidecar with other settings is in use.
    pub interim: Vec<u8>,
}

struct Around<'a> {
    elf: &'a Elf,
    source: &'a mut Source,
}

impl Surroundings for Around<'_> {
    fn zeros_after(&mut self, segment: &Segment) -> Result<u64> {
        elf_file::zeros_after(self.elf, segment, self.source)
    }

    fn relocates(&mut self, addresses: &Range<u64>) -> Result<bool> {
        elf_file::relocates(self.elf, addresses, self.source)
    }
}

/// Plans the wrapping of `program` at `path`, which is absolute and free of symbolic links.
///
/// # Errors
/// Why the program cannot be wrapped.
pub fn stub(
    path: &Path,
    program: Subject<'_>,
    stage: &Stage,
    resolution: Resolution,
    plan_options: &PlanOptions<'_>,
) -> Result<Plan> {
    let Subject {
        elf,
        mut source,
        arch,
        interpreter,
        prior,
        ..
    } = program;
    let metadata = source.metadata().clone();
    let privilege = Privilege::of(source.file(), &metadata);
    if plan_options.relocatable && privilege.is_some() {
        bail!(Refusal::from(NotForPrivileged::Relocatable));
    }
    if plan_options.self_contained && privilege.is_some() {
        bail!(Refusal::from(match plan_options.root.is_own() {
            true => NotForPrivileged::SelfContained,
            false => NotForPrivileged::NoLoaderInRoot,
        }));
    }
    let directory = path.parent().context("has no directory")?;
    let name = path.file_name().unwrap_or_default();
    let sidecar_path = match plan_options.sidecar_directory {
        Some(directory) => directory.join(sidecar_name(name)),
        None => sidecar_of(path),
    };
    let origin = plan_options.relocatable.then_some(directory);
    let search = search(
        &resolution,
        directory,
        plan_options.relocatable,
        privilege.is_some(),
    )?;
    let loader = match (plan_options.self_contained, origin) {
        (true, _) => None,
        (false, None) => plan_options.loaders.absolute(arch, stage)?,
        (false, Some(origin)) => plan_options.loaders.relative(arch, stage, origin)?,
    };
    if loader.is_none() && privilege.is_some() {
        bail!(Refusal::from(NotForPrivileged::NoLoaderDirectory));
    }
    let stub = [
        arch.stub_start(elf.entry),
        stage.stub_for(plan_options.relocatable, loader.is_none()),
    ]
    .concat();
    let interpreter_path = match origin {
        None => interpreter.path.clone(),
        Some(origin) => relative_file(&interpreter.path, origin),
    };

    let patch_space = PatchSpace::new(&elf, arch).map_err(Refusal::from)?;
    let (needed, in_front) = needed(&resolution, origin);
    let needed: Vec<&[u8]> = needed.iter().map(|name| name.as_bytes()).collect();
    let search_text = join(&search);
    let mut flags = Flags::default();
    if plan_options.relocatable {
        flags = flags.union(Flags::RELOCATABLE);
    }
    if resolution.inherited || elf.dynamic.as_ref().is_some_and(|own| own.is_inherited()) {
        flags = flags.union(Flags::RPATH);
    }
    let wanted = Wanted {
        needed: needed.len(),
        in_front,
        redundant: &resolution.redundant,
        search: !search.is_empty(),
        inherited: resolution.inherited,
    };
    let injection = inject(&elf, arch, wanted).map_err(Refusal::from)?;
    if injection.seed_debug {
        flags = flags.union(Flags::SEED_DEBUG);
    }
    let mut slot_protection = patch_space.protection();
    if let Some(guard) = &arch.branch_protection
        && elf_file::has_property(&elf, guard, &mut source)?
    {
        slot_protection |= guard.protection;
    }
    let mut draft = Draft {
        machine: elf.machine,
        class: elf.class,
        loader: match loader {
            Some(_) => &[],
            None => stage.loader,
        },
        flags,
        id: Id::default(),
        tool: tool_version(),
        stub_len: stub.len() as u32,
        entry: elf.entry,
        slot_address: 0,
        slot_protection,
        debug_address: injection.debug_address,
        interpreter: interpreter_path.as_os_str().as_bytes(),
        search: search_text.as_bytes(),
        needed: &needed,
        dynamic_len: injection.dynamic_len,
        own_dynamic_len: injection.own_dynamic_len,
        strings: injection.strings,
        patches: &injection.patches,
        edits: &[],
    };
    // Its length is the same for every slot.
    let record_len = match plan_options.embedded && loader.is_some() {
        true => encoded(&draft)?.len(),
        false => 0,
    };
    let trailers = trailer_choices(&sidecar_path, plan_options.relocatable, loader.is_none());
    let trailer = |sidecar: &OsStr, id: Id, record: &[u8]| {
        let sidecar = sidecar.as_bytes();
        let trailer = match &loader {
            Some(loader) => Trailer {
                id,
                loader: loader.path.as_os_str().as_bytes(),
                sidecar,
                record,
            },
            None => Trailer {
                id,
                loader: sidecar,
                sidecar: &[],
                record,
            },
        };
        let mut bytes = vec![0; trailer.encoded_len()];
        let encoded = trailer.encode(&mut bytes);
        encoded
            .map(|_| bytes)
            .map_err(|error| anyhow!("the stub's trailer {error}"))
    };
    let lengths: Vec<u64> = trailers
        .iter()
        .map(|sidecar| Ok((stub.len() + trailer(sidecar, Id::default(), &[])?.len()) as u64))
        .collect::<Result<_>>()?;

    let mut around = Around {
        elf: &elf,
        source: &mut source,
    };
    let embedded = match record_len {
        0 => None,
        len if len > FRONT_RECORD => None,
        len => patch_space.after_segment(&lengths, len as u64, &mut around),
    };
    let has_record = embedded.is_some();
    let (slot, chosen) = match embedded {
        Some(found) => found,
        None => patch_space
            .choose(&lengths, &mut around)
            .map_err(Refusal::NoSlot)?,
    };
    let original = source.read(slot.offset, slot.len)?;
    let id = identity(&elf, &original, stub.len() as u32);
    let sidecar_in_trailer = trailers[chosen].clone();
    if let Some(privilege) = &privilege {
        if !Path::new(&sidecar_in_trailer).is_absolute() {
            bail!(Refusal::from(NotForPrivileged::LongPath));
        }
        let loader = loader.iter().map(|loader| loader.path.as_path());
        let files = loader.chain([interpreter_path.as_path()]);
        check_trusted(plan_options.root, privilege, files, &resolution, &search)?;
        if let Some(part) = sidecar_path
            .parent()
            .and_then(|one| privilege.weak_directory(plan_options.root, one))
        {
            bail!(Refusal::from(NotForPrivileged::UntrustedSidecar {
                part: part.to_owned(),
                sidecar: sidecar_path,
            }));
        }
    }
    if patch_space.is_unused(&slot) {
        draft.flags = flags.union(Flags::SLOT_STAYS);
    }
    (draft.id, draft.slot_address) = (id, slot.address);
    let record = match has_record {
        true => encoded(&draft)?,
        false => Vec::new(),
    };
    let mut code = stub.clone();
    code.extend(trailer(&sidecar_in_trailer, id, &record)?);

    let mut edits = edits(&elf, arch, &slot, code, &mut source)?;
    let mut interim = Vec::new();
    if prior.is_some() {
        let sidecar = interim_of(Path::new(&sidecar_in_trailer));
        interim = stub.clone();
        interim.extend(trailer(sidecar.as_os_str(), id, &record)?);
    }
    let sidecar_edits: Vec<Edit<'_>> = edits
        .iter()
        .map(|edit| Edit {
            kind: edit.kind,
            offset: edit.offset,
            original: &edit.original,
        })
        .collect();
    let sidecar = encoded(&Draft {
        edits: &sidecar_edits,
        ..draft
    })?;

    let prior = prior.as_deref();
    let leftovers = leftovers(plan_options.root, path);
    let mut undo_first = Vec::new();
    let mut settled = false;
    if let Some(prior) = prior {
        let same = prior.id == id && !edits.iter().any(FileEdit::is_due);
        settled =
            same && is_sidecar_in_use(prior) && prior.sidecar == sidecar && leftovers.is_empty();
        if !same {
            undo_first = FileEdit::undo_all(prior, &mut source)?;
            for edit in &mut edits {
                edit.before.clone_from(&edit.original);
            }
        }
    }
    let stopped = prior.is_some_and(|prior| prior.progress != Progress::Done);
    let needs_sidecar = privilege.is_some() && !has_record;
    let mut notes = notes(&elf, arch, stopped, needs_sidecar);
    notes.extend(prior.and_then(adopted));
    notes.extend(stale_cache(&elf, &search));
    if plan_options.embedded && !has_record {
        notes.push(not_embedded(loader.is_some(), record_len));
    }
    let loader_path = loader.as_ref().map(|loader| loader.path.as_path());
    let settings = Sidecar::parse(&sidecar)
        .map(|sidecar| Settings::of_sidecar(&sidecar, loader_path, has_record))
        .map_err(|error| anyhow!("the sidecar {error}"))?;
    let settings_changed = prior.map_or(Vec::new(), |prior| prior.settings.changes(&settings));
    Ok(Plan {
        file: TargetFile::new(plan_options.root, path, &metadata),
        arch,
        position_independent: elf.kind == elf::ET_DYN,
        id,
        sidecar_path,
        sidecar_owner: sidecar_owner(privilege.as_ref(), &metadata),
        sidecar,
        modified: modified(&metadata, prior)?,
        undo_first,
        undo_legacy: prior.is_some_and(|prior| prior.method == prior::Method::Legacy),
        sidecar_in_use: prior.is_some_and(is_sidecar_in_use),
        settle: prior.and_then(|prior| PendingSidecar::of(path, prior)),
        leftovers,
        settings_changed,
        edits,
        settled,
        search,
        resolution,
        notes,
        method: Method::Stub(StubPlan {
            asks_for: elf.interp.map(|interp| interp.path).unwrap_or_default(),
            interpreter: interpreter_path,
            entry: elf.entry,
            entry_offset: patch_space.entry_offset(),
            room_at_entry: patch_space.room_at_entry(),
            slot,
            stub_len: stub.len(),
            sidecar_in_trailer,
            has_record,
            loader,
            interim,
        }),
    })
}

fn encoded(draft: &Draft<'_>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; draft.max_encoded_len()];
    let len = draft
        .encode(&mut bytes)
        .map_err(|error| anyhow!("the sidecar {error}"))?;
    bytes.truncate(len);
    // It stays in memory until all programs are planned.
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// The possible names of the sidecar in the trailer, best first.
fn trailer_choices(sidecar: &Path, relocatable: bool, self_contained: bool) -> Vec<OsString> {
    let name = sidecar.file_name().unwrap_or_default().to_owned();
    let absolute = sidecar.as_os_str();
    if relocatable {
        vec![name]
    } else if self_contained {
        // A self-contained stub tries only one path.
        vec![absolute.to_owned()]
    } else if absolute.len() >= PATH_MAX {
        vec![name]
    } else {
        vec![absolute.to_owned(), name]
    }
}

fn edits(
    elf: &Elf,
    arch: &Arch,
    slot: &Slot,
    code: Vec<u8>,
    source: &mut Source,
) -> Result<Vec<FileEdit>> {
    let mut edits = vec![FileEdit::new(EditKind::Slot, slot.offset, code, source)?];
    if slot.position != SlotPosition::Entry {
        let (offset, len) = arch.entry_field();
        let entry = arch.entry_at(slot.address, elf.entry);
        let after = entry.to_le_bytes()[..len].to_vec();
        edits.push(FileEdit::new(EditKind::Entry, offset, after, source)?);
    }
    let interp = elf.interp.as_ref().context("it has no PT_INTERP")?;
    // p_type is the first field of a program header in both classes.
    let offset = elf.phoff + (interp.index * arch.phentsize()) as u64;
    let after = elf::PT_NULL.to_le_bytes().to_vec();
    edits.push(FileEdit::new(EditKind::Interp, offset, after, source)?);
    Ok(edits)
}

/// The note about a program without room for its settings, `len` bytes.
fn not_embedded(has_loader: bool, len: usize) -> String {
    match has_loader {
        true => format!(
            "its sidecar is needed at every start: after its code, there is no room for {len} bytes of settings"
        ),
        false => "its sidecar is needed at every start: it has the loader".to_owned(),
    }
}

/// A note if the original bytes come from another file's sidecar.
fn adopted(prior: &PriorWrap) -> Option<String> {
    if let Some(origin) = &prior.bytes_of {
        return Some(format!(
            "its sidecar {} is gone; its original bytes come from {}",
            prior.sidecar_path.display(),
            origin.display()
        ));
    }
    (!prior.is_next_to_file && !prior.sidecar.is_empty()).then(|| {
        format!(
            "it used the sidecar {} and now has its own",
            prior.sidecar_path.display()
        )
    })
}

fn notes(elf: &Elf, arch: &Arch, stopped: bool, is_privileged: bool) -> Vec<String> {
    let mut notes = Vec::new();
    // Packages may be for other machines, but the warning is only of interest if it applies to this one.
    if !alignment::is_honoured_here() {
        notes.extend(alignment::warning(elf, arch));
    }
    if is_privileged {
        notes.push(
            "is set-id or has capabilities: it starts only if root, or the owner of a set-user-ID program, owns its sidecar"
                .to_owned(),
        );
    }
    if stopped {
        notes
            .push("an earlier run was stopped while wrapping it; this run completes it".to_owned());
    }
    notes
}
