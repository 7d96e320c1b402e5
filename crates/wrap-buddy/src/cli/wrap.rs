//! The flags of wrapping, which `watch` shares, and the output flags of every command.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValue;
use clap::{ArgAction, Args, ColorChoice, Parser, ValueEnum, ValueHint};
use elf_file::io_reason;
use globset::Glob;
use ldso::Root;

use crate::plan::options::{Search, Strategy, Strict};
use crate::report::Format;
use crate::system::shell::quoted;

/// Libraries of graphics drivers: they have to match the machine that the program runs on.
pub(super) const DRIVERS: [&str; 11] = [
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

#[derive(Clone, Debug, Parser)]
#[command(next_help_heading = "Files")]
pub struct WrapArgs {
    /// Programs, libraries, or directories that contain them
    ///
    /// Directories are scanned recursively. Symbolic links in a directory are skipped; a symbolic link that you name is followed.
    #[arg(help_heading = None::<&'static str>, value_name = "PATH", value_hint = ValueHint::AnyPath, required_unless_present = "paths")]
    pub files: Vec<PathBuf>,

    /// The same as PATH, for scripts that put other flags first
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, num_args = 1..)]
    pub paths: Vec<PathBuf>,

    /// Library directories, in search order [env: WRAP_BUDDY_LIBS]
    ///
    /// Libraries that are not in them are searched for in the directories of --paths, and in the search paths of the libraries found.
    #[arg(help_heading = "Libraries", long, value_name = "DIR", value_hint = ValueHint::DirPath, num_args = 0.., value_parser = search_directory("--libs"))]
    pub libs: Option<Vec<PathBuf>>,

    /// Directories to add to the search path of every program, and of libraries that call dlopen, even if they resolve nothing
    /// [env: WRAP_BUDDY_RUNTIME_DEPENDENCIES]
    #[arg(help_heading = "Libraries", long, value_name = "DIR", value_hint = ValueHint::DirPath, num_args = 0.., value_parser = search_directory("--runtime-dependencies"))]
    pub runtime_dependencies: Option<Vec<PathBuf>>,

    /// Glob patterns of sonames that may be missing [env: WRAP_BUDDY_IGNORE_MISSING]
    #[arg(help_heading = "Libraries", long, value_name = "PATTERN", num_args = 1..)]
    pub ignore_missing: Vec<Glob>,

    /// Sonames of additional libraries to load
    #[arg(help_heading = "Libraries", long, value_name = "SONAME", num_args = 1..)]
    pub needed: Vec<OsString>,

    /// How programs find their libraries
    #[arg(help_heading = "Libraries", long, value_enum, default_value_t)]
    pub search: Search,

    /// Leave directories of --libs that resolve nothing out of the search path
    ///
    /// By default they are appended to the search path of programs, and of libraries that call dlopen, if they have libraries for that
    /// file.
    #[arg(help_heading = "Libraries", long)]
    pub search_minimal: bool,

    /// Glob patterns of sonames that `--search frozen` leaves to ld.so [default: graphics drivers]
    ///
    /// Libraries in /run/opengl-driver are never frozen. The C library is frozen only together with the dynamic linker next to it.
    #[arg(help_heading = "Libraries", long, value_name = "PATTERN", num_args = 0..)]
    pub frozen_except: Option<Vec<Glob>>,

    /// Do not descend into subdirectories
    #[arg(long)]
    pub no_recurse: bool,

    /// Ignore the variables WRAP_BUDDY_* and files wrap-buddy.toml, which have defaults for flags
    ///
    /// A variable separates its values with colons, and wins over files. The files are the nearest wrap-buddy.toml in the directory of PATH or
    /// above (not for `watch`), $XDG_CONFIG_HOME/wrap-buddy/wrap-buddy.toml, and /etc/wrap-buddy.toml. `wrap-buddy check --settings PATH`
    /// lists the settings and their sources.
    #[arg(help_heading = "Settings", long)]
    pub no_settings: bool,

    /// Print the plan and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Also wrap programs that already start and find their libraries
    #[arg(long)]
    pub force: bool,

    /// Replace a running file by a changed copy
    #[arg(long)]
    pub replace: bool,

    /// As root, use root's rights for files that other users can replace; for trees where no other user writes
    ///
    /// By default root writes files of other users with those users' rights, and skips its own files in directories that other users can
    /// write to. Use this flag to build container images and the like.
    #[arg(long)]
    pub trust_tree: bool,

    /// How to redirect a program: `stub` (at run time) or `inplace` (edit PT_INTERP and .dynamic)
    #[arg(help_heading = "Method", long, value_enum, default_value_t)]
    pub strategy: Strategy,

    /// The real dynamic linker; repeat for each architecture and libc, each program gets the one that matches
    /// [env: WRAP_BUDDY_INTERPRETER]
    ///
    /// By default: the ones compiled in, or else those of the running system.
    #[arg(help_heading = "Method", long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub interpreter: Vec<PathBuf>,

    /// Put the loader into each program's sidecar: programs need no other file of wrap-buddy, and start faster
    ///
    /// This is the default with --relocatable, unless --loader-dir-path names a shared loader.
    #[arg(help_heading = "Method", long, conflicts_with = "loader_dir_path")]
    pub self_contained: bool,

    /// Put the settings into each program, where there is room after its code: programs start without their sidecars, also as copies
    ///
    /// Other programs get a sidecar as usual, and a note. `restore` needs no sidecar either. After a change of settings, the program is
    /// written again. strip removes the settings, and the program does not start any more.
    #[arg(help_heading = "Method", long, conflicts_with = "self_contained")]
    pub embedded: bool,

    /// Use paths relative to the program for loader, dynamic linker and libraries, so that you can move the tree
    #[arg(help_heading = "Method", long)]
    pub relocatable: bool,

    /// With --relocatable, allow a dynamic linker, loader and libraries outside of the tree; you can then move it only within the same
    /// depth
    #[arg(help_heading = "Method", long, requires = "relocatable")]
    pub allow_outside: bool,

    /// Directory that has loader.bin when the programs run
    ///
    /// By default: the directory compiled in, or else ../lib/wrap-buddy next to this tool. Otherwise a copy is installed into your data
    /// directory (root: /usr/local/lib/wrap-buddy). If that cannot be written, programs are wrapped as with --self-contained.
    #[arg(help_heading = "Method", long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub loader_dir_path: Option<PathBuf>,

    #[command(flatten)]
    pub output: OutputArgs,

    /// Number of files to process in parallel [default: number of processors]
    #[arg(short, long, value_name = "N", value_parser = jobs)]
    pub jobs: Option<NonZero<usize>>,
}

#[derive(Clone, Debug, Args)]
pub struct RootArgs {
    /// The directory that will be / for the programs, such as an unpacked or mounted image of any machine
    ///
    /// PATH is a path below DIR. All other paths are meant inside DIR, and so are symbolic links: those of --libs, --interpreter and
    /// --loader-dir-path, and those that are written into the files. Nothing in DIR is executed, and nothing outside of it is used.
    /// Variables and files with settings are ignored.
    #[arg(help_heading = "Files", long, value_name = "DIR", value_hint = ValueHint::DirPath, value_parser = root_directory())]
    pub root: Option<Root>,
}

/// Why a directory cannot be the root.
#[derive(Debug, thiserror::Error)]
#[error("{}", io_reason(.0))]
struct BadRoot(std::io::Error);

/// Parses the directory of --root, which has to exist.
fn root_directory() -> impl clap::builder::TypedValueParser<Value = Root> {
    use clap::builder::TypedValueParser;
    clap::builder::PathBufValueParser::new().try_map(|path| Root::at(&path).map_err(BadRoot))
}

#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Print more
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,

    /// Print errors only
    #[arg(short, long, conflicts_with = "verbose", global = true)]
    pub quiet: bool,

    /// Format of the report; `dot` is for `check` only
    #[arg(long, value_enum, default_value_t, global = true)]
    pub format: Format,

    /// Whether to use colors
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto, global = true)]
    pub color: ColorChoice,
}

/// What the value of a flag has to be instead.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadNumber {
    #[error("must be a whole number, at least 1")]
    Jobs,
    #[error("must be a whole number of milliseconds")]
    Milliseconds,
    #[error("must be a number of seconds from 0.05 to 86400")]
    Seconds,
}

pub(super) fn jobs(text: &str) -> Result<NonZero<usize>, BadNumber> {
    text.parse().map_err(|_| BadNumber::Jobs)
}

/// Why a directory cannot be on a search path.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadDirectory {
    #[error(
        "its name contains a colon, which ends a directory in ld.so's search path; rename it or link to it"
    )]
    HasColon,
    /// The words to write instead.
    #[error("no such directory; write {0}")]
    Several(String),
    #[error("the current directory cannot be determined")]
    NoCurrent,
}

/// Parses a directory of the flag, which can be on a search path: its name must not contain a colon.
pub(super) fn search_directory(
    flag: &'static str,
) -> impl clap::builder::TypedValueParser<Value = PathBuf> {
    use clap::builder::TypedValueParser;
    // clap's own path parser rejects empty values.
    clap::builder::OsStringValueParser::new().try_map(move |text| {
        let is_one = Path::new(&text).exists();
        let parts = text.as_bytes().split(|&byte| byte == b':');
        let parts: Vec<&[u8]> = parts.filter(|part| !part.is_empty()).collect();
        absolute_directory(Path::new(&text)).map_err(|error| match error {
            BadDirectory::HasColon if !is_one => {
                let words = quoted(parts.into_iter().map(OsStr::from_bytes));
                BadDirectory::Several(format!("{flag} {words}"))
            }
            error => error,
        })
    })
}

/// The absolute path of a directory that can be on a search path.
pub(super) fn absolute_directory(path: &Path) -> Result<PathBuf, BadDirectory> {
    let text = path.as_os_str().as_bytes();
    if text.contains(&b':') {
        return Err(BadDirectory::HasColon);
    }
    if text.is_empty() {
        return Ok(path.to_owned());
    }
    std::path::absolute(path).map_err(|_| BadDirectory::NoCurrent)
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Human, Self::Json, Self::JsonLines, Self::Dot]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Human => PossibleValue::new("human").help("For people"),
            Self::Json => PossibleValue::new("json").help("One JSON document on standard output"),
            Self::JsonLines => PossibleValue::new("json-lines").alias("jsonl").help(
                "One JSON object per line: each file as soon as it is finished, then a summary",
            ),
            Self::Dot => PossibleValue::new("dot")
                .help("Only for check: a Graphviz graph of programs and libraries"),
        })
    }
}

impl ValueEnum for Strategy {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Stub, Self::Inplace, Self::Auto]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Stub => PossibleValue::new("stub").help(
                "A stub over the entry point starts a loader, which starts ld.so, at every start",
            ),
            Self::Inplace => PossibleValue::new("inplace")
                .alias("in-place")
                .help("PT_INTERP and .dynamic are edited in the file, if it has room; no stub"),
            Self::Auto => {
                PossibleValue::new("auto").help("In place if there is room, otherwise with a stub")
            }
        })
    }
}

impl ValueEnum for Strict {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::All, Self::Opened]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::All => PossibleValue::new("all").help("If there is any warning"),
            Self::Opened => PossibleValue::new("opened")
                .help("If a program opens a library that has no room for its search path"),
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
                .help("DT_RUNPATH, which serves the program's own dependencies only"),
            Self::Rpath => PossibleValue::new("rpath")
                .help("DT_RPATH, which libraries without DT_RUNPATH inherit"),
            Self::Frozen => PossibleValue::new("frozen").help(
                "The absolute path of each library, resolved now; for libraries that do not move. With musl: same as runpath",
            ),
        })
    }
}
