//! Plans a program, once its libraries are planned.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use stages::Stage;

use crate::plan::classify::Subject;
use crate::plan::options::Strategy;
use crate::plan::outcome::FileReport;
use crate::plan::planner::{Planner, directories_of};
use crate::plan::reason::{Refusal, SkipReason};
use crate::plan::search::{Edited, Resolution};
use crate::plan::unpatched::{UnpatchedLibraries, UnpatchedLibrary};
use crate::plan::{self, NotEdited, Plan};
use crate::scan::Target;
use crate::state::preloader;
use crate::state::prior::Method;
use elf_file::{Elf, FileId};
use ldso::{Interpreter, Libc, Root};

impl Planner<'_> {
    /// Plans a program, after the libraries. `edited`: libraries that are edited; `relative`: those of them that will use $ORIGIN.
    pub(super) fn program(
        &self,
        target: &Target,
        mut subject: Subject<'_>,
        stage: Result<&Stage, SkipReason>,
        edited: &Edited<'_>,
        relative: &HashSet<PathBuf>,
        unpatched_libraries: &UnpatchedLibraries<'_>,
    ) -> FileReport {
        let path = &target.path;
        // Otherwise the resolver would open the file a second time.
        let (elf, source) = (&subject.elf, &mut subject.source);
        self.resolver
            .read_program(path, elf, &subject.interpreter, source);
        let mut resolution = self.resolve_program(path, &subject, edited, &[]);
        let mut opened = self.opened(unpatched_libraries, &mut subject, &resolution);
        let (elf, interpreter) = (&subject.elf, &*subject.interpreter);
        let to_inherit = match self.lets_libraries_inherit(elf, interpreter) {
            true => Vec::new(),
            false => self.directories_to_inherit(
                opened
                    .iter()
                    .map(|&index| unpatched_libraries.libraries[index]),
            ),
        };
        if !to_inherit.is_empty() {
            resolution = self.resolve_program(path, &subject, edited, &to_inherit);
        }
        if self.lets_libraries_inherit(elf, interpreter) || !to_inherit.is_empty() {
            let offered = directories_of(&resolution);
            let kind = elf.target();
            for (index, unpatched) in unpatched_libraries.libraries.iter().enumerate() {
                let serves = unpatched.kind == kind && unpatched.inherits_from(&offered);
                let opens = serves && opened.remove(&index);
                if opens || (serves && self.is_given(unpatched)) {
                    resolution.inheriting.push(unpatched.path.clone());
                }
            }
        }
        let fails = opened.iter();
        let fails = fails.map(|&index| unpatched_libraries.libraries[index].path.clone());
        let fails = fails.collect();
        let report = self.program_served(target, subject, stage, relative, resolution);
        FileReport { fails, ..report }
    }

    /// Indices of the unpatched libraries that the program opens. Those that it loads as dependencies are not among them.
    fn opened(
        &self,
        unpatched_libraries: &UnpatchedLibraries<'_>,
        subject: &mut Subject<'_>,
        resolution: &Resolution,
    ) -> BTreeSet<usize> {
        let Subject { elf, source, .. } = subject;
        let kind = elf.target();
        if unpatched_libraries
            .libraries
            .iter()
            .all(|unpatched| unpatched.kind != kind)
        {
            return BTreeSet::new();
        }
        let loaded = resolution.found.iter().map(|(_, path)| path.as_path());
        let mut opened = unpatched_libraries
            .openers
            .named_by(elf, source, loaded.clone());
        let loaded: HashSet<PathBuf> = loaded.map(|path| self.resolver.real(path)).collect();
        opened.retain(|&index| {
            let unpatched = unpatched_libraries.libraries[index];
            unpatched.kind == kind && !loaded.contains(&unpatched.path)
        });
        opened
    }

    /// The directories that the libraries `opened` have to inherit, in the order of `--libs`.
    fn directories_to_inherit<'r>(
        &self,
        opened: impl Iterator<Item = &'r UnpatchedLibrary>,
    ) -> Vec<PathBuf> {
        let inheriting = opened.filter(|unpatched| unpatched.inherits);
        let directories: HashSet<&PathBuf> = inheriting
            .flat_map(|unpatched| &unpatched.directories)
            .collect();
        let mut directories: Vec<PathBuf> = directories.into_iter().cloned().collect();
        directories.sort_by_cached_key(|directory| {
            let file_id = self.libs.iter().position(|one| one == directory);
            (file_id.unwrap_or(self.libs.len()), directory.clone())
        });
        directories
    }

    /// Whether every program gets the directories for the library by `--search rpath --runtime-dependencies`.
    fn is_given(&self, unpatched: &UnpatchedLibrary) -> bool {
        let given = |directory| self.runtime_dependencies.contains(directory);
        self.inherited && unpatched.directories.iter().all(given)
    }

    /// Resolves a program, as if the settings from the first wrap-buddy's sidecar were in the program.
    fn resolve_program(
        &self,
        path: &Path,
        subject: &Subject<'_>,
        edited: &Edited<'_>,
        to_inherit: &[PathBuf],
    ) -> Resolution {
        let (elf, interpreter) = (&subject.elf, &*subject.interpreter);
        let Some(defaults) = &subject.defaults else {
            return self
                .resolver
                .program(path, elf, interpreter, edited, to_inherit);
        };
        let with_defaults = defaults.apply(elf);
        let mut resolution =
            self.resolver
                .program(path, &with_defaults, interpreter, edited, to_inherit);
        defaults.complete(elf, &mut resolution);
        resolution
    }

    /// Plans a program, once its libraries are known.
    fn program_served(
        &self,
        target: &Target,
        subject: Subject<'_>,
        stage: Result<&Stage, SkipReason>,
        relative: &HashSet<PathBuf>,
        mut resolution: Resolution,
    ) -> FileReport {
        let shown = target.shown.clone();
        let interpreter = subject.interpreter.clone();
        let (elf, interpreter) = (&subject.elf, &*interpreter);
        let path = &target.path;
        let mode = subject.source.metadata().mode();
        let prior = subject.prior.as_ref().map(|prior| prior.method);
        if !resolution.missing.is_empty() {
            self.hint(&mut resolution.missing, elf, interpreter);
            return FileReport {
                missing: resolution.missing,
                ..FileReport::failed(shown, Refusal::LibrariesMissing(prior))
            };
        }
        if prior.is_none() && !self.force && self.starts_as_it_is(elf, interpreter, &resolution) {
            return FileReport {
                serves: resolution.inheriting,
                ..FileReport::skipped(shown, SkipReason::StartsAsItIs)
            };
        }
        let preloader = preloader::of(&target.root, path);
        // The sidecar with the original bytes is of the other method.
        let settled = subject.prior.as_ref().filter(|one| !one.is_unfinished());
        let settled = settled.map(|one| one.method);
        let in_place = match settled {
            Some(Method::InPlace) => true,
            Some(Method::Stub) if self.strategy == Strategy::Inplace => {
                return FileReport::skipped(shown, SkipReason::WrappedByStub);
            }
            Some(Method::Stub) => false,
            // Its stub is undone first.
            Some(Method::Legacy) | None => self.strategy != Strategy::Stub || preloader.is_some(),
        };
        let or_stub = self.strategy != Strategy::Inplace && settled != Some(Method::InPlace);
        let mut plan_options = self.plan_options;
        let mut notes = Vec::new();
        if let Some(defaults) = &subject.defaults {
            notes.push(defaults.note.clone());
            if defaults.is_relocatable && !plan_options.relocatable {
                plan_options.relocatable = true;
                plan_options.self_contained |= !self.names_loaders;
            }
        }
        let with_notes = |mut plan: Plan| {
            plan.notes.splice(0..0, notes);
            plan
        };
        let (mut subject, mut resolution) = (subject, resolution);
        if in_place {
            let may_link = |library: &Path| self.may_link(library, relative);
            match plan::in_place(path, subject, resolution, &plan_options, &may_link) {
                Ok(mut plan) => {
                    let note = preloader.map(|name| {
                        format!("edited in place, because {name} maps it and reads its PT_INTERP")
                    });
                    plan.notes.extend(note);
                    return self.planned_program(shown, with_notes(plan), mode, interpreter);
                }
                Err((NotEdited::NoRoom(_), parts)) if or_stub => (subject, resolution) = *parts,
                Err((NotEdited::NoRoom(no_room), _)) => {
                    return FileReport::failed(shown, Refusal::NotInPlace(no_room));
                }
                Err((NotEdited::Failed(error), _)) => {
                    return FileReport::failed(shown, Refusal::from(error));
                }
            }
        }
        let stage = match stage {
            Ok(stage) => stage,
            Err(reason) if target.named => return FileReport::failed(shown, reason),
            Err(reason) => return FileReport::skipped(shown, reason),
        };
        match plan::stub(path, subject, stage, resolution, &plan_options) {
            Ok(plan) => {
                let warning = preloader.map(|name| preloader::warning(&name, prior));
                let mut report = self.planned_program(shown, with_notes(plan), mode, interpreter);
                report.notes.extend(warning);
                report
            }
            Err(error) => FileReport::failed(shown, Refusal::from(error)),
        }
    }

    /// The report for a program of mode `mode`, with a warning if users who can run it cannot read a file that it needs.
    fn planned_program(
        &self,
        shown: PathBuf,
        plan: Plan,
        mode: u32,
        interpreter: &Interpreter,
    ) -> FileReport {
        let directory = plan.file.path.parent().unwrap_or(Path::new("/"));
        let loader = plan.loader().map(|loader| directory.join(&loader.path));
        let libraries = plan.resolution.found.iter().map(|(_, path)| path.as_path());
        let files = [interpreter.path.as_path()].into_iter().chain(libraries);
        let sidecar = plan.settled.then_some(plan.sidecar_path.as_path());
        let files = loader.as_deref().into_iter().chain(sidecar).chain(files);
        let out_of_reach = self.reach.out_of_reach(mode, directory, files);
        let mut report = self.planned(shown, plan, Some(interpreter));
        report.notes.extend(out_of_reach.iter().map(|one| {
            let is_loader = loader
                .as_ref()
                .is_some_and(|loader| one.files.contains(loader));
            let or = match is_loader {
                true => "pass --self-contained",
                false => "use a copy in a directory that all users can read",
            };
            format!("{one}; {}, or {or}", one.barrier.remedy())
        }));
        report
    }

    /// Whether wrapping would change nothing for the original program `elf`: its PT_INTERP is the dynamic linker that it would get, and it
    /// finds all of its libraries by its own search path and the defaults.
    fn starts_as_it_is(
        &self,
        elf: &Elf,
        interpreter: &Interpreter,
        resolution: &Resolution,
    ) -> bool {
        let keeps_search =
            !resolution.search_changes || !self.inherited && directories_of(resolution).is_empty();
        let nothing_to_add = resolution.added.is_empty()
            && resolution.prepended.is_empty()
            && resolution.ignored.is_empty()
            && resolution.unmet_versions.is_empty()
            && resolution.unversioned_relr.is_empty();
        let own = elf.interp.as_ref().map(|interp| Path::new(&interp.path));
        keeps_search
            && nothing_to_add
            && !self.plan_options.relocatable
            && own.is_some_and(|own| {
                own.is_absolute() && is_same_file(self.plan_options.root, own, &interpreter.path)
            })
    }

    /// Whether libraries that the program `elf` opens inherit its future search path.
    fn lets_libraries_inherit(&self, elf: &Elf, interpreter: &Interpreter) -> bool {
        let own = elf.dynamic.as_ref();
        interpreter.libc == Libc::Musl
            || self.inherited
            || own.is_some_and(|own| own.is_inherited())
    }
}

fn is_same_file(root: &Root, one: &Path, other: &Path) -> bool {
    let file_id = |path: &Path| {
        fs::metadata(root.on_host(path))
            .map(|file| FileId::from(&file))
            .ok()
    };
    one == other || file_id(one).is_some_and(|one| Some(one) == file_id(other))
}
