//! Where a wrapped program finds loader.bin, and whether it has to be installed there.

use std::collections::HashMap;
use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use etcetera::BaseStrategy;
use etcetera::base_strategy::Xdg;
use ldso::Root;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat, geteuid};
use sha2::{Digest, Sha256};
use sidecar::loader::{IMAGE_LEN, check};
use sidecar::ownership::BY_ALL;
use stages::Stage;
use thiserror::Error;

use crate::system::hex::hex;
use crate::system::path_guard::weak_part;
use crate::system::relative::relative_file;
use elf_file::read_regular;
use sys::arch::{Arch, HOST};

/// Root's default directory. All users can read it, unlike root's home directory.
const OF_ROOT: &str = "/usr/local/lib/wrap-buddy";

/// A loader image as a program will find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loader {
    /// The path in the stub: absolute, or relative to the directory of the program.
    pub path: PathBuf,
    /// Set if it has to be written first.
    pub install: Option<Install>,
    pub warning: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    pub path: PathBuf,
    pub image: &'static [u8],
    /// Whether new directories are made accessible to all users, whatever the umask is.
    pub for_all: bool,
}

/// Why the image in `--loader-dir-path` cannot be used.
#[derive(Clone, Debug, Error)]
enum BadLoader {
    #[error("--loader-dir-path: {}: {error}", .path.display())]
    Image {
        path: PathBuf,
        error: sidecar::Error,
    },
    #[error("{} cannot be read: {error}", .path.display())]
    Unreadable {
        path: PathBuf,
        error: Arc<io::Error>,
    },
}

/// Finds loaders, once for each architecture.
#[derive(Debug)]
pub struct Loaders {
    root: Root,
    named: Option<PathBuf>,
    known: Mutex<HashMap<u16, Result<Option<Loader>, BadLoader>>>,
}

impl Loaders {
    /// `named`: the value of `--loader-dir-path`, a directory in `root`.
    pub fn new(root: &Root, named: Option<&Path>) -> Result<Self> {
        let compiled_in = option_env!("WRAP_BUDDY_LIBDIR").map(Path::new);
        let named = named.or(compiled_in).map(std::path::absolute).transpose()?;
        Ok(Self {
            root: root.clone(),
            named,
            known: Mutex::default(),
        })
    }

    /// The loader for programs of `arch`, with its absolute path. `None` if no directory can hold one, so that each program needs its own.
    ///
    /// # Errors
    /// If the image in a named directory is invalid.
    pub fn absolute(&self, arch: &Arch, stage: &Stage) -> Result<Option<Loader>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known
            .entry(arch.machine)
            .or_insert_with(|| match &self.named {
                Some(directory) => named_image(&self.root, directory, arch).map(Some),
                None => Ok(of_this_tool(arch, stage)),
            });
        Ok(found.clone()?)
    }

    /// Like [`absolute`](Self::absolute), with a path relative to the program's directory `origin`.
    pub fn relative(&self, arch: &Arch, stage: &Stage, origin: &Path) -> Result<Option<Loader>> {
        let loader = self.absolute(arch, stage)?;
        Ok(loader.map(|loader| Loader {
            path: relative_file(&loader.path, origin),
            ..loader
        }))
    }
}

impl Loader {
    fn there(path: PathBuf) -> Self {
        Self {
            path,
            install: None,
            warning: None,
        }
    }
}

/// The image next to this tool, or else a copy in the user's data directory or, for root, in [`OF_ROOT`].
fn of_this_tool(arch: &Arch, stage: &Stage) -> Option<Loader> {
    let tool = env::current_exe().ok();
    let next_to_tool = tool.and_then(|tool| Some(tool.parent()?.parent()?.join("lib/wrap-buddy")));
    if let Some(path) = next_to_tool.and_then(|directory| good_image(&directory, arch)) {
        return Some(Loader::there(fs::canonicalize(&path).unwrap_or(path)));
    }
    let digest = hex(&Sha256::digest(stage.loader)[..8]);
    let name = format!("loader-{}-{digest}.bin", arch.name);
    let path = default_directory()?.join(name);
    let there = read_image(&path).is_ok_and(|image| image == stage.loader);
    if !there && !is_writable(path.parent()?) {
        return None;
    }
    Some(Loader {
        install: (!there).then(|| Install {
            for_all: path.starts_with(OF_ROOT),
            path: path.clone(),
            image: stage.loader,
        }),
        ..Loader::there(path)
    })
}

/// The default directory for loaders. `sudo` and `su` may keep HOME and XDG_DATA_HOME of another user: these count only if they belong to
/// the user who runs this process, and no other user can change where they lead.
fn default_directory() -> Option<PathBuf> {
    let user = geteuid();
    let chosen = env::var_os("XDG_DATA_HOME").is_some_and(|home| Path::new(&home).is_absolute());
    if user.is_root() && !chosen {
        return Some(PathBuf::from(OF_ROOT));
    }
    let data = base_directory("XDG_DATA_HOME", Xdg::data_dir)?;
    let is_own = is_own(&data);
    match (is_own, user.is_root()) {
        (true, _) => Some(data.join("wrap-buddy")),
        (false, true) => Some(PathBuf::from(OF_ROOT)),
        (false, false) => None,
    }
}

/// The directory for files that this user can make again, if no other user can change where it leads: in the user's cache, or without a
/// home directory, among the temporary files.
pub fn own_cache() -> Option<PathBuf> {
    let cache = base_directory("XDG_CACHE_HOME", Xdg::cache_dir);
    let is_usable = |directory: &Path| is_own(directory) && is_writable(directory);
    if let Some(cache) = cache.filter(|cache| is_usable(cache)) {
        return Some(cache.join("wrap-buddy"));
    }
    let temporary = env::temp_dir().join(format!("wrap-buddy-{}", geteuid()));
    // Another user may have made it before.
    let _ = DirBuilder::new().mode(0o700).create(&temporary);
    is_usable(&temporary).then_some(temporary)
}

/// The directory in `variable`, or else the usual one in the user's home directory.
fn base_directory(variable: &str, usual: impl FnOnce(&Xdg) -> PathBuf) -> Option<PathBuf> {
    let chosen = env::var_os(variable).map(PathBuf::from);
    let chosen = chosen.filter(|directory| directory.is_absolute());
    chosen.or_else(|| Some(usual(&Xdg::new().ok()?)))
}

/// Whether `directory`, which need not exist, belongs to the user who runs this process, and no other user can change where it leads.
fn is_own(directory: &Path) -> bool {
    let user = geteuid().as_raw();
    let is_own = fs::metadata(nearest(directory)).is_ok_and(|found| found.uid() == user);
    // In a user namespace, the owner of `/` may be nobody. Directories that the user's group can write to count as safe here.
    let top = fs::metadata("/").map_or(0, |top| top.uid());
    is_own && weak_part(&Root::default(), directory, &[0, user, top], BY_ALL).is_none()
}

/// `path`, or its nearest ancestor that exists.
fn nearest(path: &Path) -> &Path {
    let mut ancestors = path.ancestors();
    let there = ancestors.find(|path| path.symlink_metadata().is_ok());
    there.unwrap_or(Path::new("/"))
}

/// Whether this user can create files in `directory`, which need not exist.
fn is_writable(directory: &Path) -> bool {
    let flags = AccessFlags::W_OK | AccessFlags::X_OK;
    let existing = nearest(directory);
    existing.is_dir() && faccessat(AT_FDCWD, existing, flags, AtFlags::AT_EACCESS).is_ok()
}

/// The image in a directory that the user named. It need not exist yet.
fn named_image(root: &Root, directory: &Path, arch: &Arch) -> Result<Loader, BadLoader> {
    let names = loader_names(arch);
    for path in names.iter().map(|name| directory.join(name)) {
        match read_image(&root.on_host(&path)) {
            Ok(image) => {
                return match check(&image, arch.machine) {
                    Ok(()) => Ok(Loader::there(path)),
                    Err(error) => Err(BadLoader::Image { path, error }),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let error = Arc::new(error);
                return Err(BadLoader::Unreadable { path, error });
            }
        }
    }
    let path = directory.join(usual_loader_name(arch));
    let warning = format!(
        "{}: loader does not exist yet; put it there before the programs run",
        path.display()
    );
    Ok(Loader {
        warning: Some(warning),
        ..Loader::there(path)
    })
}

/// Reads the loader at `path`, which may be untrusted: at most as many bytes as a loader has, and only a regular file.
pub(crate) fn read_image(path: &Path) -> io::Result<Vec<u8>> {
    read_regular(path, IMAGE_LEN as u64)
}

/// Possible file names of a loader image, best one first: the name with the ABI version stays valid when the directory is updated.
pub fn loader_names(arch: &Arch) -> Vec<String> {
    let qualified = format!("loader-{}.bin", arch.name);
    let mut names = vec![
        versioned_loader_name(arch),
        usual_loader_name(arch),
        qualified,
    ];
    names.dedup();
    names
}

/// The name with the ABI version, which later versions do not replace.
pub fn versioned_loader_name(arch: &Arch) -> String {
    format!("loader-{}.v{}.bin", arch.name, sidecar::loader::ABI)
}

/// The usual name. It is `loader.bin` for the host's architecture, so that one directory can have loaders for all.
pub fn usual_loader_name(arch: &Arch) -> String {
    let is_host = HOST.name == arch.name;
    // A 32-bit loader next to that of a 64-bit host.
    let is_narrower = arch.class < HOST.class && arch.runs_on.contains(&HOST.name);
    match (is_host, is_narrower) {
        (true, _) => "loader.bin".to_owned(),
        (false, true) => "loader32.bin".to_owned(),
        (false, false) => format!("loader-{}.bin", arch.name),
    }
}

fn good_image(directory: &Path, arch: &Arch) -> Option<PathBuf> {
    let mut paths = loader_names(arch)
        .into_iter()
        .map(|name| directory.join(name));
    paths.find(|path| read_image(path).is_ok_and(|image| check(&image, arch.machine).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loader_is_also_known_by_its_architecture() {
        for arch in sys::arch::all() {
            let names = loader_names(arch);
            assert!(names.contains(&format!("loader-{}.bin", arch.name)));
            assert!(names.contains(&usual_loader_name(arch)));
            assert_eq!(names[0], format!("loader-{}.v2.bin", arch.name));
        }
    }
}
