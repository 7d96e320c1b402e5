//! One module per command: from its options, by way of the other rooms, to a report.

pub mod bundle;
pub mod check;
pub mod generate;
pub mod json;
pub mod proposal;
pub mod restore;
pub mod run;
pub mod settings;
pub mod show;
pub mod status;
mod tree_lock;
pub mod watch;
pub mod wrap;

use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::settings::Key;
use crate::plan::options::WrapOptions;
use crate::report::Output;
use crate::scan::{Target, Unreadable, scan};
use ldso::Root;

/// A command with its options.
#[derive(Clone, Debug)]
pub enum Command {
    Wrap(Box<WrapOptions>),
    Restore(restore::RestoreOptions),
    Status(PathOptions),
    Show(PathOptions),
    Watch(Box<watch::WatchOptions>),
    Check(check::CheckOptions),
    Run(Box<run::RunOptions>),
    /// Lists the settings.
    Settings(Output),
    Generate(generate::Files),
    Bundle(Box<bundle::BundleOptions>),
}

impl Command {
    /// Names that were looked up on PATH, each with the file that was found.
    pub fn found_on_path(&self) -> &[(PathBuf, PathBuf)] {
        match self {
            Self::Status(options) | Self::Show(options) => &options.found_on_path,
            Self::Check(options) => &options.path_options.found_on_path,
            Self::Bundle(options) => &options.found_on_path,
            _ => &[],
        }
    }

    /// The settings that it uses.
    pub fn keys(&self) -> &'static [Key] {
        match self {
            Self::Wrap(_) | Self::Watch(_) | Self::Run(_) => &[
                Key::Libs,
                Key::RuntimeDependencies,
                Key::IgnoreMissing,
                Key::Interpreter,
            ],
            Self::Check(_) => &[Key::Libs, Key::Interpreter, Key::FindIn],
            _ => &[],
        }
    }

    pub fn output(&self) -> Output {
        match self {
            Self::Wrap(options) => options.output,
            Self::Restore(options) => options.path_options.output,
            Self::Status(options) | Self::Show(options) => options.output,
            Self::Watch(options) => options.wrap.output,
            Self::Check(options) => options.path_options.output,
            Self::Run(options) => options.output,
            Self::Settings(output) => *output,
            Self::Generate(_) => Output::default(),
            Self::Bundle(options) => options.print,
        }
    }
}

/// The program on PATH that a shell starts for `name`, unless `name` has a slash or is a file here.
pub fn on_path(name: &Path) -> Option<PathBuf> {
    let has_slash = name.as_os_str().as_bytes().contains(&b'/');
    match has_slash || name.exists() {
        true => None,
        false => which::which(name).ok(),
    }
}

/// Which files to process.
#[derive(Clone, Debug, Default)]
pub struct PathOptions {
    /// The root of the programs.
    pub root: Root,
    /// Files and directories.
    pub paths: Vec<PathBuf>,
    /// Do not descend into subdirectories.
    pub no_recurse: bool,
    /// Number of files to process in parallel; `None` means the number of processors.
    pub jobs: Option<NonZero<usize>>,
    /// Names that were looked up on PATH, each with the file that replaces it in `paths`.
    pub found_on_path: Vec<(PathBuf, PathBuf)>,
    pub output: Output,
}

impl PathOptions {
    /// Replaces names of programs on PATH by their paths.
    pub fn with_names_on_path(mut self) -> Self {
        // The programs on PATH are in the machine's own root.
        if !self.root.is_own() {
            return self;
        }
        for path in &mut self.paths {
            if let Some(found) = on_path(path) {
                self.found_on_path.push((path.clone(), found.clone()));
                *path = found;
            }
        }
        self
    }

    /// The files, and the paths that cannot be read.
    pub fn scan(&self) -> (Vec<Target>, Vec<Unreadable>) {
        let wanted = self.output.wanted();
        scan(&self.root, &self.paths, !self.no_recurse, wanted, self.jobs)
    }
}
