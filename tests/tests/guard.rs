//! A set-id program trusts only files that users without its rights cannot change. Loaders are installed where only the users who
//! start the programs, or root, can write.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use e2e::check::sidecar_of;
use e2e::{Output, Sample, Variant, Wrap, matrix, says};

matrix!(systems:
    library_directory_through_another_users_link, dynamic_linker_and_loader_through_another_users_link, library_of_another_user,
    a_search_directory_that_others_may_make, a_home_that_leads_to_roots_directory,
    directory_that_others_may_change, sidecar_through_another_users_link, sidecar_that_others_may_write,
);

const MALLORY: u32 = 1000;

/// A link of another user's in a sticky directory, and root's link to it. Both lead to `target`.
fn links(sample: &Sample, target: &str) -> [String; 2] {
    let [theirs, roots] = ["/srv/link", "/opt/link"];
    sample.root.mkdir("/opt");
    set_mode(&sample.root.mkdir("/srv"), 0o1777);
    let path = sample.root.path(theirs);
    symlink(target, &path).expect("link");
    lchown(path, Some(MALLORY), Some(MALLORY)).expect("lchown");
    symlink(theirs, sample.root.path(roots)).expect("link");
    [theirs, roots].map(String::from)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

fn set_id(sample: &Sample) {
    set_mode(&sample.root.path(&sample.program), 0o4755);
}

/// Asserts that the file is unchanged and that the report names `part`.
#[track_caller]
fn is_refused(sample: &Sample, output: &Output, part: &str) {
    assert_eq!(output.status, Some(1), "{output}");
    let report = format!("{}{}", output.stdout, output.stderr);
    assert!(report.contains("set-id"), "{output}");
    assert!(
        report.contains(&format!("others can change {part}")),
        "{output}"
    );
    let original = fs::read(&sample.built).expect("built before");
    assert!(sample.root.read(&sample.program) == original);
}

/// The program was wrapped before it became set-id.
#[track_caller]
fn check_tells(sample: &Sample, part: &str) {
    by_command_tells(sample, "check", &sample.program, part);
}

/// Asserts that `command` reports `part` when `program`, the sample's, is set-id.
#[track_caller]
fn by_command_tells(sample: &Sample, command: &str, program: &str, part: &str) {
    let path = sample.root.path(program);
    set_mode(&path, 0o755);
    let run = || sample.root.wrap_buddy().args([command, program]).output();
    let said = format!("others can change {part}");
    let before = run();
    assert!(!before.stdout.contains(&said), "{before}");
    set_mode(&path, 0o4755);
    let output = run();
    assert_eq!(output.status, Some(1), "{output}");
    assert!(output.stdout.contains(&said), "{output}");
}

/// A path through `/srv/link` is refused for a set-id program, and reported when a program becomes one.
#[track_caller]
fn is_for_no_set_id_program<'s>(sample: &'s Sample, wrap: impl Fn() -> Wrap<'s>) {
    set_id(sample);
    is_refused(sample, &wrap().command().output(), "/srv/link");
    set_mode(&sample.root.path(&sample.program), 0o755);
    wrap().run();
    says(sample.command().output());
    check_tells(sample, "/srv/link");
}

fn library_directory_through_another_users_link(variant: Variant) {
    for which in 0..2 {
        let sample = Sample::unwrapped(variant);
        let link = links(&sample, &sample.library_dir)[which].clone();
        let wrap = || sample.root.wrap(&sample.program).libs([link.clone()]);
        is_for_no_set_id_program(&sample, wrap);
    }
}

fn dynamic_linker_and_loader_through_another_users_link(variant: Variant) {
    for which in 0..4 {
        let sample = Sample::unwrapped(variant);
        let of_linker = which / 2 == 0;
        let linker = sample.interpreter();
        let (linker_dir, linker_name) = linker.rsplit_once('/').expect("absolute");
        let target = match of_linker {
            true => linker_dir.to_owned(),
            false => sample.root.loader_dir(),
        };
        let link = links(&sample, &target)[which % 2].clone();
        let wrap = || match of_linker {
            true => sample
                .wrapping()
                .interpreter(&format!("{link}/{linker_name}")),
            false => sample.wrapping().loader_dir(&link),
        };
        is_for_no_set_id_program(&sample, wrap);
    }
}

fn library_of_another_user(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let library = format!("{}/libfoo.so", sample.library_dir);
    chown(sample.root.path(&library), Some(MALLORY), Some(MALLORY)).expect("chown");
    set_id(&sample);
    is_refused(&sample, &sample.wrapping().command().output(), &library);
    set_mode(&sample.root.path(&sample.program), 0o755);
    sample.wrap();
    check_tells(&sample, &library);
}

/// Wrapping leaves such a directory out.
fn a_search_directory_that_others_may_make(variant: Variant) {
    let flags = ["-Wl,-rpath,/srv/later/lib".to_owned()];
    let sample = Sample::with_flags(variant, "/app/program", &flags);
    set_mode(&sample.root.mkdir("/srv"), 0o1777);
    check_tells(&sample, "/srv");
    // When root owns it, it is accepted.
    sample.root.mkdir("/srv/later/lib");
    let run = sample.root.wrap_buddy().args(["check", &sample.program]);
    let output = run.output();
    assert!(!output.stdout.contains("others can change"), "{output}");
}

/// The HOME that `sudo -E` keeps: its owner could redirect it later.
fn a_home_that_leads_to_roots_directory(variant: Variant) {
    for variable in ["HOME", "XDG_DATA_HOME"] {
        let sample = Sample::unwrapped(variant);
        let home = sample.root.mkdir("/home/other");
        let own = sample.root.mkdir("/var/own");
        symlink("/var/own", home.join(".local")).expect("link");
        for path in [home.clone(), home.join(".local")] {
            lchown(path, Some(MALLORY), Some(MALLORY)).expect("lchown");
        }
        let value = match variable {
            "HOME" => "/home/other",
            _ => "/home/other/.local/share",
        };
        let command = sample.wrapping().without_loader_dir().command();
        let output = command.env(variable, value).output().success();
        assert!(
            output.stdout.contains("loader /usr/local/lib/wrap-buddy/"),
            "{output}"
        );
        assert_eq!(
            fs::read_dir(own).expect("a directory").count(),
            0,
            "{output}"
        );
        says(sample.command().output());
    }
}

/// A user who can rename files there could give the program another one of root's sidecars.
fn directory_that_others_may_change(variant: Variant) {
    let sample = Sample::unwrapped_at(variant, "/srv/app/program");
    let directory = sample.root.path("/srv/app");
    for (owner, mode) in [(MALLORY, 0o755), (0, 0o777)] {
        chown(&directory, Some(owner), Some(owner)).expect("chown");
        set_mode(&directory, mode);
        set_id(&sample);
        let wrap = || sample.wrapping().args(["--trust-tree"]);
        is_refused(&sample, &wrap().command().output(), "/srv/app");
        set_mode(&sample.root.path(&sample.program), 0o755);
        wrap().run();
        for command in ["check", "status"] {
            by_command_tells(&sample, command, &sample.program, "/srv/app");
        }
        let restore = ["restore", &sample.program, "--trust-tree"];
        sample.root.wrap_buddy().args(restore).output().success();
    }
    // In a sticky directory, other users cannot replace a file that root owns.
    set_mode(&directory, 0o1777);
    set_id(&sample);
    sample.wrap();
}

/// The loader looks for the sidecar at its path at the time of wrapping.
fn sidecar_through_another_users_link(variant: Variant) {
    for which in 0..2 {
        let sample = Sample::new(variant);
        let link = links(&sample, "/moved")[which].clone();
        fs::rename(sample.root.path("/app"), sample.root.path("/moved")).expect("rename");
        symlink(link, sample.root.path("/app")).expect("symlink");
        set_mode(&sample.root.path("/moved/program"), 0o4755);
        let start = sample.root.command("/moved/program").user(MALLORY);
        says(start.output());
        for command in ["check", "status"] {
            by_command_tells(&sample, command, "/moved/program", "/srv/link");
        }
    }
}

/// The tool makes such a sidecar next to a program that these users may write too.
fn sidecar_that_others_may_write(variant: Variant) {
    let sample = Sample::new(variant);
    let sidecar = sidecar_of(&sample.program);
    set_mode(&sample.root.path(&sidecar), 0o664);
    for command in ["check", "status"] {
        set_mode(&sample.root.path(&sample.program), 0o775);
        let run = sample.root.wrap_buddy().args([command, &sample.program]);
        let part = format!("others can change {sidecar}");
        let before = run.output();
        assert!(!before.stdout.contains(&part), "{before}");
        set_mode(&sample.root.path(&sample.program), 0o4775);
        let start = sample.command().user(MALLORY).output();
        start.refuses(&[&sidecar]);
        let said = sample.root.wrap_buddy().args([command, &sample.program]);
        let said = said.output().exits_with(1);
        assert!(said.stdout.contains(&part), "{said}");
    }
}
