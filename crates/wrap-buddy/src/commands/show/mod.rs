//! `wrap-buddy show`: every change to a file, down to the instructions.

pub mod code;
mod fields;
pub mod human;
mod meaning;
pub mod view;

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use sidecar::{EditKind, Flags, Sidecar, loader};
use stages::Stage;

use crate::commands::PathOptions;
use crate::commands::status::{
    Condition, FileStatus, describe, loader_problem, own_loader_problem,
};
use crate::report::Reporter;
use crate::scan::Target;
use crate::state::detect::{self, FileState};
use crate::state::past_edit::PastEdit;
use crate::state::prior::{Method, PriorWrap, State};
use crate::state::stub::{self, Stub};
use crate::state::unusable::Unusable;
use crate::system::directory::open_file;
use crate::system::hex::hex;
use crate::system::sidecar_path::links_of;
use crate::system::workers::WorkerPool;
use code::{Instruction, LONGEST, disassemble, disassemble_stub};
use elf_file::{Elf, Source};
pub use fields::kind_name;
use fields::{lossy, original, search_path, sidecar_view};
use ldso::Root;
use view::{
    EditState, EditView, Given, LinkView, LoaderView, SearchPath, SidecarView, TrailerView, View,
};

/// Bytes of code to show at an entry point without a stub.
const ENTRY_CODE: u64 = 64;

/// Most bytes of stub code to show.
const MAX_STUB: u64 = 4096;

/// Details of the files that `path_options` names. Below directories, unchanged files are left out unless `--verbose` is set.
///
/// # Errors
/// If no threads can be started.
pub fn show(
    path_options: &PathOptions,
    stages: &[Stage],
    reporter: &Reporter,
) -> Result<Vec<View>> {
    let (targets, unreadable) = path_options.scan();
    let pool = WorkerPool::new(targets.len(), path_options.jobs)?;
    reporter.expect(targets.len());
    let all = path_options.output.verbose;
    let views = pool.map(&targets, |target| {
        reporter.step();
        let view = view(target, stages, all)?;
        reporter.finished(&view);
        Some(view)
    });
    let mut views: Vec<View> = views.into_iter().flatten().collect();
    views.extend(unreadable.into_iter().map(|one| View {
        advice: Some(one.reason),
        ..View::new(&one.path, Condition::Unreadable)
    }));
    Ok(views)
}

impl View {
    fn new(path: &Path, state: Condition) -> Self {
        Self {
            path: lossy(path),
            state,
            advice: None,
            original: None,
            given: None,
            sidecar: None,
            trailer: None,
            loader: None,
            edits: Vec::new(),
            entry_code: Vec::new(),
            stub_code: Vec::new(),
        }
    }

    pub fn failed(&self) -> bool {
        self.state == Condition::Unreadable
    }
}

fn view(target: &Target, stages: &[Stage], all: bool) -> Option<View> {
    let mut file_state = detect::file_state(target, stages);
    let status = describe(target, &file_state, target.named || all)?;
    let mut view = View {
        advice: status.advice.clone(),
        ..View::new(&target.shown, status.state)
    };
    let FileState::File(source, state) = &mut file_state else {
        if view.state == Condition::Original {
            view.advice = Some("not an ELF file".to_owned());
        }
        return Some(view);
    };
    // It was read just now. If this fails the file has just changed, and the rest is left out.
    let Ok(elf) = Elf::read(source) else {
        return Some(view);
    };
    view.original = Some(original(&elf, state.lost_interp(&elf)));
    let subject = Subject {
        path: &target.path,
        root: &target.root,
        elf: &elf,
        stages,
    };
    match state {
        State::Known(prior) => subject.known(prior, source, &status, &mut view),
        State::Unusable(Unusable::Untrusted(_) | Unusable::UnknownSidecar { .. }) => {}
        State::Original | State::Unusable(_) => {
            subject.unknown(source, status.sidecar.as_deref(), &mut view);
        }
    }
    Some(view)
}

struct Subject<'a> {
    /// Absolute in `root` and free of symbolic links.
    path: &'a Path,
    root: &'a Root,
    /// Its original headers, as far as they are known.
    elf: &'a Elf,
    stages: &'a [Stage],
}

impl Subject<'_> {
    /// Completes the view of a file that has a sidecar.
    fn known(&self, prior: &PriorWrap, source: &mut Source, status: &FileStatus, view: &mut View) {
        view.sidecar = (!prior.sidecar.is_empty()).then(|| SidecarView {
            path: lossy(&prior.sidecar_path),
            ..sidecar_view(&prior.sidecar, self.elf)
        });
        let edits = prior.edits.iter();
        view.edits = edits
            .filter_map(|edit| self.edit(edit, prior, source))
            .collect();
        view.given = match prior.method {
            Method::Stub | Method::Legacy => self.given_by_loader(status, prior.used()),
            Method::InPlace => self.given_in_place(prior),
        };
        if let Some(slot) = prior.edit(EditKind::Slot) {
            let len = slot.original.len() as u64;
            let (stub_len, address, abi) = match Sidecar::parse(prior.used()) {
                Ok(sidecar) => {
                    let header = sidecar.header();
                    let stub_len = u64::from(header.stub_len).min(len);
                    (stub_len, header.slot_address, sidecar.abi())
                }
                Err(_) => (len, self.elf.entry_address(), loader::ABI),
            };
            let trailer = slot.offset.checked_add(stub_len);
            if let Some((at, stub)) =
                trailer.and_then(|at| Some((at, stub::trailer_at(source, at)?)))
            {
                self.trailer(at, &stub, abi, view);
            }
            let covers_entry = self.elf.offset_of(self.elf.entry_address()) == Some(slot.offset);
            let shown = if covers_entry { len } else { ENTRY_CODE };
            view.entry_code = self.entry_code(source, shown);
            // If the stub has been undone, or not been written yet, these bytes are no stub.
            let now = source.read_raw(slot.offset, len).unwrap_or_default();
            if now != slot.original {
                let code = slot.offset..slot.offset + stub_len;
                view.stub_code = self.stub_code(source, code, address);
            }
        } else {
            view.entry_code = self.entry_code(source, ENTRY_CODE);
        }
    }

    /// Completes the view of a file without a usable sidecar. Its stub may still name one.
    fn unknown(&self, source: &mut Source, sidecar: Option<&Path>, view: &mut View) {
        if let Some(path) = sidecar
            && let Some(bytes) = detect::read(self.root, path)
        {
            view.sidecar = Some(SidecarView {
                path: lossy(path),
                of_another_file: true,
                ..sidecar_view(&bytes, self.elf)
            });
        }
        match stub::code_at_entry(self.elf, source, self.stages) {
            Some((code, stub)) => {
                self.trailer(code.end, &stub, loader::ABI, view);
                view.stub_code = self.stub_code(source, code, self.elf.entry_address());
                // The original PT_INTERP is unknown.
                if let Some(original) = &mut view.original {
                    original.interpreter = None;
                }
            }
            None => view.entry_code = self.entry_code(source, ENTRY_CODE),
        }
    }

    fn trailer(&self, offset: u64, stub: &Stub, abi: u16, view: &mut View) {
        view.trailer = Some(TrailerView {
            offset,
            id: hex(&stub.id),
            loader: stub.loader.as_ref().map(lossy),
            sidecar: lossy(&stub.sidecar),
            record_len: Some(stub.record.len()).filter(|&len| len > 0),
        });
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let file = stub.loader.as_ref().unwrap_or(&stub.sidecar);
        let path = directory.join(file);
        let (len, problem) = match stub.loader {
            Some(_) => {
                let len = fs::metadata(self.root.on_host(&path))
                    .ok()
                    .map(|metadata| metadata.len());
                (len, loader_problem(self.root, &path, self.elf.machine, abi))
            }
            None => {
                let problem = own_loader_problem(self.root, &path, stub.id, self.path);
                let len = problem.is_none().then_some(loader::image_len(abi) as u64);
                (len, problem)
            }
        };
        view.loader = Some(LoaderView {
            self_contained: stub.loader.is_none(),
            len,
            abi,
            problem,
            path: lossy(path),
        });
    }

    fn edit(&self, past: &PastEdit, prior: &PriorWrap, source: &mut Source) -> Option<EditView> {
        let len = past.original.len() as u64;
        let now = source.read_raw(past.offset, len).ok()?;
        let made = match &past.written {
            Some(written) => now == *written,
            None => prior.has_stub && now != past.original,
        };
        let state = match made {
            true => EditState::Made,
            false if now == past.original => EditState::NotMade,
            false => EditState::Other,
        };
        let written = past.written.as_deref().unwrap_or(&now);
        let meaning = meaning::of_edit(past.kind, past.offset, &past.original, written, self.elf);
        Some(EditView {
            kind: kind_name(past.kind),
            offset: past.offset,
            before: hex(&past.original),
            after: hex(&now),
            state,
            meaning,
        })
    }

    /// The settings that the loader gives ld.so.
    fn given_by_loader(&self, status: &FileStatus, sidecar: &[u8]) -> Option<Given> {
        let interpreter = status.interpreter.clone()?;
        let sidecar = Sidecar::parse(sidecar);
        let tag = match sidecar.is_ok_and(|own| own.header().flags.contains(Flags::RPATH)) {
            true => "DT_RPATH",
            false => "DT_RUNPATH",
        };
        Some(Given {
            interpreter: Some(interpreter),
            search_path: status.search_path.as_ref().map(|path| SearchPath {
                tag,
                directories: path.split(':').map(str::to_owned).collect(),
            }),
            needed: status.needed.clone(),
            links: Vec::new(),
        })
    }

    /// The settings that the file itself gives ld.so now.
    fn given_in_place(&self, prior: &PriorWrap) -> Option<Given> {
        let file = open_file(&self.root.real_on_host(self.path));
        let now = Elf::read(&mut file.and_then(Source::of).ok()?).ok()?;
        let own = |elf: &Elf| elf.interp.as_ref().map(|interp| lossy(&interp.path));
        let own_needed = self.elf.needed();
        let added = now
            .needed()
            .iter()
            .filter(|name| !own_needed.contains(name));
        let links = links_of(self.path);
        Some(Given {
            interpreter: own(&now),
            search_path: search_path(&now),
            needed: added.map(lossy).collect(),
            links: prior
                .links
                .iter()
                .map(|name| LinkView {
                    path: lossy(links.join(name)),
                    target: fs::read_link(self.root.real_on_host(&links).join(name))
                        .ok()
                        .map(lossy),
                })
                .collect(),
        })
    }

    /// The original instructions in the first `len` bytes at the entry point.
    fn entry_code(&self, source: &mut Source, len: u64) -> Vec<Instruction> {
        let elf = self.elf;
        let Some(offset) = elf
            .offset_of(elf.entry_address())
            .filter(|_| elf.entry != 0)
        else {
            return Vec::new();
        };
        let end = elf
            .load_of(elf.entry_address())
            .map_or(0, |load| load.file_end());
        let len = len.min(end.saturating_sub(offset));
        let whole = (len + LONGEST).min(source.file_len().saturating_sub(offset));
        let code = source.read(offset, whole).unwrap_or_default();
        match elf.target().arch() {
            Some(arch) => disassemble(arch, elf.entry, &code, len as usize),
            None => Vec::new(),
        }
    }

    /// The instructions in the range `code` of the file as it is now; the first one is at `address`.
    fn stub_code(&self, source: &mut Source, code: Range<u64>, address: u64) -> Vec<Instruction> {
        let len = (code.end - code.start).min(MAX_STUB);
        let code = source.read_raw(code.start, len).unwrap_or_default();
        match self.elf.target().arch() {
            // A stub is entered like the program that it is in.
            Some(arch) => disassemble_stub(arch, arch.entry_at(address, self.elf.entry), &code),
            None => Vec::new(),
        }
    }
}
