//! The library directories that the user named, with warnings about unusable ones.

use std::fs;
use std::path::{Path, PathBuf};

use ldso::Root;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibraryDirectories {
    root: Root,
    /// Absolute, in the order given.
    pub directories: Vec<PathBuf>,
    warnings: Vec<String>,
    /// The existing ones, with the flag and path as given.
    present: Vec<(PathBuf, String)>,
}

impl LibraryDirectories {
    /// `paths` are the arguments of `flag`, absolute in `root`. Empty ones are ignored, and a file stands for its directory.
    pub fn new(root: &Root, paths: &[PathBuf], flag: &str) -> Self {
        let mut this = Self {
            root: root.clone(),
            ..Self::default()
        };
        for path in paths.iter().filter(|path| !path.as_os_str().is_empty()) {
            let shown = path.display();
            let on_host = root.on_host(path);
            if on_host.is_file() {
                let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
                let text = format!("{flag} {shown} is a file; its directory is searched");
                this.warnings.push(text);
                if !paths.contains(&directory) && !this.directories.contains(&directory) {
                    this.directories.push(directory);
                }
                continue;
            }
            match on_host.is_dir() {
                true => this.present.push((path.clone(), format!("{flag} {shown}"))),
                false => {
                    let within = root.given().map(|given| format!(" in {}", given.display()));
                    let within = within.unwrap_or_default();
                    let text = format!("{flag} {shown}: no such directory{within}");
                    this.warnings.push(text);
                }
            }
            this.directories.push(path.clone());
        }
        this
    }

    /// Directories that are `known` to have libraries are not read.
    pub fn warnings(&self, known: impl Fn(&Path) -> bool) -> Vec<String> {
        let useless = self
            .present
            .iter()
            .filter(|(path, _)| !known(path) && !self.has_libraries(path));
        let useless = useless.map(|(path, shown)| {
            let inner = path.join("lib");
            let hint = match self.has_libraries(&inner) {
                true => format!("; did you mean {}?", inner.display()),
                false => String::new(),
            };
            format!("{shown} has no libraries{hint}")
        });
        self.warnings.iter().cloned().chain(useless).collect()
    }

    fn has_libraries(&self, directory: &Path) -> bool {
        has_libraries(&self.root.on_host(directory))
    }
}

/// Whether a directory has files with names of libraries, or a glibc-hwcaps directory.
fn has_libraries(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .into_iter()
        .any(|name| name.contains(".so") || name == "glibc-hwcaps")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_directories_are_reported() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["package/lib", "empty"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("package/lib/libx.so.1"), "").unwrap();
        let (file, lib) = (at("package/lib/libx.so.1"), at("package/lib"));
        let this = |paths: &[PathBuf]| LibraryDirectories::new(&Root::default(), paths, "--libs");

        let warnings = |this: &LibraryDirectories| this.warnings(|_| false);

        assert_eq!(warnings(&this(&[PathBuf::new(), lib.clone()])), [""; 0]);
        let of_file = this(&[file.clone(), file]);
        assert_eq!(of_file.directories, [lib]);
        assert!(warnings(&of_file)[0].contains("libx.so.1 is a file"));

        let others = this(&[at("package"), at("empty"), at("none")]);
        assert_eq!(others.directories.len(), 3);
        let hint = format!("; did you mean {}?", at("package/lib").display());
        let said = warnings(&others);
        assert!(said[0].ends_with("none: no such directory"), "{said:?}");
        assert!(said[1].ends_with(&hint));
        assert!(said[2].ends_with("empty has no libraries"));
        assert_eq!(others.warnings(|_| true), said[..1]);
    }
}
