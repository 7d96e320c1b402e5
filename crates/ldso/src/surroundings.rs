//! What is settled before a search begins.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::processor::Processor;

/// What is settled before a search begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Surroundings {
    /// LD_LIBRARY_PATH.
    pub library_path: Vec<PathBuf>,
    /// LD_PRELOAD.
    pub preload: Vec<OsString>,
    /// The processor.
    pub processor: Processor,
    /// Whether ld.so.cache is not the one that there will be.
    pub without_cache: bool,
    /// Whether to go on where ld.so would take a library of another libc, or fail over something that is no library:
    /// there is a choice of directories yet.
    pub is_plan: bool,
}
