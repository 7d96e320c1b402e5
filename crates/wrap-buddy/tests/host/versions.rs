//! Programs wrapped by an earlier version of this tool. That version wrote the files in `data/version-1`, for a program at
//! `/opt/example/program`: with the loader in a file, and in the sidecar.

use sidecar::{MAGIC, Sidecar};
use std::fs;
use std::path::{Path, PathBuf};
use wrap_buddy::commands::Command as Parsed;
use wrap_buddy::commands::show::show;
use wrap_buddy::commands::status::{Condition, status};
use wrap_buddy::plan::outcome::Status;
use wrap_buddy::report::Reporter;

use crate::fixture::*;

const ORIGINAL: &[u8] = include_bytes!("../data/version-1/original");

const WRAPPED: [(&[u8], &[u8]); 2] = [
    (
        include_bytes!("../data/version-1/shared-program"),
        include_bytes!("../data/version-1/shared-sidecar"),
    ),
    (
        include_bytes!("../data/version-1/own-program"),
        include_bytes!("../data/version-1/own-sidecar"),
    ),
];

fn command(words: &[&str]) -> Parsed {
    let line = ["wrap-buddy"].iter().chain(words);
    parsed(line)
}

/// Calls `with` for each wrapped program of version 1, in a directory of its own.
fn each(mut with: impl FnMut(&TestDir, &Path, PathBuf)) {
    for (program, sidecar) in WRAPPED {
        let dir = TestDir::new();
        let path = dir.write("app/program", program);
        let sidecar_path = dir.write("app/.program.wrapbuddy", sidecar);
        with(&dir, &path, sidecar_path);
    }
}

#[test]
fn a_program_of_version_1_is_restored() {
    each(|_, path, sidecar| {
        let Parsed::Restore(restore) = command(&["restore", path.to_str().unwrap()]) else {
            panic!("restore is a command");
        };
        let report =
            wrap_buddy::commands::restore::restore(&restore, &stages(), &Reporter::default())
                .unwrap();
        assert_eq!(only(&report).status, Status::Restored);
        assert!(fs::read(path).unwrap() == ORIGINAL);
        assert!(!sidecar.exists());
    });
}

#[test]
fn a_program_of_version_1_is_known() {
    each(|_, path, sidecar| {
        let bytes = fs::read(sidecar).unwrap();
        let own = Sidecar::parse(&bytes).unwrap().loader().unwrap();
        let path = path.to_str().unwrap();
        let Parsed::Status(look) = command(&["status", path]) else {
            panic!("status is a command");
        };
        let found = status(&look, &stages(), &Reporter::default()).unwrap();
        assert_eq!(found[0].state, Condition::Wrapped);
        assert_eq!(
            found[0].search_path.as_deref(),
            Some("/lib/x86_64-linux-gnu")
        );
        let Parsed::Show(look) = command(&["show", path]) else {
            panic!("show is a command");
        };
        let view = show(&look, &stages(), &Reporter::default())
            .unwrap()
            .remove(0);
        let loader = view.loader.unwrap();
        assert_eq!((loader.abi, loader.self_contained), (1, own.is_some()));
        assert_eq!(view.sidecar.unwrap().format, Some(1));
    });
}

#[test]
fn a_program_of_version_1_is_wrapped_again() {
    each(|dir, path, sidecar| {
        let report = dir.wrap(&[&"--paths", &path]);
        wrapped(&report);
        let bytes = fs::read(sidecar).unwrap();
        assert_eq!(Sidecar::parse(&bytes).unwrap().header().magic, MAGIC);
        let mut restored = fs::read(path).unwrap();
        for edit in Sidecar::parse(&bytes).unwrap().edits().map(Result::unwrap) {
            let at = edit.offset as usize;
            restored[at..at + edit.original.len()].copy_from_slice(edit.original);
        }
        assert!(restored == ORIGINAL);
    });
}
