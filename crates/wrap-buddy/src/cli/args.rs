//! The command line as clap's structs: parsing, help, usage errors, manual pages and completions come from them.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Parser, ValueHint};
use globset::Glob;

use super::run::{EXAMPLES as RUN_EXAMPLES, RunArgs};
use super::watch::WatchArgs;
use super::wrap::{OutputArgs, RootArgs, WrapArgs, jobs, search_directory};
use crate::plan::options::Strict;

const USAGE: &str = "\
wrap-buddy PATH... [--libs DIR...] [OPTIONS]
       wrap-buddy COMMAND ...";

const EXAMPLES: &str = "\
Examples:
  wrap-buddy ./app --libs ./lib                      wrap the programs in ./app
  wrap-buddy ./app --libs ./lib --dry-run            print the plan, change nothing
  wrap-buddy check ./app                             report missing libraries, and where they are
  wrap-buddy restore ./app                           restore the original files
  wrap-buddy show ./app/main                         show every change to this file";

const WRAP_EXAMPLES: &str = "\
Examples:
  wrap-buddy wrap ./app --libs ./lib
  wrap-buddy wrap ./app --libs ./lib /opt/lib --ignore-missing 'libcuda.so*'
  wrap-buddy wrap ./app --libs ./app/lib --relocatable       the tree can be moved afterwards
  wrap-buddy wrap ./app --strategy auto                      without a stub where the file has room
  wrap-buddy wrap ./rootfs/opt/app --root ./rootfs           files of an unpacked or mounted image";

const RESTORE_EXAMPLES: &str = "\
Examples:
  wrap-buddy restore ./app                           restore the original files
  wrap-buddy restore ./rootfs/opt --root ./rootfs    files of an unpacked or mounted image
  wrap-buddy restore ./app --dry-run                 print the plan, change nothing
  wrap-buddy restore ./app/server --replace          while ./app/server is running";

const STATUS_EXAMPLES: &str = "\
Examples:
  wrap-buddy status ./app                            wrapped and edited files in ./app
  wrap-buddy status ./app -v                         the other files too
  wrap-buddy status ./app --format json              for a script";

const SHOW_EXAMPLES: &str = "\
Examples:
  wrap-buddy show ./app/main                         sidecar, edits, code at the entry point
  wrap-buddy show ./app/main -v                      with the bytes of each instruction";

const CHECK_EXAMPLES: &str = "\
Examples:
  wrap-buddy check ./app                             report missing libraries, and where they are
  wrap-buddy check ./app --fix                       wrap as proposed, after asking
  wrap-buddy check git                               a name without a slash is looked up on PATH
  wrap-buddy check ./app --find-in /opt              search /opt for the missing libraries
  wrap-buddy check ./app --libs ./lib                test whether --libs ./lib is enough
  wrap-buddy check ./app/main --tree                 every library, and why ld.so finds it there
  wrap-buddy check ./app --format dot | dot -Tsvg    the same as a picture, with Graphviz
  wrap-buddy check ./rootfs/usr --root ./rootfs      check an unpacked or mounted image";

const BUNDLE_EXAMPLES: &str = "\
Examples:
  wrap-buddy bundle curl --output ./curl             ./curl/bin/curl runs on any machine of this architecture
  wrap-buddy bundle curl --output ./curl.tar.zst     an archive of the same directory
  wrap-buddy bundle git --output ./git --include '/usr/lib/git-core/**'    with further files
  wrap-buddy bundle /opt/app/bin/app --output ./app  copies /opt/app, the prefix of the program
  wrap-buddy bundle curl --output ./curl --dry-run --list    print each file and its reason, write nothing";

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
    subcommand_negates_reqs = true,
    override_usage = USAGE,
    after_help = EXAMPLES
)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub command: Option<Subcommand>,

    #[command(flatten)]
    pub wrap: WrapCommandArgs,
}

#[derive(Clone, Debug, Args)]
pub struct WrapCommandArgs {
    #[command(flatten)]
    pub wrap: WrapArgs,

    #[command(flatten)]
    pub root: RootArgs,

    /// Wrap with the libraries and the dynamic linker that `check` proposes, without asking
    ///
    /// Without --libs, and if programs would not start, wrap-buddy asks on a terminal.
    #[arg(help_heading = "Libraries", short, long, conflicts_with_all = ["dry_run", "libs"])]
    pub yes: bool,

    /// Fail if there is a warning, for example of a library without room for its search path
    ///
    /// With --strict=opened, only if a program of the run opens such a library.
    #[arg(help_heading = "Files", long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    pub strict: Option<Strict>,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Wrap programs and libraries; the default
    #[command(override_usage = "wrap-buddy wrap PATH... [--libs DIR...] [OPTIONS]", after_help = WRAP_EXAMPLES)]
    Wrap(WrapCommandArgs),
    /// Restore the original files
    #[command(override_usage = "wrap-buddy restore PATH... [OPTIONS]", after_help = RESTORE_EXAMPLES)]
    Restore(RestoreArgs),
    /// List which files are wrapped or edited, and how
    #[command(override_usage = "wrap-buddy status PATH... [OPTIONS]", after_help = STATUS_EXAMPLES)]
    Status(PathArgs),
    /// Show every change to a file: sidecar, edits, and the code at the entry point next to the stub
    #[command(override_usage = "wrap-buddy show PATH... [OPTIONS]", after_help = SHOW_EXAMPLES)]
    Show(PathArgs),
    /// Wrap the programs in directories, and each one that arrives later
    #[command(
        override_usage = "wrap-buddy watch DIR... [--libs DIR...] [OPTIONS]\n       wrap-buddy watch --preset NAME [OPTIONS]"
    )]
    Watch(WatchArgs),
    /// Report missing libraries and interpreters, and how to fix them
    ///
    /// Nothing is executed. Exit status: 0 if every program and script will start, 1 if not. A library that will not load counts if a
    /// checked program loads it or has its file name among its strings, or if you named the library itself. Other libraries, in
    /// directories, only cause warnings.
    #[command(
        override_usage = "wrap-buddy check PATH... [--libs DIR...] [--find-in DIR...] [OPTIONS]\n       wrap-buddy check --settings [PATH...]",
        after_help = CHECK_EXAMPLES,
        mut_arg("paths", |paths| paths.required_unless_present_any(["more_paths", "settings"]))
    )]
    Check(CheckArgs),
    /// Make a directory or an archive with programs and everything that they need, which runs on any machine of their architecture
    ///
    /// The programs are wrapped, and find their dynamic linker and libraries in the bundle, wherever it is. Drivers stay the host's. If the
    /// directory is a bundle, the programs are added to it.
    #[command(override_usage = "wrap-buddy bundle PROGRAM... --output PATH [OPTIONS]", after_help = BUNDLE_EXAMPLES)]
    Bundle(BundleArgs),
    /// Start a program once, without changing it
    ///
    /// It starts as if it were wrapped: with the same arguments, environment, working directory and process id, and with its own exit
    /// status. A wrapped copy is kept in $XDG_CACHE_HOME/wrap-buddy/run. Where the kernel allows a mount namespace, the copy is mounted
    /// over the program for this start, so that /proc/self/exe and all paths are those of the program. Otherwise, the copy itself is
    /// started; -v says which.
    #[command(override_usage = "wrap-buddy run [--libs DIR]... [OPTIONS] PROGRAM [ARGUMENTS]...", after_help = RUN_EXAMPLES)]
    Run(RunArgs),
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
#[command(next_help_heading = "Libraries")]
pub struct CheckArgs {
    #[command(flatten)]
    pub path_options: PathArgs,

    /// Library directories that wrapping would use: shows which problems that solves [env: WRAP_BUDDY_LIBS]
    #[arg(help_heading = "Libraries", long, value_name = "DIR", value_hint = ValueHint::DirPath, num_args = 0.., value_parser = search_directory("--libs"))]
    pub libs: Option<Vec<PathBuf>>,

    /// The dynamic linker that wrapping would use; repeat for each architecture and libc [env: WRAP_BUDDY_INTERPRETER]
    #[arg(help_heading = "Libraries", long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub interpreter: Vec<PathBuf>,

    /// Directories to search for missing libraries and dynamic linkers [default: /nix/store] [env: WRAP_BUDDY_FIND_IN]
    #[arg(help_heading = "Libraries", long, value_name = "DIR", value_hint = ValueHint::DirPath, num_args = 1.., value_parser = search_directory("--find-in"))]
    pub find_in: Vec<PathBuf>,

    /// List the defaults of flags from variables WRAP_BUDDY_* and files wrap-buddy.toml, and where each is from
    #[arg(help_heading = "Settings", long, conflicts_with_all = ["fix", "root", "no_settings", "no_recurse", "jobs", "tree"])]
    pub settings: bool,

    /// Ignore these variables and files; --root ignores them too
    #[arg(help_heading = "Settings", long)]
    pub no_settings: bool,

    /// Print all libraries of each program as a tree, each with the rule that finds it
    ///
    /// With several files, the trees of programs; with -v or without programs, also those of libraries.
    #[arg(help_heading = "Output", long)]
    pub tree: bool,

    /// Run the proposed commands, after asking, and check again
    #[arg(help_heading = "Method", long)]
    pub fix: bool,

    /// With --fix, do not ask
    #[arg(
        help_heading = "Method",
        short,
        long,
        requires = "fix",
        conflicts_with = "dry_run"
    )]
    pub yes: bool,

    /// With --fix, print the plan and write nothing
    #[arg(help_heading = "Method", long, requires = "fix")]
    pub dry_run: bool,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Files")]
pub struct PathArgs {
    /// Files, or directories to scan recursively
    #[arg(help_heading = None::<&'static str>, value_name = "PATH", value_hint = ValueHint::AnyPath, required_unless_present = "more_paths")]
    pub paths: Vec<PathBuf>,

    /// The same as PATH, as for `wrap-buddy --paths`
    #[arg(long = "paths", value_name = "PATH", num_args = 1.., hide = true)]
    pub more_paths: Vec<PathBuf>,

    #[command(flatten)]
    pub root: RootArgs,

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
#[command(next_help_heading = "Contents")]
pub struct BundleArgs {
    /// Programs: paths, or names on PATH
    #[arg(help_heading = None::<&'static str>, value_name = "PROGRAM", value_hint = ValueHint::CommandName, required = true)]
    pub programs: Vec<PathBuf>,

    #[command(flatten)]
    pub root: RootArgs,

    /// The directory or archive to make; .tar and .tar.zst are archives
    #[arg(help_heading = None::<&'static str>, short, long, value_name = "PATH", value_hint = ValueHint::AnyPath, required_unless_present = "runnable")]
    pub output: Option<PathBuf>,

    /// Make a file instead that unpacks itself to the user's cache and starts the program
    #[arg(help_heading = None::<&'static str>, long, value_name = "FILE", value_hint = ValueHint::AnyPath, conflicts_with = "output")]
    pub runnable: Option<PathBuf>,

    /// Directories to copy as a whole [default: the directory above `bin` of each program, unless other packages have files in it]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, num_args = 1..)]
    pub prefix: Vec<PathBuf>,

    /// Glob patterns of further files, with a slash, or of sonames; `gconv` lets programs find the modules of iconv
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    pub include: Vec<String>,

    /// Files with further rows for the table of data, as in docs/bundle.md
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, num_args = 1..)]
    pub table: Vec<PathBuf>,

    /// Glob patterns of sonames that stay the host's, and of rows of the table; `gconv` stands for the modules of iconv [default: graphics drivers]
    #[arg(long, value_name = "PATTERN", num_args = 0..)]
    pub exclude: Option<Vec<Glob>>,

    /// Glob patterns of sonames that may be missing
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    pub ignore_missing: Vec<Glob>,

    /// Print the plan and write nothing
    #[arg(long, help_heading = "Method")]
    pub dry_run: bool,

    /// Print each file with its size and the reason why it is in the bundle
    #[arg(long, help_heading = "Output")]
    pub list: bool,

    /// Number of files to process in parallel [default: number of processors]
    #[arg(long, short, help_heading = "Method", value_name = "N", value_parser = jobs)]
    pub jobs: Option<NonZero<usize>>,

    #[command(flatten)]
    pub print: OutputArgs,
}

#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub path_options: PathArgs,

    /// Print the plan and write nothing
    #[arg(long, help_heading = "Method")]
    pub dry_run: bool,

    /// Replace a running file by a restored copy
    #[arg(long, help_heading = "Method")]
    pub replace: bool,

    /// As root, use root's rights for files that other users can replace; for trees where no other user writes
    #[arg(long, help_heading = "Method")]
    pub trust_tree: bool,
}
