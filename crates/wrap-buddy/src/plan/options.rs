//! The options of wrapping.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;

use anyhow::{Context, Result};
use globset::GlobSet;

use crate::report::Output;
use ldso::Root;

/// How to redirect a program to its dynamic linker and its libraries. Libraries are always edited in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// A stub over the entry point, at run time.
    #[default]
    Stub,
    /// Edits of PT_INTERP and .dynamic.
    Inplace,
    /// In place if there is room, otherwise a stub.
    Auto,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Search {
    /// With DT_RUNPATH.
    #[default]
    Runpath,
    /// With DT_RPATH, which libraries without a DT_RUNPATH inherit.
    Rpath,
    /// With the absolute path of each library.
    Frozen,
}

/// The warnings that make a run fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strict {
    All,
    /// Those about libraries without room for a search path that a program of the run opens.
    Opened,
}

/// Which files to wrap, and how. Relative paths are relative to the current directory.
#[derive(Clone, Debug, Default)]
pub struct WrapOptions {
    /// The root of the programs, in which all other paths are meant.
    pub root: Root,
    /// Programs, libraries, and directories that contain them.
    pub paths: Vec<PathBuf>,
    /// Do not descend into subdirectories.
    pub no_recurse: bool,
    /// Absolute library directories in search order.
    pub libs: Vec<PathBuf>,
    /// Absolute directories to put on every search path.
    pub runtime_dependencies: Vec<PathBuf>,
    /// Sonames that may be missing.
    pub ignore_missing: GlobSet,
    /// Sonames of additional libraries to load.
    pub needed: Vec<OsString>,
    pub search: Search,
    /// Leave directories of `libs` that resolve nothing out of search paths.
    pub search_minimal: bool,
    /// Sonames that [`Search::Frozen`] leaves to ld.so.
    pub frozen_except: GlobSet,
    pub dry_run: bool,
    /// Also wrap programs that start as they are.
    pub force: bool,
    /// The warnings that make the run fail.
    pub strict: Option<Strict>,
    /// Replace a running file by a changed copy.
    pub replace: bool,
    /// As root, use root's rights for files that other users can replace.
    pub trust_tree: bool,
    pub strategy: Strategy,
    /// The dynamic linkers to choose from; empty means those compiled in, or the system's.
    pub interpreter: Vec<PathBuf>,
    /// Put the loader into each program's sidecar.
    pub self_contained: bool,
    /// Put the settings into each program that has room for them.
    pub embedded: bool,
    /// Use paths relative to the program.
    pub relocatable: bool,
    /// Allow relocatable programs to refer to files outside of their tree.
    pub allow_outside: bool,
    /// The directory, free of symbolic links, that is moved to other machines: libraries and search paths outside do not count.
    pub within: Option<PathBuf>,
    /// Directory of `loader.bin` when the programs run.
    pub loader_dir_path: Option<PathBuf>,
    /// Where the sidecar is when the program runs; `None` means next to the program. Only for plans that are not carried out there.
    pub sidecar_directory: Option<PathBuf>,
    pub output: Output,
    /// Number of files to process in parallel; `None` means the number of processors.
    pub jobs: Option<NonZero<usize>>,
}

impl WrapOptions {
    /// Whether each program gets its own loader. In a tree that can be moved, or in an image from which it may be copied, that is one file
    /// less to lose.
    pub fn brings_loaders(&self) -> bool {
        let is_moved = self.relocatable || !self.root.is_own();
        self.self_contained || is_moved && self.loader_dir_path.is_none()
    }

    /// These options with the values of flags as absolute paths inside the root. `paths` stay as the user named them.
    ///
    /// # Errors
    /// If a path is outside of the root.
    pub fn inside_root(&self) -> Result<Self> {
        let all = |paths: &[PathBuf], flag: &str| inside_root(&self.root, paths, flag);
        let loaders = self.loader_dir_path.as_slice();
        Ok(Self {
            libs: all(&self.libs, "--libs")?,
            runtime_dependencies: all(&self.runtime_dependencies, "--runtime-dependencies")?,
            interpreter: match self.root.is_own() {
                true => self.interpreter.clone(),
                false => all(&self.interpreter, "--interpreter")?,
            },
            loader_dir_path: all(loaders, "--loader-dir-path")?.pop(),
            ..self.clone()
        })
    }
}

/// The values of `flag` as absolute paths inside `root`. An empty value stays: it stands for none.
///
/// # Errors
/// If a path is outside of the root.
pub fn inside_root(root: &Root, paths: &[PathBuf], flag: &str) -> Result<Vec<PathBuf>> {
    let each = paths.iter().map(|path| {
        if path.as_os_str().is_empty() {
            return Ok(path.clone());
        }
        let inside = root.inside(path);
        inside.with_context(|| format!("{flag} {}", path.display()))
    });
    each.collect()
}
