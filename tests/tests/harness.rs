//! The harness itself: a root has no dynamic linker but the right libraries, and runs every architecture.

use e2e::{Build, Root, Variant, assert_fails_unwrapped, matrix, source};

matrix!(all: runs_nothing_without_its_dynamic_linker, ids_and_processes);

fn runs_nothing_without_its_dynamic_linker(variant: Variant) {
    let root = Root::new(variant);
    let program = root.install(
        &Build::program(variant, source("hello.c")).build(),
        "/app/hello",
    );
    assert_fails_unwrapped(root.command(&program));
    for dir in ["/lib", "/lib64", "/usr"] {
        assert!(!root.path(dir).exists(), "{dir}");
    }
    let output = explicit(&root, variant, &program).output().success();
    assert_eq!(output.stdout, "hello\n");
}

fn ids_and_processes(variant: Variant) {
    let root = Root::new(variant);
    let program = root.install(
        &Build::program(variant, source("ids.c")).build(),
        "/app/ids",
    );
    let run = || explicit(&root, variant, &program);
    let first = run().as_pid_1().output().success();
    assert_eq!(first.stdout, "pid 1, uid 0/0, secure 0\n");
    let user = run().user(1000).as_pid_1().output().success();
    assert_eq!(user.stdout, "pid 1, uid 1000/1000, secure 0\n");
    let secure = run().secure().as_pid_1().output().success();
    assert_eq!(secure.stdout, "pid 1, uid 1000/0, secure 1\n");
}

/// Starts an unwrapped program by naming ld.so, which is the only way on a machine without a dynamic linker.
fn explicit<'r>(root: &'r Root, variant: Variant, program: &str) -> e2e::Run<'r> {
    root.command(&root.interpreter(variant.arch, variant.libc))
        .args(["--library-path", &root.library_dirs().join(":"), program])
}
