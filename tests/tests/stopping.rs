//! A signal while the tool works on thousands of files: it finishes the files at hand, and the next run does the rest.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::check::sidecar_of;
use e2e::{Output, Sample, Variant, matrix, says};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

matrix!(systems: wrapping_ends_between_files, restoring_ends_between_files);

/// So many that a run takes a second on any machine.
const COPIES: usize = 3000;

/// The number of attempts to stop a run in the middle: a run that was too fast proves nothing.
const TRIES: usize = 5;

const PATIENCE: Duration = Duration::from_secs(60);

fn copy_at(index: usize) -> String {
    format!("/app/tree/{}/copy{index}", index % 7)
}

/// A program, and many copies of it in a tree.
fn tree(variant: Variant) -> Sample {
    let sample = Sample::unwrapped(variant);
    for index in 0..COPIES {
        sample.root.install(&sample.built, &copy_at(index));
    }
    sample
}

fn wrapping<'r>(sample: &'r Sample, dir: &str) -> e2e::wrap::Wrap<'r> {
    let wrap = sample.root.wrap(dir);
    wrap.libs([sample.library_dir.clone()]).args(["-q"])
}

/// Whether each copy is wrapped. Asserts that it is otherwise unchanged.
fn done(sample: &Sample) -> BTreeMap<String, bool> {
    let original = fs::read(&sample.built).expect("built before");
    let copies = (0..COPIES).map(copy_at).map(|copy| {
        let is_original = sample.root.read(&copy) == original;
        let has_sidecar = sample.root.path(&sidecar_of(&copy)).exists();
        assert_eq!(is_original, !has_sidecar, "{copy} is half done");
        (copy, has_sidecar)
    });
    copies.collect()
}

/// A few of the `copies` whose state is `wanted`, evenly spread.
fn some(copies: &BTreeMap<String, bool>, wanted: bool) -> Vec<&String> {
    let all = copies.iter().filter(|(_, is)| **is == wanted);
    let all: Vec<&String> = all.map(|(copy, _)| copy).collect();
    let step = all.len() / 25 + 1;
    all.into_iter().step_by(step).collect()
}

/// Starts `run`, sends it `signal` once `begun` returns true, and waits for the end.
fn stopped(run: e2e::Run<'_>, signal: Signal, begun: impl Fn() -> bool) -> Output {
    let running = run.spawn().expect("start the tool");
    let deadline = Instant::now() + PATIENCE;
    while !begun() && Instant::now() < deadline {
        sleep(Duration::from_micros(200));
    }
    kill(Pid::from_raw(running.pid() as i32), signal).expect("send a signal");
    running.finish(PATIENCE)
}

fn sidecars(sample: &Sample) -> usize {
    let listed = |dir: PathBuf| fs::read_dir(dir).expect("a directory").flatten();
    let dirs = (0..7).map(|dir| sample.root.path(&format!("/app/tree/{dir}")));
    let files = dirs.flat_map(listed);
    files
        .filter(|file| file.file_name().as_encoded_bytes()[0] == b'.')
        .count()
}

fn assert_says(output: &Output, signal: &str) {
    let said = format!("stopped by {signal}: ");
    let on = "the others are unchanged; repeat the command to continue";
    assert!(
        output.stderr.contains(&said) && output.stderr.contains(on),
        "{output}"
    );
}

fn wrapping_ends_between_files(variant: Variant) {
    let sample = tree(variant);
    let wrap = || wrapping(&sample, "/app/tree");
    let signals = [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)];
    for (signal, status) in signals {
        let copies = (0..TRIES).find_map(|_| {
            let output = stopped(wrap().command(), signal, || sidecars(&sample) > 0);
            let copies = done(&sample);
            let count = copies.values().filter(|done| **done).count();
            if count == COPIES {
                sample
                    .root
                    .wrap_buddy()
                    .args(["restore", "-q", "/app/tree"])
                    .output()
                    .success();
                return None;
            }
            assert_eq!(output.status, Some(status), "{output}");
            assert_says(&output, signal.as_str());
            let are_done = match count {
                1 => "file is done",
                _ => "files are done",
            };
            let said = format!(": {count} {are_done}");
            assert!(output.stderr.contains(&said), "{output}");
            assert!(count > 0, "{output}");
            Some(copies)
        });
        let copies = copies.expect("a run that a signal has stopped");
        for copy in some(&copies, true) {
            says(sample.root.command(copy).output());
        }
        wrap().run();
        assert!(done(&sample).values().all(|done| *done));
        for copy in some(&copies, false) {
            says(sample.root.command(copy).output());
        }
        sample
            .root
            .wrap_buddy()
            .args(["restore", "-q", "/app/tree"])
            .output()
            .success();
        assert!(!done(&sample).values().any(|done| *done));
    }
}

fn restoring_ends_between_files(variant: Variant) {
    let sample = tree(variant);
    wrapping(&sample, "/app/tree").run();
    let restore = || {
        sample
            .root
            .wrap_buddy()
            .args(["restore", "-q", "/app/tree"])
    };
    let copies = (0..TRIES).find_map(|_| {
        // Sidecars are written last: before, progress shows only in the files.
        let first = sample.root.path(&copy_at(0));
        let wrapped = fs::read(&first).expect("a copy");
        let begun = || fs::read(&first).expect("a copy") != wrapped;
        let output = stopped(restore(), Signal::SIGINT, begun);
        let copies = done(&sample);
        if copies.values().all(|done| !done) {
            wrapping(&sample, "/app/tree").run();
            return None;
        }
        assert_eq!(output.status, Some(130), "{output}");
        assert_says(&output, "SIGINT");
        Some(copies)
    });
    let copies = copies.expect("a run that a signal has stopped");
    for copy in some(&copies, true) {
        says(sample.root.command(copy).output());
    }
    restore().output().success();
    assert!(!done(&sample).values().any(|done| *done));
}
