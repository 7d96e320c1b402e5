//! `wrap-buddy generate`: writes files that a package installs along with the tool. It needs neither cargo nor a checkout.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use sys::arch;

use crate::state::loaders::{usual_loader_name, versioned_loader_name};
use crate::system::directory::Directory;

/// Files to write. The directory is created if it does not exist.
#[derive(Clone, Debug)]
pub enum Files {
    /// Manual pages and completions (bash, zsh, fish, nushell), in the layout of PREFIX/share.
    Share(PathBuf),
    /// The loader of every architecture, in the layout of PREFIX/lib/wrap-buddy.
    Loaders(PathBuf),
}

/// A path below the directory, and the content of the file.
pub type Generated = (PathBuf, Vec<u8>);

/// Writes `files`. `share` returns those of [`Files::Share`].
///
/// # Errors
/// If a file cannot be written, or this build lacks the loader of an architecture.
pub fn generate(files: &Files, share: &dyn Fn() -> Result<Vec<Generated>>) -> Result<()> {
    match files {
        Files::Share(directory) => {
            for (path, content) in share()? {
                write(directory, &path, &content)?;
            }
            Ok(())
        }
        Files::Loaders(directory) => {
            let missing = stages::MISSING.iter();
            let missing: Vec<String> = missing
                .map(|(name, install)| format!("{name}: {install}"))
                .collect();
            ensure!(
                missing.is_empty(),
                "this build has no loaders for {}",
                missing.join("; for ")
            );
            write_loaders(directory)
        }
    }
}

/// Writes every loader of this build into `directory`, under both names that the tool looks for: with and without the ABI version.
///
/// # Errors
/// If this build has none, or a file cannot be written.
pub fn write_loaders(directory: &Path) -> Result<()> {
    ensure!(
        !stages::all().is_empty(),
        "this build has no loaders; run `cargo xtask setup` and build again"
    );
    for stage in stages::all() {
        let arch = arch::all().iter().find(|arch| arch.name == stage.name);
        let arch = arch.ok_or_else(|| anyhow!("{}: no such architecture", stage.name))?;
        // The name with the ABI version stays when a later tool installs another version: programs wrapped earlier need it.
        for name in [usual_loader_name(arch), versioned_loader_name(arch)] {
            write(directory, Path::new(&name), stage.loader)?;
        }
    }
    Ok(())
}

/// Writes a file below `top`, which is created if it does not exist. Symbolic links below `top` are not followed.
fn write(top: &Path, below: &Path, content: &[u8]) -> Result<()> {
    let written = || {
        fs::create_dir_all(top)?;
        let mut directory = Directory::open(&fs::canonicalize(top)?)?;
        for part in below.parent().into_iter().flatten() {
            directory.make_directory(part)?;
            directory = directory.subdirectory(part)?;
        }
        let name = below.file_name().unwrap_or_default();
        directory.unlink(name)?;
        directory.create(name, 0o644)?.write_all(content)
    };
    written().with_context(|| format!("cannot write {}", top.join(below).display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::loaders::loader_names;

    #[test]
    fn the_tool_finds_the_loaders_it_writes() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("lib/wrap-buddy");
        write_loaders(&inner).unwrap();
        for stage in stages::all() {
            let arch = arch::all().iter().find(|arch| arch.name == stage.name);
            let names = loader_names(arch.unwrap());
            assert_eq!(fs::read(inner.join(&names[0])).unwrap(), stage.loader);
            assert_eq!(fs::read(inner.join(&names[1])).unwrap(), stage.loader);
        }
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write_loaders(&file).unwrap_err().to_string();
        assert!(error.starts_with("cannot write /"), "{error}");
    }
}
