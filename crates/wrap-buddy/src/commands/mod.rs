//! The commands: each goes from its options through the rooms below to a report.

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

/// Which files to look at.
#[derive(Clone, Debug, Default)]
pub struct PathOptions {
    /// Files, and directories with them.
    pub paths: Vec<PathBuf>,
    /// Whether to leave the directories below those alone.
    pub no_recurse: bool,
    /// Files to work on in parallel; none: as many as there are processors.
    pub jobs: Option<NonZero<usize>>,
    pub output: Output,
}

impl PathOptions {
    /// The files to look at, and what cannot be looked at.
    pub fn scan(&self) -> (Vec<Candidate>, Vec<Unreadable>) {
        let wanted = self.output.wanted();
        scan(&self.paths, !self.no_recurse, wanted, self.jobs)
    }
}
