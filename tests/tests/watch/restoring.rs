//! Files that a user restores while a watch runs.

use e2e::{Build, Root, source};

use crate::{HOST, a_while, copy, is_original, says_hello};

/// The user wants the original; the next version is wrapped again.
#[test]
fn restored_file_stays_restored_until_it_changes() {
    let root = Root::new(HOST);
    let library = Build::library(HOST, source("lib/foo.c"), "libfoo.so").build();
    let needs_it = Build::library(HOST, source("lib/bar.c"), "libbar.so")
        .link(&library)
        .build();
    let program = crate::hello(HOST);
    copy(&root, &library, "/libs/libfoo.so");
    let files = [(&program, "/app/program"), (&needs_it, "/app/libbar.so")];
    for (file, inside) in files {
        copy(&root, file, inside);
    }
    let wrap = || root.wrap("/app").libs(["/libs"]);
    let watching = wrap().watch();
    for (_, inside) in files {
        watching.wrapped(inside, 1);
    }
    let restore = root.wrap_buddy().args(["restore", "/app"]);
    restore.output().success();
    watching.wait("it says that they are left alone", |lines| {
        let files = e2e::watching::event(lines, "file");
        let left = files.filter(|line| {
            let reason = line["reason"].as_str().unwrap_or_default();
            line["status"] == "skipped" && reason.starts_with("restored")
        });
        (left.count() == 2).then_some(())
    });
    // Another file arrives there.
    copy(&root, &program, "/app/other");
    watching.wrapped("/app/other", 1);
    a_while();
    for (file, inside) in files {
        assert!(is_original(&root, file, inside), "{inside}");
    }
    for (file, inside) in files {
        copy(&root, file, inside);
        watching.wrapped(inside, 2);
    }
    says_hello(&root, "/app/program");
    watching.stop().success();

    // A new watch does not know that, nor does one after SIGHUP.
    let restore = root.wrap_buddy().args(["restore", "/app"]);
    restore.output().success();
    let watching = wrap().watch();
    watching.wrapped("/app/program", 1);
    watching.stop().success();
}
