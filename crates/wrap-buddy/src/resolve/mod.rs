//! Finds the libraries of a program and of those libraries, the way ld.so will, and says which directories ld.so has to
//! be told of. Knows nothing about how they are told.

mod closure;
mod search_path;
mod shelf;
mod versions;

pub use search_path::{Entry, relative_file, search_path};
pub use shelf::{Probe, Shelf};

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use globset::GlobSet;

use crate::inspect::Elf;
use crate::interpreter::Interpreter;

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
}

/// A DT_NEEDED the program gets in addition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The soname.
    pub soname: OsString,
    /// The library that cannot find it by itself; none when the user asked for it.
    pub needed_by: Option<PathBuf>,
}

/// A DT_NEEDED that nothing satisfies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The soname.
    pub soname: OsString,
    /// The files that need it: the program or its libraries.
    pub needed_by: Vec<PathBuf>,
    /// Files that come close, and why they do not do.
    pub hints: Vec<String>,
}

/// Everything known about a program's libraries.
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    /// The search path the program is to have; the file's own entries in front.
    pub search: Vec<Entry>,
    /// Whether that differs from what the file has.
    pub search_changes: bool,
    /// Extra DT_NEEDED.
    pub added: Vec<Added>,
    /// What is missing.
    pub missing: Vec<Missing>,
    /// What is missing and may be.
    pub ignored: Vec<OsString>,
    /// Symbol versions that will not be found.
    pub warnings: Vec<String>,
    /// Every library found: the name it was asked for by, and where it is.
    pub found: Vec<(OsString, PathBuf)>,
}

/// Resolves the libraries of many programs with the same settings.
#[derive(Debug)]
pub struct Resolver {
    settings: Settings,
    shelf: Shelf,
}

impl Resolver {
    /// A resolver that has not looked at any library yet.
    pub fn new(settings: Settings) -> Self {
        let shelf = Shelf::new(settings.libraries.clone());
        Self { settings, shelf }
    }

    /// Resolves the libraries of the program `elf` at `path`, an absolute path.
    pub fn resolve(&self, path: &Path, elf: &Elf, interpreter: &Interpreter) -> Resolution {
        closure::resolve(&self.settings, &self.shelf, path, elf, interpreter)
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
                matches!(self.shelf.probe(&real.join(&missing.soname)), Probe::Library(library)
                    if shelf::misfit(elf, interpreter.libc, &library).is_none())
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
