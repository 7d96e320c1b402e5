//! A file name in the error lines of loader and stub cannot begin a line or control a terminal.

use std::fs;
use std::os::unix::fs::symlink;

use e2e::check::sidecar_of;
use e2e::{Output, Sample, Variant, matrix, says};

matrix!(systems: names_with_control_characters, paths_in_stubs);

/// C0, C1 and DEL, and a letter with the bytes of C1 in it.
const NAME: &str = "/app/À\x1b[2Jb\nwrap-buddy: c\x7f\u{9b}2J";

/// Asserts that it is one line without control characters.
#[track_caller]
fn refuses_in_text(output: Output, words: &str) {
    let line = output.refuses(&[words]);
    assert!(!line.contains(char::is_control), "{line:?}");
}

fn names_with_control_characters(variant: Variant) {
    let sample = Sample::unwrapped_at(variant, NAME);
    let own = sample.interpreter();
    let (_, file_name) = own.rsplit_once('/').expect("an absolute path");
    let interpreter = format!("/srv/\x1b]0;x\x07\n/{file_name}");
    sample.root.install(&sample.root.lookup(&own), &interpreter);
    sample.wrapping().interpreter(&interpreter).run();
    fs::remove_file(sample.root.path(&interpreter)).expect("just installed");
    let cannot_load = format!("/srv/^[]0;x^G^J/{file_name}: cannot load");
    refuses_in_text(sample.command().output(), &cannot_load);
    fs::remove_file(sample.root.path(&sidecar_of(NAME))).expect("a sidecar");
    // The second of two bytes is in caret notation.
    refuses_in_text(
        sample.command().output(),
        "/app/.À^[[2Jb^Jwrap-buddy: c^?\u{fffd}^[2J.wrapbuddy: no sidecar",
    );
}

/// A stub has no room for escaping, so it omits such a path.
fn paths_in_stubs(variant: Variant) {
    const LOADERS: &str = "/srv/\x1b[2Jloaders";
    let own = ["--self-contained", "--relocatable", "--allow-outside"];
    for (name, flags) in [("/app/program", &[][..]), (NAME, &own[..1]), (NAME, &own)] {
        let sample = Sample::unwrapped_at(variant, name);
        let root = &sample.root;
        root.mkdir("/srv");
        symlink(root.loader_dir(), root.path(LOADERS)).expect("symlink");
        let wrapping = sample.wrapping().loader_dir(LOADERS);
        wrapping.args(flags.iter().copied()).run();
        says(sample.command().output());
        let opened = match flags {
            [] => LOADERS.to_owned(),
            _ => sidecar_of(name),
        };
        fs::remove_file(root.path(&opened)).expect("it is there");
        let output = sample.command().output();
        assert_eq!(output.stderr, "wrap-buddy:  missing\n", "{output}");
        refuses_in_text(output, " missing");
    }
}
