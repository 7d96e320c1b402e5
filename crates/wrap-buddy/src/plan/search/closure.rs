//! Finds the libraries of a program as they will be found once it is wrapped, and those of a library once it is edited.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::iter;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::GlobSet;

use super::further::{self, Attempt};
use super::search_path::{self, OwnEntry, compose, own_entries};
use super::{Added, Edited, Missing, Resolution, Settings, Stranded, Unopened, freeze, private};
use elf_file::{Elf, Priority};
use ldso::Shelf;
use ldso::{Answer, Asker, Cause, Policy, Request, Walk};
use ldso::{Found, Near, Rule, SearchPath, Step, Told};
use ldso::{Interpreter, Libc};
use ldso::{Linker, libc_opens};

/// What every walk goes by.
#[derive(Clone, Copy)]
pub(super) struct Grounds<'a> {
    /// What the user asked for.
    pub settings: &'a Settings,
    /// What was looked at already.
    pub shelf: &'a Shelf,
}

/// A file that is to find what it needs.
pub(super) struct Plan<'a> {
    settings: &'a Settings,
    pub(super) shelf: &'a Shelf,
    linker: &'a Linker<'a>,
    subject: Asker<'a>,
    /// The entries of its search path.
    own: Vec<OwnEntry>,
    /// Those that stay.
    kept: Vec<OwnEntry>,
    /// What [`Rule::Offered`] counts. Behind them it counts where the dynamic linker is, and what it searches by itself.
    pub(super) offered: Arc<Told>,
    /// The first of them that nobody named.
    further: usize,
    used: BTreeSet<usize>,
    /// Which of those missing a name is; none for one that may be.
    missing: HashMap<OsString, Option<usize>>,
    result: Resolution,
}

/// The libraries of the program `subject`, and theirs. Libraries that it opens inherit its search path if there are directories
/// to be `lent`.
pub(super) fn program(
    grounds: Grounds<'_>,
    edited: &Edited<'_>,
    lent: &[PathBuf],
    subject: Asker<'_>,
    linker: &Linker<'_>,
) -> Resolution {
    further::search(grounds, subject, linker, |further| {
        let attempt =
            |private| program_with(grounds, edited, lent, subject, linker, further, private);
        // What libc opens by itself is found out first.
        attempt(None).unwrap_or_else(|added| attempt(Some(added)).unwrap_or_default())
    })
}

/// The same, with `further` directories and what libc opens by itself; an error is that, where it is found out now.
fn program_with(
    grounds: Grounds<'_>,
    edited: &Edited<'_>,
    lent: &[PathBuf],
    subject: Asker<'_>,
    linker: &Linker<'_>,
    further: &[PathBuf],
    private: Option<Added>,
) -> Result<Attempt, Added> {
    let settings = grounds.settings;
    let always = [&*settings.runtime_dependencies, lent].concat();
    let mut plan = Plan::new(grounds, subject, linker, &always, further);
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
    plan.result.unmet = walk.unmet(|found| !is_of_system(found));
    plan.result.unversioned_relr = walk.unversioned_relr(|found| !is_of_system(found));
    match private::unwinder(&plan, &walk) {
        Some(Ok(added)) if !by_libc => return Err(added),
        Some(Err(sentence)) => plan.result.private.push(sentence),
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
    let spare = spare(grounds, subject.path);
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
fn spare(Grounds { settings, shelf }: Grounds<'_>, path: &Path) -> impl Iterator<Item = usize> {
    let origin = path.parent().unwrap_or(Path::new("/"));
    let libraries = settings.libraries.iter().enumerate();
    let spare = libraries.filter(move |(_, directory)| {
        // What stays behind when the tree moves is no good to a file in it.
        !settings.minimal
            && (!settings.relocatable || settings.given.joins(&shelf.real(directory), origin))
    });
    spare.map(|(index, _)| index)
}

/// What the library `subject` needs itself, looked for as ld.so will for the library alone. Its search path changes only if it
/// does not find all of that by its own, or where ld.so looks anyway, or if it `opens` others by name: directories that are there
/// whatever they resolve, and those of `--libs` that have libraries, are for these.
pub(super) fn library(
    grounds: Grounds<'_>,
    subject: Asker<'_>,
    linker: &Linker<'_>,
    opens: bool,
) -> Resolution {
    further::search(grounds, subject, linker, |further| {
        library_with(grounds, subject, linker, opens, further)
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
    grounds: Grounds<'_>,
    subject: Asker<'_>,
    linker: &Linker<'_>,
    opens: bool,
    further: &[PathBuf],
) -> Attempt {
    let Settings {
        libraries,
        runtime_dependencies,
        ..
    } = grounds.settings;
    let dynamic = subject.elf.dynamic.as_ref();
    let has_runpath = dynamic.is_some_and(|own| own.runpath.is_some());
    let opens = opens && serves_opened(grounds.settings, subject.elf, linker.interpreter);
    let always = match opens {
        true => libraries.len()..libraries.len() + runtime_dependencies.len(),
        false => 0..0,
    };
    let plan = Plan::new(grounds, subject, linker, runtime_dependencies, further);
    let is_inherited = dynamic.is_some_and(|own| own.is_inherited());
    let own = plan.search_path(is_inherited);
    let mut policy = OfLibrary {
        plan,
        is_alone: false,
    };
    policy.is_alone = policy.finds_all(&linker.told([&own]));
    let walk = Walk::new(linker, subject, own, &[], &mut policy);
    let mut plan = policy.plan;
    plan.result.unmet = walk.unmet(|found| !is_of_system(found));
    plan.result.unversioned_relr = walk.unversioned_relr(|found| !is_of_system(found));
    let needs_help = !plan.used.is_empty();
    if linker.interpreter.libc != Libc::Musl {
        plan.open(&walk, None);
    }
    let helped = !plan.used.is_empty();
    let spare = spare(grounds, subject.path).filter(|_| opens);
    let mut result = plan.finish(always.clone(), spare);
    result.essential_changes &= helped || !always.is_empty();
    result.search_changes &= result.essential_changes || result.search.len() > result.essential;
    result.inherited = !needs_help && !has_runpath;
    Attempt {
        result,
        searched: walk.searched().cloned().collect(),
    }
}

/// The system's own libraries are not ours to judge.
fn is_of_system(found: &Found) -> bool {
    matches!(found.rule, Rule::Default | Rule::Cache)
}

impl<'a> Plan<'a> {
    fn new(
        Grounds { settings, shelf }: Grounds<'a>,
        subject: Asker<'a>,
        linker: &'a Linker<'a>,
        always: &[PathBuf],
        further: &[PathBuf],
    ) -> Self {
        let origin = subject.path.parent().unwrap_or(Path::new("/"));
        let dynamic = subject.elf.dynamic.as_ref();
        let text = dynamic.and_then(|dynamic| dynamic.search_path());
        let own = text
            .map(|text| own_entries(text, origin, &linker.tokens(text.as_bytes())))
            .unwrap_or_default();
        let offered = [&settings.libraries, always, further];
        let offered = offered.into_iter().flatten().enumerate();
        let offered = offered.map(|(index, directory)| Step {
            directory: directory.clone(),
            rule: Rule::Offered(index),
            list: 0,
        });
        Self {
            settings,
            shelf,
            linker,
            subject,
            kept: own.iter().filter(|one| one.is_kept()).cloned().collect(),
            own,
            offered: linker.list(offered.collect()),
            further: settings.libraries.len() + always.len(),
            used: BTreeSet::new(),
            missing: HashMap::new(),
            result: Resolution::default(),
        }
    }

    /// The search path that the entries which stay are.
    fn search_path(&self, is_inherited: bool) -> SearchPath {
        let entries = self.kept.iter();
        SearchPath {
            directories: entries
                .flat_map(|entry| entry.directories.iter().cloned())
                .collect(),
            is_runpath: !is_inherited,
        }
    }

    /// Where the dynamic linker is and, for a file that forbids its default directories, these: all of them may be put on a
    /// search path. To know takes reading the dynamic linker.
    fn beside(&self, asker: Asker<'_>) -> Arc<Told> {
        let built_in = self.linker.interpreter.built_in();
        let has_defaults = self.linker.has_defaults(asker.elf);
        let default = built_in.default.iter().filter(|_| !has_defaults);
        let directories = built_in.own.iter().chain(default).zip(self.offered.len()..);
        let steps = directories.map(|(directory, index)| Step {
            directory: directory.clone(),
            rule: Rule::Offered(index),
            list: 0,
        });
        self.linker.list(steps.collect())
    }

    /// The directory that `Rule::Offered(index)` means.
    fn directory(&self, index: usize) -> Option<&PathBuf> {
        let built_in = || self.linker.interpreter.built_in();
        match index.checked_sub(self.offered.len()) {
            None => Some(&self.offered[index].directory),
            Some(behind) => built_in().own.iter().chain(&built_in().default).nth(behind),
        }
    }

    /// Looks for `name` on behalf of `asker`: where ld.so is `told` to, in directories that may be put on a search path, and
    /// where ld.so looks by itself.
    pub(super) fn offer(
        &self,
        name: &OsStr,
        asker: Asker<'_>,
        told: &Told,
    ) -> Result<Found, Arc<[Near]>> {
        let found = self.linker.find(name, asker, &[told, &self.offered]);
        // What is beside the dynamic linker fits it better than what it looks for by itself: only where nothing else has the
        // library.
        if found.as_ref().is_ok_and(|found| !is_of_system(found)) || name.as_bytes().contains(&b'/')
        {
            return found;
        }
        let beside = self.beside(asker);
        match beside.is_empty() {
            true => found,
            false => self
                .linker
                .find(name, asker, &[told, &self.offered, &beside]),
        }
    }

    /// What is found is part of the result.
    fn take(&mut self, name: &OsStr, found: &Found) {
        if let Rule::Offered(index) = found.rule {
            self.used.insert(index);
        }
        self.result
            .found
            .push((name.to_owned(), found.path.clone()));
    }

    fn miss(&mut self, request: &Request<'_>, nears: &[Near]) {
        if request.may_be_missing {
            return;
        }
        let needed_by = request.asker.path.to_owned();
        if let Some(known) = self.missing.get(request.name) {
            if let Some(index) = *known {
                self.result.missing[index].needed_by.push(needed_by);
            }
            return;
        }
        let soname = request.name.to_owned();
        let may_be = self.settings.may_be_missing.is_match(&soname);
        let index = (!may_be).then_some(self.result.missing.len());
        self.missing.insert(soname.clone(), index);
        if may_be {
            return self.result.ignored.push(soname);
        }
        let mut hints: Vec<String> = nears.iter().map(Near::to_string).collect();
        for path in self.shelf.with_soname(&soname) {
            hints.push(format!(
                "{} has this DT_SONAME, but ld.so goes by file names: link it as {}",
                path.display(),
                soname.display()
            ));
        }
        self.result.missing.push(Missing {
            soname,
            needed_by: vec![needed_by],
            hints,
        });
    }

    /// What the file `by` says it opens while it runs. Where it is served by the search path that is made here, that has the
    /// directories of what the file requires or recommends.
    fn open(&mut self, walk: &Walk<'_>, by: Option<usize>) {
        let asker = match by {
            None => walk.subject,
            Some(node) => {
                let found = &walk.nodes[node].found;
                Asker {
                    path: &found.path,
                    elf: &found.elf,
                }
            }
        };
        if asker.elf.opened.is_empty()
            || by.is_some_and(|node| is_of_system(&walk.nodes[node].found))
        {
            return;
        }
        let told = walk.told(by);
        let is_served = by.is_none() || walk.inherits(by);
        for opened in &asker.elf.opened {
            let names = || opened.soname.iter().map(OsStr::new);
            let is_there = |name: &OsStr| {
                walk.is_known(name) || self.linker.find(name, asker, &[&told]).is_ok()
            };
            let Some(first) = names().next().filter(|_| !names().any(is_there)) else {
                continue;
            };
            let is_wanted = is_served && opened.priority != Priority::Suggested;
            let found = is_wanted.then(|| {
                names().find_map(|name| Some((name, self.offer(name, asker, &told).ok()?)))
            });
            if let Some((name, found)) = found.flatten() {
                self.take(name, &found);
            } else if is_served && opened.priority == Priority::Required {
                let request = Request {
                    name: first,
                    by,
                    asker,
                    told: &told,
                    cause: Cause::Needed,
                    may_be_missing: false,
                };
                self.miss(&request, &[]);
                let hint = format!("opened while it runs{}", opened.purpose());
                let missing = self.result.missing.iter_mut();
                let missing = missing.filter(|missing| missing.soname == *first);
                missing.for_each(|missing| missing.hints.push(hint.clone()));
            } else if !names().any(|name| self.settings.may_be_missing.is_match(name)) {
                self.result.unopened.push(Unopened {
                    by: asker.path.to_owned(),
                    opened: opened.clone(),
                });
            }
        }
    }

    fn freeze(&mut self, walk: &Walk<'_>, except: &GlobSet) {
        let added = self.result.added.iter();
        let libc = OsStr::new(libc_opens::LIBC);
        let is_libc = |path: &PathBuf| path.file_name() == Some(libc);
        // libc has no DT_NEEDED for what it opens.
        let asked_for = added.clone();
        let asked_for = asked_for.filter(|added| added.needed_by.as_ref().is_none_or(is_libc));
        let asked_for = asked_for.map(|added| &added.soname);
        let subject = freeze::Subject {
            walk,
            needed: asked_for
                .chain(self.subject.elf.needed())
                .map(OsString::as_os_str)
                .collect(),
            added: added.map(|added| added.soname.as_os_str()).collect(),
            except,
        };
        let front = subject.front();
        self.result.implied = subject.implied(&front);
        self.result.movable = freeze::movable(&front, &self.settings.bundle);
        self.result.front = front;
    }

    /// Composes the search path, of what the file keeps of its own and the directories that are of use, or `always` there; then
    /// those of the `spare` ones that have libraries for the file.
    fn finish(
        mut self,
        always: Range<usize>,
        spare: impl IntoIterator<Item = usize>,
    ) -> Resolution {
        let unconditional = always.clone().filter_map(|index| self.directory(index));
        let unconditional = unconditional.cloned().collect();
        let chosen: BTreeSet<usize> = self.used.iter().copied().chain(always).collect();
        let origin = self.subject.path.parent().unwrap_or(Path::new("/"));
        let interpreter = self.linker.interpreter;
        let (linker, libc) = (&interpreter.elf, interpreter.libc);
        let spare: Vec<usize> = spare
            .into_iter()
            .filter(|index| !chosen.contains(index))
            .filter(|&index| {
                let directory = &self.offered[index].directory;
                self.shelf.has_libraries(directory, linker, libc)
            })
            .collect();
        let entry = |&index: &usize| {
            let directory = self.directory(index)?;
            let is_further = (self.further..self.offered.len()).contains(&index);
            let entry = match is_further && self.settings.given.joins(directory, origin) {
                true => search_path::Entry::Within,
                false => search_path::Entry::Directory,
            };
            Some(entry(directory.clone()))
        };
        let compose = |entries: &mut dyn Iterator<Item = search_path::Entry>| {
            compose(&self.kept, entries, |directory| self.shelf.real(directory))
        };
        let essential = compose(&mut chosen.iter().filter_map(entry));
        let search = compose(&mut chosen.iter().chain(&spare).filter_map(entry));
        let own = self.own.iter();
        let unchanged = own.map(|entry| search_path::Entry::Kept(entry.text.clone()));
        let unchanged: Vec<search_path::Entry> = unchanged.collect();
        self.result.essential = essential.len();
        self.result.essential_changes = essential != unchanged;
        self.result.search_changes = search != unchanged;
        self.result.search = search;
        self.result.unconditional = unconditional;
        self.result
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
                let found = self.plan.offer(request.name, request.asker, request.told);
                (found, None)
            }
            // It was missed already, by the program.
            Some(_) if self.direct.contains(request.name) => return None,
            Some(library) if is_of_system(&walk.nodes[library].found) => {
                let linker = walk.linker;
                let found = linker.find(request.name, request.asker, &[request.told]);
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
    ) -> (Result<Found, Arc<[Near]>>, Option<usize>) {
        let &Request {
            name, asker, told, ..
        } = request;
        let by = Some(library);
        if let Some(found) = self.find_edited(asker, name) {
            return (Ok(found), by);
        }
        if walk.inherits(by) {
            let found = self.plan.offer(name, asker, told);
            let heirs = &mut self.plan.result.heirs;
            let alone = walk.linker.told(walk.chain(by));
            if found.is_ok()
                && walk.linker.find(name, asker, &[&alone]).is_err()
                && heirs.last().is_none_or(|heir| heir != asker.path)
            {
                heirs.push(asker.path.to_owned());
            }
            return (found, by);
        }
        if let Ok(found) = walk.linker.find(name, asker, &[told]) {
            return (Ok(found), by);
        }
        // Found like a library of the program's, it is one of the program's from now on.
        let found = self.plan.offer(name, walk.subject, &walk.told(None));
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
        let real = self.plan.shelf.real(library.path);
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
    fn finds_all(&self, told: &Told) -> bool {
        let Plan {
            linker, subject, ..
        } = self.plan;
        let finds = |name: &OsStr| linker.find(name, subject, &[told]).is_ok();
        let mut needed = subject.elf.needed().iter();
        let mut filtees = linker.filtees(subject.elf).iter();
        let is_given = |name: &OsStr| linker.interpreter.is_always_loaded(name);
        needed.all(|name| is_given(name) || finds(name))
            && filtees.all(|filtee| {
                let name = filtee.name.as_os_str();
                let is_nowhere = || self.plan.offer(name, subject, told).is_err();
                is_given(name) || finds(name) || (filtee.is_auxiliary && is_nowhere())
            })
    }
}

impl Policy for OfLibrary<'_> {
    fn find(&mut self, walk: &Walk<'_>, request: &Request<'_>) -> Option<Answer> {
        let &Request {
            name,
            asker,
            told,
            by,
            ..
        } = request;
        // Nobody has to find what is loaded by then, but its versions count.
        if walk.linker.interpreter.is_always_loaded(name) {
            let found = self.plan.offer(name, asker, told).ok()?;
            return Some(Answer { found, by });
        }
        let is_own = by.is_none() || walk.inherits(by);
        let found = match self.is_alone {
            true => walk.linker.find(name, asker, &[told]),
            false if is_own => self.plan.offer(name, asker, told),
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
            let real = self.plan.shelf.real(&library.path);
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
            told,
            by,
            may_be_missing,
            ..
        } = request;
        if let Ok(found) = walk.linker.find(name, asker, &[told]) {
            return Some(Answer { found, by });
        }
        if may_be_missing || self.plan.settings.may_be_missing.is_match(name) {
            return None;
        }
        let elsewhere = self.plan.offer(name, asker, told);
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
