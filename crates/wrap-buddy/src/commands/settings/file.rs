//! Files called `wrap-buddy.toml`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use etcetera::BaseStrategy;
use nix::unistd::geteuid;
use serde::Deserialize;
use sidecar::ownership::BY_OTHERS;
use toml::Spanned;

use super::{Files, Key, Setting, Source};
use crate::report::style::shown;
use crate::system::path_guard::weak_part;
use crate::system::relative::joined;
use ldso::Root;

const NAME: &str = "wrap-buddy.toml";

const OF_SYSTEM: &str = "/etc/wrap-buddy.toml";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    libs: Option<Spanned<Vec<String>>>,
    runtime_dependencies: Option<Spanned<Vec<String>>>,
    ignore_missing: Option<Spanned<Vec<String>>>,
    interpreter: Option<Spanned<Vec<String>>>,
    find_in: Option<Spanned<Vec<String>>>,
}

/// The files that apply, first one first. `ignored` gets a line for each file that other users can change.
///
/// # Errors
/// If the trees of several paths have different files.
pub fn usable(files: Files<'_>, ignored: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let of_tree = match files {
        Files::WithTrees(paths) => of_trees(paths, ignored)?,
        Files::Usual => None,
    };
    let of_user = etcetera::choose_base_strategy().ok();
    let of_user = of_user.map(|base| base.config_dir().join("wrap-buddy").join(NAME));
    let usual = of_user.into_iter().chain([PathBuf::from(OF_SYSTEM)]);
    let usual = usual.filter(|path| is_usable(path, ignored));
    Ok(of_tree.into_iter().chain(usual).collect())
}

/// The file nearest to the paths: in the directory itself or one above it.
fn of_trees(paths: &[PathBuf], ignored: &mut Vec<String>) -> Result<Option<PathBuf>> {
    let home = etcetera::home_dir().ok();
    let home = home.and_then(|home| fs::canonicalize(home).ok());
    let mut found: Option<(&Path, Option<PathBuf>)> = None;
    for path in paths {
        // The report names paths that cannot be read.
        let Ok(real) = fs::canonicalize(path) else {
            continue;
        };
        let above = home.as_deref().and_then(Path::parent);
        let is_in_home = home.as_ref().is_some_and(|home| real.starts_with(home));
        let directories = real
            .ancestors()
            .take_while(|directory| !is_in_home || Some(*directory) != above);
        let mut files = directories.map(|directory| directory.join(NAME));
        let nearest = files.find(|file| is_usable(file, ignored));
        match &found {
            Some((other, file)) if *file != nearest => {
                let text = |file: &Option<PathBuf>| match file {
                    Some(file) => shown(file),
                    None => format!("no {NAME}"),
                };
                bail!(
                    "{} applies to {}, and {} to {}: name them in separate runs, or pass --no-settings",
                    text(file),
                    other.display(),
                    text(&nearest),
                    path.display()
                );
            }
            _ => found = Some((path, nearest)),
        }
    }
    Ok(found.and_then(|(_, file)| file))
}

/// Whether the file exists, and only root and the caller can change it.
fn is_usable(path: &Path, ignored: &mut Vec<String>) -> bool {
    if !path.is_file() {
        return false;
    }
    let Some(part) = weak_part(&Root::default(), path, &[0, geteuid().as_raw()], BY_OTHERS) else {
        return true;
    };
    let line = format!(
        "{} is not read: other users can change {}; only you or root may own it and be able to write to it (chown, chmod go-w)",
        shown(path),
        shown(part)
    );
    if !ignored.contains(&line) {
        ignored.push(line);
    }
    false
}

/// The settings in the file.
///
/// # Errors
/// If it cannot be read, has an unknown key, or a value of another type.
pub fn read(path: &Path) -> Result<Vec<(Key, Setting)>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", shown(path)))?;
    let line_of = |offset: usize| {
        1 + text.as_bytes()[..offset]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
    };
    let document: Document = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        anyhow!("{}:{line}: {}", shown(path), error.message())
    })?;
    let directory = path.parent().map(fs::canonicalize);
    let directory = directory.transpose()?.unwrap_or_default();
    let all = [
        (Key::Libs, document.libs),
        (Key::RuntimeDependencies, document.runtime_dependencies),
        (Key::IgnoreMissing, document.ignore_missing),
        (Key::Interpreter, document.interpreter),
        (Key::FindIn, document.find_in),
    ];
    let given = all.into_iter().filter_map(|(key, list)| {
        let list = list?;
        let source = Source::File(path.to_owned(), line_of(list.span().start));
        let values = list.into_inner().into_iter().map(|value| match key {
            Key::IgnoreMissing => OsString::from(value),
            _ => match (value.strip_prefix("~/"), etcetera::home_dir()) {
                (Some(below), Ok(home)) => home.join(below).into(),
                _ => joined(&directory, value.as_ref()).into(),
            },
        });
        let values = values.collect();
        Some((key, Setting { values, source }))
    });
    Ok(given.collect())
}
