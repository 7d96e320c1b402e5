//! Results of a search: where a library is, by which rule, and which near misses there were.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::incompatibility::Incompatible;
use elf_file::Elf;

/// The rule by which a library is found, or a directory is searched.
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
    /// A directory that you offer for the search path, by its index. ld.so does not search it yet.
    Offered(usize),
    /// ld.so.cache lists the library.
    Cache,
    /// The directory is one of ld.so's default directories.
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

/// A directory to search, and the rule that puts it on the search list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// The absolute path of the directory.
    pub directory: PathBuf,
    /// The rule that puts it on the search list.
    pub rule: Rule,
    /// The index of its list, where one rule has several lists.
    pub list: usize,
}

/// Directories to search, in order. Equal lists share one number, and results are cached by it.
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

/// The search path in a file's own .dynamic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPath {
    /// Absolute directories, in order.
    pub directories: Vec<PathBuf>,
    /// Whether it is DT_RUNPATH, which applies to the file's own DT_NEEDED only. If a file has both tags, ld.so ignores DT_RPATH.
    pub is_runpath: bool,
}

/// A library, and how it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The path by which ld.so opens it.
    pub path: PathBuf,
    /// Its headers and .dynamic.
    pub elf: Arc<Elf>,
    /// The rule by which it was found.
    pub rule: Rule,
    /// The hwcaps subdirectory that it is in, if any.
    pub subdirectory: Option<PathBuf>,
    /// For DT_RPATH and DT_RUNPATH, the file with that search path: 0 is the file that needs the library, 1 the one that had that
    /// file loaded, and so on.
    pub list: usize,
}

/// A file of the right name that ld.so passes over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NearMiss {
    /// The path of the file.
    pub path: PathBuf,
    /// The reason.
    pub why: Incompatible,
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.why)
    }
}

/// A library that ld.so would find after a run of ldconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncached {
    /// The directory with the library.
    pub directory: PathBuf,
    /// The ld.so.conf file that lists the directory.
    pub conf: PathBuf,
    /// The ld.so.cache that lacks the library.
    pub cache: PathBuf,
}

/// A file that needs libraries.
#[derive(Clone, Copy, Debug)]
pub struct Dependent<'f> {
    /// The absolute path by which it was opened.
    pub path: &'f Path,
    /// Its headers and .dynamic.
    pub elf: &'f Elf,
}
