//! The command line, defined once: parsing, help and usage errors all come from here.

use std::ffi::OsString;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::scan::{Candidate, Unreadable, Wanted, scan};

/// How results are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON document on standard output.
    Json,
    /// A line of JSON for each file as soon as it is finished, and one for the end.
    #[value(alias = "jsonl")]
    JsonLines,
}

/// How a program comes to its dynamic linker and its libraries. Libraries are always edited in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    /// A stub over the entry point and a loader that tells ld.so at every start
    #[default]
    Stub,
    /// Edits of PT_INTERP and .dynamic in the file itself, where it has room; no stub, nothing at run time
    #[value(alias = "in-place")]
    Inplace,
    /// In place where there is room, else by a stub
    Auto,
}

/// How a program finds its libraries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Search {
    /// By a DT_RUNPATH, which is for what the program itself needs
    #[default]
    Runpath,
    /// By a DT_RPATH, which libraries without a DT_RUNPATH inherit
    Rpath,
    /// By the path of each library, all of them resolved now: nothing is searched for at a start. For libraries that do not
    /// move; with musl as runpath
    Frozen,
}

/// Libraries of drivers: they belong to the machine a program runs on.
const DRIVERS: [&str; 11] = [
    "libEGL*.so*",
    "libGL*.so*",
    "libOpenCL.so*",
    "libOpenGL.so*",
    "libcuda.so*",
    "libgbm.so*",
    "libnvidia-*.so*",
    "libva*.so*",
    "libvdpau*.so*",
    "libvulkan*.so*",
    "libdrm*.so*",
];

const EXAMPLES: &str = "\
Examples:
  wrap-buddy --paths ./app --libs ./lib              wrap the programs in ./app
  wrap-buddy --paths ./app --libs ./lib --dry-run    only say what that would do
  wrap-buddy check ./app                             say what is missing, and where it is
  wrap-buddy restore ./app                           make everything there what it was
  wrap-buddy show ./app/main                         what was done to it, to the last byte";

/// Makes prebuilt Linux executables run where their dynamic linker and libraries are elsewhere.
///
/// Each program gets a stub over its entry point and a sidecar file .NAME.wrapbuddy beside it, each shared library that
/// cannot find what it needs a search path; length, offsets and layout stay as they are.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "wrap-buddy",
    bin_name = "wrap-buddy",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
#[command(after_help = EXAMPLES)]
pub struct CommandLine {
    /// Something else than wrapping
    #[command(subcommand)]
    pub command: Option<Command>,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub wrap: Cli,
}

/// What to wrap, and how; nothing with another command.
#[derive(Clone, Debug, Parser)]
#[command(next_help_heading = "Programs")]
pub struct Cli {
    /// Programs and libraries, or directories with them
    ///
    /// Directories are scanned recursively. Symbolic links met in a directory are skipped, one named here is followed.
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub paths: Vec<PathBuf>,

    /// Library directories, searched in this order
    ///
    /// What they lack is looked for in the directories given to --paths, and where the libraries found look themselves.
    #[arg(help_heading = "Libraries", long, value_name = "PATH", num_args = 0.., value_parser = search_directory())]
    pub libs: Vec<PathBuf>,

    /// Directories put on the search path of every program, and of libraries that open others by name, whether they resolve
    /// anything or not
    #[arg(help_heading = "Libraries", long, value_name = "PATH", num_args = 0.., value_parser = search_directory())]
    pub runtime_dependencies: Vec<PathBuf>,

    /// Glob patterns of sonames that may be missing
    #[arg(help_heading = "Libraries", long, value_name = "PATTERN", num_args = 1..)]
    pub ignore_missing: Vec<Glob>,

    /// Sonames of libraries to load in addition
    #[arg(help_heading = "Libraries", long, value_name = "SONAME", num_args = 1..)]
    pub needed: Vec<OsString>,

    /// How programs find their libraries
    #[arg(help_heading = "Libraries", long, value_enum, default_value_t)]
    pub search: Search,

    /// Leave directories of --libs off the search path that have nothing a file needs to be loaded
    ///
    /// Without it they are at its end, where they have libraries for the file, in programs and in libraries that open others by
    /// name.
    #[arg(help_heading = "Libraries", long)]
    pub search_minimal: bool,

    /// Glob patterns of sonames that `--search frozen` leaves to be searched for; instead of those of drivers
    ///
    /// What is found in /run/opengl-driver never freezes, and the C library only as a whole, with the dynamic linker beside it.
    #[arg(help_heading = "Libraries", long, value_name = "PATTERN", num_args = 0.., default_values = DRIVERS, hide_default_value = true)]
    pub frozen_except: Vec<Glob>,

    /// Leave the directories below those given to --paths alone
    #[arg(long)]
    pub no_recurse: bool,

    /// Say what would be done and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Wrap programs too that start and find all they need as they are
    #[arg(long)]
    pub force: bool,

    /// Replace a file that is running by a changed copy
    #[arg(long)]
    pub replace: bool,

    /// As root, work on files that other users can replace, and with root's rights: where nobody else is at work
    ///
    /// Without it root writes the files of other users with their rights, and leaves its own alone in directories that others can write
    /// to. For building the images of containers and the like.
    #[arg(long)]
    pub trust_tree: bool,

    /// How programs are told: by a stub, or in the file itself where it has room
    #[arg(long, value_enum, default_value_t)]
    pub strategy: Strategy,

    /// The real dynamic linker; once for each architecture and libc, each program gets the one that fits
    ///
    /// Without it: the ones compiled in, or else those of the running system.
    #[arg(help_heading = "At run time", long, value_name = "PATH")]
    pub interpreter: Vec<PathBuf>,

    /// Put the loader into each program's sidecar: nothing else has to be there, and starting is faster
    ///
    /// The default with --relocatable, unless --loader-dir-path says where a shared loader is.
    #[arg(help_heading = "At run time", long)]
    pub self_contained: bool,

    /// Refer to loader, dynamic linker and libraries relative to the program, so that the tree can be moved
    #[arg(help_heading = "At run time", long)]
    pub relocatable: bool,

    /// With --relocatable, accept a dynamic linker, loader and libraries outside of the tree: it then works at the same depth only
    #[arg(help_heading = "At run time", long, requires = "relocatable")]
    pub allow_outside: bool,

    /// Where loader.bin is when the programs run
    ///
    /// Without it: the directory compiled in, or else ../lib/wrap-buddy next to this tool, or else a copy is installed into the user's
    /// data directory, for root into /usr/local/lib/wrap-buddy. Where that cannot be written: as with --self-contained.
    #[arg(help_heading = "At run time", long, value_name = "DIR")]
    pub loader_dir_path: Option<PathBuf>,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub output: Output,

    /// Files worked on in parallel; as many as there are processors without it
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZero<usize>>,
}

/// What is told, and how.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Say more
    #[arg(short, long)]
    pub verbose: bool,

    /// Print errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// How results are told
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// What can be done besides wrapping.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make files again what they were before they were wrapped or edited
    Restore(Restore),
    /// Say which files are wrapped or edited, and how
    Status(Look),
    /// Show what was done to a file: sidecar, edits, and the code at its entry point beside the stub
    Show(Look),
    /// Wrap what is in directories, and then whatever arrives there
    Watch(crate::watch::Watch),
    /// Say which programs and libraries will find all they need, and what to do about the others
    ///
    /// Nothing is executed. Exit status: 0 when all will start, 1 when not.
    Check(Check),
    /// Write the files that a package has beside this tool
    #[command(hide = true, subcommand)]
    Generate(crate::generate::Files),
}

/// Files to check.
#[derive(Clone, Debug, Args)]
pub struct Check {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub look: Look,

    /// Library directories to wrap with: says what that would solve
    #[arg(long, value_name = "PATH", num_args = 0.., value_parser = search_directory())]
    pub libs: Vec<PathBuf>,

    /// The dynamic linker to wrap with; once for each architecture and libc
    #[arg(long, value_name = "PATH")]
    pub interpreter: Vec<PathBuf>,

    /// A directory that is / to the programs: absolute paths and symbolic links lead to what is in it
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Directories below which missing libraries and dynamic linkers are looked for; /nix/store without it
    #[arg(long, value_name = "DIR", num_args = 1.., value_parser = search_directory())]
    pub find_in: Vec<PathBuf>,
}

/// Files to look at.
#[derive(Clone, Debug, Args)]
pub struct Look {
    /// Files, or directories, which are scanned recursively
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// Leave the directories below those given alone
    #[arg(long)]
    pub no_recurse: bool,

    /// Files worked on in parallel; as many as there are processors without it
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZero<usize>>,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub output: Output,
}

/// Files to restore.
#[derive(Clone, Debug, Args)]
pub struct Restore {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub look: Look,

    /// Say what would be done and write nothing
    #[arg(long, help_heading = None::<&'static str>)]
    pub dry_run: bool,

    /// Replace a file that is running by a restored copy
    #[arg(long, help_heading = None::<&'static str>)]
    pub replace: bool,

    /// As root, work on files that other users can replace, and with root's rights: where nobody else is at work
    #[arg(long, help_heading = None::<&'static str>)]
    pub trust_tree: bool,
}

impl Output {
    /// Only who wants to hear more hears of files that can never be wrapped.
    pub fn wanted(self) -> Wanted {
        match self.verbose {
            true => Wanted::All,
            false => Wanted::Elf,
        }
    }
}

impl Look {
    /// The files to look at, and what cannot be looked at.
    pub fn scan(&self) -> (Vec<Candidate>, Vec<Unreadable>) {
        let wanted = self.output.wanted();
        scan(&self.paths, !self.no_recurse, wanted, self.jobs)
    }
}

impl CommandLine {
    /// What `args` say, the program's name first.
    ///
    /// To set up all commands takes a tenth of the time of wrapping a file, and to take them down again: so wrapping is tried
    /// first, by itself. What fails there is for all of them together to name, or to understand.
    ///
    /// # Errors
    /// A usage error. Help and the version are errors too, with exit code 0.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let args: Vec<OsString> = args.into_iter().collect();
        let begins_with_flag = args
            .get(1)
            .is_some_and(|first| first.as_bytes().starts_with(b"-"));
        if begins_with_flag && let Ok(wrap) = Cli::try_parse_from(&args) {
            return Ok(Self {
                command: None,
                wrap,
            });
        }
        Self::try_parse_from(args)
    }

    /// What is told, and how, whatever the command is.
    pub fn output(&self) -> Output {
        match &self.command {
            None => self.wrap.output,
            Some(Command::Restore(restore)) => restore.look.output,
            Some(Command::Status(look) | Command::Show(look)) => look.output,
            Some(Command::Check(check)) => check.look.output,
            Some(Command::Watch(watch)) => watch.wrap.0.output,
            Some(Command::Generate(_)) => Output::default(),
        }
    }
}

impl Cli {
    /// Whether each program gets a loader of its own: in a tree that is moved, one less thing to be lost.
    pub fn brings_loaders(&self) -> bool {
        self.self_contained || self.relocatable && self.loader_dir_path.is_none()
    }

    /// The patterns of `--ignore-missing` as one.
    ///
    /// # Errors
    /// When they are too complex together.
    pub fn may_be_missing(&self) -> Result<GlobSet, globset::Error> {
        together(&self.ignore_missing)
    }

    /// The patterns of `--frozen-except` as one.
    ///
    /// # Errors
    /// When they are too complex together.
    pub fn frozen_except(&self) -> Result<GlobSet, globset::Error> {
        together(&self.frozen_except)
    }
}

fn together(patterns: &[Glob]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(pattern.clone());
    }
    set.build()
}

/// A directory that ld.so can be told of.
fn search_directory() -> impl clap::builder::TypedValueParser<Value = PathBuf> {
    use clap::builder::TypedValueParser;
    // The parser of paths refuses an empty one.
    clap::builder::OsStringValueParser::new().try_map(|text| {
        let path = PathBuf::from(text);
        let text = path.as_os_str().as_bytes();
        if text.contains(&b':') {
            return Err(match path.exists() {
                true => "ld.so takes the colon in it for the end of the directory",
                false => "separate directories with spaces, not with colons",
            });
        }
        if text.is_empty() {
            return Ok(path);
        }
        std::path::absolute(&path).map_err(|_| "the current directory cannot be determined")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn words(line: &str) -> impl Iterator<Item = OsString> {
        let words = std::iter::once("wrap-buddy").chain(line.split(' '));
        words.map(OsString::from)
    }

    fn parse(line: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::read(words(line))
    }

    fn parse_wrapping(line: &str) -> Cli {
        parse(line).unwrap().wrap
    }

    #[test]
    fn the_command_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn wrapping_by_itself_means_the_same() {
        for line in [
            "--paths a",
            "--paths=a -j2 --libs /l --search frozen",
            "--paths restore a status",
            "--paths a -- b",
            "--paths a --nothing",
            "--quiet",
            "-q restore a",
            "--quiet check a",
            "--help",
            "-V",
            "-",
            "restore a",
            "restore --paths a",
            "",
        ] {
            let all = CommandLine::try_parse_from(words(line));
            assert_eq!(format!("{:?}", parse(line)), format!("{all:?}"), "{line}");
        }
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
        let cli = parse("restore a b --dry-run -q").unwrap();
        let Some(Command::Restore(restore)) = cli.command else {
            panic!("{cli:?}");
        };
        assert_eq!(restore.look.paths, ["a", "b"].map(PathBuf::from));
        assert!(restore.dry_run && restore.look.output.quiet);
        // A program may be called like a command.
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
            assert_eq!(
                parse(line).unwrap().wrap.brings_loaders(),
                expected,
                "{line}"
            );
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
            "--paths a -j 0",
            "--paths a --format yaml",
            "--paths a --no-such-flag",
            "restore",
            "restore a --libs /c",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn patterns_are_globs_over_the_whole_soname() {
        let cli = parse_wrapping("--paths a --ignore-missing libcuda.so.* libGL*");
        let set = cli.may_be_missing().unwrap();
        assert!(set.is_match("libcuda.so.1") && set.is_match("libGLX.so.0"));
        assert!(!set.is_match("mylibcuda.so.1") && !set.is_match("libcuda.so"));
    }
}
