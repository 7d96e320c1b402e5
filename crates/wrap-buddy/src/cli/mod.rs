//! Parses the command line and lowers it to the options of the commands. No other room knows clap's parser.

mod args;
mod manual;
mod names;
mod run;
pub mod share;
#[cfg(test)]
mod tests;
mod values;
mod watch;
mod wrap;

use std::ffi::OsString;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anstream::ColorChoice;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use globset::{Glob, GlobSet};
use ldso::Root;

use crate::commands::bundle::BundleOptions;
use crate::commands::check::{CheckOptions, Fix};
use crate::commands::generate::Files;
use crate::commands::restore::RestoreOptions;
use crate::commands::run::{RunOptions, program_named};
use crate::commands::settings::{Files as SettingsFiles, Key, Settings, Source};
use crate::commands::{Command, PathOptions};
use crate::plan::bundle::{self, Selection};
use crate::plan::options::{Search, Strategy, WrapOptions};
use crate::report::{Format, Output};
use args::{
    BundleArgs, CheckArgs, CommandLine, FilesArgs, PathArgs, RestoreArgs, Subcommand,
    WrapCommandArgs,
};
use run::RunArgs;
use values::{directories, glob_set, ignore_missing, interpreters, settings};
use wrap::{DRIVERS, OutputArgs, WrapArgs};

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
            Some(Subcommand::Bundle(args)) => Command::Bundle(Box::new(args.lower()?)),
            Some(Subcommand::Run(args)) => return args.lower(),
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

impl WrapCommandArgs {
    fn lower(self) -> Result<Invocation, clap::Error> {
        let paths = [&*self.wrap.files, &self.wrap.paths].concat();
        let files = SettingsFiles::WithTrees(&paths);
        let root = self.root.root.unwrap_or_default();
        // The paths of this machine mean nothing in another root.
        let none = self.wrap.no_settings || !root.is_own();
        let mut settings = settings(files, none)?;
        let options = WrapOptions {
            root,
            strict: self.strict,
            ..self.wrap.lower(&mut settings)?
        };
        let is_for_people = options.output.format == Format::Human;
        if self.yes && !is_for_people {
            return Err(usage_error("--yes needs --format human"));
        }
        let has_libs = settings.get(Key::Libs).source != Source::Default;
        let proposal = CheckOptions {
            path_options: PathOptions {
                root: options.root.clone(),
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
        if self.embedded && self.strategy == Strategy::Inplace {
            return Err(usage_error(
                "--embedded needs a stub: --strategy stub or auto",
            ));
        }
        if self.embedded && self.relocatable && self.loader_dir_path.is_none() {
            return Err(usage_error(
                "--embedded needs a loader outside of the sidecar: with --relocatable, pass --loader-dir-path",
            ));
        }
        let dependencies = self.runtime_dependencies;
        Ok(WrapOptions {
            root: Root::default(),
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
            strict: None,
            replace: self.replace,
            trust_tree: self.trust_tree,
            strategy: self.strategy,
            interpreter: interpreters(settings, self.interpreter),
            self_contained: self.self_contained,
            embedded: self.embedded,
            relocatable: self.relocatable,
            allow_outside: self.allow_outside,
            within: None,
            loader_dir_path: self.loader_dir_path,
            sidecar_directory: None,
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
            root: self.root.root.unwrap_or_default(),
            paths: [self.paths, self.more_paths].concat(),
            no_recurse: self.no_recurse,
            jobs: self.jobs,
            found_on_path: Vec::new(),
            output: self.output.lower(),
        }
    }
}

impl BundleArgs {
    fn lower(self) -> Result<BundleOptions, clap::Error> {
        let exclude = self.exclude.unwrap_or_else(drivers);
        let root = self.root.root.unwrap_or_default();
        let mut found_on_path = Vec::new();
        let mut programs = self.programs;
        for program in &mut programs {
            // A directory of this name is no program.
            let is_bare = program.components().count() == 1 && !program.is_file();
            let name = program.to_str().filter(|_| is_bare);
            if let Some(found) = name.and_then(|name| bundle::on_path(&root, name)) {
                found_on_path.push((program.clone(), found.clone()));
                *program = found;
            }
        }
        let runnable = self.runnable.is_some();
        let output = self.runnable.or(self.output).unwrap_or_default();
        Ok(BundleOptions {
            selection: Selection {
                root,
                programs,
                output: output.clone(),
                prefixes: self.prefix,
                include: self.include,
                tables: self.table,
                ignore_missing: glob_set("--ignore-missing", &self.ignore_missing)?,
                may_lack: [&*exclude, &self.ignore_missing].concat(),
                exclude: glob_set("--exclude", &exclude)?,
            },
            output,
            runnable,
            dry_run: self.dry_run,
            list: self.list,
            print: self.print.lower(),
            jobs: self.jobs,
            found_on_path,
        })
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

impl RunArgs {
    fn lower(self) -> Result<Invocation, clap::Error> {
        let mut settings = settings(SettingsFiles::Usual, self.no_settings)?;
        let mut command = self.command.into_iter();
        let name = command.next().unwrap_or_default();
        let program = program_named(&name);
        let output = self.output.lower();
        let one = NonZero::new(1);
        let find_in = (!self.find_in.is_empty()).then_some(self.find_in);
        let frozen_except = match self.search {
            Search::Frozen => glob_set("--frozen-except", &drivers())?,
            Search::Runpath | Search::Rpath => GlobSet::empty(),
        };
        let wrap = WrapOptions {
            libs: directories(&mut settings, Key::Libs, self.libs)?,
            runtime_dependencies: directories(
                &mut settings,
                Key::RuntimeDependencies,
                self.runtime_dependencies,
            )?,
            ignore_missing: ignore_missing(&mut settings, self.ignore_missing)?,
            needed: self.needed,
            search: self.search,
            frozen_except,
            interpreter: interpreters(&mut settings, self.interpreter),
            dry_run: true,
            self_contained: true,
            output,
            jobs: one,
            ..WrapOptions::default()
        };
        let has_libs = settings.get(Key::Libs).source != Source::Default;
        let find = CheckOptions {
            path_options: PathOptions {
                paths: vec![program.clone()],
                jobs: one,
                output,
                ..PathOptions::default()
            },
            interpreter: wrap.interpreter.clone(),
            find_in: directories(&mut settings, Key::FindIn, find_in)?,
            ..CheckOptions::default()
        };
        let options = RunOptions {
            name,
            program,
            arguments: command.collect(),
            wrap,
            find: (!has_libs).then_some(find),
            try_mount: self.try_mount,
            output,
        };
        Ok(Invocation {
            settings,
            ..Command::Run(Box::new(options)).into()
        })
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
        let none = self.no_settings || !path_options.root.is_own();
        let mut settings = settings(SettingsFiles::WithTrees(paths), none)?;
        let find_in = (!self.find_in.is_empty()).then_some(self.find_in);
        let options = CheckOptions {
            path_options,
            libs: directories(&mut settings, Key::Libs, self.libs)?,
            interpreter: interpreters(&mut settings, self.interpreter),
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

fn drivers() -> Vec<Glob> {
    let patterns = DRIVERS.iter().map(|pattern| Glob::new(pattern));
    patterns.filter_map(Result::ok).collect()
}

fn usage_error(message: &str) -> clap::Error {
    CommandLine::command().error(ErrorKind::ArgumentConflict, message)
}
