//! The words in which a search is told of: where a library is, by which rule, and what came close.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::incompatibility::Incompatible;
use elf_file::Elf;

/// Why a directory is searched, or how else a library is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// DT_NEEDED is a path.
    Path,
    /// DT_RPATH.
    Rpath,
    /// LD_LIBRARY_PATH.
    LibraryPath,
    /// DT_RUNPATH.
    Runpath,
    /// Not by ld.so yet: a directory that may be put on the search path, by its number.
    Offered(usize),
    /// ld.so.cache.
    Cache,
    /// A default directory.
    Default,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Path => "path in DT_NEEDED",
            Rule::Rpath => "DT_RPATH",
            Rule::LibraryPath => "LD_LIBRARY_PATH",
            Rule::Runpath => "DT_RUNPATH",
            Rule::Offered(_) => "--libs",
            Rule::Cache => "ld.so.cache",
            Rule::Default => "default directory",
        })
    }
}

/// A directory to search, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Absolute.
    pub directory: PathBuf,
    /// Why.
    pub rule: Rule,
    /// Which of several lists it is in that are searched by one rule.
    pub list: usize,
}

/// Directories to search, in order. Two lists that are the same have one number, by which results are remembered.
#[derive(Debug)]
pub struct SearchList {
    pub(super) number: usize,
    pub(super) steps: Vec<Step>,
}

impl std::ops::Deref for SearchList {
    type Target = [Step];

    fn deref(&self) -> &[Step] {
        &self.steps
    }
}

/// The search path a file itself has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPath {
    /// Absolute ones, in order.
    pub directories: Vec<PathBuf>,
    /// Whether it is DT_RUNPATH, which only counts for the file itself. Of two it is: DT_RPATH is ignored then.
    pub is_runpath: bool,
}

/// A library at a path.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where ld.so opens it.
    pub path: PathBuf,
    /// What it is.
    pub elf: Arc<Elf>,
    /// By which rule.
    pub rule: Rule,
    /// The subdirectory for the processor that it is in.
    pub subdirectory: Option<PathBuf>,
}

/// A file of the right name that does not do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NearMiss {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub why: Incompatible,
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.why)
    }
}

/// A library that is found once ldconfig was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncached {
    /// Where it is.
    pub directory: PathBuf,
    /// What names that directory.
    pub conf: PathBuf,
    /// The ld.so.cache that lacks it.
    pub cache: PathBuf,
}

/// A file that asks for libraries.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'f> {
    /// Where it was opened, absolute.
    pub path: &'f Path,
    /// What it is.
    pub elf: &'f Elf,
}
