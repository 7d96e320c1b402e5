//! Defaults for flags: environment variables, and files called `wrap-buddy.toml`. [`file`] finds and reads these files.

mod file;
pub mod json;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use anstream::stream::RawStream;
use anyhow::Result;

use crate::report::style::shown;
use crate::report::{Format, Output, Page, Style, styled};

/// A flag that may have its values in a variable or a file instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Libs,
    RuntimeDependencies,
    IgnoreMissing,
    Interpreter,
    FindIn,
}

impl Key {
    pub const ALL: [Self; 5] = [
        Self::Libs,
        Self::RuntimeDependencies,
        Self::IgnoreMissing,
        Self::Interpreter,
        Self::FindIn,
    ];

    /// The key in files, and the flag without its dashes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Libs => "libs",
            Self::RuntimeDependencies => "runtime-dependencies",
            Self::IgnoreMissing => "ignore-missing",
            Self::Interpreter => "interpreter",
            Self::FindIn => "find-in",
        }
    }

    /// The value without a setting.
    fn default(self) -> &'static str {
        match self {
            Self::Libs | Self::RuntimeDependencies | Self::IgnoreMissing => "none",
            Self::Interpreter => "built in, or the system's",
            Self::FindIn => "/nix/store",
        }
    }

    /// The environment variable, with values separated by colons.
    pub fn variable(self) -> String {
        let name = self.name().to_uppercase().replace('-', "_");
        format!("WRAP_BUDDY_{name}")
    }
}

/// Where the values of a setting are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    Flag,
    Variable(Key),
    /// A file, and the line in it.
    File(PathBuf, usize),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Flag => f.write_str("flag"),
            Self::Variable(key) => f.write_str(&key.variable()),
            Self::File(path, line) => write!(f, "{}:{line}", shown(path)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub values: Vec<OsString>,
    pub source: Source,
}

static DEFAULT: Setting = Setting {
    values: Vec::new(),
    source: Source::Default,
};

/// Which files `wrap-buddy.toml` to read.
#[derive(Clone, Copy, Debug)]
pub enum Files<'a> {
    /// Those of the trees with these paths, the user's and the system's.
    WithTrees(&'a [PathBuf]),
    /// The user's and the system's: a tree that is watched receives files from others.
    Usual,
}

/// The settings of a run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    all: BTreeMap<Key, Setting>,
    /// For each file that is not used, a line that says why.
    ignored: Vec<String>,
}

impl Settings {
    /// Reads variables and files.
    ///
    /// # Errors
    /// If a file is malformed or cannot be read.
    pub fn read(files: Files<'_>) -> Result<Self> {
        let mut settings = Self::default();
        for key in Key::ALL {
            let text = env::var_os(key.variable()).unwrap_or_default();
            let values = env::split_paths(&text).filter(|value| !value.as_os_str().is_empty());
            let values = values.map(|value| match key {
                Key::IgnoreMissing => value.into_os_string(),
                _ => std::path::absolute(&value)
                    .unwrap_or(value)
                    .into_os_string(),
            });
            let values: Vec<OsString> = values.collect();
            if !values.is_empty() {
                let source = Source::Variable(key);
                settings.all.insert(key, Setting { values, source });
            }
        }
        for path in file::usable(files, &mut settings.ignored)? {
            for (key, setting) in file::read(&path)? {
                settings.all.entry(key).or_insert(setting);
            }
        }
        Ok(settings)
    }

    /// The values of a flag on the command line take the place of others.
    pub fn set(&mut self, key: Key, values: Vec<OsString>) {
        let source = Source::Flag;
        self.all.insert(key, Setting { values, source });
    }

    pub fn get(&self, key: Key) -> &Setting {
        self.all.get(&key).unwrap_or(&DEFAULT)
    }

    /// The files that are not used, and for people the sources of `keys`: files, with `-v` also variables.
    pub fn notes(&self, keys: &[Key], output: Output) -> Page {
        let is_for_people = output.format == Format::Human;
        let mut page = Page::default();
        for line in &self.ignored {
            page.line(format!("{}: {line}", styled("warning", Style::Warning)));
        }
        for key in keys {
            let setting = self.get(*key);
            let is_news = match setting.source {
                Source::Default | Source::Flag => false,
                Source::Variable(_) => is_for_people && output.verbose,
                Source::File(..) => is_for_people,
            };
            if is_news {
                page.line(format!("{} from {}", key.name(), setting.source));
            }
        }
        page
    }

    /// Writes all settings as a table.
    pub fn write(&self, out: &mut impl RawStream) -> io::Result<()> {
        let mut page = Page::default();
        let width = Key::ALL.iter().map(|key| key.name().len()).max();
        let width = width.unwrap_or_default();
        for key in Key::ALL {
            let setting = self.get(key);
            let values = setting.values.iter().map(shown);
            let values = match setting.source {
                Source::Default => key.default().to_owned(),
                _ => values.collect::<Vec<_>>().join(" "),
            };
            let source = styled(format!("({})", setting.source), Style::Dim);
            page.line(format!("{:<width$}  {values} {source}", key.name()));
        }
        page.write_to(out)
    }
}
