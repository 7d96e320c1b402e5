//! Signals are blocked and read from a descriptor, so that none interrupts the work on a file.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalAction {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP: look at all files again.
    Again,
}

/// Blocked signals of this process, to be read.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals in this thread and the threads it starts.
    pub fn hold_back() -> Result<Self> {
        // The kernel reports a broken lease with SIGIO, which would end this process.
        Self::wait_for(
            &[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP],
            &[Signal::SIGIO],
        )
    }

    /// Blocks the signals `wanted`, to be read, and `others`.
    fn wait_for(wanted: &[Signal], others: &[Signal]) -> Result<Self> {
        let mut handled = SigSet::empty();
        handled.extend(wanted.iter().copied());
        let mut blocked = handled;
        blocked.extend(others.iter().copied());
        blocked.thread_block().context("signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = SignalFd::with_flags(&handled, flags).context("signals")?;
        Ok(Self(descriptor))
    }

    /// It is readable when a signal has arrived.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub fn is_any(&self) -> bool {
        let mut descriptors = [PollFd::new(self.descriptor(), PollFlags::POLLIN)];
        poll(&mut descriptors, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// The action that the signals since the last call ask for. `Stop` wins over `Again`.
    pub fn take(&self) -> Option<SignalAction> {
        let mut action = None;
        while let Ok(Some(signal)) = self.0.read_signal() {
            let is_again = signal.ssi_signo == Signal::SIGHUP as u32;
            action = match is_again {
                true => action.or(Some(SignalAction::Again)),
                false => Some(SignalAction::Stop),
            };
        }
        action
    }
}

/// A request by signal to stop this run.
#[derive(Debug)]
pub struct Interruption {
    /// `None` if all the signals are ignored.
    signals: Option<Signals>,
    received: OnceLock<Signal>,
}

impl Interruption {
    /// Blocks SIGINT, SIGTERM and SIGHUP in this thread and the threads it starts. Signals that the parent process has set to be ignored
    /// (nohup, background jobs of a script) stay ignored.
    pub fn hold_back() -> Result<Self> {
        let ignored = ignored();
        let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter();
        let ends: Vec<Signal> = ends.filter(|one| !is_in(ignored, *one)).collect();
        let signals = match ends.is_empty() {
            true => None,
            false => Some(Signals::wait_for(&ends, &[])?),
        };
        Ok(Self {
            signals,
            received: OnceLock::new(),
        })
    }

    /// Whether a signal has arrived. Once true, it stays true.
    pub fn is_requested(&self) -> bool {
        if self.received.get().is_some() {
            return true;
        }
        let Some(signals) = self.signals.as_ref().filter(|signals| signals.is_any()) else {
            return false;
        };
        // Another thread may have read it in between.
        if let Ok(Some(info)) = signals.0.read_signal()
            && let Ok(signal) = Signal::try_from(info.ssi_signo as i32)
        {
            let _ = self.received.set(signal);
        }
        self.received.get().is_some()
    }

    /// The signal because of which [`is_requested`](Self::is_requested) returned true. A signal that came later has stopped nothing.
    pub fn signal(&self) -> Option<Signal> {
        self.received.get().copied()
    }
}

/// The signals that this process ignores: bit N - 1 is signal N (proc_pid_status(5), SigIgn).
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let digits = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let set = digits.map(|digits| u64::from_str_radix(digits.trim(), 16));
    set.and_then(Result::ok).unwrap_or(0)
}

fn is_in(set: u64, signal: Signal) -> bool {
    set >> (signal as i32 - 1) & 1 != 0
}
