//! One module per command: from its options, by way of the other rooms, to a report.

pub mod check;
pub mod generate;
pub mod json;
pub mod restore;
pub mod show;
pub mod status;
mod tree_lock;
pub mod watch;
pub mod wrap;

use std::num::NonZero;
use std::path::PathBuf;

use crate::plan::options::WrapOptions;
use crate::report::Output;
use crate::scan::{Candidate, Unreadable, scan};

/// A command with its options.
#[derive(Clone, Debug)]
pub enum Command {
    Wrap(Box<WrapOptions>),
    Restore(restore::RestoreOptions),
    Status(PathOptions),
    Show(PathOptions),
    Watch(Box<watch::WatchOptions>),
    Check(check::CheckOptions),
    Generate(generate::Files),
}

impl Command {
    pub fn output(&self) -> Output {
        match self {
            Self::Wrap(options) => options.output,
            Self::Restore(options) => options.path_options.output,
            Self::Status(options) | Self::Show(options) => options.output,
            Self::Watch(options) => options.wrap.output,
            Self::Check(options) => options.path_options.output,
            Self::Generate(_) => Output::default(),
        }
    }
}

/// Which files to process.
#[derive(Clone, Debug, Default)]
pub struct PathOptions {
    /// Files and directories.
    pub paths: Vec<PathBuf>,
    /// Do not descend into subdirectories.
    pub no_recurse: bool,
    /// Number of files to process in parallel; `None` means the number of processors.
    pub jobs: Option<NonZero<usize>>,
    pub output: Output,
}

impl PathOptions {
    /// The files, and the paths that cannot be read.
    pub fn scan(&self) -> (Vec<Candidate>, Vec<Unreadable>) {
        let wanted = self.output.wanted();
        scan(&self.paths, !self.no_recurse, wanted, self.jobs)
    }
}
