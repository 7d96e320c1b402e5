//! Roots for bundles: one in which a bundle is made, and empty ones in which it is started.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use e2e::run::on_host;
use e2e::{Arch, Libc, Output, Root, Run};

/// A user who owns nothing.
pub const USER: u32 = 1000;

/// The tool in `root`, which makes a bundle.
pub fn bundle<'r>(root: &'r Root, args: &[&str]) -> Run<'r> {
    root.wrap_buddy().arg("bundle").args(args.iter().copied())
}

/// Starts `program` of the bundle at `tree` on this machine, in roots without any other program or library: at two paths after two
/// moves, at a path of 200 characters and at one with spaces, as another user, and from a mount that is read-only.
pub fn starts_anywhere(system: (Arch, Libc), tree: &Path, check: &dyn Fn(&Root, &str)) {
    let root = Root::for_programs_of(&[system]);
    let long = format!("/{}", ["0123456789"; 18].join("/"));
    let places = ["/one", "/srv/two/deep", "/with some spaces/in it", &long];
    let mut at = root.path("/first");
    copy(tree, &at);
    for place in places {
        let next = root.path(place);
        fs::create_dir_all(next.parent().expect("a parent")).expect("create a directory");
        fs::rename(&at, &next).expect("move the bundle");
        at = next;
        check(&root, place);
    }
    assert!(long.len() > 190);
    let read_only = Root::for_programs_of(&[system]);
    read_only.bind(tree, "/bundle");
    check(&read_only, "/bundle");
}

/// Copies a tree with modes and times.
pub fn copy(from: &Path, to: &Path) {
    let (from, to) = (from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
    on_host("cp", &["-a", from, to]).success();
}

/// Every path below `top`, with its mode, time of modification and content or target.
pub fn listing(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    add(top, top, &mut all);
    all
}

fn add(top: &Path, path: &Path, all: &mut BTreeMap<PathBuf, String>) {
    let found = path.symlink_metadata().expect("metadata");
    let content = match () {
        () if found.is_symlink() => {
            let target = fs::read_link(path).expect("a link");
            target.display().to_string()
        }
        () if found.is_dir() => String::new(),
        () => {
            let content = fs::read(path).expect("read a file");
            e2e::cache::digest([content.as_slice()])
        }
    };
    let below = path.strip_prefix(top).expect("below the top").to_owned();
    let line = format!("{:o} {} {content}", found.mode(), found.mtime());
    all.insert(below, line);
    if found.is_dir() {
        for entry in fs::read_dir(path).expect("list a directory") {
            add(top, &entry.expect("an entry").path(), all);
        }
    }
}

/// The document of a run with `--format json`.
pub fn document(output: &Output) -> serde_json::Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}
