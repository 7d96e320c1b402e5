//! SBCL: an executable is a copy of the runtime, followed by an image of the memory.

use std::{fs, slice};

use e2e::{assert_fails_unwrapped, corpus};

use crate::layout::{Case, install_tree, root, wrap_with};

on!([x86_64 x86_64_own]: sbcl_saves_an_executable);

fn sbcl_saves_an_executable(case: Case) {
    let root = root(case);
    install_tree(&root, &corpus::fetch("sbcl", case.arch), "/app/sbcl");
    let sbcl = "/app/sbcl/bin/sbcl";
    let libraries = root.system_libraries("zstd", case.arch, &["libzstd.so.1"]);
    let original = root.read(sbcl);
    wrap_with(case, &root, sbcl, slice::from_ref(&libraries), &[]);
    root.mkdir("/app/elsewhere");
    let program = "/app/elsewhere/program";
    let save = format!(
        r#"(save-lisp-and-die "{program}" :executable t :toplevel (lambda () (format t "sum ~a~%" (+ 40 2)) (exit)))"#
    );
    let core = "/app/sbcl/lib/sbcl/sbcl.core";
    let run = root
        .command(sbcl)
        .args(["--core", core, "--no-sysinit", "--no-userinit"]);
    run.args(["--non-interactive", "--eval", &save])
        .output()
        .success();
    let starts = || {
        let output = root.command(program).output().success();
        assert_eq!(output.stdout, "sum 42\n");
    };
    starts();

    let tool = |arguments: &[&str]| root.wrap_buddy().args(arguments.iter().copied());
    let check = tool(&["check", program]).output().success();
    let uses = "its sidecar is /app/sbcl/bin/.sbcl.wrapbuddy";
    assert!(check.stdout.contains(": ok (x86_64, wrapped"), "{check}");
    assert!(check.stdout.contains(uses), "{check}");
    let saved = root.read(program);
    tool(&["restore", program]).output().success();
    let plain = root.read(program);
    assert!(
        plain[..original.len()] == original,
        "it begins with the runtime as it was"
    );
    assert!(plain[original.len()..] == saved[original.len()..]);
    assert_fails_unwrapped(root.command(program));

    // When it is wrapped itself, it does not need the first one's sidecar any more.
    root.write(program, &saved);
    let wrap = root.wrap(program).libs([libraries]);
    let report = wrap.report().success();
    report.file(program).is("wrapped", &[]);
    fs::remove_file(root.path("/app/sbcl/bin/.sbcl.wrapbuddy")).expect("remove a sidecar");
    starts();
    tool(&["check", program]).output().success();
    tool(&["restore", program]).output().success();
    assert!(root.read(program) == plain);
}
