//! The directories that are watched, and which files in them are of interest.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use nix::sys::statfs::{self, FsType};

use super::path_pattern::PathPattern;
use super::presets::Preset;
use crate::scan::Candidate;
use crate::system::sidecar_path::{is_links_name, is_own_file_name};

/// A directory that is watched, whether it is there or not; or the one below which patterns lead to such directories.
#[derive(Debug)]
pub struct Root {
    /// As the user named it.
    pub shown: PathBuf,
    /// The same, absolute.
    pub path: PathBuf,
    pattern: PathPattern,
    /// Whether it is looked through at intervals, because its file system does not tell what happens.
    pub polled: bool,
    /// While it is there: where, free of symbolic links, with device and inode.
    pub there: Option<(PathBuf, (u64, u64))>,
    recurse: bool,
    /// None: every file.
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Root {
    /// The directory that the user named.
    ///
    /// # Errors
    /// When the current directory cannot be determined.
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

    /// The directories of a preset, as far as they can be told.
    ///
    /// # Errors
    /// When a pattern is none.
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

    /// Looks where it is now; says whether that has changed.
    pub fn refresh(&mut self) -> bool {
        let real = fs::canonicalize(&self.path).ok();
        let there = real.and_then(|real| {
            let metadata = fs::metadata(&real).ok()?;
            let identity = (metadata.dev(), metadata.ino());
            metadata.is_dir().then_some((real, identity))
        });
        let changed = there != self.there;
        self.there = there;
        changed
    }

    /// Where it is, free of symbolic links.
    pub fn real(&self) -> Option<&Path> {
        self.there.as_ref().map(|(real, _)| real.as_path())
    }

    /// Whether it is on a file system that does not tell of changes made elsewhere.
    pub fn needs_polling(&self) -> bool {
        let nearest = self.path.ancestors().find(|path| path.exists());
        nearest.is_some_and(is_on_silent)
    }

    /// Whether what happens in the directory `real`, which may be the root itself, is of interest.
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

    /// The directory that `real` is in, or is, of those that are watched as a whole.
    pub fn top<'p>(&self, real: &'p Path) -> Option<&'p Path> {
        let depth = self.below(real)?.components().count();
        real.ancestors().nth(depth)
    }

    /// Below a directory that is watched as a whole.
    fn below<'p>(&self, real: &'p Path) -> Option<&'p Path> {
        self.pattern.inside(self.below_base(real)?)
    }

    fn below_base<'p>(&self, real: &'p Path) -> Option<&'p Path> {
        real.strip_prefix(self.real()?).ok()
    }
}

/// Whether some of `roots`, of those that are `polled` or of the others, asks for what happens in the directory `real`.
pub fn enters(roots: &[Root], polled: bool, real: &Path) -> bool {
    let mut roots = roots.iter().filter(|root| root.polled == polled);
    roots.any(|root| root.enters(real))
}

/// Whether some of `roots`, of those that are `polled` or of the others, asks for the file `real`.
pub fn wants(roots: &[Root], polled: bool, real: &Path) -> bool {
    let mut roots = roots.iter().filter(|root| root.polled == polled);
    roots.any(|root| root.wants(real))
}

/// The file `real` as the user would name it.
pub fn candidate(roots: &[Root], real: PathBuf) -> Candidate {
    let shown = roots.iter().find_map(|root| {
        let below = root.wants(&real).then(|| root.below_base(&real))??;
        Some(root.shown.join(below))
    });
    Candidate::new(shown.unwrap_or_else(|| real.clone()), real, false)
}

/// Whether a name is one that this tool gives: what happens to these files is its own doing.
pub fn is_own_name(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".wrapbuddy-") || is_own_file_name(name) || is_links_name(name)
}

/// Whether `path` is on a file system that does not tell of changes made elsewhere.
pub fn is_on_silent(path: &Path) -> bool {
    statfs::statfs(path).is_ok_and(|found| is_silent(found.filesystem_type()))
}

/// File systems whose files may be changed without this kernel knowing (linux/magic.h, statfs(2)).
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
    // Magic numbers are 32 bits, sign-extended or not.
    u32::try_from(kind.0 & 0xffff_ffff).is_ok_and(|kind| SILENT.contains(&kind))
}

/// Patterns without a slash are of names, the others of paths below the directory.
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
        root.there = Some((PathBuf::from("/r"), (0, 0)));
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
        root.there = Some((PathBuf::from("/r"), (0, 0)));
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
