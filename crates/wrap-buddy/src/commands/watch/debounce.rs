//! Decides when new and changed files are complete, as far as events show. Pure: the time is passed in.
//!
//! Files wait in *units*: a new directory with all that appears below it, or a single directory in which files change. A unit has settled
//! when nothing has happened in it for the quiet time. If a unit is never quiet, those of its files that have been are taken after
//! [`PATIENCE`] quiet times.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// After how many quiet times single files are taken from a unit that is never quiet.
const PATIENCE: u32 = 100;

/// How soon to check again whether a file has a writer, in case its close event is missed. Doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(64);

/// New and changed files that are not complete yet.
#[derive(Debug)]
pub struct Debounce {
    quiet: Duration,
    units: BTreeMap<PathBuf, Unit>,
}

#[derive(Debug)]
struct Unit {
    /// Whether subdirectories belong to the unit.
    deep: bool,
    /// When it was created, or last became overdue.
    since: Instant,
    last: Instant,
    /// Each with the time of its last event.
    files: BTreeMap<PathBuf, Instant>,
    held: Option<Held>,
}

/// Somebody writes to a file of the unit, and there has been no event since that was found.
#[derive(Clone, Copy, Debug)]
struct Held {
    again: Instant,
    wait: Duration,
}

/// Files that are complete, as far as events show.
#[derive(Debug)]
pub struct Settled {
    /// Sorted by name.
    pub files: Vec<PathBuf>,
    /// The unit has waited too long: take the complete files without waiting for the others.
    pub overdue: bool,
    unit: PathBuf,
    deep: bool,
    since: Instant,
    waited: Option<Duration>,
}

impl Debounce {
    /// `quiet`: how long nothing may happen.
    pub fn new(quiet: Duration) -> Self {
        Self {
            quiet,
            units: BTreeMap::new(),
        }
    }

    pub fn quiet(&self) -> Duration {
        self.quiet
    }

    /// Files that appear in the new directory belong together.
    pub fn directory_appeared(&mut self, directory: &Path, now: Instant) {
        let above = directory
            .parent()
            .and_then(|above| self.deep_unit_of(above));
        let unit = self.unit(above.unwrap_or(directory).to_owned(), now);
        unit.deep = true;
        unit.touch(now);
    }

    /// A file appeared, was closed after writing, or was removed.
    pub fn file_changed(&mut self, file: &Path, now: Instant) {
        let directory = file.parent().unwrap_or(file);
        let unit = self.unit_of(directory).unwrap_or(directory);
        let unit = self.unit(unit.to_owned(), now);
        unit.touch(now);
        unit.files.insert(file.to_owned(), now);
    }

    /// Something happened in a directory that does not concern a file of interest.
    pub fn touched(&mut self, directory: &Path, now: Instant) {
        if let Some(unit) = self.unit_of(directory) {
            self.unit(unit.to_owned(), now).touch(now);
        }
    }

    /// A file or directory was renamed or removed, with everything below it.
    pub fn forget(&mut self, path: &Path) {
        self.units.retain(|unit, _| !unit.starts_with(path));
        let unit = path.parent().and_then(|directory| self.unit_of(directory));
        if let Some(unit) = unit.and_then(|unit| self.units.get_mut(unit)) {
            unit.files.retain(|file, _| !file.starts_with(path));
        }
    }

    /// Removes and returns the units that have settled.
    pub fn due(&mut self, now: Instant) -> Vec<Settled> {
        let (quiet, mut due) = (self.quiet, Vec::new());
        self.units.retain(|path, unit| {
            let overdue = now >= unit.overdue_at(quiet);
            if now < unit.quiet_at(quiet) && !overdue {
                return true;
            }
            let mut files = Vec::new();
            unit.files.retain(|file, last| {
                let settled = now >= *last + quiet;
                if settled {
                    files.push(file.clone());
                }
                !settled
            });
            if !files.is_empty() {
                due.push(Settled {
                    files,
                    overdue,
                    unit: path.clone(),
                    deep: unit.deep,
                    since: unit.since,
                    waited: unit.held.map(|held| held.wait),
                });
            }
            unit.since = now;
            now < unit.last + quiet
        });
        due
    }

    /// Puts files back that were due, because somebody writes to one of them. They wait for the next event, or for a while if that is
    /// missed.
    pub fn hold(&mut self, settled: Settled, now: Instant) {
        let wait = settled
            .waited
            .map_or(FIRST_WAIT, |waited| (waited * 2).min(LAST_WAIT));
        let unit = self.unit(settled.unit, now);
        unit.deep |= settled.deep;
        if !settled.overdue {
            unit.since = settled.since;
        }
        unit.held = Some(Held {
            again: now + wait,
            wait,
        });
        for file in settled.files {
            unit.files.entry(file).or_insert(settled.since);
        }
    }

    /// When the next unit is due if nothing happens until then.
    pub fn next(&self) -> Option<Instant> {
        let units = self.units.values();
        units
            .map(|unit| unit.quiet_at(self.quiet).min(unit.overdue_at(self.quiet)))
            .min()
    }

    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// The unit to which events in `directory` belong.
    fn unit_of<'p>(&self, directory: &'p Path) -> Option<&'p Path> {
        match self.units.contains_key(directory) {
            true => Some(directory),
            false => self.deep_unit_of(directory),
        }
    }

    /// The unit to which everything below `directory` belongs.
    fn deep_unit_of<'p>(&self, directory: &'p Path) -> Option<&'p Path> {
        let mut ancestors = directory.ancestors();
        ancestors.find(|ancestor| self.units.get(*ancestor).is_some_and(|unit| unit.deep))
    }

    fn unit(&mut self, path: PathBuf, now: Instant) -> &mut Unit {
        self.units.entry(path).or_insert(Unit {
            deep: false,
            since: now,
            last: now,
            files: BTreeMap::new(),
            held: None,
        })
    }
}

impl Unit {
    fn touch(&mut self, now: Instant) {
        self.last = now;
        self.held = None;
    }

    fn quiet_at(&self, quiet: Duration) -> Instant {
        match self.held {
            Some(held) => held.again,
            None => self.last + quiet,
        }
    }

    fn overdue_at(&self, quiet: Duration) -> Instant {
        self.since + quiet * PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(300);

    /// A debounce, and a clock in milliseconds.
    fn start() -> (Debounce, impl Fn(u64) -> Instant) {
        let zero = Instant::now();
        let at = move |milliseconds| zero + Duration::from_millis(milliseconds);
        (Debounce::new(QUIET), at)
    }

    fn files(settled: &[Settled]) -> Vec<&str> {
        let files = settled.iter().flat_map(|settled| &settled.files);
        files.filter_map(|file| file.to_str()).collect()
    }

    #[test]
    fn a_file_is_due_once_when_its_directory_has_been_quiet() {
        let (mut debounce, at) = start();
        debounce.file_changed(Path::new("/a/one"), at(0));
        debounce.file_changed(Path::new("/a/two"), at(200));
        debounce.file_changed(Path::new("/b/three"), at(100));
        assert_eq!(debounce.next(), Some(at(400)));
        assert!(debounce.due(at(399)).is_empty());
        assert_eq!(files(&debounce.due(at(400))), ["/b/three"]);
        assert_eq!(files(&debounce.due(at(500))), ["/a/one", "/a/two"]);
        assert!(debounce.is_empty() && debounce.next().is_none());
    }

    #[test]
    fn what_appears_below_a_new_directory_settles_together() {
        let (mut debounce, at) = start();
        debounce.directory_appeared(Path::new("/new"), at(0));
        debounce.file_changed(Path::new("/new/bin/node"), at(10));
        debounce.directory_appeared(Path::new("/new/lib"), at(250));
        debounce.touched(Path::new("/new/lib"), at(500));
        // It is not below any unit.
        debounce.touched(Path::new("/other"), at(700));
        assert!(debounce.due(at(799)).is_empty());
        assert_eq!(files(&debounce.due(at(800))), ["/new/bin/node"]);
        assert!(debounce.is_empty());
    }

    #[test]
    fn a_directory_that_was_there_does_not_keep_those_below() {
        let (mut debounce, at) = start();
        debounce.file_changed(Path::new("/a/one"), at(0));
        debounce.directory_appeared(Path::new("/a/new"), at(0));
        debounce.file_changed(Path::new("/a/new/two"), at(0));
        debounce.file_changed(Path::new("/a/old/three"), at(0));
        debounce.file_changed(Path::new("/a/one"), at(200));
        assert_eq!(
            files(&debounce.due(at(300))),
            ["/a/new/two", "/a/old/three"]
        );
        assert_eq!(files(&debounce.due(at(500))), ["/a/one"]);
        assert!(debounce.is_empty());
    }

    #[test]
    fn what_was_moved_away_or_removed_waits_no_longer() {
        let (mut debounce, at) = start();
        debounce.directory_appeared(Path::new("/new"), at(0));
        for file in ["/new/one", "/new/two", "/new/sub/three", "/newer/four"] {
            debounce.file_changed(Path::new(file), at(0));
        }
        debounce.forget(Path::new("/new/two"));
        debounce.forget(Path::new("/new/sub"));
        let due = debounce.due(at(300));
        assert_eq!(files(&due), ["/new/one", "/newer/four"]);
        debounce.directory_appeared(Path::new("/new"), at(400));
        debounce.file_changed(Path::new("/new/one"), at(400));
        debounce.forget(Path::new("/new"));
        assert!(debounce.is_empty());
    }

    #[test]
    fn a_file_being_written_to_waits_for_an_event_or_longer_and_longer() {
        let (mut debounce, at) = start();
        debounce.file_changed(Path::new("/a/one"), at(0));
        let due = debounce.due(at(300)).pop().unwrap();
        debounce.hold(due, at(300));
        assert_eq!(debounce.next(), Some(at(1300)));
        let due = debounce.due(at(1300)).pop().unwrap();
        debounce.hold(due, at(1300));
        assert_eq!(debounce.next(), Some(at(3300)));
        // It was closed.
        debounce.file_changed(Path::new("/a/one"), at(2000));
        assert_eq!(debounce.next(), Some(at(2300)));
        assert_eq!(files(&debounce.due(at(2300))), ["/a/one"]);
        assert!(debounce.is_empty());
    }

    #[test]
    fn a_directory_that_never_is_quiet_gives_files_that_are() {
        let (mut debounce, at) = start();
        debounce.file_changed(Path::new("/a/program"), at(0));
        let mut due = Vec::new();
        for now in (0..=30_000).step_by(100) {
            debounce.file_changed(Path::new("/a/log"), at(now));
            due.extend(debounce.due(at(now)));
        }
        assert_eq!(files(&due), ["/a/program"]);
        assert!(due[0].overdue);
        // The patience starts again.
        assert!(debounce.due(at(30_100)).is_empty());
    }

    #[test]
    fn a_file_held_open_for_ever_does_not_keep_the_others() {
        let (mut debounce, at) = start();
        debounce.file_changed(Path::new("/a/held"), at(0));
        debounce.file_changed(Path::new("/a/other"), at(0));
        let mut now = 0;
        let mut overdue = None;
        while overdue.is_none() {
            let next = debounce.next().unwrap();
            now = next.duration_since(at(0)).as_millis() as u64;
            let due = debounce.due(next).pop().unwrap();
            assert_eq!(due.files.len(), 2);
            match due.overdue {
                true => overdue = Some(due),
                false => debounce.hold(due, next),
            }
        }
        assert_eq!(now, 30_000);
        let mut due = overdue.unwrap();
        due.files.pop();
        debounce.hold(due, at(now));
        assert!(debounce.next().unwrap() > at(now));
    }
}
