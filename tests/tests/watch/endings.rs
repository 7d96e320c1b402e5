//! The end of a watch, two watches at once, and notifications to systemd.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use e2e::Watching;
use e2e::watching::{done, event, lines, paths};
use nix::sys::signal::Signal;

use crate::{a_while, copy, is_original, root_and_program, says_hello};

/// A signal ends the watch soon, before all files are wrapped, but no file is half done.
#[test]
fn a_signal_ends_it_when_the_files_at_hand_are_done() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (root, built) = root_and_program();
        let watching = root.wrap("/app").watch();
        let bytes = fs::read(&built).expect("it was built");
        const COUNT: usize = 2000;
        // All of them at once.
        for n in 0..COUNT {
            root.write(&format!("/aside/program-{n:04}"), &bytes);
        }
        fs::rename(root.path("/aside"), root.path("/app/many")).expect("rename");
        watching.wait("one has a sidecar", |_| {
            let first = root.path("/app/many/.program-0000.wrapbuddy");
            first.exists().then_some(())
        });
        let asked = Instant::now();
        watching.signal(signal);
        let output = watching.finish().success();
        eprintln!("ended after {:?}", asked.elapsed());
        let lines = lines(&output.stdout);
        assert_eq!(event(&lines, "stopped").count(), 1);
        let wrapped: BTreeSet<String> = paths(done(&lines)).into_iter().collect();
        assert!(
            !wrapped.is_empty() && wrapped.len() < COUNT,
            "{}",
            wrapped.len()
        );
        for n in 0..COUNT {
            let path = format!("/app/many/program-{n:04}");
            let sidecar = root.path(&format!("/app/many/.program-{n:04}.wrapbuddy"));
            let is_wrapped = wrapped.contains(&path);
            assert_eq!(is_original(&root, &built, &path), !is_wrapped, "{path}");
            assert_eq!(sidecar.exists(), is_wrapped, "{path}");
        }
        // The next watch wraps the rest.
        let once = root.wrap("/app").args(["--once"]).watch_command().output();
        let rest = done(&self::lines(&once.success().stdout)).count();
        assert_eq!(wrapped.len() + rest, COUNT);
        let status = root
            .wrap_buddy()
            .args(["status", "/app"])
            .output()
            .success();
        assert_eq!(status.stdout.matches(": wrapped").count(), COUNT);
    }
}

#[test]
fn a_signal_ends_its_waiting_for_another_run() {
    let (root, built) = root_and_program();
    let watching = root.wrap("/app").watch();
    watching.wait("it watches", |lines| {
        event(lines, "watching").next().map(drop)
    });
    let other = File::open(root.path("/app")).expect("the directory is there");
    other.lock().expect("a directory that is not locked");
    copy(&root, &built, "/app/program");
    a_while();
    assert!(is_original(&root, &built, "/app/program"));
    let asked = Instant::now();
    watching.stop().success();
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    assert!(is_original(&root, &built, "/app/program"));
}

#[test]
fn hangup_starts_another_scan() {
    let (root, built) = root_and_program();
    root.mkdir("/app/lib");
    copy(&root, &built, "/app/program");
    fs::set_permissions(root.path("/app/program"), fs::Permissions::from_mode(0o755))
        .expect("chmod");
    let watching = root.wrap("/app").watch();
    watching.wrapped("/app/program", 1);
    watching.signal(Signal::SIGHUP);
    watching.wait("it says that nothing is to be done", |lines| {
        let mut files = event(lines, "file");
        files.find(|line| line["status"] == "skipped").map(drop)
    });
    watching.stop().success();
}

#[test]
fn once_wraps_existing_and_arriving_files() {
    let (root, built) = root_and_program();
    for name in ["one", "sub/two"] {
        copy(&root, &built, &format!("/app/{name}"));
    }
    let once = || root.wrap("/app").args(["--once"]).watch_command();
    let output = once().output().success();
    assert_eq!(
        paths(done(&lines(&output.stdout))),
        ["/app/one", "/app/sub/two"]
    );
    for name in ["one", "sub/two"] {
        says_hello(&root, &format!("/app/{name}"));
    }
    let output = once().output().success();
    assert_eq!(done(&lines(&output.stdout)).count(), 0);
    // With text output.
    copy(&root, &built, "/app/three");
    let run = root
        .wrap_buddy()
        .args(["watch", "/app", "--once", "--libs"]);
    let run = run
        .args(root.library_dirs())
        .arg("--interpreter")
        .args(root.interpreters());
    let output = run
        .args(["--loader-dir-path", &root.loader_dir()])
        .output()
        .success();
    assert_eq!(output.stdout, "/app/three: wrapped\n");
    // With --once, a missing directory is an error.
    let output = root
        .wrap("/app/none")
        .args(["--once"])
        .watch_command()
        .output();
    assert!(output.exits_with(1).stdout.contains("does not exist"));
}

/// A preset may have no directory here, or only links to files elsewhere.
#[test]
fn once_warns_if_it_finds_nothing() {
    let (root, built) = root_and_program();
    let once = || {
        let command = root.wrap_buddy().args(["watch", "--once"]);
        let command = command.args(["--preset", "vscode-server"]);
        command.env("HOME", "/app/home").output().success()
    };
    let output = once();
    let nowhere = "warning: none of the directories exists; ";
    assert!(output.stderr.starts_with(nowhere), "{output}");

    copy(&root, &built, "/app/elsewhere/node");
    root.write("/app/home/.vscode-server/bin/script", "#!/bin/sh\n");
    let link = root.path("/app/home/.vscode-server/bin/version");
    symlink("/app/elsewhere", link).expect("symlink");
    let output = once();
    let nothing = "warning: no program or library is in /app/home/.vscode-server; links there";
    assert!(output.stderr.starts_with(nothing), "{output}");
    assert!(is_original(&root, &built, "/app/elsewhere/node"));

    // A program was found, also if it needs nothing more.
    copy(&root, &built, "/app/home/.vscode-server/bin/node");
    for _ in 0..2 {
        let once = root.wrap("/app/home/.vscode-server").args(["--once"]);
        let output = once.watch_command().output().success();
        let lines = lines(&output.stdout);
        assert_eq!(event(&lines, "warning").count(), 0, "{output}");
    }
}

#[test]
fn once_gives_up_on_a_file_that_stays_open() {
    let (root, built) = root_and_program();
    copy(&root, &built, "/app/held");
    copy(&root, &built, "/app/other");
    let _held = fs::File::options()
        .append(true)
        .open(root.path("/app/held"))
        .expect("open");
    let once = root.wrap("/app").args(["--once", "--settle", "20"]);
    let output = once.watch_command().output().exits_with(1);
    assert_eq!(paths(done(&lines(&output.stdout))), ["/app/other"]);
    assert!(
        output.stdout.contains("a process still writes to it"),
        "{output}"
    );
    assert!(is_original(&root, &built, "/app/held"));
}

#[test]
fn two_on_one_tree_wrap_each_file_once() {
    let (root, built) = root_and_program();
    let watches = [root.wrap("/app").watch(), root.wrap("/app").watch()];
    let bytes = fs::read(&built).expect("it was built");
    for n in 0..200 {
        root.write(&format!("/app/program-{n}"), &bytes);
    }
    let count = || {
        watches
            .iter()
            .map(|watch| watch.all_wrapped().len())
            .sum::<usize>()
    };
    watches[0].wait("all are wrapped", |_| (count() >= 200).then_some(()));
    a_while();
    assert_eq!(count(), 200);
    for watch in watches {
        let output = watch.stop().success();
        assert!(!output.stdout.contains("\"status\":\"failed\""), "{output}");
    }
}

#[test]
fn file_that_cannot_be_written_is_reported_once() {
    let (root, built) = root_and_program();
    copy(&root, &built, "/app/sealed");
    let seal = |flag: &str| {
        let path = root.path("/app/sealed");
        let done = std::process::Command::new("chattr")
            .arg(flag)
            .arg(path)
            .status();
        done.is_ok_and(|status| status.success())
    };
    // Not every file system can do that; a read-only mode does not stop the owner.
    let sealed = seal("+i");
    copy(&root, &built, "/app/read-only");
    let mode = fs::Permissions::from_mode(0o555);
    fs::set_permissions(root.path("/app/read-only"), mode).expect("chmod");
    let watching = root.wrap("/app").watch();
    watching.wrapped("/app/read-only", 1);
    a_while();
    let failed = |lines: &[serde_json::Value]| {
        let files = event(lines, "file");
        files.filter(|line| line["status"] == "failed").count()
    };
    assert_eq!(failed(&watching.lines()), usize::from(sealed));
    seal("-i");
    assert_eq!(watching.all_wrapped(), ["/app/read-only"]);
    watching.stop().success();
}

#[test]
fn systemd_is_notified_of_start_and_stop() {
    let (root, built) = root_and_program();
    copy(&root, &built, "/app/program");
    let socket = root.path("/app/notify");
    let socket = UnixDatagram::bind(socket).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let receive = || {
        let mut text = [0; 4096];
        let len = socket.recv(&mut text).expect("a message");
        String::from_utf8_lossy(&text[..len]).into_owned()
    };
    let command = root.wrap("/app").watch_command();
    let watching = Watching::start(command.env("NOTIFY_SOCKET", "/app/notify"));
    let mut printed = Vec::new();
    while printed
        .last()
        .is_none_or(|last: &String| !last.contains("READY=1"))
    {
        printed.push(receive());
    }
    // Only after the existing files are wrapped.
    says_hello(&root, "/app/program");
    watching.signal(Signal::SIGTERM);
    while printed
        .last()
        .is_none_or(|last| !last.contains("STOPPING=1"))
    {
        printed.push(receive());
    }
    let status = "STATUS=1 files wrapped or edited, 0 failed";
    assert!(
        printed.iter().any(|text| text.contains(status)),
        "{printed:?}"
    );
    watching.finish().success();
}
