//! `wrap-buddy bundle`: a directory or an archive with programs and everything that they need, which can be moved to any machine of their
//! architecture.

mod earlier;
pub mod human;
pub mod json;
mod licences;

use std::collections::HashMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use globset::{Glob, GlobSet, GlobSetBuilder};
use stages::Stage;

use crate::apply::archive::{self, Format};
use crate::apply::tree::NewTree;
use crate::commands::wrap;
use crate::plan::bundle::{self, Contents, Kind, LIBRARY_DIRECTORIES, Role, Selection, launch};
use crate::plan::options::{Search, WrapOptions};
use crate::plan::outcome::{Report, Status};
use crate::report::{self, Output, Reporter};
use crate::system::workers::Stop;
use earlier::Earlier;
use elf_file::{Identity, Source, identify};
use json::{Bundle, File, MANIFEST_VERSION, Manifest, Summary};
use ldso::Root;

/// The file in a bundle that lists its files.
pub const MANIFEST: &str = ".wrap-buddy-bundle.json";

/// At most so many scripts are named in a note.
const SHOWN_SCRIPTS: usize = 3;

#[derive(Clone, Debug, Default)]
pub struct BundleOptions {
    pub selection: Selection,
    /// The directory, archive or runnable file to make.
    pub output: PathBuf,
    /// Make a runnable file.
    pub runnable: bool,
    pub dry_run: bool,
    /// Print each file.
    pub list: bool,
    pub print: Output,
    /// Number of files to process in parallel; `None` means the number of processors.
    pub jobs: Option<NonZero<usize>>,
    /// Names that were looked up on PATH, each with the file that was found.
    pub found_on_path: Vec<(PathBuf, PathBuf)>,
}

/// Where the bundle is made.
struct Place {
    /// The directory, free of symbolic links.
    above: PathBuf,
    name: OsString,
    /// The name of the tree, and the format, of an archive or runnable file.
    archive: Option<(OsString, Format)>,
}

/// The name of the tree in a runnable file. It is the same for each, so that the bytes do not depend on the file's name.
const IN_RUNNABLE: &str = "bundle";

impl Place {
    fn of(output: &Path) -> Result<Self> {
        let shown = output.display();
        let absolute = std::path::absolute(output)?;
        let (Some(above), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            bail!("--output {shown}: name a directory or an archive");
        };
        let above = fs::canonicalize(above)
            .with_context(|| format!("--output {shown}: {}", above.display()))?;
        let archive = Format::of(name).map(|(format, stem)| (stem.to_owned(), format));
        Ok(Self {
            above,
            name: name.to_owned(),
            archive,
        })
    }

    fn path(&self) -> PathBuf {
        self.above.join(&self.name)
    }
}

/// Makes the bundle that `options` describes, or adds to it, until `stop` returns true.
///
/// # Errors
/// If the bundle cannot be made. Then nothing was written.
pub fn bundle(
    options: &BundleOptions,
    stages: &[Stage],
    missing_stages: &[(&str, &str)],
    stop: &Stop<'_>,
) -> Result<Bundle> {
    let mut place = Place::of(&options.output)?;
    let earlier = Earlier::find(&place.path())?;
    let mut contents = bundle::contents(&options.selection)?;
    if options.runnable {
        let format = runnable(&contents, stages)?;
        place.archive = Some((IN_RUNNABLE.into(), format));
    }
    note_scripts(&mut contents);
    let new: Vec<File> = contents
        .items
        .iter()
        .filter_map(|(path, item)| File::of(path, item))
        .collect();
    let mut bundle = Bundle {
        output: options.output.display().to_string(),
        dry_run: options.dry_run,
        added: earlier.is_some(),
        programs: contents
            .programs
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        left_to_host: strings(&contents.left_to_host),
        missing: strings(&contents.missing),
        files: new,
        notes: contents.notes.clone(),
        summary: Summary::default(),
    };
    let mut may_lack = options.selection.may_lack.clone();
    if let Some(earlier) = &earlier {
        earlier.merge(&mut bundle, &mut contents)?;
        let names = bundle.left_to_host.iter().chain(&bundle.missing);
        may_lack.extend(names.filter_map(|name| Glob::new(&globset::escape(name)).ok()));
    }
    if !options.dry_run {
        let maker = Maker {
            options,
            place: &place,
            stages,
            missing_stages,
            may_lack: &may_lack,
            stop,
        };
        maker.make(&mut bundle, &contents, earlier.is_some())?;
    }
    if options.list || options.print.verbose || options.print.format != report::Format::Human {
        add_packages(&options.selection.root, &mut bundle.files);
    }
    bundle.summary.links = bundle
        .files
        .iter()
        .filter(|file| file.target.is_some())
        .count();
    bundle.summary.files = bundle.files.len() - bundle.summary.links;
    bundle.summary.bytes = contents.size();
    Ok(bundle)
}

/// The format of a runnable file with `contents`, for the machine of their first program.
fn runnable(contents: &Contents, stages: &[Stage]) -> Result<Format> {
    let first = contents.programs.first().context("no program")?;
    let target = contents.target(first);
    let target = target.with_context(|| format!("{}: unknown machine", first.display()))?;
    let mut fitting = stages.iter().filter(|_| target.arch().is_some());
    let stage = fitting.find(|stage| stage.machine == target.machine);
    let stage = stage.with_context(|| {
        format!("--runnable: this build is without {target}; make an archive with --output")
    })?;
    let programs = contents.programs.iter();
    let programs = programs.map(|path| {
        let path = path.to_str().filter(|path| !path.contains('\0'));
        path.map(str::to_owned)
    });
    Ok(Format::Runnable {
        unpacker: stage.unpacker,
        programs: programs
            .collect::<Option<_>>()
            .context("--runnable: the name of a program is not valid UTF-8; rename it")?,
    })
}

/// Writes a bundle.
struct Maker<'m> {
    options: &'m BundleOptions,
    place: &'m Place,
    stages: &'m [Stage],
    missing_stages: &'m [(&'m str, &'m str)],
    /// What the bundle may lack.
    may_lack: &'m [Glob],
    stop: &'m Stop<'m>,
}

impl Maker<'_> {
    /// Writes `contents`, in place of an earlier bundle if it `replaces` that.
    fn make(&self, bundle: &mut Bundle, contents: &Contents, replaces: bool) -> Result<()> {
        let epoch = source_date_epoch()?;
        let place = self.place;
        let mut tree = NewTree::begin(&place.above, &place.name, OsStr::new(MANIFEST))?;
        let sums = tree.write(&contents.items, epoch, self.stop)?;
        add_sums(&mut bundle.files, &sums);
        let path = tree.path();
        if let Some(report) = self.wrap(&path, bundle)? {
            conclude(&report, &path, bundle)?;
        }
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            programs: bundle.programs.clone(),
            left_to_host: bundle.left_to_host.clone(),
            missing: bundle.missing.clone(),
            files: bundle.files.clone(),
        };
        let mut manifest = serde_json::to_vec(&manifest)?;
        manifest.push(b'\n');
        match &place.archive {
            None => tree.place(&manifest, epoch, replaces),
            Some((top, format)) => {
                tree.finish(&manifest, epoch)?;
                archive::write(&path, top, &place.above, &place.name, format)
            }
        }
    }

    /// Wraps everything in the tree at `path`, so that nothing outside of it counts. `None` if nothing in it has a dynamic linker.
    fn wrap(&self, path: &Path, bundle: &Bundle) -> Result<Option<Report>> {
        let linkers = bundle
            .files
            .iter()
            .filter(|file| file.role == Role::DynamicLinker);
        let interpreter: Vec<PathBuf> = linkers.map(|file| path.join(&file.path)).collect();
        if interpreter.is_empty() {
            return Ok(None);
        }
        let libs = LIBRARY_DIRECTORIES.iter().map(|name| path.join(name));
        let wrap = WrapOptions {
            paths: vec![path.to_owned()],
            libs: libs.filter(|one| one.is_dir()).collect(),
            interpreter,
            relocatable: true,
            within: Some(path.to_owned()),
            search: Search::Rpath,
            force: true,
            ignore_missing: glob_set(self.may_lack)?,
            jobs: self.options.jobs,
            output: Output {
                quiet: true,
                ..self.options.print
            },
            ..WrapOptions::default()
        };
        let report = wrap::wrap_until(
            &wrap,
            self.stages,
            self.missing_stages,
            &Reporter::default(),
            self.stop,
        )?;
        ensure!(!(self.stop)(), "stopped; nothing was made");
        Ok(Some(report))
    }
}

/// Takes over what wrapping reports.
fn conclude(report: &Report, path: &Path, bundle: &mut Bundle) -> Result<()> {
    let prefix = format!("{}/", path.display());
    let below = |text: String| text.replace(&prefix, "");
    let mut errors = report.errors.clone();
    for file in &report.files {
        let shown = file.path.display();
        match file.status {
            Status::Failed => {
                let names = file
                    .missing
                    .iter()
                    .map(|missing| missing.soname.to_string_lossy().into_owned());
                let names: Vec<String> = names.collect();
                let reason = file
                    .reason
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let lacks = if names.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", names.join(", "))
                };
                errors.push(below(format!("{shown}: {reason}{lacks}")));
            }
            Status::Wrapped | Status::Edited => bundle.summary.changed += 1,
            _ => {}
        }
        bundle.notes.extend(
            file.notes
                .iter()
                .map(|note| below(format!("{shown}: {note}"))),
        );
    }
    ensure!(
        errors.is_empty(),
        "the bundle would not work: {}",
        errors.join("; ")
    );
    bundle
        .notes
        .extend(report.warnings.iter().cloned().map(below));
    Ok(())
}

/// Adds the packages of the files, and their licences.
fn add_packages(root: &Root, files: &mut [File]) {
    let sources = files.iter().map(|file| Path::new(&file.source));
    let packages = licences::packages(root, sources);
    for file in files {
        if let Some(package) = packages.get(Path::new(&file.source)) {
            file.package = Some(package.name.clone());
            file.licences = package.licences.clone();
        }
    }
}

fn add_sums(files: &mut [File], sums: &HashMap<PathBuf, String>) {
    for file in files
        .iter_mut()
        .filter(|file| file.sha256.is_none() && file.target.is_none())
    {
        file.sha256 = sums.get(Path::new(&file.path)).cloned();
    }
}

/// The time that `SOURCE_DATE_EPOCH` sets for files that are made, and as the latest of others.
fn source_date_epoch() -> Result<Option<SystemTime>> {
    let Some(text) = env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    let seconds: u64 = seconds.with_context(|| {
        format!(
            "SOURCE_DATE_EPOCH={}: must be a number of seconds",
            text.display()
        )
    })?;
    Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

/// Notes the scripts whose interpreter stays the host's.
fn note_scripts(contents: &mut Contents) {
    let mut scripts: Vec<(String, String)> = Vec::new();
    for (path, item) in &contents.items {
        let is_executable = || {
            use std::os::unix::fs::PermissionsExt;
            fs::metadata(&item.on_host).is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
        };
        let is_left = item.kind == Kind::File && !item.is_elf && !launch::is_launched(path);
        if !is_left || !is_executable() {
            continue;
        }
        let line = Source::open(&item.on_host)
            .ok()
            .and_then(|mut source| identify(&mut source).ok());
        if let Some(Identity::Script(line)) = line {
            scripts.push((path.display().to_string(), line));
        }
    }
    let count = scripts.len();
    if count > 0 {
        let shown = scripts
            .iter()
            .take(SHOWN_SCRIPTS)
            .map(|(path, line)| format!("{path} ({line})"));
        let shown = shown.collect::<Vec<_>>().join(", ");
        let more = if count > SHOWN_SCRIPTS { ", …" } else { "" };
        let what = if count == 1 {
            "script is"
        } else {
            "scripts are"
        };
        contents.notes.push(format!(
            "{count} {what} started by the host's interpreter: {shown}{more}"
        ));
    }
}

fn glob_set(patterns: &[Glob]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(pattern.clone());
    }
    Ok(set.build()?)
}

fn strings<'s>(names: impl IntoIterator<Item = &'s OsString>) -> Vec<String> {
    names
        .into_iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}
