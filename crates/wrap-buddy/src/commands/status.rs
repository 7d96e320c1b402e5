//! `wrap-buddy status`: the state of each file, by its sidecar.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anstream::stream::RawStream;
use serde::{Serialize, Serializer};
use sidecar::{Flags, Id, Sidecar, loader};
use stages::Stage;

use crate::commands::PathOptions;
use crate::plan::tool_version;
use crate::report::Output;
use crate::report::Reporter;
use crate::report::style::{Style, shown};
use crate::report::{Page, styled};
use crate::scan::Target;
use crate::state::detect::{self, FileState};
use crate::state::found_sidecar::FoundSidecar;
use crate::state::loaders::read_image;
use crate::state::prior::{Method, PriorWrap, Progress, State};
use crate::state::unusable::Unusable;
use crate::system::directory::open_file;
use crate::system::privilege::Privilege;
use crate::system::sidecar_path::sidecar_of;
use crate::system::trust::Ownership;
use crate::system::workers::WorkerPool;
use elf_file::io_reason;
use elf_file::{Elf, Payload, Source};
use ldso::Root;

/// The state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Unchanged.
    Original,
    /// A bundle that unpacks itself, made with `bundle --runnable`.
    Runnable,
    /// It has a stub and its sidecar.
    Wrapped,
    /// Its search path (and interpreter) was edited in the file.
    InPlace,
    /// Wrapped by the first wrap-buddy.
    Foreign,
    /// A run was stopped while it changed the file.
    HalfDone,
    /// Unchanged, with the sidecar of another file, such as an earlier version, next to it.
    Stale,
    /// Wrapped or edited, then changed by another tool.
    Changed,
    /// Wrapped, but its sidecar is gone.
    Orphan,
    /// Its state is unknown: users who cannot write to the file can write to its sidecar.
    Untrusted,
    /// Its state is unknown: this version cannot read its sidecar.
    UnknownSidecar,
    /// It cannot be read.
    Unreadable,
}

impl Condition {
    /// The state as a phrase.
    pub fn words(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Runnable => "a bundle that unpacks itself",
            Self::Wrapped => "wrapped",
            Self::InPlace => "edited in place",
            Self::Foreign => "wrapped by the first wrap-buddy",
            Self::HalfDone => "half done",
            Self::Stale => "original, with a stale sidecar",
            Self::Changed => "changed by another tool",
            Self::Orphan => "wrapped, without its sidecar",
            Self::Untrusted => "state unknown, its sidecar is not trusted",
            Self::UnknownSidecar => "state unknown, this version cannot read its sidecar",
            Self::Unreadable => "cannot be read",
        }
    }
}

/// The state of one file.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileStatus {
    /// As you named it, or a file below a directory that you named.
    #[serde(serialize_with = "lossy")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub path: PathBuf,
    /// Its state.
    pub state: Condition,
    /// What to do about it, or the reason for its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Its sidecar, or the one it should have.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "lossy_if_any"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub sidecar: Option<PathBuf>,
    /// Format version of the sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// Version of the tool that wrote the sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Whether an older version of the tool wrote it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub old: bool,
    /// Whether the loader is in the sidecar.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_contained: bool,
    /// Whether the settings are in the program, so that it starts without its sidecar.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub embedded: bool,
    /// Otherwise, the loader that its stub starts.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "lossy_if_any"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub loader: Option<PathBuf>,
    /// The dynamic linker that runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// Its search path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_path: Option<String>,
    /// Additional libraries that are loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed: Vec<String>,
}

/// Invalid UTF-8 is replaced by replacement characters.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

fn lossy_if_any<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    lossy(path.as_deref().unwrap_or(Path::new("")), serializer)
}

/// Format version of the sidecar of a file edited in place.
pub(crate) const IN_PLACE_FORMAT: u32 = 1;

impl FileStatus {
    fn new(path: PathBuf, state: Condition) -> Self {
        Self {
            path,
            state,
            advice: None,
            sidecar: None,
            format: None,
            tool: None,
            old: false,
            self_contained: false,
            embedded: false,
            loader: None,
            interpreter: None,
            search_path: None,
            needed: Vec::new(),
        }
    }

    /// Whether you have to act on it.
    pub fn needs_attention(&self) -> bool {
        let well = matches!(
            self.state,
            Condition::Original
                | Condition::Runnable
                | Condition::Wrapped
                | Condition::InPlace
                | Condition::Foreign
        );
        !well || self.advice.is_some()
    }
}

/// The state of the files that `path_options` names. Unchanged files are left out unless you named them or `--verbose` is set.
///
/// # Errors
/// If no threads can be started.
pub fn status(
    path_options: &PathOptions,
    stages: &[Stage],
    reporter: &Reporter,
) -> anyhow::Result<Vec<FileStatus>> {
    let (targets, unreadable) = path_options.scan();
    let pool = WorkerPool::new(targets.len(), path_options.jobs)?;
    reporter.expect(targets.len());
    let all = path_options.output.verbose;
    let files = pool.map(&targets, |target| {
        reporter.step();
        let file = of(target, stages, all)?;
        reporter.finished(&file);
        Some(file)
    });
    let mut files: Vec<FileStatus> = files.into_iter().flatten().collect();
    files.extend(unreadable.into_iter().map(|one| FileStatus {
        advice: Some(one.reason),
        ..FileStatus::new(one.path, Condition::Unreadable)
    }));
    Ok(files)
}

fn of(target: &Target, stages: &[Stage], all: bool) -> Option<FileStatus> {
    let file_state = detect::file_state(target, stages);
    describe(target, &file_state, target.named || all)
}

/// The status of `target`; `None` if there is nothing to report and the user has not `asked_for` it.
pub(crate) fn describe(
    target: &Target,
    file_state: &FileState,
    asked_for: bool,
) -> Option<FileStatus> {
    let shown = target.shown.clone();
    let state = match file_state {
        FileState::File(_, state) => state,
        _ if !asked_for => return None,
        FileState::NotElf => return Some(FileStatus::new(shown, Condition::Original)),
        FileState::Unreadable(reason) => {
            return Some(FileStatus {
                advice: Some(reason.to_string()),
                ..FileStatus::new(shown, Condition::Unreadable)
            });
        }
    };
    let reason = match state {
        State::Known(prior) => return Some(known(shown, target, prior)),
        State::Original => return original(shown, target, asked_for),
        State::Unusable(reason) => reason,
    };
    let condition = match reason {
        Unusable::Changed(_) | Unusable::InterpReused(_) => Condition::Changed,
        Unusable::Orphan(_) => Condition::Orphan,
        Unusable::Untrusted(_) => Condition::Untrusted,
        Unusable::UnknownSidecar { .. } => Condition::UnknownSidecar,
    };
    Some(FileStatus {
        sidecar: Some(reason.sidecar().to_owned()),
        advice: Some(reason.to_string()),
        ..FileStatus::new(shown, condition)
    })
}

/// Advice for a copy without a sidecar whose original bytes are in the sidecar of `origin`, the file it was copied from.
pub(crate) fn sidecar_gone_but(prior: &PriorWrap, origin: &Path) -> String {
    format!(
        "its sidecar {} is gone, but {} has its original bytes; wrap or restore it again",
        prior.sidecar_path.display(),
        origin.display()
    )
}

/// Advice for a program whose sidecar is not where its stub looks for it.
pub(crate) fn sidecar_misplaced(prior: &PriorWrap) -> Option<String> {
    Some(format!(
        "it does not start: it looks for its sidecar at {}, but that is {}; wrap it again",
        prior.not_found_at.as_ref()?.display(),
        prior.sidecar_path.display()
    ))
}

/// Advice if other users can replace the sidecar of the set-id program `file`.
fn weak_sidecar(root: &Root, file: &File, prior: &PriorWrap) -> Option<String> {
    if !prior.record.is_empty() {
        return None;
    }
    let privilege = Privilege::of(file, &file.metadata().ok()?)?;
    let part = privilege.weak_part(root, &prior.sidecar_path)?;
    let complaint = Privilege::complaint(&prior.sidecar_path, &part);
    Some(format!("{complaint}: let only its owner write there"))
}

/// Advice if libraries that are `needed` by path are gone.
fn gone(root: &Root, needed: &[String], origin: &Path) -> Option<String> {
    let path = |name: &String| match name.strip_prefix("$ORIGIN/") {
        Some(relative) => origin.join(relative),
        None => PathBuf::from(name),
    };
    let by_path = needed.iter().filter(|name| name.contains('/')).map(path);
    let gone: Vec<String> = by_path
        .filter(|path| !root.on_host(path).exists())
        .map(|path| path.display().to_string())
        .collect();
    let what = gone.join(", ");
    (!gone.is_empty()).then(|| format!("it does not start: {what} is gone; wrap it again"))
}

fn original(shown: PathBuf, target: &Target, asked_for: bool) -> Option<FileStatus> {
    let sidecar = sidecar_of(&target.path);
    let on_host = target.root.real_on_host(&sidecar);
    if on_host
        .symlink_metadata()
        .is_ok_and(|found| found.is_file())
    {
        return Some(FileStatus {
            sidecar: Some(sidecar),
            advice: Some(
                "its sidecar belongs to another file, such as an earlier version; wrap it again"
                    .to_owned(),
            ),
            ..FileStatus::new(shown, Condition::Stale)
        });
    }
    let payload = || Payload::of(&mut Source::of(open_file(&target.on_host()).ok()?).ok()?);
    let condition = || match payload() {
        Some(Payload::Bundle(_)) => Condition::Runnable,
        _ => Condition::Original,
    };
    asked_for.then(|| FileStatus::new(shown, condition()))
}

fn known(shown: PathBuf, target: &Target, prior: &PriorWrap) -> FileStatus {
    let Target { path, root, .. } = target;
    let state = match (prior.progress, prior.method) {
        (Progress::Changed, _) => Condition::Changed,
        (Progress::Nothing | Progress::Half, _) => Condition::HalfDone,
        (Progress::Done, Method::Stub) => Condition::Wrapped,
        (Progress::Done, Method::InPlace) => Condition::InPlace,
        (Progress::Done, Method::Legacy) => Condition::Foreign,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Some((legacy, origin)) = prior.legacy().zip(path.parent()) {
        let needed: Vec<String> = legacy.needed_names().map(text).collect();
        let search = text(legacy.search);
        return FileStatus {
            sidecar: Some(prior.sidecar_path.clone()),
            interpreter: Some(text(legacy.interpreter)),
            search_path: (!search.is_empty()).then_some(search),
            advice: gone(root, &needed, origin),
            needed,
            ..FileStatus::new(shown, state)
        };
    }
    if let Some(origin) = &prior.bytes_of {
        return FileStatus {
            sidecar: Some(prior.sidecar_path.clone()),
            advice: Some(sidecar_gone_but(prior, origin)),
            ..FileStatus::new(shown, Condition::Orphan)
        };
    }
    let mut status = FileStatus {
        format: Some(IN_PLACE_FORMAT),
        tool: Some(prior.tool.to_string()),
        old: prior.tool < tool_version(),
        ..FileStatus::new(shown, state)
    };
    if prior.rewritten {
        status.state = Condition::Changed;
    }
    status.advice = match status.state {
        Condition::HalfDone => Some("a run was stopped here; wrap or restore it again".to_owned()),
        Condition::Changed if prior.method == Method::InPlace => {
            Some("another tool (strip, patchelf) has changed it; wrap it again".to_owned())
        }
        Condition::Changed => {
            Some("another tool has changed it; get the original file and wrap that".to_owned())
        }
        _ => None,
    };
    if let Ok(sidecar) = Sidecar::parse(prior.used()) {
        status.format = Some(sidecar.abi().into());
        status.interpreter = Some(text(sidecar.interpreter()));
        let search = text(sidecar.search());
        status.search_path = (!search.is_empty()).then_some(search);
        status.needed = sidecar.needed_names().map(text).collect();
        status.self_contained = sidecar.is_self_contained();
        status.embedded = !prior.record.is_empty();
        let home = path.parent().unwrap_or(Path::new("/"));
        status.advice = status.advice.or_else(|| sidecar_misplaced(prior));
        let file = open_file(&target.on_host())
            .ok()
            .filter(|_| state == Condition::Wrapped);
        status.advice = status
            .advice
            .or_else(|| weak_sidecar(root, file.as_ref()?, prior));
        status.advice = status.advice.or_else(|| {
            let passed_over = prior.passed_over.as_ref();
            passed_over
                .filter(|one| one.sidecar() != prior.sidecar_path)
                .map(ToString::to_string)
        });
        status.advice = status.advice.or_else(|| {
            let why = refused_loader(file.as_ref()?, &sidecar)?;
            let flag = loader_flag(&sidecar)?;
            Some(format!("{why}; wrap it again without {flag}"))
        });
        status.advice = status.advice.or_else(|| gone(root, &status.needed, home));
        if let Some(own) = &prior.own_sidecar {
            let at = home.join(own);
            status.advice = status
                .advice
                .or_else(|| own_loader_problem(root, &at, prior.id, path));
        }
        if let Some(loader) = &prior.loader {
            let at = home.join(loader);
            let problem = loader_problem(root, &at, sidecar.header().machine, sidecar.abi());
            status.advice = status.advice.or(problem);
            status.loader = Some(loader.clone());
        }
    }
    if state == Condition::InPlace
        && let Ok(now) = open_file(&target.on_host())
            .and_then(Source::of)
            .map_err(Into::into)
            .and_then(|mut now| Elf::read(&mut now))
    {
        // ld.so uses what the file has now, not what was planned.
        let interp = now.interp.as_ref().map(|interp| interp.path.as_bytes());
        let search = now
            .dynamic
            .as_ref()
            .and_then(|dynamic| dynamic.search_path());
        status.interpreter = interp.map(text);
        status.search_path = search.map(|search| text(search.as_bytes()));
        status.needed = prior.settings.added_needed();
        let home = path.parent().unwrap_or(Path::new("/"));
        status.advice = status.advice.or_else(|| gone(root, &status.needed, home));
    }
    status.sidecar = (!prior.sidecar.is_empty()).then(|| prior.sidecar_path.clone());
    status
}

/// The flag that puts the loader where the sidecar says, if it is not a shared loader.
pub(crate) fn loader_flag(sidecar: &Sidecar<'_>) -> Option<&'static str> {
    if sidecar.header().flags.contains(Flags::RELOCATABLE) {
        return Some("--relocatable");
    }
    sidecar.is_self_contained().then_some("--self-contained")
}

/// Why the stub refuses to start a loader: `file` is set-id or has capabilities, and its loader is not in a trusted place.
pub(crate) fn refused_loader(file: &File, sidecar: &Sidecar<'_>) -> Option<String> {
    let flag = loader_flag(sidecar)?;
    Privilege::of(file, &file.metadata().ok()?)?;
    Some(format!(
        "it is set-id or has file capabilities, so its stub does not start a loader that {flag} put there (invalid argument)"
    ))
}

/// Why the stub of `program` does not start the loader in the sidecar at `path`, which should have this `id`. Both paths are absolute in
/// `root`.
pub(crate) fn own_loader_problem(
    root: &Root,
    path: &Path,
    id: Id,
    program: &Path,
) -> Option<String> {
    let found = match FoundSidecar::at(&root.entry_on_host(path), 0) {
        FoundSidecar::Readable(found) => Some(found),
        FoundSidecar::Nothing | FoundSidecar::Unknown(_) => None,
    };
    let own = found
        .as_ref()
        .and_then(|found| Some((found, Sidecar::parse(&found.bytes).ok()?)));
    let path = path.display();
    let Some((found, own)) = own.filter(|(_, sidecar)| sidecar.header().id == id) else {
        return Some(format!(
            "it looks for its sidecar at {path}, which does not exist; wrap it again"
        ));
    };
    if let Err(error) = own.loader() {
        return Some(format!("the loader in its sidecar {error}; wrap it again"));
    }
    let program = Ownership::from(&root.on_host(program).metadata().ok()?);
    (!found.ownership.is_believed_by_stub(program)).then(|| {
        format!(
            "its stub does not start the loader in {path} (invalid argument); give it the program's owner, group and mode, or remove it if it is not yours"
        )
    })
}

/// Why a stub of the version `abi` does not start the loader at `path` in `root`.
pub(crate) fn loader_problem(root: &Root, path: &Path, machine: u16, abi: u16) -> Option<String> {
    let image = match read_image(&root.on_host(path)) {
        Ok(image) => image,
        Err(error) => {
            let is_gone = error.kind() == io::ErrorKind::NotFound;
            let cannot = if is_gone { "" } else { "cannot be read: " };
            let (path, reason) = (path.display(), io_reason(&error));
            return Some(format!("its loader {path} {cannot}{reason}; wrap it again"));
        }
    };
    let error = loader::check_abi(&image, machine, abi).err()?;
    Some(format!("{} {error}; wrap it again", path.display()))
}

pub(crate) const NOTHING_DONE: &str =
    "no file here is wrapped or edited in place; -v lists unchanged files too";

pub fn write(files: &[FileStatus], output: Output, out: &mut impl RawStream) -> io::Result<()> {
    let mut page = Page::default();
    if files.is_empty() && !output.quiet {
        page.line(NOTHING_DONE);
    }
    let files = files.iter();
    for file in files.filter(|file| !output.quiet || file.needs_attention()) {
        write_file(&mut page, file);
    }
    page.write_to(out)
}

fn write_file(out: &mut Page, file: &FileStatus) {
    let style = if file.needs_attention() {
        Style::Warning
    } else {
        Style::Good
    };
    let state = styled(file.state.words(), style);
    out.line(format!("{}: {state}", shown(&file.path)));
    let mut line = |label: &str, text: &str| out.labelled(label, text);
    if let Some(sidecar) = &file.sidecar {
        let by = match (&file.tool, file.format) {
            (Some(tool), Some(format)) => {
                let old = if file.old { ", an older version" } else { "" };
                format!(", format {format}, by wrap-buddy {tool}{old}")
            }
            _ => String::new(),
        };
        line("sidecar", &format!("{}{by}", shown(sidecar)));
    }
    if file.embedded {
        line(
            "settings",
            "in the program, which starts without its sidecar",
        );
    }
    if file.self_contained {
        line("loader", "in the sidecar");
    }
    if let Some(loader) = &file.loader {
        line("loader", &loader.display().to_string());
    }
    if let Some(interpreter) = &file.interpreter {
        line("interpreter", interpreter);
    }
    if let Some(search) = &file.search_path {
        line("search path", search);
    }
    for name in &file.needed {
        line("added", name);
    }
    if let Some(advice) = &file.advice {
        line("note", advice);
    }
}
