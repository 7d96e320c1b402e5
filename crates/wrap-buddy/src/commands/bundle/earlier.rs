//! A bundle that exists, to which programs are added.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::MANIFEST;
use super::json::{Bundle, File, MANIFEST_VERSION, Manifest};
use crate::plan::bundle::{Contents, Item, Kind, Refusal, Role, launch};
use crate::system::hex::hex;

pub(super) struct Earlier {
    directory: PathBuf,
    manifest: Manifest,
}

impl Earlier {
    /// The bundle at `output`; `None` if nothing is there.
    ///
    /// # Errors
    /// If something else is there.
    pub fn find(output: &Path) -> Result<Option<Self>> {
        let shown = output.display();
        if output.symlink_metadata().is_err() {
            return Ok(None);
        }
        let path = output.join(MANIFEST);
        let Ok(text) = fs::read(&path) else {
            bail!("{shown} exists and is no bundle; choose another --output, or remove it");
        };
        ensure!(
            !output.is_symlink(),
            "{shown} is a symbolic link; name the bundle that it leads to"
        );
        let manifest: Manifest = serde_json::from_slice(&text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            manifest.version == MANIFEST_VERSION,
            "{}: a later version of wrap-buddy made this bundle (format {}); use that one",
            path.display(),
            manifest.version
        );
        Ok(Some(Self {
            directory: fs::canonicalize(output)?,
            manifest,
        }))
    }

    /// Adds the files of the bundle to `contents`, and their descriptions to `bundle`.
    ///
    /// # Errors
    /// If a new file has the path of another one in the bundle.
    pub fn merge(&self, bundle: &mut Bundle, contents: &mut Contents) -> Result<()> {
        let known: BTreeMap<&str, &File> = self
            .manifest
            .files
            .iter()
            .map(|file| (file.path.as_str(), file))
            .collect();
        for entry in WalkDir::new(&self.directory)
            .min_depth(1)
            .sort_by_file_name()
        {
            let entry =
                entry.with_context(|| format!("cannot read {}", self.directory.display()))?;
            let path = entry
                .path()
                .strip_prefix(&self.directory)
                .unwrap_or(Path::new(""));
            if path == Path::new(MANIFEST) {
                continue;
            }
            let mut item = self.item(entry.path())?;
            let file = path.to_str().and_then(|path| known.get(path));
            if let (Some(new), Some(file)) = (contents.items.get(path), file) {
                check_same(path, new, file)?;
            }
            if let Some(file) = file {
                item.role = file.role;
            }
            contents.items.insert(path.to_owned(), item);
        }
        let links = launch::complete(&mut contents.items);
        let links = links
            .iter()
            .filter_map(|path| File::of(path, contents.items.get(path)?));
        bundle.files.extend(links);
        bundle
            .files
            .retain(|file| !known.contains_key(file.path.as_str()));
        bundle.files.extend(self.manifest.files.iter().cloned());
        bundle.files.sort_by(|one, other| one.path.cmp(&other.path));
        union(&mut bundle.programs, &self.manifest.programs);
        union(&mut bundle.left_to_host, &self.manifest.left_to_host);
        union(&mut bundle.missing, &self.manifest.missing);
        Ok(())
    }

    fn item(&self, path: &Path) -> Result<Item> {
        let metadata = path.symlink_metadata()?;
        let kind = match () {
            () if metadata.is_dir() => Kind::Directory,
            () if metadata.is_symlink() => Kind::Link(fs::read_link(path)?),
            () => Kind::File,
        };
        Ok(Item::copied(kind, path, &metadata, Role::Data))
    }
}

/// A file that is in the bundle already has to be the same.
fn check_same(path: &Path, new: &Item, known: &File) -> Result<()> {
    let is_same = match (&new.kind, &known.target) {
        (Kind::Link(target), Some(known)) => target == Path::new(known),
        (Kind::Made { content, .. }, None) => {
            known.sha256.as_deref() == Some(&*hex(&Sha256::digest(content)))
        }
        (Kind::File, None) => {
            let content = fs::read(&new.on_host)
                .with_context(|| format!("cannot read {}", new.source.display()))?;
            known.sha256.as_deref() == Some(&*hex(&Sha256::digest(content)))
        }
        _ => false,
    };
    match is_same {
        true => Ok(()),
        false => bail!(Refusal::Conflict {
            path: path.to_owned(),
            one: PathBuf::from(&known.source),
            other: new.source.clone(),
        }),
    }
}

/// Adds the names of `more` that `all` lacks.
fn union(all: &mut Vec<String>, more: &[String]) {
    all.extend_from_slice(more);
    all.sort_unstable();
    all.dedup();
}
