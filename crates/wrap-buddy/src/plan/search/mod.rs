//! Finds the libraries of a program and of those libraries, or those of one library, the way ld.so will, and says which
//! directories ld.so has to be told of. Knows nothing about how they are told.

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
    Asker, Interpreter, Libc, Linker, Probe, ProbeCache, Root, Surroundings, UnmetVersion,
    UnversionedRelr, incompatibility,
};
use needs::Inputs;

/// What the user asked for.
#[derive(Debug, Default)]
pub struct Settings {
    /// Directories to find libraries in, absolute, in order.
    pub libraries: Vec<PathBuf>,
    /// Directories to put on the search path unconditionally, absolute.
    pub runtime_dependencies: Vec<PathBuf>,
    /// Extra DT_NEEDED.
    pub needed: Vec<OsString>,
    /// Sonames that may be missing.
    pub may_be_missing: GlobSet,
    /// Whether libraries without a DT_RUNPATH inherit the search path that programs get.
    pub inherited: bool,
    /// Whether directories that nothing is found in stay off search paths.
    pub minimal: bool,
    /// Whether programs move together with the trees that they are in.
    pub relocatable: bool,
    /// Programs load their libraries by path, all but those with such names; none: they search for all.
    pub frozen_except: Option<GlobSet>,
    /// The trees that are worked on: what is missing else is looked for there.
    pub given: Given,
    /// Directories, free of symbolic links, whose libraries do not move without the programs.
    pub bundle: Vec<PathBuf>,
}

/// A DT_NEEDED the program gets in addition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    pub soname: OsString,
    /// The library that cannot find it by itself; none when the user asked for it.
    pub needed_by: Option<PathBuf>,
}

/// A DT_NEEDED that nothing satisfies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub soname: OsString,
    /// The files that need it: the program or its libraries.
    pub needed_by: Vec<PathBuf>,
    /// Files that come close, and why they do not do.
    pub hints: Vec<String>,
}

/// A library that is loaded for one that is edited, and does not find what it needs itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranded {
    pub library: PathBuf,
    /// What it needs.
    pub soname: OsString,
    /// A file that it would take, in a directory where it does not look.
    pub candidate: Option<PathBuf>,
}

/// A library that a file opens while it runs and will not find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unopened {
    /// The file that opens it.
    pub by: PathBuf,
    /// What it says of that.
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
            "{by} opens {name} while it runs{purpose} and will not find it: {priority}"
        )
    }
}

/// Libraries that will find what they need by themselves, by their path free of symbolic links: each name they need, and
/// where they will find it.
pub type Edited<'e> = HashMap<&'e OsStr, &'e [(OsString, PathBuf)]>;

/// Everything known about the libraries of a program, or of a library.
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    /// The search path the program is to have; the file's own entries in front.
    pub search: Vec<Entry>,
    /// How many of its entries, from the front, are there for what is needed; the others for what may be opened by name.
    pub essential: usize,
    /// Whether these differ from what the file has.
    pub essential_changes: bool,
    /// Whether all of it differs from what the file has.
    pub search_changes: bool,
    /// Those of its directories that are on it whatever they resolve.
    pub unconditional: Vec<PathBuf>,
    /// Whether a new search path is a DT_RPATH: libraries are to inherit that of a program, or a library is to go on inheriting.
    pub inherited: bool,
    /// Extra DT_NEEDED.
    pub added: Vec<Added>,
    /// Libraries that find what they need by the program's search path, which they inherit.
    pub inheriting: Vec<PathBuf>,
    /// Needs of libraries that it loads and that nobody edits, which these do not find.
    pub stranded: Vec<Stranded>,
    /// What it says it opens while it runs, and does without if need be, and will not find.
    pub unopened: Vec<Unopened>,
    /// Sentences about what libc opens by itself and will not find.
    pub private: Vec<LibcLacks>,
    pub missing: Vec<Missing>,
    /// What is missing and may be.
    pub ignored: Vec<OsString>,
    /// Every library by its path, in the order in which they are loaded: goes in front of the program's own DT_NEEDED. Empty
    /// when libraries are searched for.
    pub prepended: Vec<Prepended>,
    /// Those of the program's own DT_NEEDED that say nothing any more behind these.
    pub redundant: HashSet<OsString>,
    /// Those of them that may move without the program.
    pub unstable_paths: Vec<PathBuf>,
    /// Symbol versions that will not be found.
    pub unmet_versions: Vec<UnmetVersion>,
    /// Files that ld.so will refuse for what they lack.
    pub unversioned_relr: Vec<UnversionedRelr>,
    /// What the user may want to know of the choices made.
    pub notes: Vec<String>,
    /// Every library found: the name it was asked for by, and where it is.
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
    /// A resolver that has not looked at any library yet.
    pub fn new(settings: Settings) -> Self {
        Self::in_root(Root::default(), settings)
    }

    /// The same for what is in `root`.
    pub fn in_root(root: Root, settings: Settings) -> Self {
        let probe_cache = ProbeCache::new(root, settings.libraries.clone());
        Self::with_probe_cache(Arc::new(probe_cache), settings)
    }

    /// The same, with what was looked at already.
    pub fn with_probe_cache(probe_cache: Arc<ProbeCache>, settings: Settings) -> Self {
        let here = Surroundings {
            is_plan: true,
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

    /// Reads what [`Resolver::program`] needs to know of the program `elf` at `path` besides its headers, from its open file.
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

    /// Resolves the libraries of the program `elf` at `path`, an absolute path. Libraries that it opens are to inherit the
    /// directories `lent`, if there are any.
    pub fn program(
        &self,
        path: &Path,
        elf: &Elf,
        interpreter: &Interpreter,
        edited: &Edited<'_>,
        lent: &[PathBuf],
    ) -> Resolution {
        let subject = Asker { path, elf };
        let program =
            |linker: &Linker<'_>| closure::program(self.inputs(), edited, lent, subject, linker);
        let linker = self.linker(interpreter);
        linker.as_ref().map(program).unwrap_or_default()
    }

    /// Finds what the library `elf` at `path`, an absolute path, needs itself. One that `opens` others by name has the
    /// directories on its search path that are there for all of them.
    pub fn library(
        &self,
        path: &Path,
        elf: &Elf,
        interpreter: &Interpreter,
        opens: bool,
    ) -> Resolution {
        let subject = Asker { path, elf };
        let library = |linker: &Linker<'_>| closure::library(self.inputs(), subject, linker, opens);
        let linker = self.linker(interpreter);
        linker.as_ref().map(library).unwrap_or_default()
    }

    /// Whether the library `elf` looks for what it opens by name on a search path of its own that may be changed.
    pub fn serves_opened(&self, elf: &Elf, interpreter: &Interpreter) -> bool {
        closure::serves_opened(&self.settings, elf, interpreter)
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            settings: &self.settings,
            probe_cache: &self.probe_cache,
        }
    }

    /// This machine's ld.so.cache is not that of a place for which something is wrapped with another dynamic linker.
    fn linker<'a>(&'a self, interpreter: &'a Interpreter) -> Option<Linker<'a>> {
        let surroundings = match interpreter.is_the_systems() {
            true => &self.here,
            false => &self.elsewhere,
        };
        Linker::new(interpreter, &self.probe_cache, surroundings)
    }

    /// `path` without symbolic links, or as it is if it leads to nothing. Looked up once for each path.
    pub fn real(&self, path: &Path) -> PathBuf {
        self.probe_cache.real(path)
    }

    /// Whether the library at `path` looks for its own needs relative to where it is opened, so that a link to it in another
    /// directory would lead it astray.
    pub fn depends_on_its_place(&self, path: &Path) -> bool {
        let Probe::Library(library) = self.probe_cache.probe(path) else {
            return false;
        };
        let search = library.dynamic.as_ref().and_then(|own| own.search_path());
        search.is_some_and(|path| path.to_string_lossy().contains("ORIGIN"))
    }

    /// Says of libraries that are `missing` of the program `elf` which of `directories` would have had them. Each is
    /// given as it is shown to the user, and as it is.
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
                    "it is in {}: add --libs {}",
                    shown.display(),
                    shown.display()
                ));
            }
        }
    }
}
