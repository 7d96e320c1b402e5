//! Where loader.bin is when a wrapped program starts, and what has to be installed for it to be there.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
    pub warning: Option<String>,
}

/// A loader image to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// Where to.
    pub path: PathBuf,
    /// The image.
    pub image: &'static [u8],
}

/// Where loaders are looked for; each architecture's is looked for once.
#[derive(Debug)]
pub struct Loaders {
    named: Option<PathBuf>,
    known: Mutex<HashMap<u16, Result<Loader, String>>>,
}

impl Loaders {
    /// `named`: the directory the user named.
    pub fn new(named: Option<&Path>) -> Result<Self> {
        let compiled_in = option_env!("WRAP_BUDDY_LIBDIR").map(Path::new);
        let named = named.or(compiled_in).map(std::path::absolute).transpose()?;
        Ok(Self {
            named,
            known: Mutex::default(),
        })
    }

    /// The loader for a program of `arch`, by its absolute path.
    ///
    /// # Errors
    /// When the image in a named directory is not one for it.
    pub fn absolute(&self, arch: &Arch, stage: &Stage) -> Result<Loader> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.entry(arch.machine).or_insert_with(|| {
            let found = match &self.named {
                Some(directory) => named_image(directory, arch),
                None => of_this_tool(arch, stage),
            };
            found.map_err(|error| format!("{error:#}"))
        });
        found.clone().map_err(anyhow::Error::msg)
    }

    /// The loader for a program in the directory `origin`, relative to that.
    ///
    /// # Errors
    /// When the image in a named directory is not one for it.
    pub fn relative(&self, arch: &Arch, stage: &Stage, origin: &Path) -> Result<Loader> {
        let loader = self.absolute(arch, stage)?;
        Ok(Loader {
            path: relative_file(&loader.path, origin),
            ..loader
        })
    }
}

impl Loader {
    /// Nothing has to be done for it.
    fn there(path: PathBuf) -> Self {
        Self {
            path,
            install: None,
            warning: None,
        }
    }
}

/// The image beside this tool, else a copy in the user's data directory.
fn of_this_tool(arch: &Arch, stage: &Stage) -> Result<Loader> {
    let tool = std::env::current_exe().ok();
    let beside = tool.and_then(|tool| Some(tool.parent()?.parent()?.join("lib/wrap-buddy")));
    if let Some(path) = beside.and_then(|directory| good_image(&directory, arch)) {
        return Ok(Loader::there(fs::canonicalize(&path).unwrap_or(path)));
    }
    let base = etcetera::base_strategy::choose_base_strategy().map_err(|_| {
        anyhow!("there is no place for the loader: pass --loader-dir-path, or set HOME")
    })?;
    let digest = hex(&Sha256::digest(stage.loader)[..8]);
    let name = format!("loader-{}-{digest}.bin", arch.name);
    let path = base.data_dir().join("wrap-buddy").join(name);
    Ok(installed(path, stage))
}

/// The loader of `stage` at `path`, where it is put unless it is there already.
fn installed(path: PathBuf, stage: &Stage) -> Loader {
    let there = fs::read(&path).is_ok_and(|image| image == stage.loader);
    Loader {
        install: (!there).then(|| Install {
            path: path.clone(),
            image: stage.loader,
        }),
        ..Loader::there(path)
    }
}

/// The image in a directory the user named, whether it is there yet or not.
fn named_image(directory: &Path, arch: &Arch) -> Result<Loader> {
    let names = arch.loader_names();
    for path in names.iter().map(|name| directory.join(name)) {
        match fs::read(&path) {
            Ok(image) => {
                check(&image, arch.machine)
                    .with_context(|| path.display().to_string())
                    .context("--loader-dir-path")?;
                return Ok(Loader::there(path));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => bail!("{} cannot be read: {error}", path.display()),
        }
    }
    let path = directory.join(arch.usual_loader_name());
    let warning = format!(
        "{}: no such loader yet; put it there before the programs run",
        path.display()
    );
    Ok(Loader {
        warning: Some(warning),
        ..Loader::there(path)
    })
}

fn good_image(directory: &Path, arch: &Arch) -> Option<PathBuf> {
    let mut paths = arch
        .loader_names()
        .into_iter()
        .map(|name| directory.join(name));
    paths.find(|path| fs::read(path).is_ok_and(|image| check(&image, arch.machine).is_ok()))
}
