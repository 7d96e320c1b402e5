//! Decides what is in a bundle: programs, dynamic linkers, libraries and data, each with its path in the bundle and the reason.

mod closure;
mod collect;
mod contents;
mod data;
pub mod launch;
mod launcher;
mod layout;
mod of_libc;
mod original;
mod refusal;
mod script;
mod tree;

use std::path::PathBuf;

use anyhow::Result;
use globset::{Glob, GlobSet};
use ldso::Root;

pub use contents::{Contents, Item, Kind, Role};
pub use layout::LIBRARY_DIRECTORIES;
pub use refusal::Refusal;
pub use script::on_path;

use closure::Closure;
use data::Table;
use layout::Layout;

/// What to put into a bundle.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The root of the programs, and of all other files. Their paths are inside it.
    pub root: Root,
    /// The programs.
    pub programs: Vec<PathBuf>,
    /// The directory of the bundle, which is not data of its own programs.
    pub output: PathBuf,
    /// Directories to copy as a whole, absolute.
    pub prefixes: Vec<PathBuf>,
    /// Patterns of further files (absolute) or sonames.
    pub include: Vec<String>,
    /// Files with further rows of the table of data.
    pub tables: Vec<PathBuf>,
    /// Sonames that stay the host's, and names of rows of the table.
    pub exclude: GlobSet,
    /// Sonames that may be missing.
    pub ignore_missing: GlobSet,
    /// Both of these: what the bundle may lack.
    pub may_lack: Vec<Glob>,
}

/// Decides. Reads files, and writes none.
///
/// # Errors
/// [`Refusal`], if a program cannot be in a bundle or would not start in it.
pub fn contents(selection: &Selection) -> Result<Contents> {
    let mut contents = Contents::of(&selection.root);
    let mut table = Table::read(&selection.tables, &selection.exclude)?;
    let mut layout = Layout::new(&selection.root, &selection.prefixes, &selection.output)?;
    let programs = tree::programs(selection, &mut layout, &mut contents)?;
    tree::prefixes(&layout, &mut contents)?;
    let sonames = tree::included(selection, &layout, &mut contents)?;
    contents.resolve_links(&layout)?;
    let closure = Closure::new(selection, &programs);
    let users = closure.add(&sonames, &mut table, &layout, &mut contents)?;
    let variables = table.variables(&users, &mut contents);
    launch::add(&mut contents, variables);
    for item in contents.items.values_mut() {
        item.on_host = selection.root.entry_on_host(&item.source);
    }
    Ok(contents)
}
