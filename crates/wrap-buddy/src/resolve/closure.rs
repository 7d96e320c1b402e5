//! Walks the libraries of a program in the order in which ld.so will load them, and looks for those of a library.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::GlobSet;

use super::found::{Found, Near, Rule, SearchPath, Step};
use super::linker::Linker;
use super::search_path::{self, OwnEntry, compose, own_entries};
use super::shelf::Shelf;
use super::{Added, Edited, Missing, Resolution, Settings, freeze, versions};
use crate::inspect::Elf;
use crate::interpreter::{Interpreter, Libc};

/// What every walk goes by.
#[derive(Clone, Copy)]
pub(super) struct Grounds<'a> {
    /// What the user asked for.
    pub settings: &'a Settings,
    /// What was looked at already.
    pub shelf: &'a Shelf,
}

/// A library that will be loaded.
struct Loaded {
    found: Found,
    /// The search path it has itself.
    search: SearchPath,
    /// The library that had it loaded, unless the program did.
    by: Option<usize>,
}

/// A library that a file asks for.
struct Asked<'n> {
    name: &'n OsString,
    /// A filtee that ld.so does without.
    may_be_missing: bool,
}

/// What ld.so loads on behalf of the file `elf`: what that needs, and what it filters, looked for in the same way (glibc
/// elf/dl-deps.c, _dl_map_object_deps).
fn asked_for<'n>(linker: &Linker<'_>, elf: &'n Elf) -> Vec<Asked<'n>> {
    let needed = elf.needed().iter().map(|name| Asked {
        name,
        may_be_missing: false,
    });
    let filtees = linker.filtees(elf).iter().map(|filtee| Asked {
        name: &filtee.name,
        may_be_missing: filtee.is_auxiliary,
    });
    needed.chain(filtees).collect()
}

struct Walk<'a> {
    settings: &'a Settings,
    shelf: &'a Shelf,
    program: &'a Elf,
    interpreter: &'a Interpreter,
    linker: Linker<'a>,
    /// The program's own entries that stay.
    kept: Vec<OwnEntry>,
    /// The search path that those are.
    search: SearchPath,
    /// What [`Rule::Offered`] counts, the interpreter's own directory behind them left out.
    offered: Vec<Step>,
    used: BTreeSet<usize>,
    /// By every name it will answer to.
    loaded: HashMap<OsString, usize>,
    libraries: Vec<Loaded>,
    queue: VecDeque<usize>,
    /// The program's DT_NEEDED, extra ones included: what is in it is loaded before anything a library needs.
    direct: BTreeSet<OsString>,
    /// Libraries that find what they need by the time the program runs.
    edited: &'a Edited<'a>,
    result: Resolution,
}

/// The libraries of a program, and theirs.
pub(super) fn program(
    Grounds { settings, shelf }: Grounds<'_>,
    edited: &Edited<'_>,
    path: &Path,
    program: &Elf,
    linker: Linker<'_>,
) -> Resolution {
    let offered = [&settings.libraries, &settings.runtime_dependencies];
    let offered = offered.into_iter().flatten();
    let grounds = Grounds { settings, shelf };
    let (mut walk, own) = Walk::new(grounds, edited, path, program, linker, offered);
    walk.program(path);
    while let Some(index) = walk.queue.pop_front() {
        walk.library(index, path);
    }
    walk.check_versions(path);
    walk.freeze();

    let count = settings.libraries.len();
    let always = count..count + settings.runtime_dependencies.len();
    let mut result = walk.finish(&own, always);
    // The same directories, under another name.
    let dynamic = program.dynamic.as_ref();
    let is_runpath = dynamic.is_some_and(|dynamic| dynamic.runpath.is_some());
    result.search_changes |= settings.inherited && is_runpath && !result.search.is_empty();
    result
}

/// What a library needs itself. Its search path changes only if it does not find all of that by its own, or where ld.so
/// looks anyway.
pub(super) fn library(
    grounds: Grounds<'_>,
    path: &Path,
    library: &Elf,
    linker: Linker<'_>,
) -> Resolution {
    let offered = grounds.settings.libraries.iter();
    let edited = Edited::new();
    let (mut walk, own) = Walk::new(grounds, &edited, path, library, linker, offered);
    walk.own_needs(path);
    walk.check_versions(path);
    let helped = !walk.used.is_empty();
    let mut result = walk.finish(&own, 0..0);
    result.search_changes &= helped;
    result
}

impl<'a> Walk<'a> {
    /// At the start of the way, and the search path that the file at `path` has now.
    fn new(
        Grounds { settings, shelf }: Grounds<'a>,
        edited: &'a Edited<'a>,
        path: &Path,
        program: &'a Elf,
        linker: Linker<'a>,
        offered: impl Iterator<Item = &'a PathBuf>,
    ) -> (Self, Vec<OwnEntry>) {
        let origin = path.parent().unwrap_or(Path::new("/"));
        let dynamic = program.dynamic.as_ref();
        let text = dynamic.and_then(|dynamic| dynamic.search_path());
        let own = text
            .map(|text| own_entries(text, origin, &linker.tokens(text.as_bytes())))
            .unwrap_or_default();
        let kept: Vec<OwnEntry> = own.iter().filter(|one| one.is_kept()).cloned().collect();
        let offered = offered.enumerate().map(|(index, directory)| Step {
            directory: directory.clone(),
            rule: Rule::Offered(index),
        });
        let is_inherited =
            dynamic.is_some_and(|dynamic| dynamic.is_inherited()) || settings.inherited;
        let walk = Self {
            settings,
            shelf,
            program,
            interpreter: linker.interpreter,
            linker,
            search: SearchPath {
                directories: directories_of(&kept),
                is_runpath: !is_inherited,
            },
            kept,
            offered: offered.collect(),
            used: BTreeSet::new(),
            loaded: HashMap::new(),
            libraries: Vec::new(),
            queue: VecDeque::new(),
            direct: program.needed().iter().cloned().collect(),
            edited,
            result: Resolution::default(),
        };
        (walk, own)
    }

    /// Composes the search path, of what the file keeps of its `own` and the directories that are of use, or `always` there.
    fn finish(mut self, own: &[OwnEntry], always: Range<usize>) -> Resolution {
        let chosen = self.offered.iter().enumerate();
        let mut directories: Vec<PathBuf> = chosen
            .filter(|(index, _)| self.used.contains(index) || always.contains(index))
            .map(|(_, step)| step.directory.clone())
            .collect();
        if self.used.contains(&self.offered.len()) {
            directories.extend(self.interpreter.built_in().own.clone());
        }
        let shelf = self.shelf;
        let search = compose(&self.kept, &directories, |directory| shelf.real(directory));
        let unchanged = own
            .iter()
            .map(|entry| search_path::Entry::Kept(entry.text.clone()));
        self.result.search_changes = !search.iter().cloned().eq(unchanged);
        self.result.search = search;
        self.result
    }

    /// What a library needs, looked for as ld.so will for the library alone.
    fn own_needs(&mut self, path: &Path) {
        let own = self.told_program();
        let asked = asked_for(&self.linker, self.program).into_iter();
        let (given, asked): (Vec<Asked<'_>>, Vec<Asked<'_>>) =
            asked.partition(|one| self.interpreter.is_always_loaded(one.name));
        let alone = asked.iter().all(|one| {
            self.find(one.name, path, &own, false).is_ok()
                || (one.may_be_missing && self.find(one.name, path, &own, true).is_err())
        });
        for one in asked {
            match self.find(one.name, path, &own, !alone) {
                Ok(found) => self.load(one.name.clone(), found, None),
                Err(nears) => self.miss(&one, path, &nears),
            }
        }
        // Nobody has to find these, but their versions count.
        for one in given {
            if let Ok(found) = self.find(one.name, path, &own, true) {
                self.loaded.insert(one.name.clone(), self.libraries.len());
                self.libraries.push(Loaded {
                    found,
                    search: SearchPath::default(),
                    by: None,
                });
            }
        }
    }

    /// Where an edited library will find what it needs.
    fn find_edited(&self, library: &Path, name: &OsStr) -> Option<Found> {
        if self.edited.is_empty() {
            return None;
        }
        let real = self.shelf.real(library);
        let mut found = self.edited.get(real.as_os_str())?.iter();
        let (_, path) = found.find(|(known, _)| known == name)?;
        // A path is taken as it is.
        let found = self.linker.find(path.as_os_str(), path, &[], false).ok()?;
        Some(Found {
            rule: Rule::Runpath,
            ..found
        })
    }

    /// Where the program itself is told to look.
    fn told_program(&self) -> Vec<Step> {
        self.linker.told([&self.search])
    }
}

impl<'a> Walk<'a> {
    /// The program's own DT_NEEDED, and those the user adds.
    fn program(&mut self, path: &Path) {
        for soname in &self.settings.needed {
            if self.direct.insert(soname.clone()) {
                self.result.added.push(Added {
                    soname: soname.clone(),
                    needed_by: None,
                });
            }
        }
        let added = self.result.added.iter();
        let extra: Vec<OsString> = added.map(|added| added.soname.clone()).collect();
        let extra = extra.iter().map(|name| Asked {
            name,
            may_be_missing: false,
        });
        let own = self.told_program();
        for one in extra.chain(asked_for(&self.linker, self.program)) {
            if self.interpreter.provides(one.name) || self.loaded.contains_key(one.name) {
                continue;
            }
            match self.find(one.name, path, &own, true) {
                Ok(found) => self.load(one.name.clone(), found, None),
                Err(nears) => self.miss(&one, path, &nears),
            }
        }
    }

    /// What a library needs and the program does not.
    fn library(&mut self, index: usize, program: &Path) {
        let Loaded { found, search, .. } = &self.libraries[index];
        // The system's own libraries are not ours to judge.
        if matches!(found.rule, Rule::Default | Rule::Cache) {
            self.library_of_system(index);
            return;
        }
        let (elf, path) = (Arc::clone(&found.elf), found.path.clone());
        let inherits =
            self.interpreter.libc == Libc::Musl || (!self.search.is_runpath && !search.is_runpath);
        let alone = self.linker.told(self.chain(index));
        let with_program = self.chain(index).chain([&self.search]);
        let own = self.linker.told(with_program);
        for one in asked_for(&self.linker, &elf) {
            let name = one.name;
            if self.interpreter.provides(name)
                || self.loaded.contains_key(name)
                || self.direct.contains(name)
            {
                continue;
            }
            let by_itself = match self.find_edited(&path, name) {
                Some(found) => Ok(found),
                None => {
                    let found = self.find(name, &path, &own, inherits);
                    let is_heir = inherits && self.find(name, &path, &alone, false).is_err();
                    if found.is_ok() && is_heir && !self.result.heirs.contains(&path) {
                        self.result.heirs.push(path.clone());
                    }
                    found
                }
            };
            let found = match by_itself {
                Err(nears) if inherits => Err(nears),
                Ok(found) => Ok(found),
                Err(_) => {
                    // Found like a library of the program's, it is one of the program's from now on.
                    let found = self.find(name, program, &self.told_program(), true);
                    if found.is_ok() {
                        self.direct.insert(name.clone());
                        self.result.added.push(Added {
                            soname: name.clone(),
                            needed_by: Some(path.clone()),
                        });
                    }
                    found
                }
            };
            match found {
                Ok(found) => self.load(name.clone(), found, Some(index)),
                Err(nears) => self.miss(&one, &path, &nears),
            }
        }
        self.hasten(&elf);
    }

    /// The filtees of the library `elf` are dealt with right behind it, whenever they were loaded.
    fn hasten(&mut self, elf: &Elf) {
        let filtees = self.linker.filtees(elf).iter();
        let filtees = filtees.filter_map(|filtee| self.loaded.get(&filtee.name).copied());
        let waiting: Vec<usize> = filtees.filter(|one| self.queue.contains(one)).collect();
        self.queue.retain(|one| !waiting.contains(one));
        for one in waiting.into_iter().rev() {
            self.queue.push_front(one);
        }
    }

    /// Freezing takes all that a library of the system needs as well.
    fn library_of_system(&mut self, index: usize) {
        if self.frozen_except().is_none() {
            return;
        }
        let Found { elf, path, .. } = self.libraries[index].found.clone();
        let told = self.linker.told(self.chain(index));
        for Asked { name, .. } in asked_for(&self.linker, &elf) {
            let is_known = self.interpreter.provides(name)
                || self.loaded.contains_key(name)
                || self.direct.contains(name);
            if !is_known && let Ok(found) = self.find(name, &path, &told, false) {
                self.load(name.clone(), found, Some(index));
            }
        }
        self.hasten(&elf);
    }

    /// What is not to be frozen; none when nothing is. musl knows no library by another name than it was asked for by, and would
    /// load each twice.
    fn frozen_except(&self) -> Option<&'a GlobSet> {
        let except = self.settings.frozen_except.as_ref();
        except.filter(|_| self.interpreter.libc == Libc::Glibc)
    }

    fn freeze(&mut self) {
        let Some(except) = self.frozen_except() else {
            return;
        };
        let extra = self.result.added.iter();
        let asked_for = extra.clone().filter(|added| added.needed_by.is_none());
        let asked_for = asked_for.map(|added| &added.soname);
        let subject = freeze::Subject {
            needed: asked_for
                .chain(self.program.needed())
                .map(OsString::as_os_str)
                .collect(),
            added: extra.map(|added| added.soname.as_os_str()).collect(),
            library: |name: &OsStr| Some(&self.libraries[*self.loaded.get(name)?].found),
            interpreter: &self.interpreter.path,
            except,
        };
        let front = subject.front();
        let all = self.libraries.iter().map(|library| &*library.found.elf);
        let implied = subject.implied(&front, all.chain([self.program]));
        self.result.implied = implied;
        self.result.movable = freeze::movable(&front, &self.settings.bundle);
        self.result.front = front;
    }

    /// The search paths of a library, of the one that had it loaded, and so on.
    fn chain(&self, index: usize) -> impl Iterator<Item = &SearchPath> {
        let chain = std::iter::successors(Some(index), |index| self.libraries[*index].by);
        chain.map(|index| &self.libraries[index].search)
    }

    /// Looks for `name` on behalf of the file at `from`: where it is `told` to, in the offered directories if they count, and
    /// where ld.so looks by itself.
    fn find(
        &self,
        name: &OsStr,
        from: &Path,
        told: &[Step],
        offered: bool,
    ) -> Result<Found, Vec<Near>> {
        if !offered {
            return self.linker.find(name, from, told, true);
        }
        let told = told.iter().chain(&self.offered);
        let found = self.linker.find(name, from, told.clone(), true);
        let by_itself = match &found {
            Ok(found) => matches!(found.rule, Rule::Default | Rule::Cache),
            Err(_) => true,
        };
        // What is beside the dynamic linker fits it better than what it looks for by itself. To know takes reading it: only
        // where nothing else has the library.
        match &self.interpreter.built_in().own {
            Some(own) if by_itself && !name.as_bytes().contains(&b'/') => {
                let own = Step {
                    directory: own.clone(),
                    rule: Rule::Offered(self.offered.len()),
                };
                self.linker.find(name, from, told.chain([&own]), true)
            }
            _ => found,
        }
    }

    fn load(&mut self, name: OsString, found: Found, by: Option<usize>) {
        if let Rule::Offered(index) = found.rule {
            self.used.insert(index);
        }
        let index = self.libraries.len();
        if let Some(soname) = found.elf.soname() {
            self.loaded.entry(soname.clone()).or_insert(index);
        }
        self.loaded.insert(name.clone(), index);
        self.result.found.push((name, found.path.clone()));
        let search = self.linker.search_path(&found.path, &found.elf);
        self.libraries.push(Loaded { found, search, by });
        self.queue.push_back(index);
    }

    fn miss(&mut self, asked: &Asked<'_>, needed_by: &Path, nears: &[Near]) {
        if asked.may_be_missing {
            return;
        }
        let soname = asked.name.clone();
        if self.settings.may_be_missing.is_match(&soname) {
            if !self.result.ignored.contains(&soname) {
                self.result.ignored.push(soname);
            }
            return;
        }
        let known = self.result.missing.iter_mut();
        if let Some(known) = known.into_iter().find(|missing| missing.soname == soname) {
            known.needed_by.push(needed_by.to_owned());
            return;
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
            needed_by: vec![needed_by.to_owned()],
            hints,
        });
    }

    /// musl does not know symbol versions.
    fn check_versions(&mut self, path: &Path) {
        if self.interpreter.libc != Libc::Glibc {
            return;
        }
        let library = |name: &OsStr| {
            if self.interpreter.provides(name) {
                return Some((self.interpreter.path.as_path(), &self.interpreter.elf));
            }
            let loaded = &self.libraries[*self.loaded.get(name)?].found;
            Some((loaded.path.as_path(), &*loaded.elf))
        };
        let mut unmet = versions::unmet(path, self.program, library);
        for Loaded { found, .. } in &self.libraries {
            if !matches!(found.rule, Rule::Default | Rule::Cache) {
                unmet.extend(versions::unmet(&found.path, &found.elf, library));
            }
        }
        self.result.unmet = unmet;
    }
}

fn directories_of(entries: &[OwnEntry]) -> Vec<PathBuf> {
    entries
        .iter()
        .flat_map(|entry| entry.directories.iter().cloned())
        .collect()
}
