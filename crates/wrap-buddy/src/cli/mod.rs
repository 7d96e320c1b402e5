//! Parses the command line and lowers it to the options of the commands. No other room knows clap's parser.

mod args;
pub mod share;
mod watch;
mod wrap;

use std::ffi::OsString;

use clap::Parser;
use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::commands::check::CheckOptions;
use crate::commands::generate::Files;
use crate::commands::restore::RestoreOptions;
use crate::commands::{Command, PathOptions};
use crate::plan::options::WrapOptions;
use crate::report::Output;
use args::{CheckArgs, CommandLine, FilesArgs, PathArgs, RestoreArgs, Subcommand};
use wrap::{OutputArgs, WrapArgs};

/// Parses `args`, which starts with the program's name.
///
/// # Errors
/// Usage errors. Help and version are errors too, with exit code 0.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    CommandLine::try_parse_from(args)?.lower()
}

impl CommandLine {
    fn lower(self) -> Result<Command, clap::Error> {
        Ok(match self.command {
            None => Command::Wrap(Box::new(self.wrap.lower()?)),
            Some(Subcommand::Restore(args)) => Command::Restore(args.lower()),
            Some(Subcommand::Status(args)) => Command::Status(args.lower()),
            Some(Subcommand::Show(args)) => Command::Show(args.lower()),
            Some(Subcommand::Watch(args)) => Command::Watch(Box::new(args.lower()?)),
            Some(Subcommand::Check(args)) => Command::Check(args.lower()),
            Some(Subcommand::Generate(FilesArgs::Share { directory })) => {
                Command::Generate(Files::Share(directory))
            }
            Some(Subcommand::Generate(FilesArgs::Loaders { directory })) => {
                Command::Generate(Files::Loaders(directory))
            }
        })
    }
}

impl WrapArgs {
    fn lower(self) -> Result<WrapOptions, clap::Error> {
        Ok(WrapOptions {
            paths: self.paths,
            no_recurse: self.no_recurse,
            libs: self.libs,
            runtime_dependencies: self.runtime_dependencies,
            ignore_missing: glob_set("--ignore-missing", &self.ignore_missing)?,
            needed: self.needed,
            search: self.search,
            search_minimal: self.search_minimal,
            frozen_except: glob_set("--frozen-except", &self.frozen_except)?,
            dry_run: self.dry_run,
            force: self.force,
            replace: self.replace,
            trust_tree: self.trust_tree,
            strategy: self.strategy,
            interpreter: self.interpreter,
            self_contained: self.self_contained,
            relocatable: self.relocatable,
            allow_outside: self.allow_outside,
            loader_dir_path: self.loader_dir_path,
            output: self.output.lower(),
            jobs: self.jobs,
        })
    }
}

impl OutputArgs {
    fn lower(self) -> Output {
        Output {
            verbose: self.verbose,
            quiet: self.quiet,
            format: self.format,
        }
    }
}

impl PathArgs {
    fn lower(self) -> PathOptions {
        PathOptions {
            paths: self.paths,
            no_recurse: self.no_recurse,
            jobs: self.jobs,
            output: self.output.lower(),
        }
    }
}

impl RestoreArgs {
    fn lower(self) -> RestoreOptions {
        RestoreOptions {
            path_options: self.path_options.lower(),
            dry_run: self.dry_run,
            replace: self.replace,
            trust_tree: self.trust_tree,
        }
    }
}

impl CheckArgs {
    fn lower(self) -> CheckOptions {
        CheckOptions {
            path_options: self.path_options.lower(),
            libs: self.libs,
            interpreter: self.interpreter,
            root: self.root,
            find_in: self.find_in,
        }
    }
}

/// Combines the patterns of `flag`.
fn glob_set(flag: &str, patterns: &[Glob]) -> Result<GlobSet, clap::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(pattern.clone());
    }
    set.build().map_err(|error| {
        let message = format!("{flag}: {error}\n");
        clap::Error::raw(clap::error::ErrorKind::ValueValidation, message)
    })
}

#[cfg(test)]
mod tests {
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
            ("--paths a --loader-dir-path /c --self-contained", true),
        ] {
            assert_eq!(parse_wrapping(line).brings_loaders(), expected, "{line}");
        }
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
            "-",
            "restore --paths a",
            "--paths a -j 0",
            "--paths a --format yaml",
            "--paths a --no-such-flag",
            "restore",
            "restore a --libs /c",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let error = parse("--paths a -j 0").unwrap_err().to_string();
        assert!(error.contains("at least 1"), "{error}");
    }

    #[test]
    fn patterns_are_globs_over_the_whole_soname() {
        let cli = parse_wrapping("--paths a --ignore-missing libcuda.so.* libGL*");
        let set = cli.ignore_missing;
        assert!(set.is_match("libcuda.so.1") && set.is_match("libGLX.so.0"));
        assert!(!set.is_match("mylibcuda.so.1") && !set.is_match("libcuda.so"));
    }
}
