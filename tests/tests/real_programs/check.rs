//! Two commands turn a program that does not start into one that does, as the README shows.

use std::fmt::Write;
use std::fs;

use e2e::{assert_fails_unwrapped, corpus};

use crate::layout::{Case, root};

on!([x86_64 aarch64]: node_from_nothing);

fn node_from_nothing(case: Case) {
    let root = root(case);
    root.install(&corpus::fetch("node", case.arch), "/app/node");
    assert_fails_unwrapped(root.command("/app/node"));
    let tool = |words: &[&str]| {
        let run = root.wrap_buddy().cwd("/app").env("HOME", "/app/home");
        run.args(words.iter().copied()).output()
    };
    let before = tool(&["check", "./node"]).exits_with(1).stdout;
    let mut commands = before
        .lines()
        .filter_map(|line| line.trim().strip_prefix("next: wrap-buddy "));
    let command = commands
        .next()
        .unwrap_or_else(|| panic!("no command in {before}"));
    let words = shlex::split(command).expect("a command line");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    tool(&words).success();
    let node = root.command("/app/node").args(["-p", "6 * 7"]);
    assert_eq!(node.output().success().stdout, "42\n");
    let after = tool(&["check", "./node"]).stdout;
    assert!(after.starts_with("./node: "), "{after}");
    // Only this machine's architecture is in the README, and no other runs here without an emulator.
    if case.arch != e2e::Arch::host() {
        return;
    }
    let mut session = String::new();
    let _ = write!(
        session,
        "$ wrap-buddy check ./node\n{before}\n$ wrap-buddy {command}\n"
    );
    let _ = write!(
        session,
        "$ ./node -p '6 * 7'\n42\n$ wrap-buddy check ./node\n{after}"
    );
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = fs::read_to_string(readme).expect("the README");
    assert!(readme.contains(&session), "not in the README:\n{session}");
}
