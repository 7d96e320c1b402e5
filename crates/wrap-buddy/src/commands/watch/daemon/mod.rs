//! The loop: waits for something to happen, which [`events`] takes in, and has [`wrapping`] deal with what has settled.

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
use crate::commands::wrap::wrap_candidates;
use crate::plan::options::WrapOptions;
use crate::plan::outcome::{FileReport, Report};
use crate::plan::search::Given;
use crate::report::Reporter;
use crate::system::signals::{SignalAction, Signals};

/// How often directories are looked through that the kernel does not tell of, unless the user says otherwise.
const USUAL_INTERVAL: Duration = Duration::from_secs(5);

pub struct Daemon<'a> {
    cli: &'a WrapOptions,
    stages: &'a [Stage],
    missing_stages: &'a [(&'a str, &'a str)],
    roots: Vec<Root>,
    once: bool,
    /// None when all roots are polled.
    tree: Option<Tree>,
    debounce: Debounce,
    mounts: Mounts,
    /// Mount points below roots of file systems that do not tell, which are polled.
    silent: BTreeSet<PathBuf>,
    snapshot: Snapshot,
    interval: Duration,
    /// Of roots that are polled: these settle when two looks see the same.
    debounce_of_polls: Debounce,
    next_poll: Option<Instant>,
    processed: Processed,
    event_log: EventLog,
    reported: BTreeSet<String>,
    wrapped: usize,
    failed: usize,
}

impl<'a> Daemon<'a> {
    /// Nothing is watched yet.
    ///
    /// # Errors
    /// When nothing could be wrapped with these settings.
    pub fn new(
        options: &'a WatchOptions,
        mut roots: Vec<Root>,
        stages: &'a [Stage],
        missing_stages: &'a [(&'a str, &'a str)],
    ) -> Result<Self> {
        let cli = &options.wrap;
        let (given, reporter) = (Given::default(), Reporter::default());
        wrap_candidates(cli, stages, missing_stages, &[], given, &reporter, None)?;
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
        let mut first = Some(started + self.debounce.quiet());
        loop {
            let now = Instant::now();
            self.poll_again(now);
            self.wrap_settled(now, &signals);
            // A signal may have ended that early.
            if !signals.is_any() {
                if first.is_some_and(|first| now >= first) {
                    first = None;
                    self.report_ready();
                }
                if self.once && first.is_none() && self.has_settled() {
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

    /// Waits for a signal, an event, or the time at which something is due: `first`, or what settles, or a look. Says whether
    /// something was mounted or unmounted.
    fn wait(&self, signals: &Signals, first: Option<Instant>) -> Result<bool> {
        let debounce = [&self.debounce, &self.debounce_of_polls].map(Debounce::next);
        let times = debounce.into_iter().chain([first, self.next_poll]);
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
        let descriptors = [
            (Some(signals.descriptor()), PollFlags::POLLIN),
            (tree, PollFlags::POLLIN),
            // Readable it is always.
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

    /// Watches every root from now on, and looks at all that is there.
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

    /// What was there at the start has been dealt with, and everything is watched.
    fn report_ready(&mut self) {
        if self.once {
            self.report_lost();
        } else {
            let all: Vec<PathBuf> = self.roots.iter().map(Root::name).collect();
            let polled = self.roots.iter().filter(|root| root.polled);
            let polled = polled.map(Root::name);
            let polled: Vec<PathBuf> = polled.chain(self.silent.iter().cloned()).collect();
            let directories = self.tree.as_ref().map_or(0, Tree::len);
            self.event_log.watching(&all, &polled, directories);
        }
        // Who is told of it, if anybody, is no concern of the files.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        self.report_status();
    }

    /// Nobody will wait for a directory that the user named, and that is not there.
    fn report_lost(&mut self) {
        let lost = self.roots.iter().filter(|root| root.real().is_none());
        let lost = lost.filter(|root| self.cli.paths.contains(&root.shown));
        let files = lost
            .map(|root| FileReport::failed(root.shown.clone(), "does not exist".to_owned()))
            .collect();
        self.report_failed(files);
    }

    fn report_failed(&mut self, files: Vec<FileReport>) {
        self.failed += files.len();
        self.report_now(files);
    }

    /// Tells of files with which nothing had to be done.
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
