//! Finds the libraries of a program as they will be found once it is wrapped, and those of a library once it is edited.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::further::{self, Attempt};
use super::needs::{Inputs, Plan, is_of_system};
use super::{Added, Edited, Resolution, Settings, Stranded, private};
use elf_file::Elf;
use ldso::Linker;
use ldso::{Answer, Asker, Cause, Policy, Request, Walk};
use ldso::{Found, NearMiss, Rule, SearchList};
use ldso::{Interpreter, Libc};

/// The libraries of the program `subject`, and theirs. Libraries that it opens inherit its search path if there are directories
/// to be `lent`.
pub(super) fn program(
    inputs: Inputs<'_>,
    edited: &Edited<'_>,
    lent: &[PathBuf],
    subject: Asker<'_>,
    linker: &Linker<'_>,
) -> Resolution {
    further::search(inputs, subject, linker, |further| {
        let attempt =
            |private| program_with(inputs, edited, lent, subject, linker, further, private);
        // What libc opens by itself is found out first.
        attempt(None).unwrap_or_else(|added| attempt(Some(added)).unwrap_or_default())
    })
}

/// The same, with `further` directories and what libc opens by itself; an error is that, where it is found out now.
fn program_with(
    inputs: Inputs<'_>,
    edited: &Edited<'_>,
    lent: &[PathBuf],
    subject: Asker<'_>,
    linker: &Linker<'_>,
    further: &[PathBuf],
    private: Option<Added>,
) -> Result<Attempt, Added> {
    let settings = inputs.settings;
    let always = [&*settings.runtime_dependencies, lent].concat();
    let mut plan = Plan::new(inputs, subject, linker, &always, further);
    let dynamic = subject.elf.dynamic.as_ref();
    let inherited = settings.inherited || !lent.is_empty();
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
    // musl knows no library by another name than it was asked for by, and would load each twice.
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
    // The same directories, under another name.
    let is_runpath = dynamic.is_some_and(|dynamic| dynamic.runpath.is_some());
    let is_renamed = inherited && is_runpath;
    result.search_changes |= is_renamed && !result.search.is_empty();
    result.essential_changes |= is_renamed && result.essential > 0;
    Ok(Attempt {
        result,
        searched: walk.searched().cloned().collect(),
    })
}

/// Which directories of `--libs` the file at `path` may have at the end of its search path, for what it opens by name.
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
        // What stays behind when the tree moves is no good to a file in it.
        !settings.minimal
            && (!settings.relocatable || settings.given.joins(&probe_cache.real(directory), origin))
    });
    spare.map(|(index, _)| index)
}

/// What the library `subject` needs itself, looked for as ld.so will for the library alone. Its search path changes only if it
/// does not find all of that by its own, or where ld.so looks anyway, or if it `opens` others by name: directories that are there
/// whatever they resolve, and those of `--libs` that have libraries, are for these.
pub(super) fn library(
    inputs: Inputs<'_>,
    subject: Asker<'_>,
    linker: &Linker<'_>,
    opens: bool,
) -> Resolution {
    further::search(inputs, subject, linker, |further| {
        library_with(inputs, subject, linker, opens, further)
    })
}

/// Whether what the library `elf` opens by name is looked for on a search path of its own that may be changed. musl looks for it on
/// behalf of the program, whatever calls dlopen (ldso/dynlink.c, dlopen); and what inherits from every program need not be told.
pub(super) fn serves_opened(settings: &Settings, elf: &Elf, interpreter: &Interpreter) -> bool {
    let dynamic = elf.dynamic.as_ref();
    let has_runpath = dynamic.is_some_and(|own| own.runpath.is_some());
    interpreter.libc != Libc::Musl && (has_runpath || !settings.inherited)
}

/// The same, with `further` directories.
fn library_with(
    inputs: Inputs<'_>,
    subject: Asker<'_>,
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

/// The libraries of a program, and theirs.
struct OfProgram<'a> {
    plan: Plan<'a>,
    /// The program's DT_NEEDED, extra ones included: what is in it is loaded before anything a library needs.
    direct: BTreeSet<OsString>,
    /// Libraries that find what they need by the time the program runs.
    edited: &'a Edited<'a>,
    /// Whether all is loaded by its path, also what libraries of the system need.
    is_frozen: bool,
}

impl Policy for OfProgram<'_> {
    fn find(&mut self, walk: &Walk<'_>, request: &Request<'_>) -> Option<Answer> {
        let (found, by) = match request.by {
            None => {
                let found = self
                    .plan
                    .offer(request.name, request.asker, request.search_list);
                (found, None)
            }
            // It was missed already, by the program.
            Some(_) if self.direct.contains(request.name) => return None,
            Some(library) if is_of_system(&walk.nodes[library].found) => {
                let linker = walk.linker;
                let found = linker.find(request.name, request.asker, &[request.search_list]);
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
    /// What the node `library` needs and the program does not, and which library has it loaded; none: the program.
    fn for_library(
        &mut self,
        walk: &Walk<'_>,
        request: &Request<'_>,
        library: usize,
    ) -> (Result<Found, Arc<[NearMiss]>>, Option<usize>) {
        let &Request {
            name,
            asker,
            search_list,
            ..
        } = request;
        let by = Some(library);
        if let Some(found) = self.find_edited(asker, name) {
            return (Ok(found), by);
        }
        if walk.inherits(by) {
            let found = self.plan.offer(name, asker, search_list);
            let inheriting = &mut self.plan.result.inheriting;
            let alone = walk.linker.search_list(walk.chain(by));
            if found.is_ok()
                && walk.linker.find(name, asker, &[&alone]).is_err()
                && inheriting.last().is_none_or(|last| last != asker.path)
            {
                inheriting.push(asker.path.to_owned());
            }
            return (found, by);
        }
        if let Ok(found) = walk.linker.find(name, asker, &[search_list]) {
            return (Ok(found), by);
        }
        // Found like a library of the program's, it is one of the program's from now on.
        let found = self.plan.offer(name, walk.subject, &walk.search_list(None));
        if found.is_ok() {
            self.direct.insert(name.to_owned());
            self.plan.result.added.push(Added {
                soname: name.to_owned(),
                needed_by: Some(asker.path.to_owned()),
            });
        }
        (found, None)
    }

    /// Where an edited library will find what it needs.
    fn find_edited(&self, library: Asker<'_>, name: &OsStr) -> Option<Found> {
        if self.edited.is_empty() {
            return None;
        }
        let real = self.plan.probe_cache.real(library.path);
        let mut found = self.edited.get(real.as_os_str())?.iter();
        let (_, path) = found.find(|(known, _)| known == name)?;
        // A path is taken as it is.
        let found = self.plan.linker.find(path.as_os_str(), library, &[]);
        Some(Found {
            rule: Rule::Runpath,
            ..found.ok()?
        })
    }
}

/// What a library needs itself.
struct OfLibrary<'a> {
    plan: Plan<'a>,
    /// Whether it finds all of that as it is.
    is_alone: bool,
}

impl OfLibrary<'_> {
    /// Whether the library finds what it needs where ld.so is `told` to look, or looks by itself. A filtee that is nowhere
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
            asker,
            search_list,
            by,
            ..
        } = request;
        // Nobody has to find what is loaded by then, but its versions count.
        if walk.linker.interpreter.is_always_loaded(name) {
            let found = self.plan.offer(name, asker, search_list).ok()?;
            return Some(Answer { found, by });
        }
        let is_own = by.is_none() || walk.inherits(by);
        let found = match self.is_alone {
            true => walk.linker.find(name, asker, &[search_list]),
            false if is_own => self.plan.offer(name, asker, search_list),
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

    /// One that is edited itself is seen to on its own.
    fn follows(&self, library: &Found) -> bool {
        let is_edited = || {
            let real = self.plan.probe_cache.real(&library.path);
            self.plan.settings.given.joins(&real, &real)
        };
        !self.is_alone && !is_of_system(library) && !is_edited()
    }
}

impl OfLibrary<'_> {
    /// What another library needs, which inherits nothing from the one that is edited.
    fn for_library(&mut self, walk: &Walk<'_>, request: &Request<'_>) -> Option<Answer> {
        let &Request {
            name,
            asker,
            search_list,
            by,
            may_be_missing,
            ..
        } = request;
        if let Ok(found) = walk.linker.find(name, asker, &[search_list]) {
            return Some(Answer { found, by });
        }
        if may_be_missing || self.plan.settings.may_be_missing.is_match(name) {
            return None;
        }
        let elsewhere = self.plan.offer(name, asker, search_list);
        // Every program lends these.
        let settings = self.plan.settings;
        let lent = settings.libraries.len()..self.plan.offered.len();
        if let Ok(Found {
            rule: Rule::Offered(index),
            ..
        }) = &elsewhere
            && settings.inherited
            && lent.contains(index)
            && !walk.linker.search_path(asker.path, asker.elf).is_runpath
        {
            return None;
        }
        self.plan.result.stranded.push(Stranded {
            library: asker.path.to_owned(),
            soname: name.to_owned(),
            candidate: elsewhere.ok().map(|found| found.path),
        });
        None
    }
}
