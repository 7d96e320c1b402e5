//! The rights with which the tool works on files.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use e2e::check::sidecar_of;
use e2e::{Sample, Variant, matrix, says};

use crate::{
    IN_PLACE, USER, VICTIM, give, has_users, restoring, sample, set_mode, spares, watching_once,
    wrapping,
};

matrix!(architectures: replaceable_files_are_left_alone, the_rights_are_those_of_the_owner, hard_links_that_others_may_have_made_are_left_alone);

matrix!(systems: files_of_a_user_are_wrapped_with_its_rights);

/// Root wraps, wraps again, restores and watches a user's files, and all files belong to that user.
fn files_of_a_user_are_wrapped_with_its_rights(variant: Variant) {
    if !has_users() {
        return;
    }
    for (directory, mode) in [(USER, 0o755), (USER, 0o555), (0, 0o755)] {
        let sample = Sample::unwrapped(variant);
        let root = &sample.root;
        give(root, &sample.program);
        set_mode(root, &sample.program, 0o555);
        chown(root.path("/app"), Some(directory), Some(directory)).expect("chown");
        set_mode(root, "/app", mode);
        let about = || {
            [&*sample.program, "/app"].map(|path| {
                let about = fs::metadata(root.path(path)).expect("it is there");
                (about.uid(), about.gid(), about.mode())
            })
        };
        let before = about();
        for more in [
            &[][..],
            &["--self-contained"],
            &["--relocatable", "--allow-outside"],
        ] {
            wrapping(&sample, "/app", more).success();
            assert_eq!(about(), before, "{directory} {more:?}");
            let sidecar = fs::metadata(root.path(&sidecar_of(&sample.program))).expect("a sidecar");
            assert_eq!((sidecar.uid(), sidecar.gid()), (USER, USER));
            says(sample.command().user(USER).output());
        }
        restoring(root, "/app").success();
        assert_eq!(about(), before, "{directory}");
        assert_eq!(
            fs::read(root.path(&sample.program)).ok(),
            fs::read(&sample.built).ok()
        );
        watching_once(&sample, "/app").success();
        says(sample.command().user(USER).output());
        assert_eq!(
            fs::read_dir(root.path("/app"))
                .expect("a directory")
                .count(),
            2
        );
    }
}

/// Root's files that other users could replace, or may have linked to.
fn replaceable_files_are_left_alone(variant: Variant) {
    if !has_users() {
        return;
    }
    let sample = Sample::unwrapped(variant);
    let root = &sample.root;
    let restores = || {
        restoring(root, "/app").success();
        assert_eq!(
            fs::read_dir(root.path("/app"))
                .expect("a directory")
                .count(),
            1
        );
    };
    for (user, group, mode, who) in [
        (USER, USER, 0o755, "the user 1000"),
        (0, 50, 0o2775, "the group 50"),
        (0, 0, 0o777, "everybody"),
        (USER, USER, 0o1777, "the user 1000"),
    ] {
        chown(root.path("/app"), Some(user), Some(group)).expect("chown");
        set_mode(root, "/app", mode);
        for more in [&[][..], &IN_PLACE, &["--dry-run"]] {
            let output = wrapping(&sample, "/app", more).exits_with(1);
            let said = output
                .stderr
                .contains(&format!("root owns this file, but {who} can write"));
            assert!(said && output.stderr.contains("--trust-tree"), "{output}");
            assert!(root.read(&sample.program) == fs::read(&sample.built).expect("built"));
            assert_eq!(
                fs::read_dir(root.path("/app"))
                    .expect("a directory")
                    .count(),
                1
            );
        }
        let watched = watching_once(&sample, "/app");
        assert!(
            watched.stdout.contains("root owns this file, but"),
            "{watched}"
        );
        wrapping(&sample, "/app", &["--trust-tree"]).success();
        let output = restoring(root, "/app").exits_with(1);
        assert!(
            output.stderr.contains("root owns this file, but"),
            "{output}"
        );
        sample.run();
        let trusting = root.wrap_buddy().args(["restore", "/app", "--trust-tree"]);
        trusting.output().success();
    }
    // Another group, and root's sticky directory.
    for (mode, group) in [(0o775, 0), (0o1777, 0), (0o755, 50)] {
        chown(root.path("/app"), Some(0), Some(group)).expect("chown");
        set_mode(root, "/app", mode);
        wrapping(&sample, "/app", &[]).success();
        restores();
    }
}

/// Root does for a user only what the user could do.
fn the_rights_are_those_of_the_owner(variant: Variant) {
    if !has_users() {
        return;
    }
    let sample = Sample::unwrapped(variant);
    let root = &sample.root;
    give(root, &sample.program);
    chown(root.path("/app"), Some(USER + 1), Some(0)).expect("chown");
    for more in [&[][..], &IN_PLACE, &["--dry-run"]] {
        let output = wrapping(&sample, "/app", more).exits_with(1);
        assert!(output.stderr.contains("permission denied"), "{output}");
    }
    wrapping(&sample, "/app", &["--trust-tree"]).success();
    sample.run();
    restoring(root, "/app");
}

fn hard_links_that_others_may_have_made_are_left_alone(variant: Variant) {
    if !has_users() {
        return;
    }
    let sample = sample(variant);
    let root = &sample.root;
    let linked = root.path("/app/linked");
    for (mode, user) in [(0o755, USER), (0o1777, 0)] {
        chown(root.path("/app"), Some(user), Some(user)).expect("chown");
        set_mode(root, "/app", mode);
        fs::hard_link(root.path(VICTIM), &linked).expect("link");
        spares(root, || {
            let output = wrapping(&sample, "/app/linked", &[]).exits_with(1);
            assert!(output.stderr.contains("pass --trust-tree"), "{output}");
            wrapping(&sample, "/app/linked", &IN_PLACE).exits_with(1);
        });
        fs::remove_file(&linked).expect("unlink");
    }
}
