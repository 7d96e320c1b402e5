//! Writing JSON: one document, or a line for each file and one for the end.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// All that a command has to say.
pub trait Reported {
    /// As a document.
    fn document(&self) -> impl Serialize;
    /// A line for each file but those whose paths are in `told`.
    fn lines(&self, reported: &HashSet<PathBuf>) -> impl Iterator<Item = impl Serialize>;
    /// The last line.
    fn end(&self) -> impl Serialize;
}

/// A file that is finished.
pub trait FileLine {
    /// Its path, as it is shown.
    fn path(&self) -> &Path;
    /// A line about it.
    fn line(&self) -> impl Serialize;
}

/// Writes one document.
pub fn write_document(all: &impl Reported, out: &mut impl Write) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(&all.document())?;
    bytes.push(b'\n');
    out.write_all(&bytes)?;
    out.flush()
}

/// Writes one line, at once.
pub fn write_line(line: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    out.write_all(&bytes)
}
