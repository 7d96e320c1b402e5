//! Puts a prefix together that can be copied anywhere.

mod manual;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
pub struct Options {
    /// The prefix to fill [default: dist in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Options of `cargo xtask loaders`.
#[derive(clap::Args)]
pub struct Loaders {
    /// Where to; made if it is not there
    directory: PathBuf,
}

/// Files beside the program.
const DOCUMENTS: &[&str] = &["LICENSE", "README.md", "docs/json.md", "docs/schema.json"];

/// Runs the task.
pub fn run(options: &Options) -> Result<()> {
    let tool = workspace::release_tool()?;
    let prefix = match &options.out {
        Some(prefix) => prefix.clone(),
        None => workspace::target_dir()?.join("dist"),
    };
    create_dir(&prefix.join("bin"))?;
    copy(&tool, &prefix.join("bin/wrap-buddy"))?;
    write_loaders(&prefix.join("lib/wrap-buddy"))?;
    let documents = prefix.join("share/doc/wrap-buddy");
    create_dir(&documents)?;
    for name in DOCUMENTS {
        let from = workspace::root().join(name);
        let name = from.file_name().context("a document has a name")?;
        copy(&from, &documents.join(name))?;
    }
    manual::write(&prefix.join("share"))?;
    for (name, install) in stages::MISSING {
        println!("left out: the loader for {name}: {install}");
    }
    println!("{}", prefix.display());
    Ok(())
}

/// Runs the task that only writes loaders: for packages, which have a compiler that can build all of them.
pub fn loaders(options: &Loaders) -> Result<()> {
    let missing = stages::MISSING;
    let told: Vec<String> = missing
        .iter()
        .map(|(name, install)| format!("{name}: {install}"))
        .collect();
    ensure!(
        missing.is_empty(),
        "this build has no stages for {}",
        told.join("; for ")
    );
    write_loaders(&options.directory)
}

/// Writes every loader this build has into `directory`, under the names the tool looks for: the usual ones, and those with the ABI.
pub fn write_loaders(directory: &Path) -> Result<()> {
    ensure!(
        !stages::all().is_empty(),
        "this build has no stage: `cargo xtask setup` installs what they are built with"
    );
    create_dir(directory)?;
    for stage in stages::all() {
        // With the ABI in its name it can stay when a later version brings another: programs wrapped before need it.
        let versioned = format!("loader-{}.v{}.bin", stage.name, sidecar::loader::ABI);
        for name in [loader_name(env::consts::ARCH, stage.name), versioned] {
            let path = directory.join(name);
            fs::write(&path, stage.loader)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// What a tool running on `host` calls the loader of `architecture`.
fn loader_name(host: &str, architecture: &str) -> String {
    match (host, architecture) {
        _ if host == architecture => "loader.bin".to_owned(),
        ("x86_64", "i686") => "loader32.bin".to_owned(),
        _ => format!("loader-{architecture}.bin"),
    }
}

fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::loader_name;

    #[test]
    fn loaders_are_called_what_the_tool_looks_for() {
        assert_eq!(loader_name("x86_64", "x86_64"), "loader.bin");
        assert_eq!(loader_name("x86_64", "i686"), "loader32.bin");
        assert_eq!(loader_name("x86_64", "aarch64"), "loader-aarch64.bin");
        assert_eq!(loader_name("aarch64", "aarch64"), "loader.bin");
        assert_eq!(loader_name("aarch64", "i686"), "loader-i686.bin");
    }
}
