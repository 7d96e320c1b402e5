//! Search paths: parsing those of files, and composing new ones.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::system::relative::relative_to;
use ldso::{Tokens, expand};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An entry of the file itself, kept as it is written.
    Kept(OsString),
    /// An absolute directory.
    Directory(PathBuf),
    /// An absolute directory in the same tree as the file: both are moved together.
    Within(PathBuf),
}

/// An entry of a file's own DT_RUNPATH or DT_RPATH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnEntry {
    /// As it is written.
    pub text: OsString,
    /// The directories that it may stand for, unless that depends on the working directory.
    pub directories: Vec<PathBuf>,
}

impl OwnEntry {
    /// Whether to keep it: it exists, which `is_directory` says, or may exist once the tree of the file is complete.
    pub fn is_kept(&self, is_directory: impl Fn(&Path) -> bool) -> bool {
        let text = self.text.as_bytes();
        text.starts_with(b"$ORIGIN")
            || text.starts_with(b"${ORIGIN}")
            || self
                .directories
                .iter()
                .any(|directory| is_directory(directory))
    }
}

/// Parses a search path; `origin` is the directory of the file.
pub fn own_entries(path: &OsStr, origin: &Path, tokens: &Tokens) -> Vec<OwnEntry> {
    path.as_bytes()
        .split(|&byte| byte == b':')
        .filter(|text| !text.is_empty())
        .map(|text| OwnEntry {
            text: OsStr::from_bytes(text).to_owned(),
            directories: expand(text, origin, tokens),
        })
        .collect()
}

/// Composes a search path in which no directory occurs twice: `kept` entries, then `more`. `real` resolves symbolic links.
pub fn compose(
    kept: &[OwnEntry],
    more: impl IntoIterator<Item = Entry>,
    real: impl Fn(&Path) -> PathBuf,
) -> Vec<Entry> {
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut path: Vec<Entry> = Vec::new();
    for entry in kept {
        let entry_kept = Entry::Kept(entry.text.clone());
        if !path.contains(&entry_kept) {
            path.push(entry_kept);
        }
        // With several possible directories, it is unknown which one ld.so will use.
        if let [directory] = entry.directories.as_slice() {
            seen.push(real(directory));
        }
    }
    for entry in more {
        let (Entry::Directory(directory) | Entry::Within(directory)) = &entry else {
            continue;
        };
        let real = real(directory);
        if !seen.contains(&real) {
            seen.push(real);
            path.push(entry);
        }
    }
    path
}

/// Which directories are written relative to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relative {
    None,
    /// Directories in the same tree.
    Within,
    All,
}

/// Writes a search path as ld.so reads it, for a file in the directory `origin`.
pub fn search_path(entries: &[Entry], origin: &Path, relative: Relative) -> Vec<OsString> {
    entries
        .iter()
        .map(|entry| match (entry, relative) {
            (Entry::Kept(text), _) => text.clone(),
            (Entry::Directory(directory), Relative::None | Relative::Within)
            | (Entry::Within(directory), Relative::None) => directory.clone().into_os_string(),
            (Entry::Directory(directory) | Entry::Within(directory), _) => {
                let mut text = OsString::from("$ORIGIN");
                let relative = relative_to(directory, origin);
                if !relative.as_os_str().is_empty() {
                    text.push("/");
                    text.push(relative);
                }
                text
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens {
            lib: vec!["lib", "lib/i386-linux-gnu"],
            platform: Some("i686"),
        }
    }

    #[test]
    fn kept_entries_come_first_and_nothing_twice() {
        let kept = own_entries(
            OsStr::new("$ORIGIN:/b::/a"),
            Path::new("/nowhere"),
            &tokens(),
        );
        let directory = |path: &str| Entry::Directory(PathBuf::from(path));
        let mut more = ["/a", "/nowhere", "/c", "/c"].map(directory).to_vec();
        more.push(Entry::Within(PathBuf::from("/nowhere/lib")));
        let path = compose(&kept, more, Path::to_owned);
        let origin = Path::new("/nowhere");
        let written = |relative| search_path(&path, origin, relative);
        let all = ["$ORIGIN", "/b", "/a", "/c", "/nowhere/lib"];
        assert_eq!(written(Relative::None), all);
        let within = ["$ORIGIN", "/b", "/a", "/c", "$ORIGIN/lib"];
        assert_eq!(written(Relative::Within), within);
    }

    #[test]
    fn an_entry_that_does_not_exist_is_kept_only_below_the_origin() {
        let text = OsStr::new("$ORIGIN/none:${ORIGIN}/none:/none/at/all:/usr:none");
        let entries = own_entries(text, Path::new("/nowhere"), &tokens());
        let kept: Vec<bool> = entries
            .iter()
            .map(|one| one.is_kept(Path::is_dir))
            .collect();
        assert_eq!(kept, [true, true, false, true, false]);
    }

    #[test]
    fn relative_directories() {
        for (path, from, expected) in [
            ("/a/lib", "/a/bin", "../lib"),
            ("/a/bin", "/a/bin", ""),
            ("/a/bin/x", "/a/bin", "x"),
            ("/q/lib", "/a/bin", "../../q/lib"),
        ] {
            let relative = relative_to(Path::new(path), Path::new(from));
            assert_eq!(relative, Path::new(expected), "{path} from {from}");
        }
        let directory = Entry::Directory(PathBuf::from("/a/bin"));
        let path = search_path(&[directory], Path::new("/a/bin"), Relative::All);
        assert_eq!(path, ["$ORIGIN"]);
    }
}
