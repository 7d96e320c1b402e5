//! The packages of files, and their licences, as the package managers of Debian and Alpine know them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ldso::Root;

/// A package.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Package {
    pub name: String,
    /// As the package writes them, sorted.
    pub licences: Vec<String>,
}

/// Directories and files below which package managers keep what they know.
const DPKG: &str = "/var/lib/dpkg/info";
const APK: &str = "/lib/apk/db/installed";

/// The packages of `files`, which are free of symbolic links.
pub(super) fn packages<'f>(
    root: &Root,
    files: impl Iterator<Item = &'f Path>,
) -> HashMap<PathBuf, Rc<Package>> {
    let read = |path: &Path| fs::read_to_string(root.on_host(path));
    let wanted: HashMap<PathBuf, &Path> = files.map(|path| (merged(path), path)).collect();
    let mut found = HashMap::new();
    let lists = fs::read_dir(root.on_host(Path::new(DPKG)));
    let lists = lists.into_iter().flatten().flatten();
    for list in lists.map(|entry| Path::new(DPKG).join(entry.file_name())) {
        if list.extension().is_some_and(|end| end == "list")
            && let Ok(text) = read(&list)
        {
            let owned = text
                .lines()
                .filter_map(|line| wanted.get(&merged(Path::new(line))));
            let owned: Vec<&&Path> = owned.collect();
            if owned.is_empty() {
                continue;
            }
            let stem = list.file_stem().unwrap_or_default().to_string_lossy();
            let name = stem.split(':').next().unwrap_or_default().to_owned();
            let copyright = read(&Path::new("/usr/share/doc").join(&name).join("copyright"));
            let licences = of_copyright(&copyright.unwrap_or_default());
            let package = Rc::new(Package { name, licences });
            found.extend(
                owned
                    .into_iter()
                    .map(|path| (path.to_path_buf(), package.clone())),
            );
        }
    }
    let installed = read(Path::new(APK)).unwrap_or_default();
    for (path, package) in of_apk(&installed) {
        if let Some(path) = wanted.get(&merged(&path)) {
            found.insert(path.to_path_buf(), package);
        }
    }
    found
}

/// `path` without `/usr`: a package may have the file in /lib, which is a link to /usr/lib.
fn merged(path: &Path) -> PathBuf {
    let below = path.strip_prefix("/usr");
    below.map_or(path.to_owned(), |below| Path::new("/").join(below))
}

/// The licences in a copyright file of a package, if it has the format for programs (DEP 5).
fn of_copyright(text: &str) -> Vec<String> {
    if !text.starts_with("Format:") {
        return Vec::new();
    }
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("License:"));
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    names.into_iter().collect()
}

/// The files in apk's list of packages: paragraphs with `P:` name, `L:` licence, and `R:` files of the directory `F:`.
fn of_apk(text: &str) -> Vec<(PathBuf, Rc<Package>)> {
    let mut files = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |key: &str| paragraph.lines().find_map(|line| line.strip_prefix(key));
        let package = Rc::new(Package {
            name: field("P:").unwrap_or_default().to_owned(),
            licences: field("L:").into_iter().map(str::to_owned).collect(),
        });
        let mut directory = PathBuf::from("/");
        for line in paragraph.lines() {
            if let Some(name) = line.strip_prefix("F:") {
                directory = Path::new("/").join(name);
            } else if let Some(name) = line.strip_prefix("R:") {
                files.push((directory.join(name), package.clone()));
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_of_a_copyright_file() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
            Files: *\nLicense: MIT\n\nFiles: a\nLicense: GPL-2+ or Artistic\n text\n\nLicense: MIT\n text\n";
        assert_eq!(of_copyright(text), ["GPL-2+ or Artistic", "MIT"]);
        assert!(of_copyright("This is free.\nLicense: MIT\n").is_empty());
    }

    #[test]
    fn files_of_packages_of_apk() {
        let text = "P:musl\nL:MIT\nF:lib\nR:ld-musl-x86_64.so.1\nZ:Q1\n\nP:other\nF:usr/bin\nR:x\n";
        let files = of_apk(text);
        let shown: Vec<_> = files
            .iter()
            .map(|(path, package)| {
                (
                    path.to_str().unwrap(),
                    &*package.name,
                    package.licences.join(","),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("/lib/ld-musl-x86_64.so.1", "musl", "MIT".to_owned()),
                ("/usr/bin/x", "other", String::new()),
            ]
        );
    }
}
