//! The arguments of `wrap-buddy watch`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches, Args, Command, CommandFactory, Error, FromArgMatches};

use super::wrap::WrapArgs;
use crate::commands::watch::WatchOptions;

/// Directories to watch, and how to wrap what arrives in them.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WatchArgs {
    #[command(flatten)]
    pub wrap: Wrapping,

    /// Directories of software that is known by name, in addition to those given
    #[arg(help_heading = "Watching", long, value_name = "NAME")]
    pub preset: Vec<String>,

    /// File with more presets; $XDG_CONFIG_HOME/wrap-buddy/watch.toml, if it is there, without it
    #[arg(help_heading = "Watching", long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Say what presets there are, and the directories they mean
    #[arg(help_heading = "Watching", long)]
    pub list_presets: bool,

    /// End when what is there is wrapped, and what is arriving has settled
    #[arg(help_heading = "Watching", long)]
    pub once: bool,

    /// Milliseconds in which nothing happens in a directory before what has arrived there is wrapped
    #[arg(help_heading = "Watching", long, value_name = "MS", default_value = "300", value_parser = milliseconds)]
    pub settle: Duration,

    /// Look through the directories every so many seconds, instead of having the kernel tell what happens
    ///
    /// Directories on file systems that do not tell (NFS, SMB, 9p, FUSE: drives of Windows and shared directories among them)
    /// are looked through anyway, every 5 seconds without this.
    #[arg(help_heading = "Watching", long, value_name = "SECONDS", value_parser = seconds)]
    pub poll: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  wrap-buddy watch ~/tools --libs /opt/lib           wrap what is in ~/tools, and what arrives there
  wrap-buddy watch --preset vscode-server            the servers of editors that connect to this machine
  wrap-buddy watch ~/tools --once                    only what is there and what is arriving";

/// The flags of wrapping itself, defined where those are, with the paths as arguments.
#[derive(Clone, Debug)]
pub struct Wrapping(pub Box<WrapArgs>);

impl Wrapping {
    fn arguments() -> impl Iterator<Item = Arg> {
        let command = WrapArgs::command();
        let arguments: Vec<Arg> = command.get_arguments().cloned().collect();
        arguments
            .into_iter()
            .map(|argument| match argument.get_id().as_str() {
                "paths" => argument
                    .long(None)
                    .value_name("DIR")
                    .help("Directories to watch, whether they are there yet or not")
                    .long_help(None)
                    .required(false)
                    .required_unless_present_any(["preset", "list_presets"]),
                "format" => argument.help("Format of the events; json is an object in each line"),
                "no_recurse" => argument.help("Leave the directories below those given alone"),
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

fn milliseconds(text: &str) -> Result<Duration, String> {
    let number: u32 = text.parse().map_err(|error| format!("{error}"))?;
    Ok(Duration::from_millis(u64::from(number)))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match (0.05..=86_400.0).contains(&number) {
        true => Ok(Duration::from_secs_f64(number)),
        false => Err("from 0.05 to 86400 seconds".to_owned()),
    }
}

impl WatchArgs {
    pub(super) fn lower(self) -> Result<WatchOptions, Error> {
        Ok(WatchOptions {
            wrap: self.wrap.0.lower()?,
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
            "a --paths b",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
