//! Files of earlier runs: of the first wrap-buddy, and in programs that were copied or that rewrote themselves.

use std::fs;

use e2e::check::sidecar_of;
use e2e::legacy::Legacy;
use e2e::{Sample, Variant, matrix, says};
use sidecar::{Flags, Sidecar};

matrix!(all:
    of_the_first_tool_restored, of_the_first_tool_wrapped_again, of_the_first_tool_moved, unknown_sidecar_is_left_alone,
    a_copy_with_other_settings, a_copy_of_a_program_that_was_restored, written_by_a_wrapped_program,
    settings_changed,
);

const OFFSPRING: &str = "/srv/offspring";

/// Runs a command, asserts its exit code, and returns the output of both streams.
#[track_caller]
fn output_of(sample: &Sample, arguments: &[&str], code: i32) -> String {
    let run = sample.root.wrap_buddy().args(arguments.iter().copied());
    let output = run.output().exits_with(code);
    format!("{}{}", output.stdout, output.stderr)
}

/// The output of `check` for a program that will start, if its processor is available.
#[track_caller]
fn checked(sample: &Sample, variant: Variant, path: &str) -> String {
    let is_native = variant.arch.is_native();
    let text = output_of(sample, &["check", path], i32::from(!is_native));
    let verdict = if is_native {
        ": ok"
    } else {
        "no emulator for that is registered"
    };
    assert!(text.contains(verdict), "{text}");
    assert_eq!(
        text.matches("error:").count(),
        usize::from(!is_native),
        "{text}"
    );
    text
}

fn original(sample: &Sample) -> Vec<u8> {
    fs::read(&sample.built).expect("built before")
}

/// Wraps it again, without the flags that its sidecar records.
#[track_caller]
fn wrapped_again(sample: &Sample, more: &[&str]) -> String {
    // This installs the loaders.
    drop(sample.wrapping());
    let loaders = sample.root.loader_dir();
    let flags = ["--paths", &sample.program];
    let shared = ["--loader-dir-path", &loaders];
    let own = more.contains(&"--self-contained");
    let flags = [&flags[..], if own { &[] } else { &shared }, more].concat();
    output_of(sample, &flags, 0)
}

fn of_the_first_tool_restored(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    for legacy in Legacy::all(&sample) {
        legacy.wrap(&sample);
        let status = output_of(&sample, &["status", &sample.program], 0);
        assert!(
            status.contains("wrapped by the first wrap-buddy"),
            "{status}"
        );
        assert!(
            status.contains(&legacy.search) && status.contains(&legacy.interpreter),
            "{status}"
        );
        let show = output_of(&sample, &["show", &sample.program], 0);
        assert!(show.contains("of the first wrap-buddy"), "{show}");
        let check = checked(&sample, variant, &sample.program);
        assert!(check.contains("wrapped by the first wrap-buddy"), "{check}");
        output_of(&sample, &["restore", &sample.program], 0);
        assert!(sample.root.read(&sample.program) == original(&sample));
        assert!(!sample.root.path(&sidecar_of(&sample.program)).exists());
    }
}

fn of_the_first_tool_wrapped_again(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    for legacy in Legacy::all(&sample) {
        legacy.wrap(&sample);
        let text = wrapped_again(&sample, &[]);
        assert!(
            text.contains("was wrapped by the first wrap-buddy"),
            "{text}"
        );
        sample.run();
        sample.wrapped();
        output_of(&sample, &["restore", &sample.program], 0);
        assert!(sample.root.read(&sample.program) == original(&sample));
    }
}

/// A program that was wrapped in its relocatable mode stays relocatable.
fn of_the_first_tool_moved(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    Legacy::of(&sample, true).wrap(&sample);
    let text = wrapped_again(&sample, &["--self-contained"]);
    assert!(text.contains("relocatable"), "{text}");
    let bytes = sample.root.read(&sidecar_of(&sample.program));
    let sidecar = Sidecar::parse(&bytes).expect("its sidecar");
    assert!(sidecar.header().flags.contains(Flags::RELOCATABLE));
    fs::rename(sample.root.path("/app"), sample.root.path("/moved")).expect("rename");
    says(sample.root.command("/moved/program").output());
}

fn unknown_sidecar_is_left_alone(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    Legacy::of(&sample, false).wrap(&sample);
    let path = sidecar_of(&sample.program);
    let (program, good) = (sample.root.read(&sample.program), sample.root.read(&path));
    let loaders = sample.root.loader_dir();
    for bad in [
        &good[..good.len() - 1],
        &b"\x7fwrapbd9 of a newer version"[..],
    ] {
        sample.root.write(&path, bad);
        let own = &sample.program;
        let all: [&[&str]; 7] = [
            &["restore", own],
            &["restore", "--replace", own],
            &["--paths", own, "--loader-dir-path", &loaders],
            &["--paths", own, "--loader-dir-path", &loaders, "--replace"],
            &["watch", "--once", "/app", "--loader-dir-path", &loaders],
            &["check", own],
            &["status", own],
        ];
        for arguments in all {
            let text = output_of(&sample, arguments, 1);
            assert!(
                text.contains("cannot be used: it "),
                "{arguments:?}: {text}"
            );
            assert!(sample.root.read(own) == program, "{arguments:?}");
            assert!(sample.root.read(&path) == bad, "{arguments:?}");
        }
    }
    sample.root.write(&path, good);
    wrapped_again(&sample, &[]);
    sample.run();
}

fn a_copy_with_other_settings(variant: Variant) {
    let sample = Sample::new(variant);
    sample.root.mkdir("/srv");
    let copy = sample.root.path(OFFSPRING);
    fs::copy(sample.root.path(&sample.program), copy).expect("copy");
    let wrap = sample
        .root
        .wrap(OFFSPRING)
        .libs([sample.library_dir.clone()]);
    let output = wrap.args(["--runtime-dependencies", "/x"]).run();
    assert!(
        output.stdout.contains("settings changed search path\n"),
        "{output}"
    );
    for path in [sample.program.clone(), sidecar_of(&sample.program)] {
        fs::remove_file(sample.root.path(&path)).expect("remove");
    }
    says(sample.root.command(OFFSPRING).output());
    let status = output_of(&sample, &["status", OFFSPRING], 0);
    assert!(
        status.contains(":/x") && status.contains(&sidecar_of(OFFSPRING)),
        "{status}"
    );
    output_of(&sample, &["restore", OFFSPRING], 0);
    assert!(sample.root.read(OFFSPRING) == original(&sample));
}

fn a_copy_of_a_program_that_was_restored(variant: Variant) {
    let sample = Sample::new(variant);
    sample.root.mkdir("/srv");
    let copy = sample.root.path(OFFSPRING);
    fs::copy(sample.root.path(&sample.program), &copy).expect("copy");
    output_of(&sample, &["restore", &sample.program], 0);
    let check = output_of(&sample, &["check", OFFSPRING], 1);
    assert!(check.contains("has its original bytes"), "{check}");
    sample
        .root
        .wrap(OFFSPRING)
        .libs([sample.library_dir.clone()])
        .run();
    says(sample.root.command(OFFSPRING).output());
    output_of(&sample, &["restore", OFFSPRING], 0);
    assert!(sample.root.read(OFFSPRING) == original(&sample));

    // If the original bytes are lost, all commands report that.
    sample.wrap();
    fs::copy(sample.root.path(&sample.program), &copy).expect("copy");
    for path in [sample.program.clone(), sidecar_of(&sample.program)] {
        fs::remove_file(sample.root.path(&path)).expect("remove");
    }
    let how = "put it back, or download or build the program again";
    for (command, code) in [
        ("restore", 1),
        ("check", 1),
        ("status", 1),
        ("show", 0),
        ("--paths", 1),
    ] {
        let text = output_of(&sample, &[command, OFFSPRING], code);
        assert!(text.contains(how), "{command}: {text}");
    }
}

/// As with sbcl's save-lisp-and-die: the running executable with its stub, and data after it.
fn written_by_a_wrapped_program(variant: Variant) {
    let sample = Sample::new(variant);
    sample.root.mkdir("/srv");
    says(sample.command().args(["copy", OFFSPRING]).output());
    let check = checked(&sample, variant, OFFSPRING);
    let uses = format!("its sidecar is {}", sidecar_of(&sample.program));
    assert!(check.contains(&uses), "{check}");
    let whole = [&original(&sample)[..], b"payload"].concat();

    let wrapped = sample.root.read(OFFSPRING);
    output_of(&sample, &["restore", OFFSPRING], 0);
    assert!(sample.root.read(OFFSPRING) == whole);
    assert!(sample.root.path(&sidecar_of(&sample.program)).exists());

    sample.root.write(OFFSPRING, wrapped);
    sample
        .root
        .wrap(OFFSPRING)
        .libs([sample.library_dir.clone()])
        .run();
    for path in [sample.program.clone(), sidecar_of(&sample.program)] {
        fs::remove_file(sample.root.path(&path)).expect("remove");
    }
    says(sample.root.command(OFFSPRING).output());
    output_of(&sample, &["restore", OFFSPRING], 0);
    assert!(sample.root.read(OFFSPRING) == whole);
}

fn settings_changed(variant: Variant) {
    for strategy in ["stub", "inplace"] {
        let sample = Sample::unwrapped(variant);
        let flags = ["--strategy", strategy, "--runtime-dependencies", "/x"];
        let output = sample.wrapping().args(flags).run();
        assert!(!output.stdout.contains("settings changed"), "{output}");
        let output = sample
            .wrapping()
            .args(["--strategy", strategy, "-vv"])
            .run();
        assert!(
            output.stdout.contains("settings changed search path\n"),
            "{output}"
        );
        let mut lines = output.stdout.lines();
        let change = lines
            .find_map(|line| line.split_once(" → DT_R"))
            .expect("a change");
        assert!(
            change.0.contains(":/x") && !change.1.contains(":/x"),
            "{output}"
        );
        sample.run();
    }
}
