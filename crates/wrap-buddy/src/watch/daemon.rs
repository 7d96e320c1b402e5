//! The loop: waits for something to happen, and wraps what has settled.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sd_notify::NotifyState;
use stages::Stage;

use super::arguments::Watch;
use super::dealt::{Dealt, Stamp, Verdict};
use super::leftovers;
use super::lines::Lines;
use super::polling::Snapshot;
use super::roots::{self, Root, is_own_name};
use super::settling::{Settled, Settling};
use super::signals::{Signals, Wish};
use super::tree::{Event, Exhausted, Tree};
use super::writers::Writers;
use crate::cli::Cli;
use crate::report::{FileReport, Report, Status, Teller};
use crate::scan::{Candidate, may_be_elf};
use crate::tree_lock::TreeLock;
use crate::wrap::wrap_candidates;

/// How often directories are looked through that the kernel does not tell of, unless the user says otherwise.
const USUAL_INTERVAL: Duration = Duration::from_secs(5);

/// A watch.
pub struct Daemon<'a> {
    cli: &'a Cli,
    stages: &'a [Stage],
    missing_stages: &'a [(&'a str, &'a str)],
    roots: Vec<Root>,
    once: bool,
    /// None when all roots are polled.
    tree: Option<Tree>,
    settling: Settling,
    snapshot: Snapshot,
    interval: Duration,
    /// Of roots that are polled: these settle when two looks see the same.
    settling_by_looks: Settling,
    next_look: Option<Instant>,
    dealt: Dealt,
    lines: Lines,
    said: BTreeSet<String>,
    wrapped: usize,
    failed: usize,
}

impl<'a> Daemon<'a> {
    /// Nothing is watched yet.
    ///
    /// # Errors
    /// When nothing could be wrapped with these settings.
    pub fn new(
        arguments: &'a Watch,
        mut roots: Vec<Root>,
        stages: &'a [Stage],
        missing_stages: &'a [(&'a str, &'a str)],
    ) -> Result<Self> {
        let cli = &*arguments.wrap.0;
        wrap_candidates(cli, stages, missing_stages, &[], &Teller::default())?;
        for root in &mut roots {
            root.polled = arguments.poll.is_some() || root.needs_polling();
        }
        let interval = arguments.poll.unwrap_or(USUAL_INTERVAL);
        Ok(Self {
            cli,
            stages,
            missing_stages,
            roots,
            once: arguments.once,
            tree: None,
            settling: Settling::new(arguments.settle),
            snapshot: Snapshot::default(),
            interval,
            settling_by_looks: Settling::new(arguments.settle.max(interval)),
            next_look: None,
            dealt: Dealt::default(),
            lines: Lines::new(cli.output),
            said: BTreeSet::new(),
            wrapped: 0,
            failed: 0,
        })
    }

    /// Watches until a signal, or until everything has settled. Says whether all is well.
    ///
    /// # Errors
    /// When the system gives nothing to wait with.
    pub fn run(mut self) -> Result<bool> {
        let signals = Signals::hold_back()?;
        let started = Instant::now();
        self.start(started);
        let mut first = Some(started + self.settling.quiet());
        loop {
            let now = Instant::now();
            self.look_again(now);
            self.wrap_settled(now);
            if first.is_some_and(|first| now >= first) {
                first = None;
                self.tell_ready();
            }
            if self.once && first.is_none() && self.has_settled() {
                self.end("everything has settled");
                return Ok(self.failed == 0);
            }
            self.wait(&signals, first)?;
            match signals.take() {
                Some(Wish::Stop) => {
                    self.end("by a signal");
                    return Ok(true);
                }
                Some(Wish::Again) => {
                    self.dealt.clear();
                    self.start(Instant::now());
                }
                None => {}
            }
            self.take_events(Instant::now());
        }
    }

    /// Waits for a signal, an event, or the time at which something is due: `first`, or what settles, or a look.
    fn wait(&self, signals: &Signals, first: Option<Instant>) -> Result<()> {
        let settling = [&self.settling, &self.settling_by_looks].map(Settling::next);
        let times = settling.into_iter().chain([first, self.next_look]);
        let timeout = match times.flatten().min() {
            // Not too early: a timeout is in whole milliseconds.
            Some(time) => {
                let left = time.saturating_duration_since(Instant::now());
                let left = left + Duration::from_micros(999);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let tree = self.tree.as_ref().map(Tree::descriptor);
        let descriptors = [Some(signals.descriptor()), tree];
        let descriptors = descriptors.into_iter().flatten();
        let mut descriptors: Vec<PollFd<'_>> = descriptors
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
            .collect();
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Watches every root from now on, and looks at all that is there.
    fn start(&mut self, now: Instant) {
        self.next_look = self.roots.iter().any(|root| root.polled).then_some(now);
        if self.next_look.is_some() {
            self.snapshot = Snapshot::default();
        }
        if let Err(exhausted) = self.watch_anew(now) {
            self.fall_back(exhausted, now);
        }
    }

    fn watch_anew(&mut self, now: Instant) -> Result<(), Exhausted> {
        self.tree = None;
        if self.roots.iter().all(|root| root.polled) {
            return Ok(());
        }
        self.tree = Some(Tree::new()?);
        for root in &mut self.roots {
            root.there = None;
        }
        self.look_at_roots(now)
    }

    /// Without the kernel telling what happens, it has to be looked for.
    fn fall_back(&mut self, exhausted: Exhausted, now: Instant) {
        let setting = match exhausted {
            Exhausted::Watches => "fs.inotify.max_user_watches",
            Exhausted::Instances => "fs.inotify.max_user_instances",
        };
        let path = Path::new("/proc/sys").join(setting.replace('.', "/"));
        let value = fs::read_to_string(path).unwrap_or_default();
        self.lines.warning(&format!(
            "the kernel watches no more than {setting} = {}: raise it (sysctl -w {setting}=NUMBER) and start again; until then \
             everything is looked through every {} s",
            value.trim(),
            self.interval.as_secs_f64()
        ));
        self.tree = None;
        for root in &mut self.roots {
            root.polled = true;
        }
        self.snapshot = Snapshot::default();
        self.next_look = Some(now);
    }

    /// Finds out which roots are there, and watches those that have appeared.
    fn look_at_roots(&mut self, now: Instant) -> Result<(), Exhausted> {
        for index in 0..self.roots.len() {
            let Some(tree) = &mut self.tree else {
                return Ok(());
            };
            let root = &mut self.roots[index];
            if root.polled {
                continue;
            }
            // First, so that nothing can happen in between.
            tree.await_root(&root.path)?;
            let before = root.real().map(Path::to_owned);
            if !root.look() {
                continue;
            }
            if let Some(before) = before {
                tree.forget(&before);
                self.settling.forget(&before);
                self.dealt.forget(&before);
            }
            // Another root may have been watched by way of this one.
            let there = self.roots.iter().filter(|root| !root.polled);
            let there: Vec<PathBuf> = there
                .filter_map(|root| root.real().map(Path::to_owned))
                .collect();
            for real in there {
                self.enter(real, false, now)?;
            }
        }
        Ok(())
    }

    /// Watches a directory and those below, and looks at the files there. With `appeared` they belong together.
    fn enter(&mut self, directory: PathBuf, appeared: bool, now: Instant) -> Result<(), Exhausted> {
        let mut directories = vec![directory];
        while let Some(directory) = directories.pop() {
            let Some(tree) = &mut self.tree else {
                return Ok(());
            };
            // First, so that nothing can happen in between.
            if !roots::enters(&self.roots, false, &directory) || !tree.watch(&directory)? {
                continue;
            }
            if appeared {
                self.settling.directory_appeared(&directory, now);
            }
            for (path, is_directory) in entries(&directory) {
                if is_directory {
                    directories.push(path);
                } else if roots::wants(&self.roots, false, &path)
                    && !self.dealt.knows(&path)
                    // What is not yet one will be closed after it was written, and looked at then.
                    && may_be_elf(&path)
                {
                    self.settling.file_changed(&path, now);
                }
            }
        }
        Ok(())
    }

    /// Takes in what has happened.
    fn take_events(&mut self, now: Instant) {
        let Some(tree) = &mut self.tree else {
            return;
        };
        let events = tree.read();
        let (mut is_lost, mut is_about_roots) = (false, false);
        let mut result = Ok(());
        for event in events {
            match event {
                Event::Overflow => is_lost = true,
                Event::Roots => is_about_roots = true,
                Event::DirectoryAppeared(path) => {
                    result = result.and_then(|()| self.enter(path, true, now));
                }
                Event::FileChanged(path) => self.changed(&path, now),
                Event::Moved(path) => self.gone(&path, now),
                Event::Removed(path) => {
                    self.gone(&path, now);
                    if leftovers::has_any(&path) {
                        self.changed(&path, now);
                    }
                }
            }
        }
        if is_lost {
            self.lines.warning(
                "more has happened at once than the kernel keeps (fs.inotify.max_queued_events): everything is looked at again",
            );
            result = result.and_then(|()| self.watch_anew(now));
        } else if is_about_roots {
            result = result.and_then(|()| self.look_at_roots(now));
        }
        if let Err(exhausted) = result {
            self.fall_back(exhausted, now);
        }
    }

    fn changed(&mut self, path: &Path, now: Instant) {
        if roots::wants(&self.roots, false, path) {
            self.settling.file_changed(path, now);
        } else {
            let directory = path.parent().unwrap_or(path);
            self.settling.touched(directory, now);
        }
    }

    fn gone(&mut self, path: &Path, now: Instant) {
        self.settling.forget(path);
        self.dealt.forget(path);
        self.settling.touched(path.parent().unwrap_or(path), now);
    }

    /// Looks through the roots that are polled, if it is time.
    fn look_again(&mut self, now: Instant) {
        if self.next_look.is_none_or(|time| now < time) {
            return;
        }
        self.next_look = Some(now + self.interval);
        let mut directories = Vec::new();
        for root in self.roots.iter_mut().filter(|root| root.polled) {
            root.look();
            directories.extend(root.real().map(Path::to_owned));
        }
        while let Some(directory) = directories.pop() {
            let Ok(metadata) = fs::symlink_metadata(&directory) else {
                continue;
            };
            if !roots::enters(&self.roots, true, &directory) {
                continue;
            }
            if self.snapshot.is_news(&directory, &metadata) {
                self.settling_by_looks.directory_appeared(&directory, now);
            }
            for (path, is_directory) in entries(&directory) {
                if is_directory {
                    directories.push(path);
                    continue;
                }
                let Ok(metadata) = fs::symlink_metadata(&path) else {
                    continue;
                };
                if metadata.is_file()
                    && roots::wants(&self.roots, true, &path)
                    && self.snapshot.is_news(&path, &metadata)
                    && !self.dealt.knows(&path)
                    && may_be_elf(&path)
                {
                    self.settling_by_looks.file_changed(&path, now);
                }
            }
        }
        self.snapshot.next();
    }

    /// Wraps what has settled by now.
    fn wrap_settled(&mut self, now: Instant) {
        let mut ready = Vec::new();
        let mut writers = Writers::default();
        for by_looks in [false, true] {
            let due = self.settling_of(by_looks).due(now);
            for settled in due {
                if let Some(held) = self.sort_out(settled, &mut ready, &mut writers) {
                    self.settling_of(by_looks).hold(held, now);
                }
            }
        }
        if !ready.is_empty() {
            self.wrap(ready);
        }
    }

    fn settling_of(&mut self, by_looks: bool) -> &mut Settling {
        match by_looks {
            true => &mut self.settling_by_looks,
            false => &mut self.settling,
        }
    }

    /// Adds to `ready` what can be wrapped of what has settled; the rest has to wait.
    fn sort_out(
        &mut self,
        mut settled: Settled,
        ready: &mut Vec<(PathBuf, Stamp)>,
        writers: &mut Writers,
    ) -> Option<Settled> {
        let (mut free, mut held) = (Vec::new(), Vec::new());
        for path in std::mem::take(&mut settled.files) {
            match self.dealt.judge(&path, writers) {
                Verdict::Ready(stamp) => free.push((path, stamp)),
                Verdict::Held => held.push(path),
                Verdict::Gone => {
                    if let Some(sidecar) = leftovers::remove(&path) {
                        self.lines.removed(&sidecar);
                    }
                }
                Verdict::Nothing => {}
            }
        }
        if held.is_empty() || settled.overdue {
            ready.append(&mut free);
        }
        if held.is_empty() {
            return None;
        }
        if self.once && settled.overdue {
            self.give_up(held);
            return None;
        }
        settled.files = held;
        settled.files.extend(free.into_iter().map(|(path, _)| path));
        Some(settled)
    }

    /// There is an end, and these files are not complete.
    fn give_up(&mut self, held: Vec<PathBuf>) {
        let reason = "is still being written to: run this again when it is complete";
        let files = held.into_iter().map(|path| {
            let shown = roots::candidate(&self.roots, path).shown;
            FileReport::failed(shown, reason.to_owned())
        });
        let files = files.collect();
        self.tell_failed(files);
    }

    /// Wraps files that have settled, and those again that lacked a library which may be among them.
    fn wrap(&mut self, ready: Vec<(PathBuf, Stamp)>) {
        let began = Instant::now();
        let mut before: HashMap<PathBuf, Stamp> = ready.into_iter().collect();
        let lacking: BTreeSet<PathBuf> = self.dealt.lacking().cloned().collect();
        for path in &lacking {
            if let Some(stamp) = Stamp::at(path) {
                before.entry(path.clone()).or_insert(stamp);
            }
        }
        let mut paths: Vec<PathBuf> = before.keys().cloned().collect();
        paths.sort_unstable();
        let candidates = paths.into_iter();
        let candidates: Vec<Candidate> = candidates
            .map(|path| roots::candidate(&self.roots, path))
            .collect();
        let concerned = self.roots.iter().filter_map(Root::real);
        let concerned = concerned.filter(|root| before.keys().any(|path| path.starts_with(root)));
        let concerned: Vec<PathBuf> = concerned.map(Path::to_owned).collect();
        let lock = (!self.cli.dry_run).then(|| TreeLock::on(&concerned, true));
        let wrapped = wrap_candidates(
            self.cli,
            self.stages,
            self.missing_stages,
            &candidates,
            &Teller::default(),
        );
        drop(lock);
        let mut report = match wrapped {
            Ok(report) => report,
            Err(error) => {
                self.lines.error(&format!("{error:#}"));
                self.failed += 1;
                for (path, stamp) in before {
                    self.dealt.done(&path, stamp, true, false);
                }
                return;
            }
        };
        let files = report.files.iter().map(|file| (&file.path, file));
        let reported: HashMap<&PathBuf, &FileReport> = files.collect();
        let mut still_lacking = BTreeSet::new();
        for candidate in &candidates {
            let Some(stamp) = before.get(&candidate.path) else {
                continue;
            };
            let file = reported.get(&candidate.shown);
            let failed = file.is_some_and(|file| file.status == Status::Failed);
            let lacks = file.is_some_and(|file| !file.missing.is_empty());
            self.dealt.done(&candidate.path, *stamp, failed, lacks);
            if lacks && lacking.contains(&candidate.path) {
                still_lacking.insert(candidate.shown.clone());
            }
        }
        // Nothing new.
        report
            .files
            .retain(|file| !still_lacking.contains(&file.path));
        report
            .warnings
            .retain(|warning| self.said.insert(warning.clone()));
        self.wrapped += [Status::Wrapped, Status::Edited]
            .map(|done| report.count(done))
            .iter()
            .sum::<usize>();
        self.failed += report.count(Status::Failed);
        self.lines.batch(&report, began.elapsed());
        self.tell_status();
    }

    fn has_settled(&self) -> bool {
        self.settling.is_empty() && self.settling_by_looks.is_empty()
    }

    /// What was there at the start has been dealt with, and everything is watched.
    fn tell_ready(&mut self) {
        if self.once {
            self.tell_lost();
        } else {
            let all = self.roots.iter();
            let all: Vec<&Path> = all.map(|root| root.shown.as_path()).collect();
            let polled = self.roots.iter().filter(|root| root.polled);
            let polled: Vec<&Path> = polled.map(|root| root.shown.as_path()).collect();
            let directories = self.tree.as_ref().map_or(0, Tree::len);
            self.lines.watching(&all, &polled, directories);
        }
        // Who is told of it, if anybody, is no concern of the files.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        self.tell_status();
    }

    /// Nobody will wait for a directory that the user named, and that is not there.
    fn tell_lost(&mut self) {
        let lost = self.roots.iter().filter(|root| root.real().is_none());
        let lost = lost.filter(|root| self.cli.paths.contains(&root.shown));
        let files = lost
            .map(|root| FileReport::failed(root.shown.clone(), "does not exist".to_owned()))
            .collect();
        self.tell_failed(files);
    }

    fn tell_failed(&mut self, files: Vec<FileReport>) {
        if !files.is_empty() {
            self.failed += files.len();
            let report = Report {
                files,
                ..Report::default()
            };
            self.lines.batch(&report, Duration::ZERO);
        }
    }

    fn tell_status(&self) {
        let (wrapped, failed) = (self.wrapped, self.failed);
        let status = format!("{wrapped} files wrapped or edited, {failed} failed");
        let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
    }

    fn end(&self, reason: &str) {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        self.lines.stopped(reason);
    }
}

/// What is in a directory, without what this tool has put there: each path, and whether it is a directory. Symbolic links
/// are neither followed nor met.
fn entries(directory: &Path) -> impl Iterator<Item = (PathBuf, bool)> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry: DirEntry| {
        let kind = entry.file_type().ok()?;
        let met = kind.is_dir() || kind.is_file();
        (met && !is_own_name(&entry.file_name())).then(|| (entry.path(), kind.is_dir()))
    })
}
