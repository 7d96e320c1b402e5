//! The report of `bundle`, and the file in a bundle that lists its files.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::plan::bundle::{Item, Kind, Role};

/// The version of [`Manifest`].
pub const MANIFEST_VERSION: u32 = 1;

/// The result of `bundle`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bundle {
    /// The directory or archive.
    pub output: String,
    /// Whether nothing was written, as requested.
    pub dry_run: bool,
    /// Whether the programs were added to a bundle that existed.
    pub added: bool,
    /// The programs, by their path in the bundle.
    pub programs: Vec<String>,
    /// Every file and link, sorted by path.
    pub files: Vec<File>,
    /// Sonames that stay the host's.
    pub left_to_host: Vec<String>,
    /// Sonames that are missing, and may be.
    pub missing: Vec<String>,
    /// Warnings.
    pub notes: Vec<String>,
    pub summary: Summary,
}

/// Totals.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// Number of files.
    pub files: usize,
    /// Number of symbolic links.
    pub links: usize,
    /// The sum of the sizes of all files; one with several names counts once.
    pub bytes: u64,
    /// Number of programs and libraries that were wrapped or edited.
    pub changed: usize,
}

/// A file of a bundle.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct File {
    /// Its path below the bundle.
    pub path: String,
    /// The file that it is a copy of.
    pub source: String,
    /// Why it is in the bundle.
    pub role: Role,
    /// The file on this machine that needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed_by: Option<String>,
    /// The rule by which ld.so finds it on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The target, if it is a symbolic link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its source. A dry run does not compute it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The package of its source, if it is of Debian or Alpine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The licences of that package, as it writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub licences: Vec<String>,
}

impl File {
    /// `None` for a directory.
    pub fn of(path: &Path, item: &Item) -> Option<Self> {
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        let target = match &item.kind {
            Kind::Directory => return None,
            Kind::File | Kind::Made { .. } => None,
            Kind::Link(target) => Some(shown(target)),
        };
        Some(Self {
            path: shown(path),
            source: shown(&item.source),
            role: item.role,
            needed_by: item.needed_by.as_deref().map(shown),
            rule: item.rule.clone(),
            target,
            size: item.size,
            sha256: None,
            package: None,
            licences: Vec::new(),
        })
    }
}

/// The file in a bundle that lists its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    pub programs: Vec<String>,
    pub left_to_host: Vec<String>,
    pub missing: Vec<String>,
    pub files: Vec<File>,
}
