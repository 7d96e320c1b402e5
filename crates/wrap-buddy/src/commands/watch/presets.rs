//! Presets: named lists of directories that programs are downloaded to, and of what in them is left alone. The ones that are
//! built in have the same form as the user's own.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use etcetera::BaseStrategy;
use serde::Deserialize;

use super::path_pattern::PathPattern;
use crate::report::Page;

/// The presets that are built in, as text.
pub const BUILT_IN: &str = include_str!("presets.toml");

/// What there is to watch for some software.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Directories, as they are written: with `~`, `${NAME}` and `${NAME:-DEFAULT}`, and patterns for single names.
    pub paths: Vec<String>,
    /// Patterns of files that are wrapped; every file without any.
    #[serde(default)]
    pub include: Vec<String>,
    /// Patterns of files and directories that are left alone.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// A file of presets.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    preset: BTreeMap<String, Preset>,
}

/// Presets by their names.
#[derive(Debug)]
pub struct Presets {
    known: BTreeMap<String, Preset>,
    /// The user's own file, if there is one.
    own: Option<PathBuf>,
}

impl Presets {
    /// The built-in ones and those in `config`, or in the user's own file where that is not given. One of the same name
    /// replaces a built-in one.
    ///
    /// # Errors
    /// When a file that was named cannot be read, or one is malformed.
    pub fn load(config: Option<&Path>) -> Result<Self> {
        let mut known = parse(BUILT_IN).context("the presets that are built in")?;
        let usual = || {
            let base = etcetera::choose_base_strategy().ok()?;
            Some(base.config_dir().join("wrap-buddy/watch.toml"))
        };
        let own = config.map(Path::to_owned).or_else(usual);
        let text = match &own {
            Some(path) => match fs::read_to_string(path) {
                Ok(text) => Some(text),
                Err(error) if error.kind() == ErrorKind::NotFound && config.is_none() => None,
                Err(error) => {
                    return Err(anyhow!("{}: cannot be read: {error}", path.display()));
                }
            },
            None => None,
        };
        let Some((path, text)) = own.zip(text) else {
            return Ok(Self { known, own: None });
        };
        let more = parse(&text).with_context(|| path.display().to_string())?;
        known.extend(more);
        let own = Some(path);
        Ok(Self { known, own })
    }

    /// The one called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<&Preset> {
        self.known.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.known.keys().map(String::as_str).collect();
            anyhow!(
                "--preset {name}: there is no such preset; known are {}",
                names.join(", ")
            )
        })
    }

    /// All of them for people, with the directories as they are here and now.
    pub fn listed(&self) -> Page {
        let mut page = Page::default();
        if let Some(own) = &self.own {
            page.line(format!("with {}", own.display()));
        }
        for (name, preset) in &self.known {
            page.line(name);
            for written in &preset.paths {
                let pattern = match PathPattern::of(written) {
                    Ok(Some(pattern)) => pattern,
                    Ok(None) => {
                        page.line(format!("  {written} (not set)"));
                        continue;
                    }
                    Err(error) => {
                        page.line(format!("  {error:#}"));
                        continue;
                    }
                };
                let there = pattern.there();
                if there.is_empty() {
                    page.line(format!("  {} (not there yet)", pattern.shown().display()));
                }
                for path in there {
                    page.line(format!("  {}", path.display()));
                }
            }
            for (label, patterns) in [("only", &preset.include), ("not", &preset.exclude)] {
                for pattern in patterns {
                    page.line(format!("  {label} {pattern}"));
                }
            }
        }
        page
    }
}

fn parse(text: &str) -> Result<BTreeMap<String, Preset>> {
    let document: Document = toml::from_str(text)?;
    Ok(document.preset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_built_in_are_well_formed() {
        let known = parse(BUILT_IN).unwrap();
        for name in [
            "vscode-server",
            "cursor",
            "windsurf",
            "jetbrains",
            "npm-global",
        ] {
            assert!(!known[name].paths.is_empty(), "{name}");
        }
        for preset in known.values() {
            for pattern in preset.include.iter().chain(&preset.exclude) {
                globset::Glob::new(pattern).unwrap();
            }
        }
    }

    #[test]
    fn a_file_adds_and_replaces_and_must_be_well_formed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watch.toml");
        fs::write(
            &path,
            "[preset.mine]\npaths = ['/opt/mine']\ninclude = ['*.node']\n[preset.cursor]\npaths = ['/c']\n",
        )
        .unwrap();
        let presets = Presets::load(Some(&path)).unwrap();
        assert_eq!(presets.get("mine").unwrap().include, ["*.node"]);
        assert_eq!(presets.get("cursor").unwrap().paths, ["/c"]);
        assert!(presets.get("jetbrains").is_ok());
        let mut listed = Vec::new();
        presets.listed().write_to(&mut listed).unwrap();
        let listed = String::from_utf8(listed).unwrap();
        assert!(listed.contains("/opt/mine (not there yet)"));
        let error = presets.get("none").unwrap_err().to_string();
        assert!(
            error.contains("known are cursor, jetbrains, mine"),
            "{error}"
        );

        for text in [
            "[preset.x]\n",
            "[preset.x]\npaths = ['/x']\npathz = []\n",
            "x",
        ] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", Presets::load(Some(&path)).unwrap_err());
            assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        }
        assert!(Presets::load(Some(Path::new("/nowhere/watch.toml"))).is_err());
    }
}
