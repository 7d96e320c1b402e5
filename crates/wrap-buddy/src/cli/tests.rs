//! Tests of the command line.

use super::*;
use std::path::{Path, PathBuf};

fn words(line: &str) -> impl Iterator<Item = OsString> {
    let words = std::iter::once("wrap-buddy").chain(line.split(' '));
    words.map(OsString::from)
}

fn parse(line: &str) -> Result<Command, clap::Error> {
    read(words(line))
}

fn parse_wrapping(line: &str) -> WrapOptions {
    match parse(line) {
        Ok(Command::Wrap(options)) => *options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_is_consistent() {
    use clap::CommandFactory;
    CommandLine::command().debug_assert();
}

#[test]
fn lists_end_at_the_next_flag_and_add_up() {
    let cli = parse_wrapping("--paths a b --libs /c /d --paths e --needed libx.so -q");
    assert_eq!(cli.paths, ["a", "b", "e"].map(PathBuf::from));
    assert_eq!(cli.libs, ["/c", "/d"].map(PathBuf::from));
    assert_eq!(cli.needed, ["libx.so"]);
    assert!(cli.output.quiet);
}

#[test]
fn commands_have_flags_of_their_own() {
    let command = parse("restore a b --dry-run -q").unwrap();
    let Command::Restore(restore) = command else {
        panic!("{command:?}");
    };
    assert_eq!(restore.path_options.paths, ["a", "b"].map(PathBuf::from));
    assert!(restore.dry_run && restore.path_options.output.quiet);
    // Files may have the name of a command.
    let cli = parse_wrapping("--paths restore status");
    assert_eq!(cli.paths, ["restore", "status"].map(PathBuf::from));
}

#[test]
fn a_tree_that_moves_brings_its_loaders() {
    for (line, expected) in [
        ("--paths a", false),
        ("--paths a --self-contained", true),
        ("--paths a --relocatable", true),
        ("--paths a --relocatable --loader-dir-path /c", false),
        ("--paths a --loader-dir-path /c", false),
    ] {
        assert_eq!(parse_wrapping(line).brings_loaders(), expected, "{line}");
    }
}

#[test]
fn paths_are_arguments_or_follow_the_flag() {
    for line in [
        "a b --libs /c",
        "--paths a b --libs /c",
        "a --libs /c --paths b",
        "wrap a b --libs /c",
        "wrap a --libs /c --paths b",
        "--libs=/c a b",
        "--libs /c -- a b",
        "-q a b --libs /c",
    ] {
        let cli = parse_wrapping(line);
        assert_eq!(cli.paths, ["a", "b"].map(PathBuf::from), "{line}");
        assert_eq!(cli.libs, [PathBuf::from("/c")], "{line}");
    }
    let Ok(Command::Check(check)) = parse("check a --paths b") else {
        panic!();
    };
    assert_eq!(check.path_options.paths, ["a", "b"].map(PathBuf::from));
}

#[test]
fn output_flags_may_come_before_the_command() {
    for line in [
        "-v --format json status a",
        "status a -v --format json",
        "-v status --format json a",
    ] {
        let output = parse(line).unwrap().output();
        assert!(output.verbose && !output.detailed, "{line}");
        assert_eq!(output.format, crate::report::Format::Json, "{line}");
    }
    assert!(parse_wrapping("a -vv").output.detailed);
    assert!(parse("-q generate loaders a").is_ok());
}

#[test]
fn a_flag_of_wrapping_before_another_command_is_not_ignored() {
    for (line, tip) in [
        ("--dry-run restore a", "after `restore`: wrap-buddy restore"),
        ("--libs=/c check a", "write --libs after `check`"),
        ("-j 2 status a", "write --jobs after `status`"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(tip), "{error}");
    }
}

#[test]
fn a_path_that_a_flag_took_is_explained() {
    for line in ["--libs ./lib ./app", "check --find-in ./lib ./app"] {
        let error = parse(line).unwrap_err().to_string();
        assert!(
            error.contains("tip: a flag such as --libs takes"),
            "{error}"
        );
    }
    let error = parse("check").unwrap_err().to_string();
    assert!(!error.contains("tip"), "{error}");
}

#[test]
fn directories_are_separated_by_commas_unless_one_has_that_name() {
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join("a,b");
    std::fs::create_dir(&odd).unwrap();
    let cli = parse_wrapping(&format!("a --libs /c,/d {}", odd.display()));
    assert_eq!(cli.libs, [Path::new("/c"), Path::new("/d"), &odd]);
    let cli = parse_wrapping("a --libs c,d");
    assert!(cli.libs[1].is_absolute() && cli.libs[1].ends_with("d"));
}

#[test]
fn drivers_stay_searched_for_unless_you_say_otherwise() {
    let cli = parse_wrapping("a --search frozen");
    assert!(cli.frozen_except.is_match("libEGL.so.1"));
    let cli = parse_wrapping("a --search frozen --frozen-except libx.so");
    assert!(!cli.frozen_except.is_match("libEGL.so.1") && cli.frozen_except.is_match("libx.so"));
}

#[test]
fn library_directories_become_absolute() {
    let cli = parse_wrapping("--paths a --libs lib");
    assert!(cli.libs[0].is_absolute() && cli.libs[0].ends_with(Path::new("lib")));
}

#[test]
fn usage_errors() {
    for line in [
        "--libs /c",
        "--paths",
        "--paths a --libs /c:d",
        "--paths a --ignore-missing [",
        "--paths a -q -v",
        "--quiet",
        "a --color sometimes",
        "--paths a -j 0",
        "--paths a --format yaml",
        "--paths a --no-such-flag",
        "restore",
        "restore a --libs /c",
        "a --format dot",
        "watch a --format dot",
        "status a --format dot",
        "check a --fix --format dot",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
    for (line, expected) in [
        ("--paths a -j 0", "at least 1"),
        ("check a -j 0", "at least 1"),
        (
            "restore a --format dot",
            "wrap-buddy check PATH... --format dot",
        ),
        ("a --libs /c:d", "no such directory; write --libs /c d"),
        (
            "check a --libs /c:d",
            "no such directory; write --libs /c d",
        ),
        (
            "check a --find-in /c:",
            "no such directory; write --find-in /c",
        ),
        (
            "a --runtime-dependencies /c:d",
            "no such directory; write --runtime-dependencies /c d",
        ),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn flags_of_which_one_would_be_ignored() {
    for (line, accepted) in [
        (
            "a --self-contained --loader-dir-path /c",
            "a --self-contained",
        ),
        (
            "a --self-contained --strategy inplace",
            "a --self-contained --strategy auto",
        ),
        (
            "a --frozen-except libx.so",
            "a --frozen-except libx.so --search frozen",
        ),
        (
            "a --frozen-except libx.so --search rpath",
            "a --search rpath",
        ),
        ("a --allow-outside", "a --allow-outside --relocatable"),
        ("a --yes --dry-run", "a --yes"),
        ("a --yes --libs /c", "a -y --interpreter /c"),
        ("a --yes --format json", "a --format json"),
        ("a -q -v", "a -q"),
        ("check a --yes", "check a --fix -y"),
        ("check a --dry-run", "check a --fix --dry-run"),
        ("check a --fix --yes --dry-run", "check a --fix"),
        ("watch a --root /", "a --root /"),
        ("generate share a --root /", "check a --fix --root /"),
        ("status a --root /none/at/all", "status a --root /"),
        ("a --root /dev/null", "restore a --root /"),
        ("check a --fix --format json", "check a --format json"),
        ("check --settings --fix", "check --settings"),
        ("check --settings --root /", "check --settings a --libs /c"),
        ("check --settings --no-settings", "check a --no-settings"),
        ("check --settings --no-recurse", "check a --no-recurse"),
        ("check --settings -j 2", "check a -j 2"),
        ("check --settings --tree", "check a --tree"),
        ("check --settings --format dot", "check a --format dot"),
        (
            "watch a --self-contained --loader-dir-path /c",
            "watch a --loader-dir-path /c",
        ),
        ("watch a --frozen-except libx.so", "watch a --search frozen"),
        ("watch a --yes", "watch a --dry-run"),
        ("watch a --strict", "a --strict"),
        ("watch a --config /c", "watch a --config /c --preset cursor"),
        ("watch a --list-presets", "watch --list-presets --config /c"),
        (
            "watch --list-presets --preset cursor",
            "watch --preset cursor",
        ),
        ("watch --list-presets --once", "watch a --once"),
        (
            "watch --list-presets --settle 5",
            "watch a --settle 5 --poll 5",
        ),
        ("watch --list-presets --poll 5", "watch a --poll 5 --once"),
        ("watch --list-presets --libs /c", "watch --list-presets -q"),
        (
            "restore a --yes",
            "restore a --dry-run --replace --trust-tree",
        ),
    ] {
        assert_eq!(
            parse(line).map_err(|error| error.exit_code()).unwrap_err(),
            2,
            "{line}"
        );
        assert!(parse(accepted).is_ok(), "{accepted}: {:?}", parse(accepted));
    }
}

#[test]
fn variables_are_in_the_help() {
    let help = |line| parse(line).unwrap_err().to_string();
    let help = help("wrap --help") + &help("check --help");
    for key in Key::ALL {
        let variable = format!("[env: {}]", key.variable());
        assert!(help.contains(&variable), "{variable}");
    }
}

#[test]
fn patterns_are_globs_over_the_whole_soname() {
    let cli = parse_wrapping("--paths a --ignore-missing libcuda.so.* libGL*");
    let set = cli.ignore_missing;
    assert!(set.is_match("libcuda.so.1") && set.is_match("libGLX.so.0"));
    assert!(!set.is_match("mylibcuda.so.1") && !set.is_match("libcuda.so"));
}
