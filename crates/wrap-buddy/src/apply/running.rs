//! Programs that run: the kernel lets nobody write to these, and who replaces one must not take from it what it is about to open.

use std::collections::HashSet;
use std::fs::{self, File};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::system::directory::is_running;
use elf_file::FileId;

/// How long a program has to open its sidecar, or the links it finds its libraries by, if it was replaced while it started.
const START: Duration = Duration::from_millis(200);

/// Each program that runs, as far as this user may see, looked up when it is needed.
#[derive(Debug, Default)]
pub(super) struct Running(OnceLock<HashSet<FileId>>);

impl Running {
    /// Whether this one does. To open it for writing would tell for sure, but while a program is open for writing nobody can
    /// start it.
    pub(super) fn has(&self, program: FileId) -> bool {
        self.0.get_or_init(all).contains(&program)
    }
}

fn all() -> HashSet<FileId> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let programs = processes.filter_map(|process| {
        let program = fs::metadata(process.path().join("exe")).ok()?;
        Some(FileId::from(&program))
    });
    programs.collect()
}

/// Waits until none of the programs `replaced`, which have no names any more, is still starting: until none of them runs, or for as long
/// as a start may take. `at_least`: for as long in any case.
pub(super) fn await_starts<'f>(replaced: impl Iterator<Item = &'f File>, at_least: bool) {
    let end = Instant::now() + START;
    let mut replaced: Vec<&File> = replaced.collect();
    while Instant::now() < end {
        replaced.retain(|file| is_running(file));
        if replaced.is_empty() && !at_least {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
