//! Command lines that `check` proposes. Each is planned before it is proposed.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use stages::Stage;

use super::{FileCheck, Next};
use crate::plan::options::WrapOptions;
use crate::plan::outcome::{FileReport, Report, Status};
use crate::report::Reporter;
use crate::system::shell::quoted;

/// A command line that wraps files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    pub paths: Vec<PathBuf>,
    pub libs: Vec<PathBuf>,
    pub interpreters: Vec<PathBuf>,
    /// `--relocatable` or `--self-contained`, as the file was wrapped before.
    pub flag: Option<&'static str>,
}

impl Command {
    fn words(&self) -> Vec<OsString> {
        let mut words = vec![OsString::from("wrap-buddy")];
        for (flag, paths) in [
            ("--paths", &self.paths),
            ("--libs", &self.libs),
            ("--interpreter", &self.interpreters),
        ] {
            // The other flags take several values.
            let one_each = flag == "--interpreter";
            for (index, path) in paths.iter().enumerate() {
                if index == 0 || one_each {
                    words.push(flag.into());
                }
                words.push(path.into());
            }
        }
        words.extend(self.flag.map(OsString::from));
        // The file was wrapped like this before, so files outside of the tree were accepted then.
        if self.flag == Some("--relocatable") {
            words.push("--allow-outside".into());
        }
        words
    }

    /// Whether this command makes `other` unnecessary.
    pub fn covers(&self, other: &Self) -> bool {
        let has = |path: &PathBuf| self.paths.iter().any(|own| path.starts_with(own));
        self.interpreters == other.interpreters
            && self.flag == other.flag
            && other.paths.iter().all(has)
            && other.libs.iter().all(|one| self.libs.contains(one))
    }

    /// The command line, quoted for a shell.
    pub fn written(&self) -> String {
        quoted(self.words())
    }

    /// Does a dry run of it.
    ///
    /// # Errors
    /// If it would do nothing at all: the reason.
    pub fn rehearsed(&self, stages: &[Stage]) -> anyhow::Result<Report> {
        let options = WrapOptions {
            dry_run: true,
            ..self.options()?
        };
        crate::commands::wrap::wrap(&options, stages, stages::MISSING, &Reporter::default())
    }

    /// Its options.
    ///
    /// # Errors
    /// If the current directory cannot be determined.
    pub fn options(&self) -> io::Result<WrapOptions> {
        Ok(WrapOptions {
            paths: self.paths.clone(),
            libs: absolute(&self.libs)?,
            interpreter: self.interpreters.clone(),
            self_contained: self.flag == Some("--self-contained"),
            relocatable: self.flag == Some("--relocatable"),
            allow_outside: self.flag == Some("--relocatable"),
            ..WrapOptions::default()
        })
    }
}

fn absolute(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    paths.iter().map(std::path::absolute).collect()
}

pub fn changes(file: &FileReport) -> bool {
    let plan = file.plan.as_deref();
    let installs =
        |plan: &crate::plan::Plan| plan.loader().is_some_and(|one| one.install.is_some());
    plan.is_some_and(|plan| !plan.settled || installs(plan))
}

/// Why the command for one file would do nothing; `None` if it would change something.
pub fn no_effect(report: &anyhow::Result<Report>) -> Option<String> {
    let report = match report {
        Ok(report) => report,
        Err(error) => return Some(format!("{error:#}")),
    };
    if report.files.iter().any(changes) {
        return None;
    }
    let mut reasons = report.files.iter().filter_map(|file| file.reason.as_ref());
    let reason = reasons.next();
    Some(reason.map_or_else(
        || "it is already wrapped with these settings".to_owned(),
        ToString::to_string,
    ))
}

/// Commands that replace those of several files: one for all files with the same dynamic linker.
pub fn combined(files: &[FileCheck], named: &[PathBuf], stages: &[Stage]) -> Vec<Next> {
    let mut groups: Vec<(Command, Vec<&Command>)> = Vec::new();
    let calls = files.iter().flat_map(|file| &file.next);
    for call in calls.filter_map(|next| next.call.as_deref()) {
        let of_group = groups
            .iter_mut()
            .find(|(all, _)| all.interpreters == call.interpreters && all.flag == call.flag);
        match of_group {
            Some((all, calls)) => {
                extend(&mut all.paths, &call.paths);
                extend(&mut all.libs, &call.libs);
                calls.push(call);
            }
            None => groups.push((call.clone(), vec![call])),
        }
    }
    groups.retain(|(_, calls)| calls.len() > 1);
    let each = groups.into_iter().filter_map(|(all, calls)| {
        // Prefer a directory that the user named, if the command changes no other files in it.
        let holds = |directory: &&PathBuf| {
            directory.is_dir() && all.paths.iter().all(|path| path.starts_with(directory))
        };
        let short = named.iter().find(holds).map(|directory| Command {
            paths: vec![directory.clone()],
            ..all.clone()
        });
        let mut commands = short.into_iter().chain([all.clone()]);
        let command = commands.find(|command| does_the_same(command, &all.paths, stages))?;
        let text = format!("resolves all dependencies of {} files", calls.len());
        Some(Next {
            call: Some(Box::new(command.clone())),
            ..Next::typed(command.written(), text)
        })
    });
    each.collect()
}

/// Whether the command changes exactly the files at `paths` and resolves all of their dependencies.
fn does_the_same(command: &Command, paths: &[PathBuf], stages: &[Stage]) -> bool {
    let Ok(report) = command.rehearsed(stages) else {
        return false;
    };
    let complete = |file: &FileReport| {
        let plan = file.plan.as_ref();
        file.missing.is_empty() && plan.is_none_or(|plan| plan.resolution.unmet_versions.is_empty())
    };
    let mut changed: Vec<&Path> = report
        .files
        .iter()
        .filter(|file| changes(file))
        .map(|file| file.path.as_path())
        .collect();
    changed.sort_unstable();
    let mut wanted: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    wanted.sort_unstable();
    let failed = report.count(Status::Failed) > 0;
    !failed && changed == wanted && report.files.iter().all(complete)
}

fn extend(all: &mut Vec<PathBuf>, more: &[PathBuf]) {
    for path in more {
        if !all.contains(path) {
            all.push(path.clone());
        }
    }
}
