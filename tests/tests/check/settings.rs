//! Variables and files with defaults for flags, and whose files are read.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};

use e2e::{Arch, Kind, Libc, Output, Root, Run, Sample, Variant, matrix, skipped};
use nix::unistd::geteuid;

use crate::cases::at_home;

matrix!(systems: flags_win_over_variables_and_these_over_files);

const USER: u32 = 1000;

fn host() -> Sample {
    at_home(Variant::new(Arch::host(), Libc::Glibc, Kind::Pie), &[])
}

fn listed<'r>(root: &'r Root, path: &str) -> Run<'r> {
    root.wrap_buddy().args(["check", "--settings", path])
}

/// The line of a setting: its values, and in parentheses its source.
#[track_caller]
fn setting(output: Output, name: &str) -> String {
    let output = output.success();
    let mut lines = output.stdout.lines();
    let line = lines.find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{output}")).trim().to_owned()
}

fn flags_win_over_variables_and_these_over_files(variant: Variant) {
    let sample = at_home(variant, &[]);
    let root = &sample.root;
    let program = sample.program.as_str();
    root.install(
        &root.lookup(&format!("{}/libfoo.so", sample.library_dir)),
        "/app/lib/libfoo.so",
    );
    // A library in the tree itself would be found without settings.
    fs::rename(root.path("/app/lib"), root.path("/lib-of-app")).expect("rename");
    root.write(
        "/app/wrap-buddy.toml",
        "# Of the tree.\n\nlibs = [\n  \"../lib-of-app\",\n]\n",
    );
    root.write(
        "/etc/wrap-buddy.toml",
        "libs = [\"/none\"]\nfind-in = [\"opt\"]\n",
    );
    let wrap = || root.wrap_buddy().args([program, "--dry-run"]);

    let output = wrap().output().success();
    assert!(
        output.stdout.contains("libraries from /lib-of-app"),
        "{output}"
    );
    assert_eq!(
        output.stderr, "libs from /app/wrap-buddy.toml:3\n",
        "{output}"
    );
    let libs = || setting(listed(root, program).output(), "libs");
    assert_eq!(libs(), "/lib-of-app (/app/wrap-buddy.toml:3)");
    let find_in = setting(listed(root, program).output(), "find-in");
    assert_eq!(find_in, "/etc/opt (/etc/wrap-buddy.toml:2)");

    let with_variable = |run: Run<'_>| run.env("WRAP_BUDDY_LIBS", "/none:/other").output();
    assert_eq!(with_variable(wrap()).status, Some(1));
    let from_variable = setting(with_variable(listed(root, program)), "libs");
    assert_eq!(from_variable, "/none /other (WRAP_BUDDY_LIBS)");

    let flag = ["--libs", &sample.library_dir];
    with_variable(wrap().args(flag)).success();
    let from_flag = setting(with_variable(listed(root, program).args(flag)), "libs");
    assert!(from_flag.ends_with("(flag)"), "{from_flag}");

    let output = wrap().arg("--no-settings").output();
    assert_eq!(output.status, Some(1), "{output}");

    root.wrap_buddy().arg(program).output().success();
    sample.run();
}

#[test]
fn the_nearest_file_up_to_the_home_directory_is_read() {
    let sample = host();
    let root = &sample.root;
    let libs = |path: &str| {
        let run = listed(root, path).env("HOME", "/home/me");
        setting(run.output(), "libs")
    };
    root.mkdir("/home/me/tree/deep");
    root.write("/home/wrap-buddy.toml", "libs = [\"home\"]\n");
    assert_eq!(libs("/home/me/tree/deep"), "none (default)");
    let of_user = "/home/me/.config/wrap-buddy/wrap-buddy.toml";
    root.write(of_user, "libs = [\"~/user\"]\n");
    assert_eq!(
        libs("/home/me/tree"),
        format!("/home/me/user ({of_user}:1)")
    );
    for (file, expected) in [
        ("/home/me/wrap-buddy.toml", "/home/me/here"),
        ("/home/me/tree/wrap-buddy.toml", "/home/me/tree/here"),
    ] {
        root.write(file, "libs = [\"here\"]\n");
        assert_eq!(libs("/home/me/tree/deep"), format!("{expected} ({file}:1)"));
    }
    // Which one would apply to both?
    let both = listed(root, "/home/me/tree")
        .arg("/app")
        .env("HOME", "/home/me");
    let output = both.output();
    assert_eq!(output.status, Some(2), "{output}");
    let words =
        "/home/me/tree/wrap-buddy.toml applies to /home/me/tree, and no wrap-buddy.toml to /app:";
    assert!(output.stderr.contains(words), "{output}");
}

#[test]
fn a_watch_reads_the_files_of_the_user_but_not_those_of_trees() {
    let sample = host();
    let root = &sample.root;
    let libs = format!("libs = [\"{}\"]\n", sample.library_dir);
    let watch = || {
        let run = root.wrap_buddy().args(["watch", "/app", "--once"]);
        run.env("HOME", "/home/me").output()
    };
    root.write("/app/wrap-buddy.toml", &libs);
    let output = watch();
    assert_eq!(output.status, Some(1), "{output}");
    root.write("/home/me/.config/wrap-buddy/wrap-buddy.toml", &libs);
    watch().success();
    sample.run();
}

#[test]
fn a_mistake_is_named_with_file_and_line() {
    let sample = host();
    for (text, words) in [
        (
            "libs = []\nlibz = []\n",
            ":2: unknown field `libz`, expected one of `libs`",
        ),
        ("\nlibs = \"lib\"\n", ":2: invalid type: string"),
        ("libs = [1]\n", ":1: invalid type: integer"),
        ("\n\nlibs =\n", ":3: "),
        (
            "\nlibs = [\"a:b\"]\n",
            ":2: /app/a:b: its name contains a colon",
        ),
        (
            "ignore-missing = [\"[\"]\n",
            ":1: [: unclosed character class",
        ),
    ] {
        sample.root.write("/app/wrap-buddy.toml", text);
        let output = sample.root.wrap_buddy().arg(&sample.program).output();
        assert_eq!(output.status, Some(2), "{output}");
        let expected = format!("error: /app/wrap-buddy.toml{words}");
        assert!(output.stderr.starts_with(&expected), "{expected} {output}");
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
    }
}

/// This needs two user ids, which in a user namespace only root can have.
#[test]
fn files_that_others_can_change_are_not_read() {
    if !geteuid().is_root() {
        return skipped("a second user id takes root");
    }
    let sample = host();
    let root = &sample.root;
    let give = |path: &str, user| lchown(root.path(path), Some(user), Some(user)).expect("chown");
    let mode = |path: &str, mode| {
        fs::set_permissions(root.path(path), Permissions::from_mode(mode)).expect("chmod");
    };
    let file = |directory: &str| format!("{directory}/wrap-buddy.toml");
    let libs = format!("libs = [\"{}\"]\n", sample.library_dir);
    let cases = [
        "/own",
        "/by-group",
        "/by-all",
        "/of-user",
        "/in-theirs",
        "/in-open",
        "/link",
        "/sticky",
    ];
    for directory in cases {
        root.install(&sample.built, &format!("{directory}/program"));
        root.write(&file(directory), &libs);
    }
    mode(&file("/by-group"), 0o664);
    mode(&file("/by-all"), 0o646);
    give(&file("/of-user"), USER);
    give("/in-theirs", USER);
    mode("/in-open", 0o777);
    mode("/sticky", 0o1777);
    // Another user's link to a file of root's in a directory where all users can make names.
    fs::rename(root.path(&file("/link")), root.path("/root.toml")).expect("rename");
    symlink("/root.toml", root.path(&file("/link"))).expect("symlink");
    give(&file("/link"), USER);
    mode("/link", 0o1777);
    for directory in cases {
        let is_read = ["/own", "/sticky"].contains(&directory);
        let wrap = root.wrap_buddy().args([directory, "--dry-run"]);
        let output = wrap.output();
        assert_eq!(output.status, Some(i32::from(!is_read)), "{output}");
        let warning = format!(
            "warning: {} is not read: other users can change ",
            file(directory)
        );
        let warnings = output
            .stderr
            .lines()
            .filter(|line| line.starts_with(&warning));
        assert_eq!(warnings.count(), usize::from(!is_read), "{output}");
    }
    // The user reads its own file, and root's.
    for (directory, user, is_read) in [
        ("/of-user", USER, true),
        ("/in-theirs", USER, true),
        ("/own", USER, true),
        ("/of-user", USER + 1, false),
    ] {
        let output = listed(root, directory).user(user).output();
        let libs = setting(output.clone(), "libs");
        assert_eq!(
            libs != "none (default)",
            is_read,
            "{directory} {user} {output}"
        );
    }
    // Nor does root read the file in the home directory that sudo keeps.
    let of_user = "/home/other/.config/wrap-buddy/wrap-buddy.toml";
    root.write(of_user, &libs);
    give(of_user, USER);
    root.mkdir("/srv");
    let output = listed(root, "/srv").env("HOME", "/home/other").output();
    assert!(
        output.stderr.contains("wrap-buddy.toml is not read"),
        "{output}"
    );
    assert_eq!(setting(output, "libs"), "none (default)");
}
