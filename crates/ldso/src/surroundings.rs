//! Environment variables and other conditions of a search.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::processor::Processor;

/// Environment variables and other conditions of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Surroundings {
    /// LD_LIBRARY_PATH.
    pub library_path: Vec<PathBuf>,
    /// LD_PRELOAD.
    pub preload: Vec<OsString>,
    /// The processor that the program runs on.
    pub processor: Processor,
    /// Whether to ignore ld.so.cache, because the program will run with another one.
    pub without_cache: bool,
    /// Whether the search path can still be changed. The search then goes on where ld.so would take a library of another libc, or
    /// fail because of an unusable file.
    pub is_plan: bool,
    /// The directory below which libraries count, because only that directory is on the machine that the program will run on.
    pub within: Option<PathBuf>,
}
