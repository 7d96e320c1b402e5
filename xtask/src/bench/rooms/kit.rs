//! Dynamic linkers without default directories, and library directories with long names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::toolchain::Compiler;
use e2e::{Arch, Libc};
use serde_json::Value;
use tempfile::TempDir;

use crate::bench::blind::blinded;
use crate::bench::system_library_dirs;

/// The tool's arguments for the machine on which the libraries will be used.
pub struct Kit {
    _dir: TempDir,
    interpreters: Vec<PathBuf>,
    libs: Vec<PathBuf>,
}

impl Kit {
    /// With paths of `length` bytes.
    pub fn new(length: usize) -> Result<Self> {
        let dir = TempDir::with_prefix("rooms-").context("cannot make a directory")?;
        let mut interpreters: Vec<PathBuf> = Vec::new();
        let mut real: Vec<PathBuf> = system_library_dirs()?
            .into_iter()
            .map(PathBuf::from)
            .collect();
        for arch in Arch::ALL {
            let name = arch.ld_so();
            // The cross compiler is not installed, so its libraries are skipped.
            let compiler = Compiler::find(arch, Libc::Glibc);
            let Some(found) = compiler.and_then(|compiler| compiler.file(name)) else {
                continue;
            };
            let blind = dir.path().join(name).join(name);
            fs::create_dir(dir.path().join(name))?;
            let bytes = fs::read(&found)?;
            fs::write(&blind, blinded(bytes))?;
            interpreters.push(blind);
            let parent = found.parent().context("a library is in a directory")?;
            if !real.iter().any(|known| known == parent) {
                real.push(parent.to_owned());
            }
        }
        ensure!(
            !interpreters.is_empty(),
            "no compiler knows where its dynamic linker is"
        );
        let mut libs = Vec::new();
        for (index, real) in real.iter().enumerate() {
            let link = long_path(dir.path(), index, length)?;
            symlink(real, &link).with_context(|| format!("cannot make {}", link.display()))?;
            libs.push(link);
        }
        Ok(Self {
            _dir: dir,
            interpreters,
            libs,
        })
    }

    /// Adds the dynamic linkers and library directories to the tool's command line.
    pub fn add_arguments(&self, command: &mut Command) {
        for interpreter in &self.interpreters {
            command.arg("--interpreter").arg(interpreter);
        }
        command.arg("--libs").args(&self.libs);
    }

    /// The tool's report on each file; nothing is written.
    pub fn plan(&self, tool: &Path, paths: &[PathBuf]) -> Result<Vec<Value>> {
        let mut command = Command::new(tool);
        command.args([
            "--dry-run",
            "--force",
            "--format",
            "json",
            "--ignore-missing",
            "*",
        ]);
        self.add_arguments(&mut command);
        command.arg("--paths").args(paths);
        // It fails if a single file does, and the report says so.
        let done = command.output().context("cannot run the tool")?;
        let document: Value = serde_json::from_slice(&done.stdout).with_context(|| {
            let errors = String::from_utf8_lossy(&done.stderr);
            format!("it ended with {}: {}", done.status, errors.trim_end())
        })?;
        let files = document["files"]
            .as_array()
            .context("it reports no files")?;
        Ok(files.clone())
    }
}

/// A path of `length` bytes in an existing directory.
fn long_path(parent: &Path, index: usize, length: usize) -> Result<PathBuf> {
    let mut path = parent.join(format!("{index}"));
    fs::create_dir(&path)?;
    let len = |path: &Path| path.as_os_str().len();
    // The rest in names that are not too long, without a slash at the end.
    while length > len(&path) + 202 {
        path.push("d".repeat(200));
        fs::create_dir(&path)?;
    }
    let rest = length.checked_sub(len(&path) + 1).filter(|&rest| rest > 0);
    let rest = rest.with_context(|| format!("{} is too long a path", path.display()))?;
    path.push("d".repeat(rest));
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_long_as_asked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        for (index, length) in [100, 151, 203, 400, 1000].into_iter().enumerate() {
            let path = long_path(dir.path(), index, length).expect("it fits");
            assert_eq!(path.as_os_str().len(), length);
            assert!(path.parent().is_some_and(Path::is_dir));
        }
        assert!(long_path(dir.path(), 9, 8).is_err());
    }
}
