//! Makes a prefix that can be copied anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
pub use wrap_buddy::commands::generate::write_loaders;
use wrap_buddy::commands::generate::{Files, generate};

use crate::workspace;

#[derive(clap::Args)]
pub struct Options {
    /// The prefix to fill [default: dist in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Files installed with the program.
const DOCUMENTS: &[&str] = &["LICENSE", "README.md", "docs/json.md", "docs/schema.json"];

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
    generate(
        &Files::Share(prefix.join("share")),
        &wrap_buddy::cli::share::files,
    )?;
    for (name, install) in stages::MISSING {
        println!("left out: the loader for {name}: {install}");
    }
    println!("{}", prefix.display());
    Ok(())
}

fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
