//! Programs that root or another user has wrapped, started by a second user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use e2e::check::sidecar_of;
use e2e::sample::SAYS;
use e2e::{Output, Run, Sample, Variant, matrix, says};

matrix!(systems:
    program_wrapped_by_root_starts_for_all, where_no_directory_can_be_written_each_has_its_loader,
    the_home_of_another_user_is_left_alone, files_that_others_cannot_open_are_reported,
);

const USER: u32 = 1000;
const OF_ROOT: &str = "/usr/local/lib/wrap-buddy";

/// Wraps as root, with a home directory that other users cannot enter, and without `--loader-dir-path`.
fn wrapping(sample: &Sample) -> Run<'_> {
    sample.root.mkdir("/root");
    set_mode(sample, "/root", 0o700);
    let command = sample.wrapping().without_loader_dir().command();
    command.env("HOME", "/root").umask(0o077)
}

fn set_mode(sample: &Sample, path: &str, mode: u32) {
    fs::set_permissions(sample.root.path(path), Permissions::from_mode(mode)).expect("chmod");
}

fn started_by_another(sample: &Sample) -> Output {
    sample.command().user(USER).output()
}

fn program_wrapped_by_root_starts_for_all(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let output = wrapping(&sample).output().success();
    let installed = format!("installed the loader {OF_ROOT}/loader-");
    assert!(output.stdout.contains(&installed), "{output}");
    assert_eq!(output.stderr, "", "{output}");
    assert_eq!(
        fs::read_dir(sample.root.path("/root"))
            .expect("/root")
            .count(),
        0
    );
    says(started_by_another(&sample));
    // A HOME that sudo has kept does not belong to root.
    sample.root.mkdir("/home/other");
    chown(sample.root.path("/home/other"), Some(USER), Some(USER)).expect("chown");
    let again = wrapping(&sample).env("XDG_DATA_HOME", "/home/other/.local/share");
    let again = again.output().success();
    assert!(again.stdout.contains("already wrapped"), "{again}");
}

fn where_no_directory_can_be_written_each_has_its_loader(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    // Mounts from this machine are read-only.
    let empty = tempfile::tempdir().expect("a directory");
    sample.root.bind(empty.path(), "/usr/local");
    let output = wrapping(&sample).output().success();
    let warning = "no directory for loaders is writable, so each program gets its own loader";
    assert!(output.stderr.contains(warning), "{output}");
    says(started_by_another(&sample));
}

fn the_home_of_another_user_is_left_alone(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let home = sample.root.mkdir("/home/other");
    set_mode(&sample, "/home/other", 0o777);
    for path in ["/app", &sample.program] {
        chown(sample.root.path(path), Some(USER), Some(USER)).expect("chown");
    }
    let wrapping = sample.wrapping().without_loader_dir();
    let command = wrapping.args(["-vv"]).command();
    let output = command.env("HOME", "/home/other").user(USER).output();
    let output = output.success();
    assert!(output.stdout.contains("in the sidecar"), "{output}");
    assert_eq!(fs::read_dir(home).expect("a home").count(), 0);
    says(started_by_another(&sample));
}

fn files_that_others_cannot_open_are_reported(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let library = sample.library_dir.clone();
    let closed = [
        (library.as_str(), 0o700, 0o755, "chmod o+x"),
        (&sidecar_of(&sample.program), 0o600, 0o644, "chmod o+r"),
    ];
    sample.wrap();
    for (path, mode, open, remedy) in closed {
        set_mode(&sample, path, mode);
        let start = started_by_another(&sample);
        assert_eq!(start.status, Some(127), "{start}");
        let remedy = format!("{remedy} {path}");
        let output = sample.wrapping().run();
        let said = output
            .stderr
            .contains("other users can run it, but cannot open");
        assert!(said && output.stderr.contains(&remedy), "{output}");
        // Programs of other machines have no emulator; there is no other error.
        let is_error = || {
            let run = sample.root.wrap_buddy().args(["check", &sample.program]);
            let checked = run.output();
            let is_said = checked.stdout.contains("error: other users can run it");
            assert_eq!(is_said, checked.stdout.contains(&remedy), "{checked}");
            assert!(!is_said || checked.status == Some(1), "{checked}");
            is_said
        };
        assert!(is_error());
        // Other users may not run it, which is not an error.
        set_mode(&sample, &sample.program, 0o750);
        assert!(!is_error());
        assert_eq!(sample.wrapping().run().stderr, "");
        set_mode(&sample, &sample.program, 0o755);
        set_mode(&sample, path, open);
        assert!(!is_error());
        assert_eq!(started_by_another(&sample).success().stdout, SAYS);
    }
}
