//! The flags of wrapping, which `watch` has as well, and those of every command.

use std::ffi::OsString;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, ValueEnum};
use globset::Glob;

use crate::plan::options::{Search, Strategy};
use crate::report::Format;

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

/// What to wrap, and how; nothing with another command.
#[derive(Clone, Debug, Parser)]
#[command(next_help_heading = "Programs")]
pub struct WrapArgs {
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
    /// Libraries in /run/opengl-driver are never frozen, and the C library only as a whole, with the dynamic linker next to it.
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

    /// As root, work on files that other users can replace, and with root's rights: where no other user writes
    ///
    /// Without it root writes the files of other users with their rights, and leaves its own alone in directories that others can write
    /// to. For building the images of containers and the like.
    #[arg(long)]
    pub trust_tree: bool,

    /// How to redirect a program: by a stub at every start, or in place, by edits of PT_INTERP and .dynamic
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

    #[command(flatten)]
    pub output: OutputArgs,

    /// Files worked on in parallel; as many as there are processors without it
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZero<usize>>,
}

/// Output.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Say more
    #[arg(short, long)]
    pub verbose: bool,

    /// Print errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// A directory that can be on a search path: no colon in its name.
pub(super) fn search_directory() -> impl clap::builder::TypedValueParser<Value = PathBuf> {
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

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Human, Self::Json, Self::JsonLines]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Human => PossibleValue::new("human").help("For people"),
            Self::Json => PossibleValue::new("json").help("One JSON document on standard output"),
            Self::JsonLines => PossibleValue::new("json-lines").alias("jsonl").help(
                "A line of JSON for each file as soon as it is finished, and one for the end",
            ),
        })
    }
}

impl ValueEnum for Strategy {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Stub, Self::Inplace, Self::Auto]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Stub => PossibleValue::new("stub")
                .help("A stub over the entry point and a loader that tells ld.so at every start"),
            Self::Inplace => PossibleValue::new("inplace").alias("in-place").help(
                "Edits of PT_INTERP and .dynamic in the file itself, where it has room; no stub, nothing at run time",
            ),
            Self::Auto => {
                PossibleValue::new("auto").help("In place where there is room, else by a stub")
            }
        })
    }
}

impl ValueEnum for Search {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Runpath, Self::Rpath, Self::Frozen]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Runpath => PossibleValue::new("runpath")
                .help("By a DT_RUNPATH, which is for what the program itself needs"),
            Self::Rpath => PossibleValue::new("rpath")
                .help("By a DT_RPATH, which libraries without a DT_RUNPATH inherit"),
            Self::Frozen => PossibleValue::new("frozen").help(
                "By the path of each library, all of them resolved now: nothing is searched for at a start. For libraries that do not move; with musl as runpath",
            ),
        })
    }
}
