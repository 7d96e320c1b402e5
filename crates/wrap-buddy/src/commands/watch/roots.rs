//! The directories to watch, and which of their files are of interest.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use elf_file::FileId;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use nix::sys::statfs::{self, FsType};

use super::path_pattern::PathPattern;
use super::presets::Preset;
use crate::scan::Target;
use crate::system::sidecar_path::{is_links_name, is_own_file_name};

/// A directory to watch, which need not exist, or the base directory of a pattern.
#[derive(Debug)]
pub struct Root {
    /// As the user named it.
    pub shown: PathBuf,
    /// The absolute path.
    pub path: PathBuf,
    pattern: PathPattern,
    /// Whether it is scanned at intervals, because its file system does not report changes.
    pub polled: bool,
    /// Its path without symbolic links, and its identity; `None` while it does not exist.
    pub there: Option<(PathBuf, FileId)>,
    recurse: bool,
    /// `None` means every file.
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Root {
    /// A directory that the user named.
    ///
    /// # Errors
    /// If the current directory cannot be determined.
    pub fn named(shown: &Path, recurse: bool) -> Result<Self> {
        let path = std::path::absolute(shown)?;
        Ok(Self {
            shown: shown.to_owned(),
            pattern: PathPattern::plain(path.clone()),
            path,
            polled: false,
            there: None,
            recurse,
            include: None,
            exclude: GlobSet::empty(),
        })
    }

    /// The directories of a preset, without those that use unset variables.
    ///
    /// # Errors
    /// If a pattern is invalid.
    pub fn of_preset(preset: &Preset, recurse: bool) -> Result<Vec<Self>> {
        let (include, exclude) = (patterns(&preset.include)?, patterns(&preset.exclude)?);
        let mut roots = Vec::new();
        for written in &preset.paths {
            let Some(pattern) = PathPattern::of(written)? else {
                continue;
            };
            roots.push(Self {
                shown: pattern.base.clone(),
                path: pattern.base.clone(),
                pattern,
                polled: false,
                there: None,
                recurse,
                include: (!preset.include.is_empty()).then(|| include.clone()),
                exclude: exclude.clone(),
            });
        }
        Ok(roots)
    }

    /// As the user named it, with patterns.
    pub fn name(&self) -> PathBuf {
        match self.pattern.is_plain() {
            true => self.shown.clone(),
            false => self.pattern.shown(),
        }
    }

    /// Updates its present location. Returns true if that has changed.
    pub fn refresh(&mut self) -> bool {
        let real = fs::canonicalize(&self.path).ok();
        let there = real.and_then(|real| {
            let metadata = fs::metadata(&real).ok()?;
            metadata.is_dir().then(|| (real, FileId::from(&metadata)))
        });
        let changed = there != self.there;
        self.there = there;
        changed
    }

    /// Its present location without symbolic links.
    pub fn real(&self) -> Option<&Path> {
        self.there.as_ref().map(|(real, _)| real.as_path())
    }

    /// Whether it is on a file system that does not report changes made elsewhere.
    pub fn needs_polling(&self) -> bool {
        let nearest = self.path.ancestors().find(|path| path.exists());
        nearest.is_some_and(is_on_silent)
    }

    /// Whether events in the directory `real`, which may be the root itself, are of interest.
    fn enters(&self, real: &Path) -> bool {
        let is_on_the_way = self
            .below_base(real)
            .is_some_and(|below| self.pattern.leads_to(below));
        is_on_the_way
            || self
                .below(real)
                .is_some_and(|below| self.recurse && !self.is_excluded(below))
    }

    fn wants(&self, real: &Path) -> bool {
        self.below(real).is_some_and(|below| {
            let is_deep = below.components().nth(1).is_some();
            let included = self.include.as_ref();
            (self.recurse || !is_deep)
                && included.is_none_or(|patterns| patterns.is_match(below))
                && !self.is_excluded(below)
        })
    }

    fn is_excluded(&self, below: &Path) -> bool {
        let mut paths = below.ancestors();
        paths.any(|path| !path.as_os_str().is_empty() && self.exclude.is_match(path))
    }

    /// The watched directory that contains `real`, or is `real`.
    pub fn top<'p>(&self, real: &'p Path) -> Option<&'p Path> {
        let depth = self.below(real)?.components().count();
        real.ancestors().nth(depth)
    }

    /// The path relative to the watched directory.
    fn below<'p>(&self, real: &'p Path) -> Option<&'p Path> {
        self.pattern.inside(self.below_base(real)?)
    }

    fn below_base<'p>(&self, real: &'p Path) -> Option<&'p Path> {
        real.strip_prefix(self.real()?).ok()
    }
}

/// Whether one of `roots` with this value of `polled` watches the directory `real`.
pub fn enters(roots: &[Root], polled: bool, real: &Path) -> bool {
    let mut roots = roots.iter().filter(|root| root.polled == polled);
    roots.any(|root| root.enters(real))
}

/// Whether one of `roots` with this value of `polled` wants the file `real`.
pub fn wants(roots: &[Root], polled: bool, real: &Path) -> bool {
    let mut roots = roots.iter().filter(|root| root.polled == polled);
    roots.any(|root| root.wants(real))
}

/// The file `real` under the name that the user would give it.
pub fn target(roots: &[Root], real: PathBuf) -> Target {
    let shown = roots.iter().find_map(|root| {
        let below = root.wants(&real).then(|| root.below_base(&real))??;
        Some(root.shown.join(below))
    });
    Target::new(shown.unwrap_or_else(|| real.clone()), real, false)
}

/// Whether this tool creates files of that name. Their events are its own doing.
pub fn is_own_name(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".wrapbuddy-") || is_own_file_name(name) || is_links_name(name)
}

pub fn is_on_silent(path: &Path) -> bool {
    statfs::statfs(path).is_ok_and(|found| is_silent(found.filesystem_type()))
}

/// File systems that other machines can change without this kernel noticing (linux/magic.h, statfs(2)).
fn is_silent(kind: FsType) -> bool {
    const SILENT: [u32; 12] = [
        0x6969,      // NFS
        0x517b,      // SMB
        0xfe53_4d42, // SMB2
        0xff53_4d42, // CIFS
        0x0102_1997, // 9p: Windows drives in WSL 2, shared directories of virtual machines
        0x5346_4846, // Windows drives in WSL 1
        0x6573_5546, // FUSE, virtiofs among them
        0x786f_4256, // VirtualBox
        0x6b41_4653, // AFS
        0x5346_414f, // OpenAFS
        0x7375_7245, // Coda
        0x00c3_6400, // Ceph
    ];
    // Magic numbers have 32 bits, sign-extended or not.
    u32::try_from(kind.0 & 0xffff_ffff).is_ok_and(|kind| SILENT.contains(&kind))
}

/// Patterns without a slash match names, others match paths relative to the directory.
fn patterns(texts: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let anywhere = match text.contains('/') {
            true => text.clone(),
            false => format!("**/{text}"),
        };
        let glob = GlobBuilder::new(&anywhere).literal_separator(true).build();
        set.add(glob.with_context(|| format!("pattern {text}"))?);
    }
    Ok(set.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE_ID: FileId = FileId {
        device: 0,
        inode: 0,
    };
    use nix::sys::statfs::{NFS_SUPER_MAGIC, TMPFS_MAGIC};

    fn root(include: &[&str], exclude: &[&str]) -> Root {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let preset = Preset {
            paths: vec!["/r".to_owned()],
            include: list(include),
            exclude: list(exclude),
        };
        let mut roots = Root::of_preset(&preset, true).unwrap();
        let mut root = roots.pop().unwrap();
        root.there = Some((PathBuf::from("/r"), FILE_ID));
        root
    }

    #[test]
    fn patterns_without_a_slash_are_of_names() {
        let root = root(&["node", "*.node", "bin/*"], &["*.staging", "logs/**"]);
        for wanted in ["node", "a/b/node", "x.node", "bin/x"] {
            assert!(root.wants(&Path::new("/r").join(wanted)), "{wanted}");
        }
        for unwanted in [
            "nodes",
            "a/bin/x",
            "bin/x/y",
            "a.staging/node",
            "logs/a/node",
        ] {
            assert!(!root.wants(&Path::new("/r").join(unwanted)), "{unwanted}");
        }
        assert!(!root.wants(Path::new("/other/node")));
        assert!(root.enters(Path::new("/r")) && root.enters(Path::new("/r/a/b")));
        assert!(!root.enters(Path::new("/r/a.staging/b")));
        assert!(!root.enters(Path::new("/r/logs/a")));
        assert!(!root.enters(Path::new("/rr")));
    }

    #[test]
    fn without_recursion_there_is_one_directory() {
        let mut root = Root::named(Path::new("/r"), false).unwrap();
        root.there = Some((PathBuf::from("/r"), FILE_ID));
        assert!(root.enters(Path::new("/r")) && !root.enters(Path::new("/r/a")));
        assert!(root.wants(Path::new("/r/a")) && !root.wants(Path::new("/r/a/b")));
    }

    #[test]
    fn own_names_are_known() {
        for own in [
            ".node.wrapbuddy",
            ".node.wrapbuddy-new",
            ".libx.so.wrapbuddy.d",
            ".wrapbuddy-Xy12",
        ] {
            assert!(is_own_name(OsStr::new(own)), "{own}");
        }
        for other in ["node", "node.wrapbuddy", ".node", ".wrapbuddyx"] {
            assert!(!is_own_name(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn file_systems_of_the_network_are_polled() {
        assert!(is_silent(NFS_SUPER_MAGIC));
        assert!(!is_silent(TMPFS_MAGIC));
        let mut root = Root::named(Path::new("/proc/none/at/all"), true).unwrap();
        assert!(!root.needs_polling());
        assert!(!root.refresh() && root.real().is_none());
    }
}
