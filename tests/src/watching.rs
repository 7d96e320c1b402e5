//! A running `wrap-buddy watch`, and its output.

use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::output::Output;
use crate::run::{Run, Running};

/// The time limit for expected events: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running watch. Dropping this kills it.
pub struct Watching(Running);

/// Those of `lines` whose event is `event`.
pub fn event<'l>(lines: &'l [Value], event: &'l str) -> impl Iterator<Item = &'l Value> {
    lines.iter().filter(move |line| line["event"] == event)
}

impl Watching {
    /// Starts `command`, which has to be a watch.
    #[track_caller]
    pub fn start(command: Run<'_>) -> Watching {
        Watching(command.spawn().expect("start wrap-buddy"))
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<Value> {
        let text = self.0.stdout_so_far();
        // The last line may be incomplete.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        lines(whole)
    }

    /// Waits until `found` returns something for the lines so far. Panics after a time limit.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, found: impl Fn(&[Value]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines();
            if let Some(found) = found(&lines) {
                return found;
            }
            assert!(Instant::now() < deadline, "never: {what}; {lines:#?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until `path` has been wrapped or edited that many times in all. Returns the time of the last, in seconds since 1970.
    #[track_caller]
    pub fn wrapped(&self, path: &str, times: usize) -> f64 {
        self.wait(&format!("{path} is wrapped {times} times"), |lines| {
            let mut of = done(lines).filter(|line| line["path"] == path);
            of.nth(times - 1).and_then(|line| line["time"].as_f64())
        })
    }

    /// The files that it has wrapped or edited so far, in that order.
    pub fn all_wrapped(&self) -> Vec<String> {
        paths(done(&self.lines()))
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.pid() as i32), signal).expect("it is running");
    }

    /// Asks the watch to end, and asserts that it does so successfully.
    #[track_caller]
    pub fn stop(self) -> Output {
        self.signal(Signal::SIGTERM);
        self.finish()
    }

    /// Waits for the end.
    pub fn finish(self) -> Output {
        self.0.finish(PATIENCE)
    }

    /// The processor time of the watch, in clock ticks of 10 ms, and its memory in KiB, now and at most.
    pub fn usage(&self) -> io::Result<Usage> {
        let of = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.0.pid()));
        let (stat, status) = (of("stat")?, of("status")?);
        // The name of the program may contain anything. The first field after it is the third (proc(5)).
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            number(line.unwrap_or_default().trim().trim_end_matches(" kB"))
        };
        Ok(Usage {
            ticks: number(fields[11]) + number(fields[12]),
            resident: kib("VmRSS:"),
            most_resident: kib("VmHWM:"),
        })
    }
}

/// The resources of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time.
    pub ticks: u64,
    /// Resident memory in KiB.
    pub resident: u64,
    /// Maximum resident memory in KiB.
    pub most_resident: u64,
}

/// Parses lines of JSON.
pub fn lines(text: &str) -> Vec<Value> {
    let parse = |line| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the line {line}"))
    };
    text.lines().map(parse).collect()
}

/// The lines about files that were wrapped or edited.
pub fn done(lines: &[Value]) -> impl Iterator<Item = &Value> {
    let files = event(lines, "file");
    files.filter(|line| line["status"] == "wrapped" || line["status"] == "edited")
}

/// The files that `lines` are about.
pub fn paths<'l>(lines: impl Iterator<Item = &'l Value>) -> Vec<String> {
    lines
        .filter_map(|line| line["path"].as_str())
        .map(str::to_owned)
        .collect()
}
