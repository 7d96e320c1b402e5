//! Resolves the libraries of a program as they will be found once it is wrapped, and those of a library once it is edited.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::further::{self, Attempt};
use super::needs::{Inputs, Plan, is_of_system};
use super::{Added, Edited, Resolution, Settings, UnmetNeed, private};
use elf_file::Elf;
use ldso::Linker;
use ldso::{Answer, Cause, Dependent, Policy, Request, Walk};
use ldso::{Found, NearMiss, Rule, SearchList};
use ldso::{Interpreter, Libc};

/// Resolves the libraries of the program `subject` recursively. Libraries that it opens inherit its search path if any directories are
/// `to_inherit`.
pub(super) fn program(
    inputs: Inputs<'_>,
    edited: &Edited<'_>,
    to_inherit: &[PathBuf],
    subject: Dependent<'_>,
    linker: &Linker<'_>,
) -> Resolution {
    further::search(inputs, subject, linker, |further| {
        let attempt = |private| {
            program_with(
                inputs, edited, to_inherit, subject, linker, further, private,
            )
        };
        // First without the library that libc opens; if that turns out to be needed, again with it.
        attempt(None).unwrap_or_else(|added| attempt(Some(added)).unwrap_or_default())
    })
}

/// The same with `further` directories and the library `private` that libc opens. An error is that library, if it turns out to be needed.
fn program_with(
    inputs: Inputs<'_>,
    edited: &Edited<'_>,
    to_inherit: &[PathBuf],
    subject: Dependent<'_>,
    linker: &Linker<'_>,
    further: &[PathBuf],
    private: Option<Added>,
) -> Result<Attempt, Added> {
    let settings = inputs.settings;
    let always = [&*settings.runtime_dependencies, to_inherit].concat();
    let mut plan = Plan::new(inputs, subject, linker, &always, further);
    let dynamic = subject.elf.dynamic.as_ref();
    let inherited = settings.inherited || !to_inherit.is_empty();
    let is_inherited = dynamic.is_some_and(|own| own.is_inherited()) || inherited;
    let own = plan.search_path(is_inherited);
    let mut direct: BTreeSet<OsString> = subject.elf.needed().iter().cloned().collect();
    let mut extra = Vec::new();
    for soname in &settings.needed {
        if direct.insert(soname.clone()) {
            plan.result.added.push(Added {
                soname: soname.clone(),
                needed_by: None,
            });
            extra.push((soname.clone(), Cause::Needed));
        }
    }
    let by_libc = private.is_some();
    if let Some(added) = private {
        direct.insert(added.soname.clone());
        extra.push((added.soname.clone(), Cause::Needed));
        plan.result.added.push(added);
    }
    // musl identifies a library only by the name under which it was opened, and would load each twice.
    let frozen_except = settings.frozen_except.as_ref();
    let frozen_except = frozen_except.filter(|_| linker.interpreter.libc == Libc::Glibc);
    let mut policy = OfProgram {
        plan,
        direct,
        edited,
        is_frozen: frozen_except.is_some(),
    };
    let walk = Walk::new(linker, subject, own, &extra, &mut policy);
    let mut plan = policy.plan;
    plan.result.unmet_versions = walk.unmet_versions(|found| !is_of_system(found));
    plan.result.unversioned_relr = walk.unversioned_relr(|found| !is_of_system(found));
    match private::unwinder(&plan, &walk) {
        Some(Ok(added)) if !by_libc => return Err(added),
        Some(Err(lacks)) => plan.result.private.push(lacks),
        _ => {}
    }
    let modules = private::modules(&plan, &walk);
    plan.result.private.extend(modules);
    for by in iter::once(None).chain((0..walk.nodes.len()).map(Some)) {
        plan.open(&walk, by);
    }
    if let Some(except) = frozen_except {
        plan.freeze(&walk, except);
    }

    let count = settings.libraries.len();
    let spare = spare(inputs, subject.path);
    let mut result = plan.finish(count..count + always.len(), spare);
    result.inherited = inherited;
    // DT_RUNPATH becomes DT_RPATH with the same directories.
    let is_runpath = dynamic.is_some_and(|dynamic| dynamic.runpath.is_some());
    let is_renamed = inherited && is_runpath;
    result.search_changes |= is_renamed && !result.search.is_empty();
    result.essential_changes |= is_renamed && result.essential > 0;
    Ok(Attempt {
        result,
        searched: walk.searched().cloned().collect(),
    })
}

/// The directories of `--libs` to append to the search path of the file at `path`, for libraries that it opens with dlopen.
fn spare(
    Inputs {
        settings,
        probe_cache,
    }: Inputs<'_>,
    path: &Path,
) -> impl Iterator<Item = usize> {
    let origin = path.parent().unwrap_or(Path::new("/"));
    let libraries = settings.libraries.iter().enumerate();
    let spare = libraries.filter(move |(_, directory)| {
        // A file in the tree cannot rely on directories that are not moved with it.
        !settings.minimal
            && (!settings.relocatable || settings.given.joins(&probe_cache.real(directory), origin))
    });
    spare.map(|(index, _)| index)
}

/// Resolves the dependencies of the library `subject`, as ld.so will for the library alone. Its search path changes only if it does not
/// find all of them, or if it `opens` others with dlopen: these may be in the unconditional directories, and in those of `--libs`.
pub(super) fn library(
    inputs: Inputs<'_>,
    subject: Dependent<'_>,
    linker: &Linker<'_>,
    opens: bool,
) -> Resolution {
    further::search(inputs, subject, linker, |further| {
        library_with(inputs, subject, linker, opens, further)
    })
}

/// Whether the library `elf` has a search path of its own for dlopen that may be changed. musl uses the program's, no matter which file
/// calls dlopen (ldso/dynlink.c, dlopen). A library that inherits from every program needs none.
pub(super) fn serves_opened(settings: &Settings, elf: &Elf, interpreter: &Interpreter) -> bool {
    let dynamic = elf.dynamic.as_ref();
    let has_runpath = dynamic.is_some_and(|own| own.runpath.is_some());
    interpreter.libc != Libc::Musl && (has_runpath || !settings.inherited)
}

/// The same with `further` directories.
fn library_with(
    inputs: Inputs<'_>,
    subject: Dependent<'_>,
    linker: &Linker<'_>,
    opens: bool,
    further: &[PathBuf],
) -> Attempt {
    let Settings {
        libraries,
        runtime_dependencies,
        ..
    } = inputs.settings;
    let dynamic = subject.elf.dynamic.as_ref();
    let has_runpath = dynamic.is_some_and(|own| own.runpath.is_some());
    let opens = opens && serves_opened(inputs.settings, subject.elf, linker.interpreter);
    let always = match opens {
        true => libraries.len()..libraries.len() + runtime_dependencies.len(),
        false => 0..0,
    };
    let plan = Plan::new(inputs, subject, linker, runtime_dependencies, further);
    let is_inherited = dynamic.is_some_and(|own| own.is_inherited());
    let own = plan.search_path(is_inherited);
    let mut policy = OfLibrary {
        plan,
        is_alone: false,
    };
    policy.is_alone = policy.finds_all(&linker.search_list([&own]));
    let walk = Walk::new(linker, subject, own, &[], &mut policy);
    let mut plan = policy.plan;
    plan.result.unmet_versions = walk.unmet_versions(|found| !is_of_system(found));
    plan.result.unversioned_relr = walk.unversioned_relr(|found| !is_of_system(found));
    let needs_help = !plan.used.is_empty();
    if linker.interpreter.libc != Libc::Musl {
        plan.open(&walk, None);
    }
    let helped = !plan.used.is_empty();
    let spare = spare(inputs, subject.path).filter(|_| opens);
    let mut result = plan.finish(always.clone(), spare);
    result.essential_changes &= helped || !always.is_empty();
    result.search_changes &= result.essential_changes || result.search.len() > result.essential;
    result.inherited = !needs_help && !has_runpath;
    Attempt {
        result,
        searched: walk.searched().cloned().collect(),
    }
}

/// Policy for a program.
struct OfProgram<'a> {
    plan: Plan<'a>,
    /// DT_NEEDED of the program with additions. These libraries are loaded before those of its libraries.
    direct: BTreeSet<OsString>,
    /// Libraries that will find their dependencies when the program runs.
    edited: &'a Edited<'a>,
    /// Whether all libraries are loaded by path, including the dependencies of system libraries.
    is_frozen: bool,
}

impl Policy for OfProgram<'_> {
    fn find(&mut self, walk: &Walk<'_>, request: &Request<'_>) -> Option<Answer> {
        let (found, by) = match request.by {
            None => {
                let found = self
                    .plan
                    .offer(request.name, request.dependent, request.search_list);
                (found, None)
            }
            // The program needs it, too, and did not find it.
            Some(_) if self.direct.contains(request.name) => return None,
            Some(library) if is_of_system(&walk.nodes[library].found) => {
                let linker = walk.linker;
                let found = linker.find(request.name, request.dependent, &[request.search_list]);
                (Ok(found.ok()?), Some(library))
            }
            Some(library) => self.for_library(walk, request, library),
        };
        match found {
            Ok(found) => {
                self.plan.take(request.name, &found);
                Some(Answer { found, by })
            }
            Err(nears) => {
                self.plan.miss(request, &nears);
                None
            }
        }
    }

    fn follows(&self, library: &Found) -> bool {
        self.is_frozen || !is_of_system(library)
    }
}

impl OfProgram<'_> {
    /// Resolves a dependency of the node `library` that the program does not have, and returns the node that loads it; `None` means the
    /// program.
    fn for_library(
        &mut self,
        walk: &Walk<'_>,
        request: &Request<'_>,
        library: usize,
    ) -> (Result<Found, Arc<[NearMiss]>>, Option<usize>) {
        let &Request {
            name,
            dependent,
            search_list,
            ..
        } = request;
        let by = Some(library);
        if let Some(found) = self.find_edited(dependent, name) {
            return (Ok(found), by);
        }
        if walk.inherits(by) {
            let found = self.plan.offer(name, dependent, search_list);
            let inheriting = &mut self.plan.result.inheriting;
            let alone = walk.linker.search_list(walk.chain(by));
            if found.is_ok()
                && walk.linker.find(name, dependent, &[&alone]).is_err()
                && inheriting.last().is_none_or(|last| last != dependent.path)
            {
                inheriting.push(dependent.path.to_owned());
            }
            return (found, by);
        }
        if let Ok(found) = walk.linker.find(name, dependent, &[search_list]) {
            return (Ok(found), by);
        }
        // It is found by the program's search path, so it becomes a DT_NEEDED of the program.
        let found = self.plan.offer(name, walk.subject, &walk.search_list(None));
        if found.is_ok() {
            self.direct.insert(name.to_owned());
            self.plan.result.added.push(Added {
                soname: name.to_owned(),
                needed_by: Some(dependent.path.to_owned()),
            });
        }
        (found, None)
    }

    /// Where an edited library will find its dependency `name`.
    fn find_edited(&self, library: Dependent<'_>, name: &OsStr) -> Option<Found> {
        if self.edited.is_empty() {
            return None;
        }
        let real = self.plan.probe_cache.real(library.path);
        let mut found = self.edited.get(real.as_os_str())?.iter();
        let (_, path) = found.find(|(known, _)| known == name)?;
        // A path is not searched for.
        let found = self.plan.linker.find(path.as_os_str(), library, &[]);
        Some(Found {
            rule: Rule::Runpath,
            ..found.ok()?
        })
    }
}

/// Policy for a library.
struct OfLibrary<'a> {
    plan: Plan<'a>,
    /// Whether it finds all of its dependencies as it is.
    is_alone: bool,
}

impl OfLibrary<'_> {
    /// Whether the library finds its dependencies with `search_list` and the defaults. An auxiliary filtee that does not exist anywhere
    /// does not count.
    fn finds_all(&self, search_list: &SearchList) -> bool {
        let Plan {
            linker, subject, ..
        } = self.plan;
        let finds = |name: &OsStr| linker.find(name, subject, &[search_list]).is_ok();
        let mut needed = subject.elf.needed().iter();
        let mut filtees = linker.filtees(subject.elf).iter();
        let is_given = |name: &OsStr| linker.interpreter.is_always_loaded(name);
        needed.all(|name| is_given(name) || finds(name))
            && filtees.all(|filtee| {
                let name = filtee.name.as_os_str();
                let is_nowhere = || self.plan.offer(name, subject, search_list).is_err();
                is_given(name) || finds(name) || (filtee.is_auxiliary && is_nowhere())
            })
    }
}

impl Policy for OfLibrary<'_> {
    fn find(&mut self, walk: &Walk<'_>, request: &Request<'_>) -> Option<Answer> {
        let &Request {
            name,
            dependent,
            search_list,
            by,
            ..
        } = request;
        // It is always loaded, so it need not be found, but its versions are checked.
        if walk.linker.interpreter.is_always_loaded(name) {
            let found = self.plan.offer(name, dependent, search_list).ok()?;
            return Some(Answer { found, by });
        }
        let is_own = by.is_none() || walk.inherits(by);
        let found = match self.is_alone {
            true => walk.linker.find(name, dependent, &[search_list]),
            false if is_own => self.plan.offer(name, dependent, search_list),
            false => return self.for_library(walk, request),
        };
        match found {
            Ok(found) => {
                self.plan.take(name, &found);
                Some(Answer { found, by })
            }
            Err(nears) => {
                self.plan.miss(request, &nears);
                None
            }
        }
    }

    /// A library that is edited itself is resolved separately.
    fn follows(&self, library: &Found) -> bool {
        let is_edited = || {
            let real = self.plan.probe_cache.real(&library.path);
            self.plan.settings.given.joins(&real, &real)
        };
        !self.is_alone && !is_of_system(library) && !is_edited()
    }
}

impl OfLibrary<'_> {
    /// Resolves a dependency of another library, which inherits nothing from the one that is edited.
    fn for_library(&mut self, walk: &Walk<'_>, request: &Request<'_>) -> Option<Answer> {
        let &Request {
            name,
            dependent,
            search_list,
            by,
            may_be_missing,
            ..
        } = request;
        if let Ok(found) = walk.linker.find(name, dependent, &[search_list]) {
            return Some(Answer { found, by });
        }
        if may_be_missing || self.plan.settings.may_be_missing.is_match(name) {
            return None;
        }
        let elsewhere = self.plan.offer(name, dependent, search_list);
        // Every program provides these directories.
        let settings = self.plan.settings;
        let inherited = settings.libraries.len()..self.plan.offered.len();
        if let Ok(Found {
            rule: Rule::Offered(index),
            ..
        }) = &elsewhere
            && settings.inherited
            && inherited.contains(index)
            && !walk
                .linker
                .search_path(dependent.path, dependent.elf)
                .is_runpath
        {
            return None;
        }
        self.plan.result.unmet_needs.push(UnmetNeed {
            library: dependent.path.to_owned(),
            soname: name.to_owned(),
            candidate: elsewhere.ok().map(|found| found.path),
        });
        None
    }
}
