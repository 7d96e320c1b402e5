//! Wraps the files that have settled.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Daemon;
use crate::apply::Options;
use crate::commands::tree_lock::TreeLock;
use crate::commands::watch::cleanup;
use crate::commands::watch::debounce::{Debounce, Settled};
use crate::commands::watch::processed::{Action, Stamp};
use crate::commands::watch::roots;
use crate::commands::watch::writers::Writers;
use crate::commands::wrap::wrap_targets;
use crate::plan::outcome::{FileReport, Status};
use crate::plan::reason::{Refusal, SkipReason};
use crate::plan::search::Given;
use crate::report::Reporter;
use crate::scan::Target;
use crate::system::signals::Signals;

impl Daemon<'_> {
    /// Wraps the files that have settled by `now`. A signal stops it early.
    pub(super) fn wrap_settled(&mut self, now: Instant, signals: &Signals) {
        let mut ready = Vec::new();
        let mut writers = Writers::default();
        for by_poll in [false, true] {
            let due = self.debounce_of(by_poll).due(now);
            for settled in due {
                if let Some(held) = self.sort_out(settled, by_poll, &mut ready, &mut writers) {
                    self.debounce_of(by_poll).hold(held, now);
                }
            }
        }
        if !ready.is_empty() {
            self.wrap(ready, signals);
        }
    }

    fn debounce_of(&mut self, by_poll: bool) -> &mut Debounce {
        match by_poll {
            true => &mut self.debounce_of_polls,
            false => &mut self.debounce,
        }
    }

    /// Adds the files that can be wrapped to `ready`, and returns those that have to wait.
    fn sort_out(
        &mut self,
        mut settled: Settled,
        by_poll: bool,
        ready: &mut Vec<(PathBuf, Stamp)>,
        writers: &mut Writers,
    ) -> Option<Settled> {
        let (mut free, mut held) = (Vec::new(), Vec::new());
        let mut restored = Vec::new();
        for path in std::mem::take(&mut settled.files) {
            if by_poll {
                self.processed.distrust(&path);
            }
            match self.processed.judge(&path, writers) {
                Action::Ready(stamp) => free.push((path, stamp)),
                Action::Held => held.push(path),
                Action::Restored => restored.push(path),
                Action::Gone => {
                    if let Some(sidecar) = cleanup::remove(&path, Options::of(self.cli)) {
                        self.event_log.removed(&sidecar);
                    }
                }
                Action::Nothing => {}
            }
        }
        self.report_restored(restored);
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

    fn report_restored(&self, paths: Vec<PathBuf>) {
        let files = paths.into_iter().map(|path| {
            let shown = roots::target(&self.roots, path).shown;
            FileReport::skipped(shown, SkipReason::Restored)
        });
        self.report_now(files.collect());
    }

    /// With `--once`, reports files that are still being written to.
    fn give_up(&mut self, held: Vec<PathBuf>) {
        let files = held.into_iter().map(|path| {
            let shown = roots::target(&self.roots, path).shown;
            FileReport::failed(shown, Refusal::BeingWritten)
        });
        let files = files.collect();
        self.report_failed(files);
    }

    /// Wraps files that have settled, and again those that lacked a library which may have arrived.
    fn wrap(&mut self, ready: Vec<(PathBuf, Stamp)>, signals: &Signals) {
        let began = Instant::now();
        let mut before: HashMap<PathBuf, Stamp> = ready.into_iter().collect();
        let lacking: BTreeSet<PathBuf> = self.processed.lacking().cloned().collect();
        for path in &lacking {
            if let Some(stamp) = Stamp::at(path) {
                before.entry(path.clone()).or_insert(stamp);
            }
        }
        let mut paths: Vec<PathBuf> = before.keys().cloned().collect();
        paths.sort_unstable();
        let targets = paths.into_iter();
        let targets: Vec<Target> = targets
            .map(|path| roots::target(&self.roots, path))
            .collect();
        let tops = before
            .keys()
            .flat_map(|path| self.roots.iter().filter_map(|root| root.top(path)));
        let concerned: BTreeSet<&Path> = tops.collect();
        let concerned: Vec<PathBuf> = concerned.into_iter().map(Path::to_owned).collect();
        let stop = || signals.is_any();
        let lock = match self.cli.dry_run {
            true => None,
            false => match TreeLock::on(&self.cli.root, &concerned, true, &stop) {
                None => return,
                held => held,
            },
        };
        let wrapped = wrap_targets(
            self.cli,
            self.stages,
            self.missing_stages,
            &targets,
            Given::new(&self.cli.root, &self.cli.paths, !self.cli.no_recurse),
            &Reporter::default(),
            Some(&stop),
        );
        drop(lock);
        let mut report = match wrapped {
            Ok(report) => report,
            Err(error) => {
                self.event_log.error(&format!("{error:#}"));
                self.failed += 1;
                for (path, stamp) in before {
                    self.processed.done(&path, stamp, true, false);
                }
                return;
            }
        };
        // Files that a signal has left are not reported: the watch ends, or processes everything again.
        let dry_run = self.cli.dry_run;
        report.files.retain(|file| dry_run || !file.status.is_dry());
        let files = report.files.iter().map(|file| (&file.path, file));
        let reported: HashMap<&PathBuf, &FileReport> = files.collect();
        let mut still_lacking = BTreeSet::new();
        for target in &targets {
            let Some(stamp) = before.get(&target.path) else {
                continue;
            };
            let file = reported.get(&target.shown);
            let failed = file.is_some_and(|file| file.status == Status::Failed);
            let lacks = file.is_some_and(|file| !file.missing.is_empty());
            self.processed.done(&target.path, *stamp, failed, lacks);
            if lacks && lacking.contains(&target.path) {
                still_lacking.insert(target.shown.clone());
            }
        }
        // Their result has been reported before.
        report
            .files
            .retain(|file| !still_lacking.contains(&file.path));
        report
            .warnings
            .retain(|warning| self.reported.insert(warning.clone()));
        self.found += targets.len();
        self.wrapped += [Status::Wrapped, Status::Edited]
            .map(|done| report.count(done))
            .iter()
            .sum::<usize>();
        self.failed += report.count(Status::Failed);
        self.event_log.batch(&report, began.elapsed());
        self.report_status();
    }
}
