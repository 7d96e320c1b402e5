//! The command line as clap's structs: parsing, help, usage errors, manual pages and completions come from them.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Parser};

use super::watch::WatchArgs;
use super::wrap::{OutputArgs, WrapArgs, jobs, search_directory};

const EXAMPLES: &str = "\
Examples:
  wrap-buddy --paths ./app --libs ./lib              wrap the programs in ./app
  wrap-buddy --paths ./app --libs ./lib --dry-run    print the plan, change nothing
  wrap-buddy check ./app                             report missing libraries, and where they are
  wrap-buddy restore ./app                           restore the original files
  wrap-buddy show ./app/main                         show every change to this file";

/// Makes prebuilt Linux executables run where their dynamic linker and libraries are not where they expect them.
///
/// Each program gets a stub over its entry point and a sidecar file .NAME.wrapbuddy next to it. Each shared library that cannot find
/// its dependencies gets a search path. Length, offsets and layout of the files stay the same.
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
    #[command(subcommand)]
    pub command: Option<Subcommand>,

    #[command(flatten)]
    pub wrap: WrapArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Restore the original files
    Restore(RestoreArgs),
    /// List which files are wrapped or edited, and how
    Status(PathArgs),
    /// Show every change to a file: sidecar, edits, and the code at the entry point next to the stub
    Show(PathArgs),
    /// Wrap the programs in directories, and each one that arrives later
    Watch(WatchArgs),
    /// Report missing libraries and interpreters, and how to fix them
    ///
    /// Nothing is executed. Exit status: 0 if every file will start, 1 if not.
    Check(CheckArgs),
    /// Write files for a package: manual pages, completions, loaders
    #[command(hide = true, subcommand)]
    Generate(FilesArgs),
}

/// Files to write. The directory is created if it does not exist.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum FilesArgs {
    /// Manual pages and completions (bash, zsh, fish, nushell), in the layout of PREFIX/share
    Share {
        /// Output directory
        directory: PathBuf,
    },
    /// The loader of every architecture, in the layout of PREFIX/lib/wrap-buddy
    Loaders {
        /// Output directory
        directory: PathBuf,
    },
}

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub path_options: PathArgs,

    /// Library directories that wrapping would use: shows which problems that solves
    #[arg(long, value_name = "PATH", num_args = 0.., value_parser = search_directory())]
    pub libs: Vec<PathBuf>,

    /// The dynamic linker that wrapping would use; repeat for each architecture and libc
    #[arg(long, value_name = "PATH")]
    pub interpreter: Vec<PathBuf>,

    /// Directory that is / for the programs: absolute paths and symbolic links are resolved in it
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Directories to search for missing libraries and dynamic linkers [default: /nix/store]
    #[arg(long, value_name = "DIR", num_args = 1.., value_parser = search_directory())]
    pub find_in: Vec<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct PathArgs {
    /// Files, or directories to scan recursively
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// Do not descend into subdirectories
    #[arg(long)]
    pub no_recurse: bool,

    /// Number of files to process in parallel [default: number of processors]
    #[arg(short, long, value_name = "N", value_parser = jobs)]
    pub jobs: Option<NonZero<usize>>,

    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub path_options: PathArgs,

    /// Print the plan and write nothing
    #[arg(long, help_heading = None::<&'static str>)]
    pub dry_run: bool,

    /// Replace a running file by a restored copy
    #[arg(long, help_heading = None::<&'static str>)]
    pub replace: bool,

    /// As root, use root's rights for files that other users can replace; for trees where no other user writes
    #[arg(long, help_heading = None::<&'static str>)]
    pub trust_tree: bool,
}
