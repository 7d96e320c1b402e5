//! The flags of `run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use globset::Glob;

use super::wrap::{OutputArgs, search_directory};
use crate::plan::options::Search;

pub const EXAMPLES: &str = "\
Examples:
  wrap-buddy run ./app/main --version                      with the libraries that `check` finds
  wrap-buddy run --libs ./lib ./app/main --version         with these
  wrap-buddy run --interpreter /opt/lib/ld-linux-x86-64.so.2 --libs /opt/lib ./app/main";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Libraries")]
pub struct RunArgs {
    /// The program and its arguments; a name without a slash is looked up on PATH
    #[arg(help_heading = None::<&'static str>, value_name = "PROGRAM", value_hint = ValueHint::CommandWithArguments, required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,

    /// Library directory; repeat for several, in search order [env: WRAP_BUDDY_LIBS]
    ///
    /// Without it, the libraries that `wrap-buddy check` would propose are used.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, value_parser = search_directory("--libs"))]
    pub libs: Option<Vec<PathBuf>>,

    /// Directory to add to the search path, even if it resolves nothing [env: WRAP_BUDDY_RUNTIME_DEPENDENCIES]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, value_parser = search_directory("--runtime-dependencies"))]
    pub runtime_dependencies: Option<Vec<PathBuf>>,

    /// Glob pattern of sonames that may be missing [env: WRAP_BUDDY_IGNORE_MISSING]
    #[arg(long, value_name = "PATTERN")]
    pub ignore_missing: Vec<Glob>,

    /// Soname of an additional library to load
    #[arg(long, value_name = "SONAME")]
    pub needed: Vec<OsString>,

    /// How the program finds its libraries
    #[arg(long, value_enum, default_value_t)]
    pub search: Search,

    /// Directory to search for missing libraries and dynamic linkers [default: /nix/store] [env: WRAP_BUDDY_FIND_IN]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, value_parser = search_directory("--find-in"))]
    pub find_in: Vec<PathBuf>,

    /// The real dynamic linker; by default, the one compiled in, or that of the running system [env: WRAP_BUDDY_INTERPRETER]
    #[arg(help_heading = "Method", long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub interpreter: Vec<PathBuf>,

    /// Ignore the variables WRAP_BUDDY_* and files wrap-buddy.toml, which have defaults for flags
    #[arg(help_heading = "Settings", long)]
    pub no_settings: bool,

    /// Exit with 0 if a file can be mounted over the program, without starting it
    #[arg(long, hide = true)]
    pub try_mount: bool,

    #[command(flatten)]
    pub output: OutputArgs,
}
