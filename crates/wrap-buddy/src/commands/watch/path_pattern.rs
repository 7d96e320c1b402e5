//! The paths of presets, with variables and patterns. A pattern may match several directories, or none yet.

use std::env;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use globset::{GlobBuilder, GlobMatcher};

/// One path of a preset: a directory, or a pattern below a directory.
#[derive(Clone, Debug)]
pub struct PathPattern {
    /// The part before the first pattern.
    pub base: PathBuf,
    steps: Vec<Step>,
}

/// A component with a pattern.
#[derive(Clone, Debug)]
struct Step {
    written: String,
    matcher: GlobMatcher,
}

impl PathPattern {
    /// A path without patterns.
    pub fn plain(base: PathBuf) -> Self {
        Self {
            base,
            steps: Vec::new(),
        }
    }

    /// Parses `written`. `None` if it uses a variable that is not set.
    ///
    /// # Errors
    /// If a pattern is invalid.
    pub fn of(written: &str) -> Result<Option<Self>> {
        let Some((base, text)) = filled_in(written) else {
            return Ok(None);
        };
        let mut pattern = Self::plain(base);
        for name in text.split('/').filter(|name| !name.is_empty()) {
            if pattern.steps.is_empty() && !name.contains(['*', '?', '[', '{', '\\']) {
                pattern.base.push(name);
                continue;
            }
            ensure!(
                !name.contains("**"),
                "path {written}: ** is not allowed in a path, only in include and exclude; write * for each level"
            );
            let glob = GlobBuilder::new(name).literal_separator(true).build();
            pattern.steps.push(Step {
                written: name.to_owned(),
                matcher: glob
                    .with_context(|| format!("path {written}"))?
                    .compile_matcher(),
            });
        }
        Ok(Some(pattern))
    }

    pub fn is_plain(&self) -> bool {
        self.steps.is_empty()
    }

    /// The path with its patterns.
    pub fn shown(&self) -> PathBuf {
        let mut shown = self.base.clone();
        shown.extend(self.steps.iter().map(|step| &step.written));
        shown
    }

    /// The directories that match and exist.
    pub fn existing(&self) -> Vec<PathBuf> {
        let mut found = vec![self.base.clone()];
        for step in &self.steps {
            let entries = found.iter().filter_map(|above| fs::read_dir(above).ok());
            let entries = entries.flatten().flatten();
            let entries = entries.filter(|entry| step.matcher.is_match(entry.file_name()));
            found = entries.map(|entry| entry.path()).collect();
            // Symbolic links in a directory are not followed, as in a watch.
            found.retain(|path| !path.is_symlink());
        }
        found.retain(|path| path.is_dir());
        found.sort_unstable();
        found
    }

    /// Whether `below`, a path relative to the base, matches or is an ancestor of a match.
    pub fn leads_to(&self, below: &Path) -> bool {
        let mut steps = self.steps.iter();
        below.components().all(|name| {
            let step = steps.next();
            step.is_some_and(|step| step.takes(name))
        })
    }

    /// The rest of `below`, a path relative to the base, after the part that matches; `None` if it does not match.
    pub fn inside<'p>(&self, below: &'p Path) -> Option<&'p Path> {
        let mut names = below.components();
        for step in &self.steps {
            names.next().filter(|name| step.takes(*name))?;
        }
        Some(names.as_path())
    }
}

impl Step {
    fn takes(&self, name: Component<'_>) -> bool {
        matches!(name, Component::Normal(name) if self.matcher.is_match(name))
    }
}

/// Fills in variables, escaped so that they contain no patterns. Returns the directory that the text begins with, and the rest.
fn filled_in(written: &str) -> Option<(PathBuf, String)> {
    let variable = |name: &str| -> Result<_, std::convert::Infallible> {
        let value = env::var(name).ok().filter(|value| !value.is_empty());
        Ok(value.map(|value| globset::escape(&value)))
    };
    let text = shellexpand::env_with_context(written, variable).ok()?;
    if let Some(below) = text.strip_prefix('~') {
        let below = below.strip_prefix('/').unwrap_or(below);
        return Some((etcetera::home_dir().ok()?, below.to_owned()));
    }
    // Unset variables are left as they are written, so the text does not begin with a slash.
    let below = text.strip_prefix('/')?;
    Some((PathBuf::from("/"), below.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(written: &str) -> PathPattern {
        PathPattern::of(written).unwrap().unwrap()
    }

    #[test]
    fn variables_have_defaults_and_homes() {
        let home = etcetera::home_dir().unwrap();
        assert_eq!(pattern("~/.x").base, home.join(".x"));
        assert_eq!(pattern("~").base, home);
        let unset = "${WRAP_BUDDY_TEST_UNSET}/lib";
        assert!(PathPattern::of(unset).unwrap().is_none());
        let with_default = "${WRAP_BUDDY_TEST_UNSET:-~/.nvm}/versions";
        assert_eq!(pattern(with_default).base, home.join(".nvm/versions"));
        assert!(PathPattern::of("relative").unwrap().is_none());
        assert!(pattern("/a/b").leads_to(Path::new("")) && !pattern("/a").leads_to(Path::new("b")));
        assert_eq!(
            pattern("/a").inside(Path::new("b/c")),
            Some(Path::new("b/c"))
        );
    }

    #[test]
    fn a_pattern_is_of_one_name() {
        let pattern = pattern("/opt/tools/node-*/x/{bin,lib}");
        assert_eq!(pattern.base, Path::new("/opt/tools"));
        assert_eq!(pattern.shown(), Path::new("/opt/tools/node-*/x/{bin,lib}"));
        for way in ["", "node-1", "node-1/x", "node-1/x/bin"] {
            assert!(pattern.leads_to(Path::new(way)), "{way}");
        }
        for other in ["node", "node-1/y", "node-1/x/sbin", "node-1/x/bin/more"] {
            assert!(!pattern.leads_to(Path::new(other)), "{other}");
        }
        let inside = |below: &'static str| pattern.inside(Path::new(below));
        assert_eq!(inside("node-1/x/lib/a/b"), Some(Path::new("a/b")));
        assert_eq!(inside("node-1/x/lib"), Some(Path::new("")));
        assert_eq!(inside("node-1/x/other/a"), None);
        assert_eq!(inside("node-1/x"), None);
        for wrong in ["/a/**/b", "/a/[b"] {
            let error = format!("{:#}", PathPattern::of(wrong).unwrap_err());
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn what_is_there_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(directory.path()).unwrap();
        let written = format!("{}/v?/bin", globset::escape(path.to_str().unwrap()));
        let pattern = pattern(&written);
        assert!(pattern.existing().is_empty());
        for name in ["v1/bin", "v2/bin", "v3", "w1/bin"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        fs::write(path.join("v3/bin"), "").unwrap();
        assert_eq!(
            pattern.existing(),
            ["v1/bin", "v2/bin"].map(|name| path.join(name))
        );
    }
}
