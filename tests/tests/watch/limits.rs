//! A watch without, or with too few, events of the kernel; and the cost of a watch.

use std::fs;
use std::thread;
use std::time::Duration;

use e2e::watching::{done, event};
use e2e::{Watching, tool};
use nix::sys::signal::Signal;

use crate::{a_while, copy, root_and_program, says_hello};

#[test]
fn polling_finds_changes() {
    let (root, built) = root_and_program();
    copy(&root, &built, "/app/early");
    let watching = root.wrap("/app").args(["--poll", "0.3"]).watch();
    watching.wrapped("/app/early", 1);
    copy(&root, &built, "/app/new/late");
    watching.wrapped("/app/new/late", 1);
    fs::remove_file(root.path("/app/new/late")).expect("remove");
    copy(&root, &built, "/app/new/late");
    watching.wrapped("/app/new/late", 2);
    says_hello(&root, "/app/new/late");
    // A file that grows, and a directory that is removed.
    let bytes = fs::read(&built).expect("it was built");
    for len in (1..=6).map(|part| bytes.len() * part / 6) {
        root.write("/app/growing", &bytes[..len]);
        thread::sleep(Duration::from_millis(200));
    }
    watching.wrapped("/app/growing", 1);
    fs::remove_dir_all(root.path("/app/new")).expect("remove");
    a_while();
    copy(&root, &built, "/app/new/late");
    watching.wrapped("/app/new/late", 3);
    a_while();
    assert_eq!(event(&watching.lines(), "file").count(), 5);
    watching.stop().success();
}

/// The queue of events overflows while the process does not run.
#[test]
fn an_overflow_loses_nothing() {
    let (root, built) = root_and_program();
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    let limit: usize = limit
        .expect("it can be read")
        .trim()
        .parse()
        .expect("a number");
    root.mkdir("/app/noise");
    copy(&root, &built, "/app/old/gone");
    let watching = root.wrap("/app").watch();
    watching.wrapped("/app/old/gone", 1);
    watching.signal(Signal::SIGSTOP);
    for n in 0..limit / 2 {
        root.write(&format!("/app/noise/{n}"), "");
    }
    fs::rename(root.path("/app/old"), root.path("/app/moved")).expect("rename");
    copy(&root, &built, "/app/deep/down/program");
    copy(&root, &built, "/app/moved/program");
    watching.signal(Signal::SIGCONT);
    for path in ["/app/deep/down/program", "/app/moved/program"] {
        watching.wrapped(path, 1);
        says_hello(&root, path);
    }
    let lines = watching.lines();
    let mut warnings = event(&lines, "warning").filter_map(|line| line["reason"].as_str());
    assert!(
        warnings.any(|text| text.contains("max_queued_events")),
        "{lines:#?}"
    );
    // It goes on as before.
    copy(&root, &built, "/app/deep/down/later");
    watching.wrapped("/app/deep/down/later", 1);
    watching.stop().success();
}

/// The limit can be lowered in a user namespace.
#[test]
fn more_directories_than_the_kernel_watches_are_polled() {
    for (limit, setting) in [
        ("max_inotify_watches", "fs.inotify.max_user_watches"),
        ("max_inotify_instances", "fs.inotify.max_user_instances"),
    ] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().to_str().expect("UTF-8");
        for n in 0..20 {
            fs::create_dir(format!("{path}/{n}")).expect("create");
        }
        let (tool, allowed) = (tool::path(), if limit.ends_with("watches") { 8 } else { 0 });
        let script = format!(
            "echo {allowed} > /proc/sys/user/{limit} && exec {} watch {path} --once --format json",
            tool.display()
        );
        let output = e2e::run::on_host(
            "unshare",
            &["--user", "--map-root-user", "sh", "-c", &script],
        );
        let output = output.success();
        assert!(
            output.stdout.contains(&format!("sysctl -w {setting}=")),
            "{output}"
        );
    }
}

#[test]
fn an_idle_watch_uses_no_processor_time() {
    let (root, built) = root_and_program();
    for n in 0..50 {
        root.mkdir(&format!("/app/{n}/sub"));
    }
    copy(&root, &built, "/app/7/program");
    let watching: Watching = root.wrap("/app").watch();
    watching.wrapped("/app/7/program", 1);
    a_while();
    let before = watching.usage().expect("it is running");
    thread::sleep(Duration::from_secs(4));
    let after = watching.usage().expect("it is running");
    assert_eq!(after.ticks, before.ticks);
    assert!(after.resident < 20 << 10, "{after:?}");
    assert_eq!(done(&watching.lines()).count(), 1);
    watching.stop().success();
}
