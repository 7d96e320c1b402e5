//! What the user asks for when wrapping.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;

use globset::GlobSet;

use crate::report::Output;

/// How to redirect a program to its dynamic linker and its libraries. Libraries are always edited in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// A stub at the entry point, at run time.
    #[default]
    Stub,
    /// Edits of PT_INTERP and .dynamic.
    Inplace,
    /// In place where there is room, else a stub.
    Auto,
}

/// How a program finds its libraries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Search {
    /// By a DT_RUNPATH.
    #[default]
    Runpath,
    /// By a DT_RPATH, which libraries without a DT_RUNPATH inherit.
    Rpath,
    /// By the path of each library.
    Frozen,
}

/// Which files to wrap, and how. Relative paths are relative to the current directory.
#[derive(Clone, Debug, Default)]
pub struct WrapOptions {
    /// Programs, libraries, and directories with them.
    pub paths: Vec<PathBuf>,
    /// Whether to leave the directories below those alone.
    pub no_recurse: bool,
    /// Library directories, absolute, searched in this order.
    pub libs: Vec<PathBuf>,
    /// Directories to put on every search path, absolute.
    pub runtime_dependencies: Vec<PathBuf>,
    /// Sonames that may be missing.
    pub ignore_missing: GlobSet,
    /// Sonames of libraries to load in addition.
    pub needed: Vec<OsString>,
    /// How programs find their libraries.
    pub search: Search,
    /// Whether directories of `libs` without a library that is needed to load a file stay off search paths.
    pub search_minimal: bool,
    /// Sonames that [`Search::Frozen`] leaves to be searched for.
    pub frozen_except: GlobSet,
    /// Whether to write nothing.
    pub dry_run: bool,
    /// Whether to wrap programs that start as they are.
    pub force: bool,
    /// Whether to replace a file that is running by a changed copy.
    pub replace: bool,
    /// Whether root works with root's rights on files that other users can replace.
    pub trust_tree: bool,
    /// How to redirect programs.
    pub strategy: Strategy,
    /// The dynamic linkers to choose from; empty: those compiled in, or the system's.
    pub interpreter: Vec<PathBuf>,
    /// Whether each program's sidecar holds its loader.
    pub self_contained: bool,
    /// Whether to refer to everything relative to the program.
    pub relocatable: bool,
    /// Whether relocatable programs may refer to files outside of their tree.
    pub allow_outside: bool,
    /// Where `loader.bin` is when the programs run.
    pub loader_dir_path: Option<PathBuf>,
    pub output: Output,
    /// Files to work on in parallel; none: as many as there are processors.
    pub jobs: Option<NonZero<usize>>,
}

impl WrapOptions {
    /// Whether each program gets a loader of its own: in a tree that is moved, one less thing to be lost.
    pub fn brings_loaders(&self) -> bool {
        self.self_contained || self.relocatable && self.loader_dir_path.is_none()
    }
}
