//! The values of flags: those on the command line, or else those in the settings.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap::error::ErrorKind;
use globset::{Glob, GlobSet, GlobSetBuilder};

use super::args::CommandLine;
use super::wrap::absolute_directory;
use crate::commands::settings::{Files as SettingsFiles, Key, Settings, Source};

/// The settings of a run; none with `--no-settings`.
pub fn settings(files: SettingsFiles<'_>, none: bool) -> Result<Settings, clap::Error> {
    match none {
        true => Ok(Settings::default()),
        false => Settings::read(files).map_err(|error| raw_error(&format!("{error:#}"))),
    }
}

/// The directories of a flag, or those in the settings.
pub fn directories(
    settings: &mut Settings,
    key: Key,
    flag: Option<Vec<PathBuf>>,
) -> Result<Vec<PathBuf>, clap::Error> {
    if let Some(flag) = flag {
        return Ok(set_paths(settings, key, split_at_commas(flag)));
    }
    let setting = settings.get(key);
    let values = setting.values.iter().map(|value| {
        let checked = absolute_directory(value.as_ref());
        checked.map_err(|why| wrong_value(&setting.source, value, why))
    });
    values.collect()
}

/// The dynamic linkers of the flag, or those in the settings.
pub fn interpreters(settings: &mut Settings, flag: Vec<PathBuf>) -> Vec<PathBuf> {
    let values = settings.get(Key::Interpreter).values.iter();
    match flag.is_empty() {
        true => values.map(PathBuf::from).collect(),
        false => set_paths(settings, Key::Interpreter, flag),
    }
}

fn set_paths(settings: &mut Settings, key: Key, paths: Vec<PathBuf>) -> Vec<PathBuf> {
    settings.set(key, paths.iter().map(OsString::from).collect());
    paths
}

/// The patterns of `--ignore-missing`, or those in the settings.
pub fn ignore_missing(settings: &mut Settings, flag: Vec<Glob>) -> Result<GlobSet, clap::Error> {
    let key = Key::IgnoreMissing;
    if !flag.is_empty() {
        settings.set(key, flag.iter().map(|glob| glob.glob().into()).collect());
        return glob_set("--ignore-missing", &flag);
    }
    let setting = settings.get(key);
    let patterns = setting.values.iter().map(|value| {
        let pattern = Glob::new(&value.to_string_lossy());
        pattern.map_err(|error| wrong_value(&setting.source, value, error.kind()))
    });
    let patterns: Vec<Glob> = patterns.collect::<Result<_, _>>()?;
    glob_set("--ignore-missing", &patterns)
}

fn wrong_value(source: &Source, value: &OsStr, why: impl Display) -> clap::Error {
    raw_error(&format!("{source}: {}: {why}", Path::new(value).display()))
}

/// An error that is not in the command line: without its usage.
fn raw_error(message: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{message}\n"))
}

/// Splits `./a,./b` into two directories, unless a directory has that name.
fn split_at_commas(directories: Vec<PathBuf>) -> Vec<PathBuf> {
    let split = |directory: PathBuf| -> Vec<PathBuf> {
        let bytes = directory.as_os_str().as_bytes();
        if !bytes.contains(&b',') || directory.exists() {
            return vec![directory];
        }
        let parts = bytes.split(|&byte| byte == b',');
        let parts = parts.filter(|part| !part.is_empty());
        let parts = parts.map(|part| PathBuf::from(OsString::from_vec(part.to_vec())));
        // The first part became absolute with the whole.
        parts
            .map(|part| std::path::absolute(&part).unwrap_or(part))
            .collect()
    };
    directories.into_iter().flat_map(split).collect()
}

/// Combines the patterns of `flag`.
pub fn glob_set(flag: &str, patterns: &[Glob]) -> Result<GlobSet, clap::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(pattern.clone());
    }
    set.build().map_err(|error| {
        CommandLine::command().error(ErrorKind::ValueValidation, format!("{flag}: {error}"))
    })
}
