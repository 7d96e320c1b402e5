//! Runs one process and measures it.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use wait4::Wait4;

/// The cost of one process.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Time from before its start to after its end.
    pub wall: Duration,
    /// Page faults without a read from disk.
    pub minor_faults: i64,
    /// Maximum resident set in bytes: an upper bound, because it includes the pages of this task, on which the process starts
    /// (vfork).
    pub max_rss: u64,
}

/// Runs `command`, which has to succeed.
pub fn launch(command: &mut Command) -> Result<Sample> {
    let faults_before = faults_of_children()?;
    let start = Instant::now();
    // Without hooks and changes of the user, the standard library uses posix_spawn, which copies no page table.
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let ended = child
        .wait4()
        .with_context(|| format!("cannot wait for {}", command.get_program().display()))?;
    let wall = start.elapsed();
    ensure!(
        ended.status.success(),
        "{} ended with {}",
        command.get_program().display(),
        ended.status
    );
    Ok(Sample {
        wall,
        minor_faults: faults_of_children()? - faults_before,
        max_rss: ended.rusage.maxrss,
    })
}

fn faults_of_children() -> Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot read resource usage")?;
    Ok(usage.minor_page_faults())
}

/// Pins this process and its children to the last of its processors, because migration is noise.
pub fn pin_to_one_cpu() -> Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).context("cannot read the processors to run on")?;
    let last = (0..CpuSet::count())
        .rev()
        .find(|&cpu| allowed.is_set(cpu).unwrap_or(false))
        .context("there is no processor to run on")?;
    let mut only = CpuSet::new();
    only.set(last).context("cannot choose a processor")?;
    sched_setaffinity(this, &only).context("cannot stay on one processor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_time_and_pages() {
        let sample = launch(&mut Command::new("true")).expect("it succeeds");
        assert!(sample.wall > Duration::ZERO);
        assert!(sample.minor_faults > 0);
        assert!(sample.max_rss > 0);
    }

    #[test]
    fn a_failing_process_is_no_sample() {
        assert!(launch(&mut Command::new("false")).is_err());
        assert!(launch(&mut Command::new("/no/such/program")).is_err());
    }
}
