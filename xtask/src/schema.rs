//! Writes the schema of the tool's JSON output.

use std::fs;

use anyhow::{Context, Result};

use crate::workspace;

pub fn run() -> Result<()> {
    let path = workspace::root().join("docs/schema.json");
    let mut text = serde_json::to_string_pretty(&wrap_buddy::commands::json::schema())?;
    text.push('\n');
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}
