//! Writes JSON: one document, or JSON Lines with a line for each file and a last line.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The result of a command.
pub trait Reported {
    fn document(&self) -> impl Serialize;
    /// A line for each file whose path is not in `reported`.
    fn lines(&self, reported: &HashSet<PathBuf>) -> impl Iterator<Item = impl Serialize>;
    /// The last line: totals, and how the run ended.
    fn end(&self) -> impl Serialize;
}

/// The result for one file.
pub trait FileLine {
    /// Its path as shown to the user.
    fn path(&self) -> &Path;
    fn line(&self) -> impl Serialize;
}

pub fn write_document(all: &impl Reported, out: &mut impl Write) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(&all.document())?;
    bytes.push(b'\n');
    out.write_all(&bytes)?;
    out.flush()
}

/// Writes one line with one call of `write`, so that lines of several threads do not mix.
pub fn write_line(line: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    out.write_all(&bytes)
}
