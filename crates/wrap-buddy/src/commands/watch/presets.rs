//! Presets: named lists of directories that programs are downloaded to, and of files in them to leave alone. The built-in ones have the
//! same format as the user's file.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use etcetera::BaseStrategy;
use serde::Deserialize;

use super::path_pattern::PathPattern;
use crate::report::Page;

pub const BUILT_IN: &str = include_str!("presets.toml");

/// The names of the built-in presets.
pub fn built_in_presets() -> Vec<String> {
    // A test checks that the text is valid.
    let presets = parse(BUILT_IN).unwrap_or_default();
    presets.into_keys().collect()
}

/// The directories and files of some software.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Directories, with `~`, `${NAME}`, `${NAME:-DEFAULT}`, and glob patterns in single components.
    pub paths: Vec<String>,
    /// Patterns of files to wrap; empty means every file.
    #[serde(default)]
    pub include: Vec<String>,
    /// Patterns of files and directories to leave alone.
    #[serde(default)]
    pub exclude: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    preset: BTreeMap<String, Preset>,
}

#[derive(Debug)]
pub struct Presets {
    known: BTreeMap<String, Preset>,
    /// The user's file, if it exists.
    own: Option<PathBuf>,
}

impl Presets {
    /// Loads the built-in presets and those in `config`, which defaults to the user's file. A preset in the file replaces the built-in one
    /// of that name.
    ///
    /// # Errors
    /// If `config` cannot be read, or a file is malformed.
    pub fn load(config: Option<&Path>) -> Result<Self> {
        let mut known = parse(BUILT_IN).context("built-in presets")?;
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

    pub fn get(&self, name: &str) -> Result<&Preset> {
        self.known.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.known.keys().map(String::as_str).collect();
            anyhow!(
                "--preset {name}: no such preset; use one of {}",
                names.join(", ")
            )
        })
    }

    /// A list of all presets with their directories on this machine.
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
                        page.line(format!("  {written} (variable not set)"));
                        continue;
                    }
                    Err(error) => {
                        page.line(format!("  {error:#}"));
                        continue;
                    }
                };
                let existing = pattern.existing();
                if existing.is_empty() {
                    page.line(format!(
                        "  {} (does not exist yet)",
                        pattern.shown().display()
                    ));
                }
                for path in existing {
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
        assert!(listed.contains("/opt/mine (does not exist yet)"));
        let error = presets.get("none").unwrap_err().to_string();
        assert!(
            error.contains("use one of cursor, jetbrains, mine"),
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
