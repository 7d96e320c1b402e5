//! The state of a process when the program starts. The fixtures test more of it.

use e2e::{Build, Root, Sample, Variant, matrix, source, toolchain};

matrix!(all: any_argv_0, odd_arguments, nothing_in_the_environment, output_to_a_closed_pipe);
matrix!(native: on_a_small_stack, where_mappings_grow_upwards);

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
    // The loader must leave no signal blocked or ignored: the default action of SIGPIPE ends the program.
    let sample = Sample::new(variant);
    let output = sample.command().arg("pipe").output();
    assert_eq!(output.signal, Some(13), "{output}");
}

/// A service may have a stack as small as this.
fn on_a_small_stack(variant: Variant) {
    starts_by(variant, "prlimit", "--stack=65536");
}

/// As with `ulimit -s unlimited`: the addresses below the loader are in use.
fn where_mappings_grow_upwards(variant: Variant) {
    starts_by(variant, "setarch", "--addr-compat-layout");
}

/// Starts the program with a tool of util-linux.
fn starts_by(variant: Variant, tool: &str, option: &str) {
    let root = wrapped_argv(variant);
    root.bind_host();
    let tool = toolchain::find_program(tool).expect("util-linux");
    let run = root.host_command(&tool).args([option, "/app/argv", "one"]);
    let output = run.output().success();
    assert_eq!(output.stdout, "2\n/app/argv\none\nend\n");
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
