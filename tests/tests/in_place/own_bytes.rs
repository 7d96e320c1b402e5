//! Libraries whose only room is the bytes of their own search path, as in Python wheels.

use std::fs;
use std::path::PathBuf;

use e2e::run::on_host;
use e2e::{Variant, matrix, toolchain};
use sidecar::EditKind;

use super::{Opener, SAYS, bar, foo, links_of};

matrix!(systems: replaces_directories_that_do_not_exist, keeps_the_other_directories);
matrix!(native: survives_strip);

/// A search path as bazel makes it.
fn of_bazel(more: &str) -> String {
    let gone = (0..6).map(|number| format!("$ORIGIN/../_solib_{number}/_U_S_Sgone"));
    let path = gone.collect::<Vec<_>>().join(":");
    format!("-Wl,--enable-new-dtags,-rpath,{path}{more}")
}

/// `libbar.so` with that search path, linked by lld, which fills every page of a file.
fn crammed(variant: Variant, more: &str) -> PathBuf {
    let flags = toolchain::lld();
    let search = of_bazel(more);
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain([&*search]).collect();
    bar(variant, &flags)
}

fn replaces_directories_that_do_not_exist(variant: Variant) {
    let opener = Opener::new(variant);
    let built = crammed(variant, "");
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    let edited = opener.edit(&built, &plugin, &[&dir]);
    assert_eq!(edited.kinds(), [EditKind::Text]);
    edited.searches("RUNPATH", &[&dir]);
    assert!(!opener.root.path(&links_of(&plugin)).exists());
    opener.says(&plugin, SAYS);

    let again = opener.wrap(&plugin, &[&dir]).report().success();
    again
        .file(&plugin)
        .is("skipped", &["already edited in place"]);
    let restore = opener.root.wrap_buddy().args(["restore", &plugin]);
    restore.output().success();
    opener.is_untouched(&built, &plugin);
}

/// A note names a directory that is left out.
fn keeps_the_other_directories(variant: Variant) {
    let opener = Opener::new(variant);
    let built = crammed(variant, ":$ORIGIN/there");
    let plugin = opener.install(&built);
    opener.root.mkdir("/app/plugins/there");
    let dir = opener.root.package("foo", &[foo(variant)]);
    let output = opener.wrap(&plugin, &[&dir]).run();
    let note = "has no room for directories of its own search path that do not exist, such as $ORIGIN/../_solib";
    assert!(output.stdout.contains(note), "{output}");
    let edited = opener.edited(&built, &plugin);
    edited.searches("RUNPATH", &["$ORIGIN/there", &dir]);
    opener.says(&plugin, SAYS);
}

/// strip keeps the string table, so it keeps the edit. The next run recognises it.
fn survives_strip(variant: Variant) {
    let opener = Opener::new(variant);
    let built = crammed(variant, "");
    let plugin = opener.install(&built);
    let dir = opener.root.package("foo", &[foo(variant)]);
    opener.edit(&built, &plugin, &[&dir]);
    let path = opener.root.path(&plugin);
    let before = fs::read(&path).expect("it is there");
    on_host("strip", &[path.to_str().expect("UTF-8")]).success();
    assert!(fs::read(&path).expect("it is there") != before, "stripped");
    opener.says(&plugin, SAYS);
    let again = opener.wrap(&plugin, &[&dir]).run();
    assert!(again.stdout.contains("was rewritten by strip"), "{again}");
    opener.says(&plugin, SAYS);
}
