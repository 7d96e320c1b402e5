//! Reasons not to make a bundle.

use std::ffi::OsString;
use std::path::PathBuf;

use thiserror::Error;

use crate::system::shell::quoted;

/// Why there is no bundle.
#[derive(Clone, Debug, Error)]
pub enum Refusal {
    #[error("{}: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{} is a directory; name a program in it, and copy the directory with --prefix", .0.display())]
    Directory(PathBuf),
    #[error("{} is neither a program nor a library", .0.display())]
    NoProgram(PathBuf),
    #[error(
        "{} is a script, and it is not known how to start {interpreter}: name that as the program, and add --include {}",
        path.display(), quoted([path])
    )]
    Script { path: PathBuf, interpreter: String },
    #[error(
        "{}: its interpreter {} cannot be used: {why}; install it, or change the first line",
        script.display(), interpreter.display()
    )]
    NoInterpreter {
        script: PathBuf,
        interpreter: PathBuf,
        why: String,
    },
    #[error("{}: {why}", path.display())]
    Table { path: PathBuf, why: String },
    #[error("{} is not executable; run chmod +x, or add it with --include", .0.display())]
    NotExecutable(PathBuf),
    #[error(
        "{} is set-id or has capabilities: a bundle belongs to each user who unpacks it, so the program would lose these rights; bundle a copy without them",
        .0.display()
    )]
    Privileged(PathBuf),
    #[error("{}: its sidecar cannot be used: {why}", path.display())]
    Sidecar { path: PathBuf, why: String },
    #[error(
        "{}: its dynamic linker {} cannot be used: {why}; `wrap-buddy check {}` shows what it needs",
        program.display(), interpreter.display(), quoted([program])
    )]
    NoLinker {
        program: PathBuf,
        interpreter: PathBuf,
        why: String,
    },
    #[error(
        "{}: missing {}; `wrap-buddy check {}` searches for them, and --ignore-missing leaves them out",
        program.display(), names(missing), quoted([program])
    )]
    Missing {
        program: PathBuf,
        missing: Vec<OsString>,
    },
    #[error(
        "{} and {} would both be {} in the bundle, and differ; make two bundles",
        one.display(), other.display(), path.display()
    )]
    Conflict {
        path: PathBuf,
        one: PathBuf,
        other: PathBuf,
    },
    #[error("--prefix {}: this directory has the files of many packages; name a directory in it, or use --include", .0.display())]
    SharedPrefix(PathBuf),
    #[error("--include {0}: nothing matches")]
    NothingIncluded(String),
    #[error("--include {pattern}: {why}")]
    BadPattern { pattern: String, why: String },
}

fn names(all: &[OsString]) -> String {
    let shown = all.iter().map(|name| name.to_string_lossy().into_owned());
    shown.collect::<Vec<_>>().join(", ")
}
