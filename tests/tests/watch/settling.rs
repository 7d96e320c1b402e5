//! Incomplete files are left alone.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use e2e::watching::event;

use crate::{a_while, copy, is_original, root_and_program, says_hello};

#[test]
fn a_writer_that_pauses_is_waited_for() {
    let (root, built) = root_and_program();
    let watching = root.wrap("/app").watch();
    let bytes = fs::read(&built).expect("it was built");
    let path = root.path("/app/program");
    let mut file = File::create(&path).expect("create");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    for part in bytes.chunks(bytes.len() / 2 + 1) {
        file.write_all(part).expect("write");
        a_while();
        assert!(watching.all_wrapped().is_empty());
    }
    drop(file);
    watching.wrapped("/app/program", 1);
    says_hello(&root, "/app/program");
    assert_eq!(event(&watching.lines(), "file").count(), 1);
    watching.stop().success();
}

/// A directory that appears with others is waited for together with them.
#[test]
fn a_directory_settles_as_a_whole() {
    let (root, built) = root_and_program();
    let watching = root.wrap("/app").watch();
    for name in ["one", "two", "three"] {
        copy(&root, &built, &format!("/app/new/{name}/program"));
        thread::sleep(Duration::from_millis(150));
        assert!(watching.all_wrapped().is_empty());
    }
    watching.wrapped("/app/new/three/program", 1);
    let lines = watching.lines();
    assert_eq!(event(&lines, "batch").count(), 1, "{lines:#?}");
    assert_eq!(watching.all_wrapped().len(), 3);
    watching.stop().success();
}

#[test]
fn a_file_open_for_writing_does_not_keep_others_elsewhere() {
    let (root, built) = root_and_program();
    let watching = root.wrap("/app").watch();
    let mut held = File::create(root.path("/app/held")).expect("create");
    held.write_all(&fs::read(&built).expect("it was built"))
        .expect("write");
    copy(&root, &built, "/app/new/program");
    watching.wrapped("/app/new/program", 1);
    assert!(is_original(&root, &built, "/app/held"));
    drop(held);
    watching.wrapped("/app/held", 1);
    watching.stop().success();
}

#[test]
fn the_quiet_time_can_be_chosen() {
    let (root, built) = root_and_program();
    let watching = root.wrap("/app").args(["--settle", "2500"]).watch();
    copy(&root, &built, "/app/program");
    a_while();
    assert!(watching.all_wrapped().is_empty());
    watching.wrapped("/app/program", 1);
    watching.stop().success();
}
