//! The main loop: waits for events, which [`events`] handles, and has [`wrapping`] wrap the files that have settled.

mod events;
mod wrapping;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sd_notify::NotifyState;
use stages::Stage;

use super::WatchOptions;
use super::debounce::Debounce;
use super::event_log::EventLog;
use super::mounts::Mounts;
use super::polling::Snapshot;
use super::processed::Processed;
use super::roots::Root;
use super::tree::Tree;
use crate::commands::wrap::wrap_targets;
use crate::plan::options::WrapOptions;
use crate::plan::outcome::{FileReport, Report};
use crate::plan::reason::Refusal;
use crate::plan::search::Given;
use crate::report::Reporter;
use crate::system::signals::{SignalAction, Signals};

/// Default interval of scans.
const USUAL_INTERVAL: Duration = Duration::from_secs(5);

pub struct Daemon<'a> {
    cli: &'a WrapOptions,
    stages: &'a [Stage],
    missing_stages: &'a [(&'a str, &'a str)],
    roots: Vec<Root>,
    once: bool,
    /// `None` if all roots are polled.
    tree: Option<Tree>,
    debounce: Debounce,
    mounts: Mounts,
    /// Mount points below roots whose file systems do not report changes. They are polled.
    silent: BTreeSet<PathBuf>,
    snapshot: Snapshot,
    interval: Duration,
    /// For polled roots: these have settled when two scans see the same.
    debounce_of_polls: Debounce,
    next_poll: Option<Instant>,
    processed: Processed,
    event_log: EventLog,
    reported: BTreeSet<String>,
    /// Number of programs and libraries that were processed, with any result.
    found: usize,
    wrapped: usize,
    failed: usize,
}

impl<'a> Daemon<'a> {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If nothing could be wrapped with these options.
    pub fn new(
        options: &'a WatchOptions,
        mut roots: Vec<Root>,
        stages: &'a [Stage],
        missing_stages: &'a [(&'a str, &'a str)],
    ) -> Result<Self> {
        let cli = &options.wrap;
        let (given, reporter) = (Given::default(), Reporter::default());
        wrap_targets(cli, stages, missing_stages, &[], given, &reporter, None)?;
        for root in &mut roots {
            root.polled = options.poll.is_some() || root.needs_polling();
        }
        let interval = options.poll.unwrap_or(USUAL_INTERVAL);
        Ok(Self {
            cli,
            stages,
            missing_stages,
            roots,
            once: options.once,
            tree: None,
            debounce: Debounce::new(options.settle),
            mounts: Mounts::open(),
            silent: BTreeSet::new(),
            snapshot: Snapshot::default(),
            interval,
            debounce_of_polls: Debounce::new(options.settle.max(interval)),
            next_poll: None,
            processed: Processed::default(),
            event_log: EventLog::new(cli.output),
            reported: BTreeSet::new(),
            found: 0,
            wrapped: 0,
            failed: 0,
        })
    }

    /// Runs until a signal or, with `--once`, until everything has settled. Returns false if a file failed with `--once`.
    pub fn run(mut self) -> Result<bool> {
        let signals = Signals::hold_back()?;
        let started = Instant::now();
        self.start(started);
        let mut first = Some(started + self.debounce.quiet());
        loop {
            let now = Instant::now();
            self.poll_again(now);
            self.wrap_settled(now, &signals);
            // A signal may have stopped wrapping, so this may not be all.
            if !signals.is_any() {
                if first.is_some_and(|first| now >= first) {
                    first = None;
                    self.report_ready();
                }
                if self.once && first.is_none() && self.has_settled() {
                    self.report_nothing_found();
                    self.end("everything has settled");
                    return Ok(self.failed == 0);
                }
            }
            let mounts_changed = self.wait(&signals, first)?;
            match signals.take() {
                Some(SignalAction::Stop) => {
                    self.end("by a signal");
                    return Ok(true);
                }
                Some(SignalAction::Again) => {
                    self.processed.clear();
                    self.start(Instant::now());
                }
                None => {}
            }
            self.take_events(Instant::now());
            if mounts_changed {
                self.take_mounts(Instant::now());
            }
        }
    }

    /// Waits for a signal, an event, or the next time something is due. Returns true if the mounts have changed.
    fn wait(&self, signals: &Signals, first: Option<Instant>) -> Result<bool> {
        let debounce = [&self.debounce, &self.debounce_of_polls].map(Debounce::next);
        let times = debounce.into_iter().chain([first, self.next_poll]);
        let timeout = match times.flatten().min() {
            // Round up: the timeout is in whole milliseconds.
            Some(time) => {
                let left = time.saturating_duration_since(Instant::now());
                let left = left + Duration::from_micros(999);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let tree = self.tree.as_ref().map(Tree::descriptor);
        let descriptors = [
            (Some(signals.descriptor()), PollFlags::POLLIN),
            (tree, PollFlags::POLLIN),
            // mountinfo is always readable.
            (self.mounts.descriptor(), PollFlags::POLLPRI),
        ];
        let descriptors = descriptors.into_iter();
        let mut descriptors: Vec<PollFd<'_>> = descriptors
            .filter_map(|(descriptor, flags)| Some(PollFd::new(descriptor?, flags)))
            .collect();
        match poll(&mut descriptors, timeout) {
            Ok(_) => {
                let exceptional = descriptors.iter().filter_map(PollFd::revents);
                let mut exceptional = exceptional.map(|flags| flags.contains(PollFlags::POLLPRI));
                Ok(exceptional.any(|is_so| is_so))
            }
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Watches every root, and collects the existing files.
    fn start(&mut self, now: Instant) {
        self.next_poll = self.roots.iter().any(|root| root.polled).then_some(now);
        self.snapshot = Snapshot::default();
        if let Err(exhausted) = self.watch_anew(now) {
            self.fall_back(exhausted, now);
        }
    }

    fn has_settled(&self) -> bool {
        self.debounce.is_empty() && self.debounce_of_polls.is_empty()
    }

    /// Existing files have been processed, and everything is watched.
    fn report_ready(&mut self) {
        if self.once {
            self.report_nonexistent();
        } else {
            let all: Vec<PathBuf> = self.roots.iter().map(Root::name).collect();
            let polled = self.roots.iter().filter(|root| root.polled);
            let polled = polled.map(Root::name);
            let polled: Vec<PathBuf> = polled.chain(self.silent.iter().cloned()).collect();
            let directories = self.tree.as_ref().map_or(0, Tree::len);
            self.event_log.watching(&all, &polled, directories);
        }
        // Whether anybody listens does not matter.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        self.report_status();
    }

    /// With `--once`, reports directories that the user named and that do not exist.
    fn report_nonexistent(&mut self) {
        let lost = self.roots.iter().filter(|root| root.real().is_none());
        let lost = lost.filter(|root| self.cli.paths.contains(&root.shown));
        let files = lost
            .map(|root| FileReport::failed(root.shown.clone(), Refusal::Nonexistent))
            .collect();
        self.report_failed(files);
    }

    /// With `--once`, warns if no directory had a program or library. The user may have expected one, and no later event will show it.
    fn report_nothing_found(&self) {
        if self.found > 0 || self.failed > 0 {
            return;
        }
        let there = self.roots.iter().filter(|root| root.real().is_some());
        let there: Vec<String> = there
            .map(|root| root.name().display().to_string())
            .collect();
        self.event_log.warning(&match there.is_empty() {
            true => "none of the directories exists; wrap-buddy watch --list-presets lists those of presets".to_owned(),
            false => format!(
                "no program or library is in {}; links there are not followed, so name the directory that has the files",
                there.join(", ")
            ),
        });
    }

    fn report_failed(&mut self, files: Vec<FileReport>) {
        self.failed += files.len();
        self.report_now(files);
    }

    /// Reports files outside of a batch.
    fn report_now(&self, files: Vec<FileReport>) {
        if !files.is_empty() {
            let report = Report {
                files,
                ..Report::default()
            };
            self.event_log.batch(&report, Duration::ZERO);
        }
    }

    fn report_status(&self) {
        let (wrapped, failed) = (self.wrapped, self.failed);
        let status = format!("{wrapped} files wrapped or edited, {failed} failed");
        let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
    }

    fn end(&self, reason: &str) {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        self.event_log.stopped(reason);
    }
}
