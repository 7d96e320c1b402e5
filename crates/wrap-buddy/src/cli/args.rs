//! The command line, defined once for clap: parsing, help, usage errors, manual pages and completions all come from here.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Parser};

use super::watch::WatchArgs;
use super::wrap::{OutputArgs, WrapArgs, search_directory};

const EXAMPLES: &str = "\
Examples:
  wrap-buddy --paths ./app --libs ./lib              wrap the programs in ./app
  wrap-buddy --paths ./app --libs ./lib --dry-run    only say what that would do
  wrap-buddy check ./app                             say what is missing, and where it is
  wrap-buddy restore ./app                           make everything there what it was
  wrap-buddy show ./app/main                         what was done to it, to the last byte";

/// Makes prebuilt Linux executables run where their dynamic linker and libraries are elsewhere.
///
/// Each program gets a stub over its entry point and a sidecar file .NAME.wrapbuddy next to it, each shared library that
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
pub(super) struct CommandLine {
    /// Something else than wrapping
    #[command(subcommand)]
    pub command: Option<Subcommand>,

    #[command(flatten)]
    pub wrap: WrapArgs,
}

/// The other commands.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Make files again what they were before they were wrapped or edited
    Restore(RestoreArgs),
    /// Say which files are wrapped or edited, and how
    Status(PathArgs),
    /// Show what was done to a file: sidecar, edits, and the code at its entry point next to the stub
    Show(PathArgs),
    /// Wrap what is in directories, and then whatever arrives there
    Watch(WatchArgs),
    /// Say which programs and libraries will find all they need, and what to do about the others
    ///
    /// Nothing is executed. Exit status: 0 when all will start, 1 when not.
    Check(CheckArgs),
    /// Write the files that a package has next to this tool
    #[command(hide = true, subcommand)]
    Generate(FilesArgs),
}

/// Files to write into a directory, which is made if it is not there.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum FilesArgs {
    /// Manual pages and completions, for a prefix's share: man/man1, bash-completion, zsh, fish, nushell
    Share {
        /// The directory
        directory: PathBuf,
    },
    /// The loader of every architecture, for a prefix's lib/wrap-buddy
    Loaders {
        /// The directory
        directory: PathBuf,
    },
}

/// Files to check.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub path_options: PathArgs,

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
pub struct PathArgs {
    /// Files, or directories, which are scanned recursively
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// Leave the directories below those given alone
    #[arg(long)]
    pub no_recurse: bool,

    /// Files worked on in parallel; as many as there are processors without it
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZero<usize>>,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// Files to restore.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub path_options: PathArgs,

    /// Say what would be done and write nothing
    #[arg(long, help_heading = None::<&'static str>)]
    pub dry_run: bool,

    /// Replace a file that is running by a restored copy
    #[arg(long, help_heading = None::<&'static str>)]
    pub replace: bool,

    /// As root, work on files that other users can replace, and with root's rights: where no other user writes
    #[arg(long, help_heading = None::<&'static str>)]
    pub trust_tree: bool,
}
