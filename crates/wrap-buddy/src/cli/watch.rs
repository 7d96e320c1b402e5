use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, ArgMatches, Args, Command, CommandFactory, Error, FromArgMatches, ValueHint};

use super::usage_error;
use super::wrap::{BadNumber, WrapArgs};
use crate::commands::settings::Settings;
use crate::commands::watch::{WatchOptions, built_in_presets};

/// Directories to watch, and how to wrap the files that arrive in them.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WatchArgs {
    #[command(flatten)]
    pub wrap: Wrapping,

    /// Also watch the directories of this preset
    #[arg(help_heading = "Watching", long, value_name = "NAME", value_parser = PresetName)]
    pub preset: Vec<String>,

    /// File with more presets [default: $XDG_CONFIG_HOME/wrap-buddy/watch.toml, if it exists]
    #[arg(help_heading = "Watching", long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// List the presets and their directories
    #[arg(help_heading = "Watching", long, conflicts_with_all = ["preset", "once", "settle", "poll"])]
    pub list_presets: bool,

    /// Exit when existing and arriving files are wrapped
    #[arg(help_heading = "Watching", long)]
    pub once: bool,

    /// Milliseconds without a change in a directory before its new files are wrapped
    #[arg(help_heading = "Watching", long, value_name = "MS", default_value = "300", value_parser = milliseconds)]
    pub settle: Duration,

    /// Scan the directories every SECONDS instead of using inotify
    ///
    /// Directories on file systems without change notifications (NFS, SMB, 9p, FUSE, such as Windows drives and shared folders) are always
    /// scanned, every 5 seconds by default.
    #[arg(help_heading = "Watching", long, value_name = "SECONDS", value_parser = seconds)]
    pub poll: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  wrap-buddy watch ~/tools --libs /opt/lib           wrap what is in ~/tools, and what arrives there
  wrap-buddy watch --preset vscode-server            the servers of editors that connect to this machine
  wrap-buddy watch ~/tools --once                    wrap existing and arriving files, then exit";

/// The flags of `wrap`, with the paths as positional arguments.
#[derive(Clone, Debug)]
pub struct Wrapping(pub Box<WrapArgs>);

impl Wrapping {
    fn arguments() -> impl Iterator<Item = Arg> {
        let command = WrapArgs::command();
        let arguments: Vec<Arg> = command.get_arguments().cloned().collect();
        arguments
            .into_iter()
            .map(|argument| match argument.is_global_set() {
                true => argument,
                false => argument.conflicts_with("list_presets"),
            })
            .map(|argument| match argument.get_id().as_str() {
                "paths" => argument.hide(true),
                "files" => argument
                    .value_name("DIR")
                    .value_hint(ValueHint::DirPath)
                    .help("Directories to watch; they may be created later")
                    .long_help(None)
                    .required(false)
                    .required_unless_present_any(["paths", "preset", "list_presets"]),
                "format" => argument.help("Format of the events; json prints one object per line"),
                "no_recurse" => argument.help("Do not descend into subdirectories"),
                _ => argument,
            })
    }
}

impl Args for Wrapping {
    fn augment_args(command: Command) -> Command {
        command.args(Self::arguments())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Wrapping {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        WrapArgs::from_arg_matches(matches).map(|cli| Self(Box::new(cli)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Accepts any name, since a configuration file may define more; shells complete the built-in ones.
#[derive(Clone, Copy)]
struct PresetName;

impl TypedValueParser for PresetName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(
            built_in_presets().into_iter().map(PossibleValue::new),
        ))
    }
}

fn milliseconds(text: &str) -> Result<Duration, BadNumber> {
    let number = text.parse::<u32>();
    let number = number.map_err(|_| BadNumber::Milliseconds)?;
    Ok(Duration::from_millis(u64::from(number)))
}

fn seconds(text: &str) -> Result<Duration, BadNumber> {
    let number = text.parse().ok();
    let number = number.filter(|number| (0.05..=86_400.0).contains(number));
    let duration = number.map(Duration::from_secs_f64);
    duration.ok_or(BadNumber::Seconds)
}

impl WatchArgs {
    pub(super) fn lower(self, settings: &mut Settings) -> Result<WatchOptions, Error> {
        if self.config.is_some() && self.preset.is_empty() && !self.list_presets {
            return Err(usage_error("--config needs --preset or --list-presets"));
        }
        Ok(WatchOptions {
            wrap: self.wrap.0.lower(settings)?,
            preset: self.preset,
            config: self.config,
            list_presets: self.list_presets,
            once: self.once,
            settle: self.settle,
            poll: self.poll,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Command as Lowered;
    use crate::plan::options::Strategy;

    fn parse(line: &str) -> Result<WatchOptions, Error> {
        let words = ["wrap-buddy", "watch"].into_iter().chain(line.split(' '));
        match crate::cli::read(words.map(Into::into))? {
            Lowered::Watch(watch) => Ok(*watch),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_takes_the_flags_of_wrapping() {
        let watch =
            parse("a b --libs /c /d --strategy auto --poll 0.5 -j 2 --format json").unwrap();
        let wrap = &watch.wrap;
        assert_eq!(wrap.paths, ["a", "b"].map(PathBuf::from));
        assert_eq!(wrap.libs, ["/c", "/d"].map(PathBuf::from));
        assert_eq!(wrap.strategy, Strategy::Auto);
        assert_eq!(wrap.jobs.map(usize::from), Some(2));
        assert_eq!(watch.poll, Some(Duration::from_millis(500)));
        assert_eq!(watch.settle, Duration::from_millis(300));
        let watch = parse("--paths a b --libs /c").unwrap();
        assert_eq!(watch.wrap.paths, ["a", "b"].map(PathBuf::from));
        let watch = parse("--preset vscode-server --preset mine --settle 50").unwrap();
        assert_eq!(watch.preset, ["vscode-server", "mine"]);
        assert!(watch.wrap.paths.is_empty());
    }

    #[test]
    fn usage_errors() {
        for line in [
            "--libs /c",
            "a --poll 0",
            "a --poll x",
            "a --settle -1",
            "a --preset",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
