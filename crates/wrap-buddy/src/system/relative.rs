//! Paths relative to a directory.

use std::fs;
use std::path::{Path, PathBuf};

/// The way from the directory `from` to a file, whose own name stays even if it is a symbolic link: ld.so goes by the
/// name it was opened under.
pub fn relative_file(file: &Path, from: &Path) -> PathBuf {
    let directory = file.parent().unwrap_or(Path::new("/"));
    relative_to(directory, from).join(file.file_name().unwrap_or_default())
}

/// The way from the directory `from` to the directory `path`, through no symbolic link where both exist.
pub fn relative_to(path: &Path, from: &Path) -> PathBuf {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (path, from) = (real(path), real(from));
    pathdiff::diff_paths(&path, from).unwrap_or(path)
}
