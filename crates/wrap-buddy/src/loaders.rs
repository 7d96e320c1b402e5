//! Where loader.bin is when a wrapped program starts, and what has to be installed for it to be there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};
use sidecar::loader::check;
use stages::Stage;

use crate::arch::Arch;
use crate::hex::hex;
use crate::resolve::relative_file;

/// A loader image as a program will find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loader {
    /// What the stub opens: absolute, or relative to the directory of the executable.
    pub path: PathBuf,
    /// Written there first, unless it is there already.
    pub install: Option<Install>,
    /// What the user should know.
    pub note: Option<String>,
}

/// A loader image to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// Where to.
    pub path: PathBuf,
    /// The image.
    pub image: &'static [u8],
}

/// Directories loaders may be in.
#[derive(Debug)]
pub struct Loaders {
    named: Option<PathBuf>,
    beside_tool: Option<PathBuf>,
    data: Option<PathBuf>,
}

impl Loaders {
    /// `named`: the directory the user named.
    pub fn new(named: Option<&Path>) -> Result<Self> {
        let compiled_in = option_env!("WRAP_BUDDY_LIBDIR").map(Path::new);
        let named = named.or(compiled_in).map(std::path::absolute).transpose()?;
        let tool = std::env::current_exe().ok();
        Ok(Self {
            named,
            beside_tool: tool
                .and_then(|tool| Some(tool.parent()?.parent()?.join("lib/wrap-buddy"))),
            data: etcetera::base_strategy::choose_base_strategy()
                .ok()
                .map(|base| base.data_dir().join("wrap-buddy")),
        })
    }

    /// The loader for a program of `arch`, by its absolute path.
    ///
    /// # Errors
    /// When the image in a named directory is not one for it.
    pub fn absolute(&self, arch: &Arch, stage: &Stage) -> Result<Loader> {
        if let Some(directory) = &self.named {
            let (path, there) = named_image(directory, arch)?;
            return Ok(Loader {
                note: (!there).then(|| format!("{} must be there at run time", path.display())),
                path,
                install: None,
            });
        }
        let beside = self.beside_tool.as_deref();
        if let Some(path) = beside.and_then(|directory| good_image(directory, arch)) {
            return Ok(Loader {
                path: fs::canonicalize(&path).unwrap_or(path),
                install: None,
                note: None,
            });
        }
        let data = self.data.as_deref().ok_or_else(|| {
            anyhow!("there is no place for the loader: pass --loader-dir-path, or set HOME")
        })?;
        let digest = hex(&Sha256::digest(stage.loader)[..8]);
        let path = data.join(format!("loader-{}-{digest}.bin", arch.name));
        let there = fs::read(&path).is_ok_and(|image| image == stage.loader);
        Ok(Loader {
            install: (!there).then(|| Install {
                path: path.clone(),
                image: stage.loader,
            }),
            path,
            note: None,
        })
    }

    /// The loader for a program in the directory `origin`, relative to that.
    ///
    /// # Errors
    /// When the image in a named directory is not one for it.
    pub fn relative(&self, arch: &Arch, stage: &Stage, origin: &Path) -> Result<Loader> {
        if let Some(directory) = &self.named {
            let (path, there) = named_image(directory, arch)?;
            return Ok(Loader {
                note: (!there).then(|| format!("{} must be there at run time", path.display())),
                path: relative_file(&path, origin),
                install: None,
            });
        }
        if let Some(path) = good_image(&origin.join("../lib/wrap-buddy"), arch) {
            return Ok(Loader {
                path: relative_file(&path, origin),
                install: None,
                note: None,
            });
        }
        let name = PathBuf::from(format!(".loader-{}.bin", arch.name));
        let path = origin.join(&name);
        let there = fs::read(&path).is_ok_and(|image| image == stage.loader);
        Ok(Loader {
            path: name,
            install: (!there).then_some(Install {
                path,
                image: stage.loader,
            }),
            note: None,
        })
    }
}

/// The image in a directory the user named, and whether it is there yet.
fn named_image(directory: &Path, arch: &Arch) -> Result<(PathBuf, bool)> {
    let mut paths = arch
        .loader_names()
        .into_iter()
        .map(|name| directory.join(name));
    let usual = paths.next().unwrap_or_else(|| directory.join("loader.bin"));
    for path in std::iter::once(usual.clone()).chain(paths) {
        match fs::read(&path) {
            Ok(image) => {
                check(&image, arch.machine)
                    .with_context(|| path.display().to_string())
                    .context("--loader-dir-path")?;
                return Ok((path, true));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => bail!("{} cannot be read: {error}", path.display()),
        }
    }
    Ok((usual, false))
}

fn good_image(directory: &Path, arch: &Arch) -> Option<PathBuf> {
    let mut paths = arch
        .loader_names()
        .into_iter()
        .map(|name| directory.join(name));
    paths.find(|path| fs::read(path).is_ok_and(|image| check(&image, arch.machine).is_ok()))
}
