//! SBCL: an executable is a copy of the runtime with an image of the memory behind it.

use e2e::corpus;

use crate::layout::{Case, install_tree, root, wrap_with};

on!([x86_64 x86_64_own]: sbcl_saves_an_executable);

fn sbcl_saves_an_executable(case: Case) {
    let root = root(case);
    install_tree(&root, &corpus::fetch("sbcl", case.arch), "/app/sbcl");
    let sbcl = "/app/sbcl/bin/sbcl";
    let libraries = root.system_libraries("zstd", case.arch, &["libzstd.so.1"]);
    wrap_with(case, &root, sbcl, &[libraries], &[]);
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
    let output = root.command(program).output().success();
    assert_eq!(output.stdout, "sum 42\n");
}
