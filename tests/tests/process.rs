//! What a program sees of its start; more of it in the fixtures.

use e2e::{Build, Root, Sample, Variant, matrix, source};

matrix!(all: any_argv_0, odd_arguments, nothing_in_the_environment, output_to_a_closed_pipe);

fn any_argv_0(variant: Variant) {
    let root = wrapped_argv(variant);
    let output = root
        .command("/app/argv")
        .argv0("another name")
        .output()
        .success();
    assert_eq!(output.stdout, "1\nanother name\nend\n");
}

fn odd_arguments(variant: Variant) {
    let root = wrapped_argv(variant);
    let long = "x".repeat(100_000);
    let output = root
        .command("/app/argv")
        .args(["", " ", &long])
        .output()
        .success();
    assert_eq!(output.stdout, format!("4\n/app/argv\n\n \n{long}\nend\n"));
}

fn nothing_in_the_environment(variant: Variant) {
    let root = Root::new(variant);
    root.install(
        &Build::program(variant, source("environ.c")).build(),
        "/app/environ",
    );
    root.wrap("/app/environ").run();
    let output = root.command("/app/environ").output().success();
    assert_eq!(output.stdout, "child\n");
}

fn output_to_a_closed_pipe(variant: Variant) {
    // The loader must not leave anything blocked or ignored: the default action of SIGPIPE ends the program.
    let sample = Sample::new(variant);
    let output = sample.command().arg("pipe").output();
    assert_eq!(output.signal, Some(13), "{output}");
}

fn wrapped_argv(variant: Variant) -> Root {
    let root = Root::new(variant);
    root.install(
        &Build::program(variant, source("argv.c")).build(),
        "/app/argv",
    );
    root.wrap("/app/argv").run();
    root
}
