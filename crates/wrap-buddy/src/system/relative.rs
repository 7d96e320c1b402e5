use std::fs;
use std::path::{Component, Path, PathBuf};

/// The path of `file` relative to the directory `from`. If `file` itself is a symbolic link it is not resolved: ld.so identifies a
/// library by the name under which it was opened.
pub fn relative_file(file: &Path, from: &Path) -> PathBuf {
    let directory = file.parent().unwrap_or(Path::new("/"));
    relative_to(directory, from).join(file.file_name().unwrap_or_default())
}

/// The path of a directory relative to the directory `from`. Symbolic links are resolved in both if they exist.
pub fn relative_to(path: &Path, from: &Path) -> PathBuf {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (path, from) = (real(path), real(from));
    pathdiff::diff_paths(&path, from).unwrap_or(path)
}

/// The path `named` in `directory`, which is free of symbolic links, so leading `..` can be resolved. Symbolic links in the rest stay:
/// ld.so uses its own name.
pub fn joined(directory: &Path, named: &Path) -> PathBuf {
    let mut directory = directory.to_owned();
    let mut rest = named.components();
    loop {
        match rest.clone().next() {
            Some(Component::ParentDir) => drop(directory.pop()),
            Some(Component::CurDir) => {}
            _ => return directory.join(rest.as_path()),
        }
        rest.next();
    }
}
