//! `run`: starts a program once, wrapped, and changes none of its files.
//!
//! A wrapped copy is kept in the user's cache. Where the kernel allows a mount namespace, the copy is mounted over the program for this
//! process and its children, so that `/proc/self/exe`, `$ORIGIN` and all paths are those of the program. Otherwise, the copy itself is
//! started.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use super::check::CheckOptions;
use super::proposal::propose;
use super::wrap::wrap;
use crate::apply::cached_copy::{self, Entry};
use crate::plan::options::WrapOptions;
use crate::plan::outcome::{FileReport, Report, Status};
use crate::plan::{FileEdit, Plan, tool_version};
use crate::report::{Output, Page, Reporter};
use crate::scan::{Wanted, scan};
use crate::state::detect::{FileState, file_state};
use crate::state::loaders::own_cache;
use crate::state::prior::State;
use crate::system::directory::open_file;
use crate::system::hex::hex;
use crate::system::mount::mount_over;
use crate::system::privilege::Privilege;
use elf_file::io_reason;
use ldso::Root;

/// Which program to start, and how.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// As the user typed it: the program's `argv[0]`.
    pub name: OsString,
    /// The file that this names.
    pub program: PathBuf,
    /// The arguments after `argv[0]`.
    pub arguments: Vec<OsString>,
    /// How to wrap it.
    pub wrap: WrapOptions,
    /// How to find libraries, if none are given.
    pub find: Option<CheckOptions>,
    /// Only try whether a file can be mounted over the program.
    pub try_mount: bool,
    pub output: Output,
}

/// Why a program cannot be started, and the status that shells have for it.
#[derive(Debug)]
pub struct NotStarted {
    pub error: anyhow::Error,
    /// 127 if there is no such program, otherwise 126.
    pub status: u8,
}

impl<E: Into<anyhow::Error>> From<E> for NotStarted {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            status: 126,
        }
    }
}

/// Starts the program in place of this process. It returns only if that fails.
///
/// # Errors
/// Why the program cannot be started.
pub fn run(options: &RunOptions) -> Result<Infallible, NotStarted> {
    let found = fs::canonicalize(&options.program);
    let program = found.map_err(|error| NotStarted {
        status: if error.kind() == ErrorKind::NotFound {
            127
        } else {
            126
        },
        error: anyhow!("{}: {}", options.program.display(), io_reason(&error)),
    })?;
    if options.try_mount {
        mount_over(&program, &program)?;
        exit(0);
    }
    let metadata = fs::metadata(&program)?;
    if !metadata.is_file() {
        let path = options.program.display();
        return Err(anyhow!("{path}: not a file; name a program").into());
    }
    let cache = own_cache();
    let parent = cache.as_deref().unwrap_or(Path::new("/"));
    let parent = parent
        .join("run")
        .join(digest([program.as_os_str().as_bytes()]));
    let wrapping = WrapOptions {
        paths: vec![program.clone()],
        sidecar_directory: Some(parent.clone()),
        ..options.wrap.clone()
    };
    if is_wrapped(&program) {
        return Err(start(&options.program, options));
    }
    let wrapping = with_proposal(wrapping, options.find.as_ref())?;
    let first = plan(&wrapping, options.output);
    if first.is_err() && has_privilege(&program, &metadata) {
        let path = options.program.display();
        let why = "is set-id or has capabilities, and would trust a copy of yours; wrap it instead";
        return Err(anyhow!("{path}: {why}").into());
    }
    let Some(first) = first? else {
        return Err(start(&options.program, options));
    };
    cache.context("no directory is yours alone to keep a copy in: set XDG_CACHE_HOME to one")?;
    let entry = Entry {
        parent,
        file: digest([identity(&metadata).as_bytes()]),
        settings: digest(content(&first)),
    };
    // The name of its directory depends on the plan, and the plan on the name.
    let wrapping = WrapOptions {
        sidecar_directory: Some(entry.path()),
        ..wrapping
    };
    let Some(plan) = plan(&wrapping, options.output)? else {
        return Err(start(&options.program, options));
    };
    let copy = cached_copy::make(&plan, &entry).map_err(|error| {
        anyhow!(
            "no wrapped copy can be made in {}: {}",
            entry.parent.display(),
            io_reason(&error)
        )
    })?;
    match can_mount_over(&program).and_then(|()| mount_over(&copy, &program)) {
        Ok(()) => {
            explain(options, format!("{} is mounted over it", copy.display()))?;
            Err(start(&options.program, options))
        }
        Err(error) => {
            explain(
                options,
                format!(
                    "/proc/self/exe is {}: no mount namespace: {error}",
                    copy.display()
                ),
            )?;
            Err(start(&copy, options))
        }
    }
}

/// Whether the program was wrapped or edited in place, so that it starts by itself if it can.
fn is_wrapped(program: &Path) -> bool {
    let targets = scan(
        &Root::default(),
        &[program.to_owned()],
        false,
        Wanted::All,
        NonZero::new(1),
    )
    .0;
    let mut states = targets
        .iter()
        .map(|target| file_state(target, stages::all()));
    states.any(
        |state| matches!(state, FileState::File(_, state) if !matches!(state, State::Original)),
    )
}

fn has_privilege(program: &Path, metadata: &Metadata) -> bool {
    open_file(program).is_ok_and(|file| Privilege::of(&file, metadata).is_some())
}

/// Tries [`mount_over`] in another process: if it fails, this one may not stay as it is.
fn can_mount_over(program: &Path) -> io::Result<()> {
    let mut trial = Command::new("/proc/self/exe");
    trial
        .args(["run", "--no-settings", "--try-mount"])
        .arg(program);
    let output = trial.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let words = String::from_utf8_lossy(&output.stderr);
            let words = words.trim().trim_start_matches("error: ");
            Err(io::Error::other(words.to_owned()))
        }
    }
}

/// With the libraries and the dynamic linker that `check` finds, if they are needed and none are given.
fn with_proposal(wrapping: WrapOptions, find: Option<&CheckOptions>) -> Result<WrapOptions> {
    let Some(find) = find else {
        return Ok(wrapping);
    };
    let proposed = propose(&wrapping, find)?;
    let commands = proposed.iter().flat_map(|(checked, _)| checked.commands());
    match commands.last() {
        Some(command) => Ok(command.options(&wrapping)?),
        None => Ok(wrapping),
    }
}

/// The plan for the program; `None` if it starts without one, or is none that can be wrapped.
fn plan(wrapping: &WrapOptions, output: Output) -> Result<Option<Box<Plan>>> {
    let reporter = Reporter::new(Output {
        quiet: true,
        ..output
    });
    let report: Report = wrap(wrapping, stages::all(), stages::MISSING, &reporter)?;
    if let Some(error) = report.errors.first() {
        bail!("{error}");
    }
    let file: Option<FileReport> = report.files.into_iter().next();
    let file = file.context("nothing was planned for it")?;
    if file.status == Status::Failed {
        let reason = file.reason.context("no reason")?;
        let path = file.path.display();
        if file.missing.is_empty() {
            bail!("{path}: {reason}");
        }
        let missing = file
            .missing
            .iter()
            .map(|one| one.soname.display().to_string());
        let missing: Vec<String> = missing.collect();
        bail!(
            "{path}: {reason}: {}; name their directory with --libs, or search with --find-in",
            missing.join(", ")
        );
    }
    Ok(file.plan)
}

fn explain(options: &RunOptions, words: String) -> io::Result<()> {
    if !options.output.verbose {
        return Ok(());
    }
    let mut page = Page::default();
    page.line(format!("{}: {words}", options.program.display()));
    page.write_to(&mut io::stderr())
}

/// Executes `file`, and returns why it cannot be executed.
fn start(file: &Path, options: &RunOptions) -> NotStarted {
    let mut command = Command::new(file);
    let error = command.arg0(&options.name).args(&options.arguments).exec();
    let words = format!(
        "{} cannot be executed: {}",
        file.display(),
        io_reason(&error)
    );
    anyhow!("{words}; `wrap-buddy check` says why").into()
}

/// What changes if the file does.
fn identity(metadata: &Metadata) -> String {
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    let (device, inode, len) = (metadata.dev(), metadata.ino(), metadata.len());
    format!(
        "{device} {inode} {len} {changed:?} {modified:?} {:?}",
        tool_version()
    )
}

/// All that is written for the program.
fn content(plan: &Plan) -> impl Iterator<Item = &[u8]> {
    let edits = plan
        .edits
        .iter()
        .map(|edit: &FileEdit| edit.after.as_slice());
    edits.chain([plan.sidecar.as_slice()])
}

/// Twelve bytes, in hex, over `parts`, each after its length.
fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize()[..12])
}

/// The program that `name` stands for: a path, or a name that is looked up on PATH.
pub fn program_named(name: &OsStr) -> PathBuf {
    super::on_path(Path::new(name)).unwrap_or_else(|| PathBuf::from(name))
}
