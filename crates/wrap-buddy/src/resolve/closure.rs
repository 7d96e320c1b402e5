//! Walks the libraries of a program in the order in which ld.so will load them, and looks for those of a library.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::search_path::{self, OwnEntry, compose, expand, own_entries};
use super::shelf::{Probe, Shelf, misfit};
use super::{Added, Edited, Missing, Resolution, Settings, freeze, versions};
use crate::arch::{self, Arch};
use crate::cli::Search;
use crate::inspect::Elf;
use crate::interpreter::{Interpreter, Libc};

/// Why a directory is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The searching file's own DT_RUNPATH or DT_RPATH.
    Own,
    /// `--libs`, `--runtime-dependencies`, or the directory of the interpreter: goes on the program's search path when
    /// it is of use.
    Offered(usize),
    /// ld.so does so by itself.
    Default,
}

/// A library that will be loaded.
struct Loaded {
    path: PathBuf,
    elf: Arc<Elf>,
    origin: Origin,
}

/// A library at a path.
type Found = (PathBuf, Arc<Elf>);

struct Walk<'a> {
    settings: &'a Settings,
    shelf: &'a Shelf,
    program: &'a Elf,
    interpreter: &'a Interpreter,
    arch: &'a Arch,
    /// The program's own entries that stay.
    kept: Vec<OwnEntry>,
    /// What [`Origin::Offered`] counts, the interpreter's own directory behind them left out.
    offered: Vec<PathBuf>,
    used: BTreeSet<usize>,
    /// By every name it will answer to.
    loaded: HashMap<OsString, usize>,
    libraries: Vec<Loaded>,
    queue: VecDeque<usize>,
    /// The program's DT_NEEDED, extra ones included: what is in it is loaded before anything a library needs.
    direct: BTreeSet<OsString>,
    /// Libraries that find what they need by the time the program runs.
    edited: &'a Edited,
    result: Resolution,
}

/// The libraries of a program, and theirs.
pub(super) fn program(
    settings: &Settings,
    shelf: &Shelf,
    edited: &Edited,
    path: &Path,
    program: &Elf,
    interpreter: &Interpreter,
) -> Resolution {
    let offered = [&settings.libraries, &settings.runtime_dependencies];
    let offered = offered.into_iter().flatten().cloned().collect();
    let Some((mut walk, own)) =
        Walk::new(settings, shelf, edited, path, program, interpreter, offered)
    else {
        return Resolution::default();
    };
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
    let is_runpath = program
        .dynamic
        .as_ref()
        .is_some_and(|own| own.runpath.is_some());
    result.search_changes |=
        settings.search == Search::Rpath && is_runpath && !result.search.is_empty();
    result
}

/// What a library needs itself. Its search path changes only if it does not find all of that by its own, or where ld.so
/// looks anyway.
pub(super) fn library(
    settings: &Settings,
    shelf: &Shelf,
    path: &Path,
    library: &Elf,
    interpreter: &Interpreter,
) -> Resolution {
    let offered = settings.libraries.clone();
    let edited = Edited::new();
    let Some((mut walk, own)) = Walk::new(
        settings,
        shelf,
        &edited,
        path,
        library,
        interpreter,
        offered,
    ) else {
        return Resolution::default();
    };
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
        settings: &'a Settings,
        shelf: &'a Shelf,
        edited: &'a Edited,
        path: &Path,
        program: &'a Elf,
        interpreter: &'a Interpreter,
        offered: Vec<PathBuf>,
    ) -> Option<(Self, Vec<OwnEntry>)> {
        let arch = arch::find(program.machine, program.class)?;
        let origin = path.parent().unwrap_or(Path::new("/"));
        let own = program
            .dynamic
            .as_ref()
            .and_then(|dynamic| dynamic.search_path())
            .map(|text| own_entries(text, origin, arch))
            .unwrap_or_default();
        let kept = own.iter().filter(|entry| entry.is_kept());
        let walk = Self {
            settings,
            shelf,
            program,
            interpreter,
            arch,
            kept: kept.cloned().collect(),
            offered,
            used: BTreeSet::new(),
            loaded: HashMap::new(),
            libraries: Vec::new(),
            queue: VecDeque::new(),
            direct: program.needed().iter().cloned().collect(),
            edited,
            result: Resolution::default(),
        };
        Some((walk, own))
    }

    /// Composes the search path, of what the file keeps of its `own` and the directories that are of use, or `always` there.
    fn finish(mut self, own: &[OwnEntry], always: Range<usize>) -> Resolution {
        let chosen = self.offered.iter().enumerate();
        let mut directories: Vec<PathBuf> = chosen
            .filter(|(index, _)| self.used.contains(index) || always.contains(index))
            .map(|(_, directory)| directory.clone())
            .collect();
        if self.used.contains(&self.offered.len()) {
            directories.extend(self.interpreter.directories().own.clone());
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
        let own = directories_of(&self.kept);
        let (given, needed): (Vec<&OsString>, Vec<&OsString>) = self
            .program
            .needed()
            .iter()
            .partition(|name| self.interpreter.is_always_loaded(name));
        let alone = needed
            .iter()
            .all(|name| self.find(name, path, &own, false).is_ok());
        for name in needed {
            match self.find(name, path, &own, !alone) {
                Ok((found, origin)) => self.load(name.clone(), found, origin),
                Err(hints) => self.miss(name.clone(), path, hints),
            }
        }
        // Nobody has to find these, but their versions count.
        for name in given {
            if let Ok(((at, elf), origin)) = self.find(name, path, &own, true) {
                self.loaded.insert(name.clone(), self.libraries.len());
                self.libraries.push(Loaded {
                    path: at,
                    elf,
                    origin,
                });
            }
        }
    }

    /// Where an edited library will find what it needs.
    fn find_edited(&self, library: &Path, name: &OsStr) -> Option<Found> {
        if self.edited.is_empty() {
            return None;
        }
        let path = self.edited.get(&self.shelf.real(library))?.get(name)?;
        let elf = self.try_path(path, &mut Vec::new())?;
        Some((path.clone(), elf))
    }
}

impl Walk<'_> {
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
        let extra = self.result.added.iter().map(|added| &added.soname);
        let names: Vec<OsString> = extra.chain(self.program.needed()).cloned().collect();
        let own: Vec<PathBuf> = directories_of(&self.kept);
        for name in names {
            if self.interpreter.provides(&name) || self.loaded.contains_key(&name) {
                continue;
            }
            match self.find(&name, path, &own, true) {
                Ok((found, origin)) => self.load(name, found, origin),
                Err(hints) => self.miss(name, path, hints),
            }
        }
    }

    /// What a library needs and the program does not.
    fn library(&mut self, index: usize, program: &Path) {
        let (elf, path) = {
            let loaded = &self.libraries[index];
            // The system's own libraries may lean on its ld.so.cache: they are not ours to judge.
            if loaded.origin == Origin::Default {
                self.library_of_system(index);
                return;
            }
            (Arc::clone(&loaded.elf), loaded.path.clone())
        };
        let dynamic = elf.dynamic.as_ref();
        // ld.so takes $ORIGIN from the path it opened, symbolic links and all.
        let origin = path.parent().unwrap_or(Path::new("/"));
        let mut own = dynamic
            .and_then(|dynamic| dynamic.search_path())
            .map(|text| directories_of(&own_entries(text, origin, self.arch)))
            .unwrap_or_default();
        let program_is_inherited = self.program_is_inherited();
        let own_runpath = dynamic.is_some_and(|dynamic| dynamic.runpath.is_some());
        let inherits =
            self.interpreter.libc == Libc::Musl || (program_is_inherited && !own_runpath);
        let kept = directories_of(&self.kept);
        let alone = own.clone();
        if inherits {
            own.extend_from_slice(&kept);
        }
        for name in elf.needed() {
            if self.interpreter.provides(name)
                || self.loaded.contains_key(name)
                || self.direct.contains(name)
            {
                continue;
            }
            let by_itself = match self.find_edited(&path, name) {
                Some(found) => Ok((found, Origin::Own)),
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
                Err(hints) if inherits => Err(hints),
                Ok((found, origin)) => Ok((found, origin)),
                Err(_) => {
                    // Found like a library of the program's, it is one of the program's from now on.
                    let found = self.find(name, program, &kept, true);
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
                Ok((found, origin)) => self.load(name.clone(), found, origin),
                Err(hints) => self.miss(name.clone(), &path, hints),
            }
        }
    }

    /// Freezing takes all that a library of the system needs as well.
    fn library_of_system(&mut self, index: usize) {
        if !self.is_frozen() {
            return;
        }
        let (elf, path) = {
            let loaded = &self.libraries[index];
            (Arc::clone(&loaded.elf), loaded.path.clone())
        };
        for name in elf.needed() {
            let is_known = self.interpreter.provides(name)
                || self.loaded.contains_key(name)
                || self.direct.contains(name);
            if !is_known && let Ok((found, origin)) = self.find(name, &path, &[], false) {
                self.load(name.clone(), found, origin);
            }
        }
    }

    /// musl knows no library by another name than it was asked for by, and would load each twice.
    fn is_frozen(&self) -> bool {
        self.settings.search == Search::Frozen && self.interpreter.libc == Libc::Glibc
    }

    fn freeze(&mut self) {
        if !self.is_frozen() {
            return;
        }
        let extra = self.result.added.iter();
        let asked_for = extra.clone().filter(|added| added.needed_by.is_none());
        let asked_for = asked_for.map(|added| &added.soname);
        let subject = freeze::Subject {
            needed: asked_for
                .chain(self.program.needed())
                .map(OsString::as_os_str)
                .collect(),
            added: extra.map(|added| added.soname.as_os_str()).collect(),
            library: |name: &OsStr| {
                let loaded = &self.libraries[*self.loaded.get(name)?];
                Some((loaded.path.as_path(), &*loaded.elf))
            },
            interpreter: &self.interpreter.path,
            except: &self.settings.frozen_except,
        };
        let front = subject.front();
        let movable = freeze::movable(&front, &self.settings.bundle);
        if !movable.is_empty() {
            let movable: Vec<String> = movable
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            self.result.warnings.push(format!(
                "frozen, but neither in a store nor in a directory given here: wrap again when an update moves {}",
                movable.join(", ")
            ));
        }
        self.result.front = front;
    }

    /// Whether libraries without a DT_RUNPATH inherit the search path of the program.
    fn program_is_inherited(&self) -> bool {
        let dynamic = self.program.dynamic.as_ref();
        self.settings.search == Search::Rpath || dynamic.is_some_and(|own| own.is_inherited())
    }

    /// Looks for `name` on behalf of the file at `from`: in `own` directories, in the offered ones if they count, and
    /// where ld.so looks by itself. On failure: files that come close.
    fn find(
        &self,
        name: &OsStr,
        from: &Path,
        own: &[PathBuf],
        offered: bool,
    ) -> Result<(Found, Origin), Vec<String>> {
        let mut hints = Vec::new();
        if name.as_bytes().contains(&b'/') {
            // A path, not a name to be searched for; a relative one depends on where the program is started.
            let origin = from.parent().unwrap_or(Path::new("/"));
            for path in expand(name.as_bytes(), origin, self.arch) {
                if let Some(library) = self.try_path(&path, &mut hints) {
                    return Ok(((path, library), Origin::Own));
                }
            }
            return Err(hints);
        }
        let own = own.iter().map(|directory| (directory, Origin::Own));
        let given = self.offered.iter().enumerate();
        let given = given.map(|(index, directory)| (directory, Origin::Offered(index)));
        let told = own.chain(given.filter(|_| offered));
        // What the dynamic linker searches by itself takes reading it: only where nothing else has the library.
        let by_itself = std::iter::once_with(|| {
            let known = self.interpreter.directories();
            let its_own = known.own.iter().filter(move |_| offered);
            let its_own = its_own.map(|own| (own, Origin::Offered(self.offered.len())));
            let default = known.default.iter();
            its_own.chain(default.map(|directory| (directory, Origin::Default)))
        });
        for (directory, origin) in told.chain(by_itself.flatten()) {
            let path = directory.join(name);
            if let Some(library) = self.try_path(&path, &mut hints) {
                return Ok(((path, library), origin));
            }
        }
        Err(hints)
    }

    fn try_path(&self, path: &Path, hints: &mut Vec<String>) -> Option<Arc<Elf>> {
        let misfit = match self.shelf.probe(path) {
            Probe::Absent => return None,
            Probe::Unusable(why) => why,
            Probe::Library(library) => {
                match misfit(self.program, self.interpreter.libc, &library) {
                    None => return Some(library),
                    Some(why) => why,
                }
            }
        };
        hints.push(format!("{} {misfit}", path.display()));
        None
    }

    fn load(&mut self, name: OsString, (path, elf): Found, origin: Origin) {
        if let Origin::Offered(index) = origin {
            self.used.insert(index);
        }
        let index = self.libraries.len();
        if let Some(soname) = elf.soname() {
            self.loaded.entry(soname.clone()).or_insert(index);
        }
        self.loaded.insert(name.clone(), index);
        self.result.found.push((name, path.clone()));
        self.libraries.push(Loaded { path, elf, origin });
        self.queue.push_back(index);
    }

    fn miss(&mut self, soname: OsString, needed_by: &Path, mut hints: Vec<String>) {
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
            let loaded = &self.libraries[*self.loaded.get(name)?];
            Some((loaded.path.as_path(), &*loaded.elf))
        };
        let mut warnings = versions::unmet(path, self.program, library);
        for loaded in &self.libraries {
            if loaded.origin != Origin::Default {
                warnings.extend(versions::unmet(&loaded.path, &loaded.elf, library));
            }
        }
        self.result.warnings = warnings;
    }
}

fn directories_of(entries: &[OwnEntry]) -> Vec<PathBuf> {
    entries
        .iter()
        .flat_map(|entry| entry.directories.iter().cloned())
        .collect()
}
