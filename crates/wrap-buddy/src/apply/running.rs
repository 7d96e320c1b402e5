//! Running programs. The kernel lets nobody write to them, and a program that is being replaced must keep the files that it is about to
//! open.

use std::collections::HashSet;
use std::fs::{self, File};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::system::directory::is_running;
use elf_file::FileId;

/// How long a starting program may take to open its sidecar or its links.
const START: Duration = Duration::from_millis(200);

/// Each running program, as far as permissions allow. Looked up on first use.
#[derive(Debug, Default)]
pub(super) struct Running(OnceLock<HashSet<FileId>>);

impl Running {
    /// Whether the program is running. Opening it for writing would be a reliable test, but while it is open for writing nobody can start
    /// it.
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

/// Waits until none of the `replaced` programs, which have no names any more, can still be starting: until none of them runs, or for as
/// long as a start may take. `at_least`: wait that long in any case.
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
