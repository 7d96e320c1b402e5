//! `examples`: each has a `make.sh`, which makes `./app` and `./lib`, and a program `./app/NAME` that needs both.

use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e::{Root, Run, Session};

use crate::bash;

/// In a checkout, the tool is started with cargo. These tests have built it before.
const CARGO: &str =
    r#"cargo() { test "$1 $2 $3" = "run --release --" && shift 3 && wrap-buddy "$@"; }"#;

/// A root with this machine's compiler, and a directory with the examples.
pub fn checkout() -> Root {
    let root = Root::with_systems(&[]);
    root.bind_machine();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    root.mkdir("/app/checkout");
    root.bind(&examples, "/app/checkout/examples");
    root.bind(&e2e::tool::path(), "/tool/bin/wrap-buddy");
    root
}

fn shell(root: &Root) -> Run<'_> {
    bash(root)
        .env("PATH", "/tool/bin:/usr/bin:/bin:/usr/sbin")
        .env("HOME", "/app/home")
        .cwd("/app/checkout")
}

#[test]
fn the_readme_shows_one() {
    let root = checkout();
    let program = |root: &Root| root.read("/app/checkout/app/hello");
    let session = Session::read("README.md", Some("Example"));
    session.type_into(shell(&root), CARGO);
    let wrapped = program(&root);

    let restore = "wrap-buddy restore ./app";
    let restored = shell(&root).args(["-c", restore]).output().success();
    let original = program(&root);
    assert_eq!(wrapped.len(), original.len(), "{restored}");
    let changed = wrapped
        .iter()
        .zip(&original)
        .filter(|(new, old)| new != old);
    let changed = changed.count();
    // "Some 300 bytes".
    assert!((200..400).contains(&changed), "{changed}");
}

#[test]
fn each_one_runs_when_it_is_wrapped() {
    let mut count = 0;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for entry in fs::read_dir(examples).expect("a directory") {
        let name = entry.expect("an entry of a directory").file_name();
        let name = name.to_string_lossy();
        let root = checkout();
        let run = |command: &str| shell(&root).args(["-c", command]).output();
        let program = format!("./app/{name}");
        run(&format!("examples/{name}/make.sh")).success();
        assert_ne!(run(&program).status, Some(0), "{program} starts as it is");
        run("wrap-buddy --paths ./app --libs ./lib").success();
        run(&program).success();
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn bundles_are_made_and_extended() {
    let root = checkout();
    let session = Session::read("docs/bundle.md", None);
    session.type_into(shell(&root).timeout(Duration::from_secs(120)), "");
}

#[test]
fn a_program_is_started_once() {
    let root = checkout();
    // The tool executes itself, so it has to be a file that the kernel can execute.
    let tool = root.tool_itself();
    let session = Session::read("docs/run.md", None);
    session.type_into(shell(&root), &format!(r#"wrap-buddy() {{ {tool} "$@"; }}"#));
}

#[test]
fn a_tree_is_moved() {
    let root = checkout();
    let session = Session::read("docs/moving.md", None);
    session.type_into(shell(&root), "");
}
