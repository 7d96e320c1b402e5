//! Programs that were wrapped before: by the first wrap-buddy, with other settings, or under another name.

mod copies;
mod first_tool;
mod settings;

use std::path::{Path, PathBuf};

use wrap_buddy::commands::status::Condition;
use wrap_buddy::plan::outcome::{Report, Status};

use crate::fixture::*;
use crate::lifecycle::{restore, states};

fn sidecar_path(main: &Path) -> PathBuf {
    let name = format!(".{}.wrapbuddy", main.file_name().unwrap().to_str().unwrap());
    main.with_file_name(name)
}

/// Everything in `app/` with its content.
fn tree(dir: &TestDir) -> Vec<(PathBuf, Vec<u8>)> {
    snapshot(&dir.path("app"))
}

fn wrap(dir: &TestDir, target: Arch, path: &Path, more: &[&str]) -> Report {
    dir.wrap_with_libs(target, &path, more)
}

/// Asserts that no command damages `main`, a program in any state.
#[track_caller]
fn assert_left_alone(dir: &TestDir, target: Arch, main: &Path, what: &str) {
    let before = tree(dir);
    let name = main.to_str().unwrap();
    for more in [&[][..], &["--replace"], &["--strategy", "inplace"]] {
        reason(&wrap(dir, target, main, more), Status::Failed);
        assert!(tree(dir) == before, "{what} {more:?}");
    }
    for more in [&[][..], &["--replace"]] {
        let report = restore(&[&[name][..], more].concat());
        reason(&report, Status::Failed);
        assert!(tree(dir) == before, "{what} {more:?}");
    }
    let status = states(main).remove(0);
    assert!(status.needs_attention(), "{what}");
    assert_ne!(status.state, Condition::Stale, "{what}");
}
