//! `--dry-run` reports the same errors as the real run.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use e2e::check::sidecar_of;
use e2e::{Output, Run, Sample, Variant, matrix};

matrix!(systems: permissions, a_read_only_file_system);

const OWNER: u32 = 1000;
const ANOTHER: u32 = 2000;

/// A sample whose program and directory belong to [`OWNER`].
fn sample(variant: Variant) -> Sample {
    let sample = Sample::unwrapped(variant);
    for path in ["/app", &sample.program] {
        chown(sample.root.path(path), Some(OWNER), Some(OWNER)).expect("chown");
    }
    sample
}

fn set_mode(sample: &Sample, path: &str, mode: u32) {
    fs::set_permissions(sample.root.path(path), Permissions::from_mode(mode)).expect("chmod");
}

fn run<'r>(sample: &'r Sample, restores: bool, more: &[&str]) -> Run<'r> {
    let more = more.iter().copied();
    match restores {
        true => sample
            .root
            .wrap_buddy()
            .args(["restore", &sample.program])
            .args(more),
        false => sample.wrapping().args(more).command(),
    }
}

fn errors(output: &Output) -> Vec<&str> {
    let lines = output.stderr.lines();
    lines.filter(|line| line.starts_with("error: ")).collect()
}

/// Runs both as `user` and asserts that they end alike, with these `words` if there are any. If they fail, the file is unchanged.
fn alike(sample: &Sample, user: u32, restores: bool, more: &[&str], words: &str) {
    let with_user = |run: Run<'_>| match user {
        0 => run.output(),
        user => run.user(user).output(),
    };
    let before = sample.root.read(&sample.program);
    let dry = with_user(run(sample, restores, &[&["--dry-run"], more].concat()));
    assert!(sample.root.read(&sample.program) == before, "{dry}");
    let real = with_user(run(sample, restores, more));
    assert_eq!(dry.status, real.status, "{dry}\n{real}");
    assert_eq!(errors(&dry), errors(&real), "{dry}\n{real}");
    match words {
        "" => assert_eq!(real.status, Some(0), "{real}"),
        words => {
            assert_eq!(real.status, Some(1), "{real}");
            assert!(
                errors(&real).iter().any(|line| line.contains(words)),
                "{real}"
            );
            assert!(sample.root.read(&sample.program) == before, "{real}");
        }
    }
}

fn permissions(variant: Variant) {
    for restores in [false, true] {
        let sample = sample(variant);
        if restores {
            run(&sample, false, &[]).user(OWNER).output().success();
        }
        alike(
            &sample,
            ANOTHER,
            restores,
            &[],
            "cannot be written: permission denied",
        );
        // The owner may change both modes.
        set_mode(&sample, "/app", 0o555);
        set_mode(&sample, &sample.program, 0o555);
        alike(&sample, OWNER, restores, &[], "");
    }
    let sample = sample(variant);
    // The user may write to the file, but not to its directory.
    chown(sample.root.path("/app"), Some(0), Some(0)).expect("chown");
    let refused = format!(
        "its sidecar {} cannot be written: permission denied",
        sidecar_of(&sample.program)
    );
    alike(&sample, OWNER, false, &[], &refused);
    alike(&sample, 0, false, &[], "");
}

fn a_read_only_file_system(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let copy = sample.root.path("/app");
    sample.root.bind(&copy, "/media");
    let at = "/media/program";
    let words = "the file system is read-only";
    let wrap = || {
        let wrap = sample.root.wrap(at).libs([sample.library_dir.clone()]);
        wrap.interpreter(&sample.interpreter())
    };
    let dry = wrap().args(["--dry-run"]).command().output().exits_with(1);
    let real = wrap().command().output().exits_with(1);
    assert!(
        errors(&real).iter().any(|line| line.contains(words)),
        "{real}"
    );
    assert_eq!(errors(&dry), errors(&real));
    sample.wrap();
    for more in [&["--dry-run"][..], &[]] {
        let run = sample.root.wrap_buddy().args(["restore", at]);
        let output = run.args(more.iter().copied()).output().exits_with(1);
        assert!(
            errors(&output).iter().any(|line| line.contains(words)),
            "{output}"
        );
    }
}
