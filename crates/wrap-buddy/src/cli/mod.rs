//! Parses the command line and lowers it to the options of the commands. No other room knows clap's parser.

mod args;
mod manual;
mod names;
pub mod share;
mod watch;
mod wrap;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anstream::ColorChoice;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::commands::check::{CheckOptions, Fix};
use crate::commands::generate::Files;
use crate::commands::restore::RestoreOptions;
use crate::commands::settings::{Files as SettingsFiles, Key, Settings, Source};
use crate::commands::{Command, PathOptions};
use crate::plan::options::{Search, Strategy, WrapOptions};
use crate::report::{Format, Output};
use args::{CheckArgs, CommandLine, FilesArgs, PathArgs, RestoreArgs, Subcommand, WrapCommandArgs};
use wrap::{DRIVERS, OutputArgs, WrapArgs, absolute_directory};

/// A command line with the settings of its run.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub command: Command,
    /// For `wrap` without library directories: how to find them.
    pub proposal: Option<Box<CheckOptions>>,
    pub settings: Settings,
}

impl From<Command> for Invocation {
    fn from(command: Command) -> Self {
        Self {
            command,
            proposal: None,
            settings: Settings::default(),
        }
    }
}

/// Parses `args`, which starts with the program's name.
///
/// # Errors
/// Usage errors. Help and version are errors too, with exit code 0.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    read_with_settings(args).map(|invocation| invocation.command)
}

/// Like [`read`].
///
/// # Errors
/// Usage errors, and errors in files and variables with settings.
pub fn read_with_settings(
    args: impl IntoIterator<Item = OsString>,
) -> Result<Invocation, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let has_flags = args.iter().any(|arg| arg.as_bytes().starts_with(b"--"));
    let mut definition = CommandLine::command();
    let matches = definition.try_get_matches_from_mut(args);
    let matches = matches.map_err(|error| match has_flags {
        true => explain_missing_path(error),
        false => error,
    })?;
    refuse_flags_before_command(&mut definition, &matches)?;
    let invocation = CommandLine::from_arg_matches(&matches)
        .map_err(|error| error.format(&mut definition))?
        .lower(&mut definition)?;
    let command = &invocation.command;
    if command.output().format == Format::Dot && !matches!(command, Command::Check(_)) {
        let message = "--format dot is only for check: wrap-buddy check PATH... --format dot";
        return Err(definition.error(ErrorKind::ArgumentConflict, message));
    }
    Ok(invocation)
}

/// A flag with several values takes every word up to the next flag, PATH included.
fn explain_missing_path(mut error: clap::Error) -> clap::Error {
    let is_missing = error.kind() == ErrorKind::MissingRequiredArgument;
    let missing = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    if is_missing && missing.is_some_and(|missing| missing.contains("<PATH>")) {
        let tip = "a flag such as --libs takes all words up to the next flag: write PATH first, as in the usage line";
        let tip = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

/// A flag of wrapping before the name of another command would be ignored.
fn refuse_flags_before_command(
    definition: &mut clap::Command,
    matches: &ArgMatches,
) -> Result<(), clap::Error> {
    let Some(command) = matches.subcommand_name() else {
        return Ok(());
    };
    let ignored = definition.get_arguments().find(|argument| {
        let id = argument.get_id().as_str();
        // Ids are those of the top level only: global flags are handed down.
        !argument.is_global_set()
            && matches.try_contains_id(id).is_ok_and(|known| known)
            && matches.value_source(id) == Some(ValueSource::CommandLine)
    });
    let Some(ignored) = ignored else {
        return Ok(());
    };
    let message = match ignored.get_long() {
        Some(flag) => format!("write --{flag} after `{command}`: wrap-buddy {command} … --{flag}"),
        None => {
            format!("`{command}` is a command and comes first; a file of that name is ./{command}")
        }
    };
    Err(definition.error(ErrorKind::ArgumentConflict, message))
}

impl CommandLine {
    fn lower(self, definition: &mut clap::Command) -> Result<Invocation, clap::Error> {
        let command = match self.command {
            None => {
                let first = self.wrap.wrap.files.first();
                if let Some(hint) = first.and_then(|word| names::hint(word)) {
                    return Err(definition.error(ErrorKind::InvalidSubcommand, hint));
                }
                return self.wrap.lower();
            }
            Some(Subcommand::Wrap(args)) => return args.lower(),
            Some(Subcommand::Restore(args)) => {
                let args = args.lower();
                let first = args.path_options.paths.first();
                if let Some(hint) = first.and_then(|word| names::path_hint(word)) {
                    return Err(definition.error(ErrorKind::ValueValidation, hint));
                }
                Command::Restore(args)
            }
            Some(Subcommand::Status(args)) => Command::Status(args.lower().with_names_on_path()),
            Some(Subcommand::Show(args)) => Command::Show(args.lower().with_names_on_path()),
            Some(Subcommand::Watch(args)) => {
                let mut settings = settings(SettingsFiles::Usual, args.wrap.0.no_settings)?;
                let command = Command::Watch(Box::new(args.lower(&mut settings)?));
                return Ok(Invocation {
                    settings,
                    ..command.into()
                });
            }
            Some(Subcommand::Check(args)) => return args.lower(),
            Some(Subcommand::Generate(FilesArgs::Share { directory })) => {
                Command::Generate(Files::Share(directory))
            }
            Some(Subcommand::Generate(FilesArgs::Loaders { directory })) => {
                Command::Generate(Files::Loaders(directory))
            }
        };
        Ok(command.into())
    }
}

fn settings(files: SettingsFiles<'_>, none: bool) -> Result<Settings, clap::Error> {
    match none {
        true => Ok(Settings::default()),
        false => Settings::read(files).map_err(|error| raw_error(&format!("{error:#}"))),
    }
}

/// The directories of a flag, or those in the settings.
fn directories(
    settings: &mut Settings,
    key: Key,
    flag: Option<Vec<PathBuf>>,
) -> Result<Vec<PathBuf>, clap::Error> {
    if let Some(flag) = flag {
        return Ok(set_paths(settings, key, split_at_commas(flag)));
    }
    let setting = settings.get(key);
    let values = setting.values.iter().map(|value| {
        let checked = absolute_directory(value.as_ref());
        checked.map_err(|why| wrong_value(&setting.source, value, why))
    });
    values.collect()
}

fn interpreters(settings: &mut Settings, flag: Vec<PathBuf>) -> Vec<PathBuf> {
    let values = settings.get(Key::Interpreter).values.iter();
    match flag.is_empty() {
        true => values.map(PathBuf::from).collect(),
        false => set_paths(settings, Key::Interpreter, flag),
    }
}

fn set_paths(settings: &mut Settings, key: Key, paths: Vec<PathBuf>) -> Vec<PathBuf> {
    settings.set(key, paths.iter().map(OsString::from).collect());
    paths
}

/// The patterns of `--ignore-missing`, or those in the settings.
fn ignore_missing(settings: &mut Settings, flag: Vec<Glob>) -> Result<GlobSet, clap::Error> {
    let key = Key::IgnoreMissing;
    if !flag.is_empty() {
        settings.set(key, flag.iter().map(|glob| glob.glob().into()).collect());
        return glob_set("--ignore-missing", &flag);
    }
    let setting = settings.get(key);
    let patterns = setting.values.iter().map(|value| {
        let pattern = Glob::new(&value.to_string_lossy());
        pattern.map_err(|error| wrong_value(&setting.source, value, error.kind()))
    });
    let patterns: Vec<Glob> = patterns.collect::<Result<_, _>>()?;
    glob_set("--ignore-missing", &patterns)
}

fn wrong_value(source: &Source, value: &OsStr, why: impl Display) -> clap::Error {
    raw_error(&format!("{source}: {}: {why}", Path::new(value).display()))
}

/// An error that is not in the command line: without its usage.
fn raw_error(message: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{message}\n"))
}

impl WrapCommandArgs {
    fn lower(self) -> Result<Invocation, clap::Error> {
        let paths = [&*self.wrap.files, &self.wrap.paths].concat();
        let files = SettingsFiles::WithTrees(&paths);
        let mut settings = settings(files, self.wrap.no_settings)?;
        let options = self.wrap.lower(&mut settings)?;
        let is_for_people = options.output.format == Format::Human;
        if self.yes && !is_for_people {
            return Err(usage_error("--yes needs --format human"));
        }
        let has_libs = settings.get(Key::Libs).source != Source::Default;
        let proposal = CheckOptions {
            path_options: PathOptions {
                paths: options.paths.clone(),
                no_recurse: options.no_recurse,
                jobs: options.jobs,
                found_on_path: Vec::new(),
                output: options.output,
            },
            interpreter: options.interpreter.clone(),
            find_in: directories(&mut settings, Key::FindIn, None)?,
            fix: Some(match (self.yes, options.dry_run) {
                (true, _) => Fix::WithoutAsking,
                (_, true) => Fix::DryRun,
                _ => Fix::Ask,
            }),
            ..CheckOptions::default()
        };
        Ok(Invocation {
            command: Command::Wrap(Box::new(options)),
            proposal: (is_for_people && !has_libs).then(|| Box::new(proposal)),
            settings,
        })
    }
}

impl WrapArgs {
    fn lower(self, settings: &mut Settings) -> Result<WrapOptions, clap::Error> {
        let frozen_except = match (self.search, self.frozen_except) {
            (Search::Frozen, None) => glob_set("--frozen-except", &drivers())?,
            (Search::Frozen, Some(patterns)) => glob_set("--frozen-except", &patterns)?,
            (_, None) => GlobSet::empty(),
            (_, Some(_)) => return Err(usage_error("--frozen-except needs --search frozen")),
        };
        if self.self_contained && self.strategy == Strategy::Inplace {
            return Err(usage_error(
                "--self-contained needs a stub: --strategy stub or auto",
            ));
        }
        let dependencies = self.runtime_dependencies;
        Ok(WrapOptions {
            paths: [self.files, self.paths].concat(),
            no_recurse: self.no_recurse,
            libs: directories(settings, Key::Libs, self.libs)?,
            runtime_dependencies: directories(settings, Key::RuntimeDependencies, dependencies)?,
            ignore_missing: ignore_missing(settings, self.ignore_missing)?,
            needed: self.needed,
            search: self.search,
            search_minimal: self.search_minimal,
            frozen_except,
            dry_run: self.dry_run,
            force: self.force,
            replace: self.replace,
            trust_tree: self.trust_tree,
            strategy: self.strategy,
            interpreter: interpreters(settings, self.interpreter),
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
            verbose: self.verbose > 0,
            detailed: self.verbose > 1,
            quiet: self.quiet,
            format: self.format,
            color: match self.color {
                clap::ColorChoice::Auto => ColorChoice::Auto,
                clap::ColorChoice::Always => ColorChoice::Always,
                clap::ColorChoice::Never => ColorChoice::Never,
            },
        }
    }
}

impl PathArgs {
    fn lower(self) -> PathOptions {
        PathOptions {
            paths: [self.paths, self.more_paths].concat(),
            no_recurse: self.no_recurse,
            jobs: self.jobs,
            found_on_path: Vec::new(),
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
    fn lower(self) -> Result<Invocation, clap::Error> {
        let path_options = self.path_options.lower().with_names_on_path();
        let here = [PathBuf::from(".")];
        let paths = match path_options.paths.as_slice() {
            [] => &here[..],
            paths => paths,
        };
        // The paths of this machine mean nothing in another root.
        let none = self.no_settings || self.root.is_some();
        let mut settings = settings(SettingsFiles::WithTrees(paths), none)?;
        let find_in = (!self.find_in.is_empty()).then_some(self.find_in);
        let options = CheckOptions {
            path_options,
            libs: directories(&mut settings, Key::Libs, self.libs)?,
            interpreter: interpreters(&mut settings, self.interpreter),
            root: self.root,
            find_in: directories(&mut settings, Key::FindIn, find_in)?,
            tree: self.tree,
            fix: match (self.fix, self.yes, self.dry_run) {
                (false, ..) => None,
                (_, true, _) => Some(Fix::WithoutAsking),
                (.., true) => Some(Fix::DryRun),
                _ => Some(Fix::Ask),
            },
        };
        if options.fix.is_some() && options.path_options.output.format != Format::Human {
            return Err(usage_error("--fix needs --format human"));
        }
        let command = match self.settings {
            true => Command::Settings(options.path_options.output),
            false => Command::Check(options),
        };
        Ok(Invocation {
            settings,
            ..command.into()
        })
    }
}

/// Splits `./a,./b` into two directories, unless a directory has that name.
fn split_at_commas(directories: Vec<PathBuf>) -> Vec<PathBuf> {
    let split = |directory: PathBuf| -> Vec<PathBuf> {
        let bytes = directory.as_os_str().as_bytes();
        if !bytes.contains(&b',') || directory.exists() {
            return vec![directory];
        }
        let parts = bytes.split(|&byte| byte == b',');
        let parts = parts.filter(|part| !part.is_empty());
        let parts = parts.map(|part| PathBuf::from(OsString::from_vec(part.to_vec())));
        // The first part became absolute with the whole.
        parts
            .map(|part| std::path::absolute(&part).unwrap_or(part))
            .collect()
    };
    directories.into_iter().flat_map(split).collect()
}

fn drivers() -> Vec<Glob> {
    let patterns = DRIVERS.iter().map(|pattern| Glob::new(pattern));
    patterns.filter_map(Result::ok).collect()
}

fn usage_error(message: &str) -> clap::Error {
    CommandLine::command().error(ErrorKind::ArgumentConflict, message)
}

/// Combines the patterns of `flag`.
fn glob_set(flag: &str, patterns: &[Glob]) -> Result<GlobSet, clap::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(pattern.clone());
    }
    set.build().map_err(|error| {
        CommandLine::command().error(ErrorKind::ValueValidation, format!("{flag}: {error}"))
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
        assert!(
            !cli.frozen_except.is_match("libEGL.so.1") && cli.frozen_except.is_match("libx.so")
        );
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
            ("check a --fix --root /", "check a --root /"),
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
}
