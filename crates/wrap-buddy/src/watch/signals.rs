//! Signals as something to wait for, so that none comes in the middle of a file.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// SIGTERM, SIGINT: to end.
    Stop,
    /// SIGHUP: to look at everything anew.
    Again,
}

/// The signals of this process, which wait until they are asked for.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// From now on, in this thread and those it starts.
    ///
    /// # Errors
    /// When the system gives no descriptor.
    pub fn hold_back() -> Result<Self> {
        let mut wishes = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            wishes.add(signal);
        }
        // A broken lease is told of by SIGIO, which would end this process.
        let mut blocked = wishes;
        blocked.add(Signal::SIGIO);
        blocked.thread_block().context("signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = SignalFd::with_flags(&wishes, flags).context("signals")?;
        Ok(Self(descriptor))
    }

    /// Readable when there is something to [`Signals::take`].
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether there is something to [`Signals::take`].
    pub fn is_any(&self) -> bool {
        let mut descriptors = [PollFd::new(self.descriptor(), PollFlags::POLLIN)];
        poll(&mut descriptors, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// What was asked for since the last call; to end, above all.
    pub fn take(&self) -> Option<Wish> {
        let mut wish = None;
        while let Ok(Some(signal)) = self.0.read_signal() {
            let is_again = signal.ssi_signo == Signal::SIGHUP as u32;
            wish = match is_again {
                true => wish.or(Some(Wish::Again)),
                false => Some(Wish::Stop),
            };
        }
        wish
    }
}
