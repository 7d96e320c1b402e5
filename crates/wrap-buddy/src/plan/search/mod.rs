//! Resolves the libraries of a program or a library as ld.so will, and determines the search path that they need. It does not know how
//! ld.so will get that.

mod closure;
mod freeze;
mod further;
mod given;
mod needs;
mod private;
mod search_path;

pub use freeze::{Prepended, STORES};
pub use given::{Given, steps};
pub use private::LibcLacks;
pub use search_path::{Entry, Relative, search_path};

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::GlobSet;

use elf_file::{Elf, Opened, Priority, Source};
use ldso::{
    Dependent, Interpreter, Libc, Linker, Probe, ProbeCache, Root, Surroundings, UnmetVersion,
    UnversionedRelr, incompatibility,
};
use needs::Inputs;

/// The options of the search.
#[derive(Debug, Default)]
pub struct Settings {
    /// Library directories, absolute, in search order.
    pub libraries: Vec<PathBuf>,
    /// Directories to put on every search path, absolute.
    pub runtime_dependencies: Vec<PathBuf>,
    /// Additional DT_NEEDED.
    pub needed: Vec<OsString>,
    /// Sonames that may be missing.
    pub may_be_missing: GlobSet,
    /// Whether libraries without a DT_RUNPATH inherit the search path of programs.
    pub inherited: bool,
    /// Whether directories that resolve nothing are left out.
    pub minimal: bool,
    /// Whether programs are moved together with their trees.
    pub relocatable: bool,
    /// Load libraries by path, except those with names that match; `None` means that all are searched for.
    pub frozen_except: Option<GlobSet>,
    /// The trees to be processed. Missing libraries are searched for there.
    pub given: Given,
    /// Directories, free of symbolic links, whose libraries are moved together with the programs.
    pub bundle: Vec<PathBuf>,
    /// The directory, free of symbolic links, outside of which nothing is searched.
    pub within: Option<PathBuf>,
}

/// An additional DT_NEEDED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    pub soname: OsString,
    /// The library that needs it and does not find it; `None` if the user asked for it.
    pub needed_by: Option<PathBuf>,
}

/// A DT_NEEDED that is not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub soname: OsString,
    /// The files that need it: the program or its libraries.
    pub needed_by: Vec<PathBuf>,
    /// Near misses, and other hints.
    pub hints: Vec<String>,
}

/// A dependency of a library that is not edited, which that library does not find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmetNeed {
    pub library: PathBuf,
    pub soname: OsString,
    /// A matching file, in a directory that the library does not search.
    pub candidate: Option<PathBuf>,
}

/// A library that a file opens with dlopen and will not find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unopened {
    pub by: PathBuf,
    /// The entry in the file's `.note.dlopen`.
    pub opened: Opened,
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, opened } = self;
        let priority = match opened.priority {
            Priority::Required => "required",
            Priority::Recommended => "recommended",
            Priority::Suggested => "suggested",
        };
        let (name, purpose) = (opened.soname.join(" or "), opened.purpose());
        let by = by.display();
        write!(
            f,
            "{by} opens {name} with dlopen{purpose} and will not find it ({priority})"
        )
    }
}

/// Libraries that will find their dependencies, by real path: each DT_NEEDED, and the path of the library found.
pub type Edited<'e> = HashMap<&'e OsStr, &'e [(OsString, PathBuf)]>;

/// The resolved libraries of a program or a library.
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    /// The new search path; the file's own entries come first.
    pub search: Vec<Entry>,
    /// How many of its entries, from the front, resolve something. The others are for dlopen.
    pub essential: usize,
    /// Whether the essential entries differ from the file's own search path.
    pub essential_changes: bool,
    /// Whether the whole search path differs from the file's own.
    pub search_changes: bool,
    /// The directories that are on the search path in any case.
    pub unconditional: Vec<PathBuf>,
    /// Whether the new search path is a DT_RPATH: a program's is inherited by libraries, or a library continues to inherit.
    pub inherited: bool,
    /// Additional DT_NEEDED.
    pub added: Vec<Added>,
    /// Libraries that find their dependencies by the program's search path, which they inherit.
    pub inheriting: Vec<PathBuf>,
    /// Dependencies that are not found by libraries which are loaded but not edited.
    pub unmet_needs: Vec<UnmetNeed>,
    /// Optional libraries that it opens with dlopen and will not find.
    pub unopened: Vec<Unopened>,
    /// Notes about files that libc opens and will not find.
    pub private: Vec<LibcLacks>,
    pub missing: Vec<Missing>,
    /// Missing libraries that may be missing.
    pub ignored: Vec<OsString>,
    /// Every library by path, in load order, to go before the program's own DT_NEEDED. Empty if libraries are searched for.
    pub prepended: Vec<Prepended>,
    /// The program's own DT_NEEDED that these make unnecessary.
    pub redundant: HashSet<OsString>,
    /// The frozen libraries that may move independently of the program.
    pub unstable_paths: Vec<PathBuf>,
    /// Symbol versions that will not be found.
    pub unmet_versions: Vec<UnmetVersion>,
    /// Files that ld.so will reject.
    pub unversioned_relr: Vec<UnversionedRelr>,
    /// Notes about choices that were made.
    pub notes: Vec<String>,
    /// Every library found: its DT_NEEDED and its path.
    pub found: Vec<(OsString, PathBuf)>,
}

/// Resolves the libraries of many programs with the same settings, for any processor of their architecture.
#[derive(Debug)]
pub struct Resolver {
    settings: Settings,
    probe_cache: Arc<ProbeCache>,
    here: Surroundings,
    elsewhere: Surroundings,
}

impl Resolver {
    pub fn new(settings: Settings) -> Self {
        Self::in_root(Root::default(), settings)
    }

    /// Paths are those inside `root`.
    pub fn in_root(root: Root, settings: Settings) -> Self {
        let probe_cache = ProbeCache::new(root, settings.libraries.clone());
        Self::with_probe_cache(Arc::new(probe_cache), settings)
    }

    /// With the libraries that were read before.
    pub fn with_probe_cache(probe_cache: Arc<ProbeCache>, settings: Settings) -> Self {
        let here = Surroundings {
            is_plan: true,
            within: settings.within.clone(),
            ..Surroundings::default()
        };
        Self {
            settings,
            probe_cache,
            elsewhere: Surroundings {
                without_cache: true,
                ..here.clone()
            },
            here,
        }
    }

    /// Reads the imports of the program `elf` at `path` from its open file, for [`Resolver::program`].
    pub fn read_program(
        &self,
        path: &Path,
        elf: &Elf,
        interpreter: &Interpreter,
        source: &mut Source,
    ) {
        if interpreter.libc == Libc::Glibc {
            self.probe_cache.read_imports(path, elf, source);
        }
    }

    /// Resolves the libraries of the program `elf` at the absolute `path`. Libraries that it opens inherit the directories `to_inherit`.
    pub fn program(
        &self,
        path: &Path,
        elf: &Elf,
        interpreter: &Interpreter,
        edited: &Edited<'_>,
        to_inherit: &[PathBuf],
    ) -> Resolution {
        let subject = Dependent { path, elf };
        let program = |linker: &Linker<'_>| {
            closure::program(self.inputs(), edited, to_inherit, subject, linker)
        };
        let linker = self.linker(interpreter);
        linker.as_ref().map(program).unwrap_or_default()
    }

    /// Resolves the dependencies of the library `elf` at the absolute `path`. If it `opens` others with dlopen, the directories for these
    /// are on its search path.
    pub fn library(
        &self,
        path: &Path,
        elf: &Elf,
        interpreter: &Interpreter,
        opens: bool,
    ) -> Resolution {
        let subject = Dependent { path, elf };
        let library = |linker: &Linker<'_>| closure::library(self.inputs(), subject, linker, opens);
        let linker = self.linker(interpreter);
        linker.as_ref().map(library).unwrap_or_default()
    }

    /// Whether the library `elf` has a search path of its own for dlopen that may be changed.
    pub fn serves_opened(&self, elf: &Elf, interpreter: &Interpreter) -> bool {
        closure::serves_opened(&self.settings, elf, interpreter)
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            settings: &self.settings,
            probe_cache: &self.probe_cache,
        }
    }

    /// With another dynamic linker than the system's, the program is for another machine, so this one's ld.so.cache does not apply.
    fn linker<'a>(&'a self, interpreter: &'a Interpreter) -> Option<Linker<'a>> {
        let surroundings = match interpreter.is_the_systems() {
            true => &self.here,
            false => &self.elsewhere,
        };
        Linker::new(interpreter, &self.probe_cache, surroundings)
    }

    /// `path` without symbolic links, or unchanged if it does not exist. Looked up once for each path.
    pub fn real(&self, path: &Path) -> PathBuf {
        self.probe_cache.real(path)
    }

    /// Whether the library at `path` searches relative to the path at which it is opened, so that it would not work through a symbolic link
    /// in another directory.
    pub fn depends_on_its_place(&self, path: &Path) -> bool {
        let Probe::Library(library) = self.probe_cache.probe(path) else {
            return false;
        };
        let search = library.dynamic.as_ref().and_then(|own| own.search_path());
        search.is_some_and(|path| path.to_string_lossy().contains("ORIGIN"))
    }

    /// Adds hints for `missing` libraries of the program `elf`: which of `directories` have them. Each directory comes as shown and as real
    /// path.
    pub fn hint(
        &self,
        missing: &mut [Missing],
        elf: &Elf,
        interpreter: &Interpreter,
        directories: &[(PathBuf, PathBuf)],
    ) {
        for missing in missing {
            let found = directories.iter().find(|(_, real)| {
                matches!(self.probe_cache.probe(&real.join(&missing.soname)), Probe::Library(library)
                    if incompatibility(elf, interpreter.libc, &library).is_none())
            });
            if let Some((shown, _)) = found {
                missing.hints.push(format!(
                    "it is in {}; add --libs {}",
                    shown.display(),
                    shown.display()
                ));
            }
        }
    }
}
