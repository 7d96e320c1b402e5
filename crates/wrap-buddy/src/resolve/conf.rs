//! `/etc/ld.so.conf`: the directories that ldconfig makes ld.so.cache from. ld.so itself does not read it.

use std::fs;
use std::path::{Path, PathBuf};

use globset::Glob;

use crate::root::Root;

/// Files that include each other at most.
const DEPTH: usize = 8;

/// The directories that the file at `path` in `root` names, with those of the files it includes, in order (glibc
/// elf/ldconfig.c, parse_conf). None when there is no such file.
pub fn directories(root: &Root, path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    read(root, path, DEPTH, &mut found);
    found
}

fn read(root: &Root, path: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(text) = fs::read_to_string(root.on_host(path)) else {
        return;
    };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("include") if depth > 0 => {
                for pattern in words {
                    for file in matching(root, path, pattern) {
                        read(root, &file, depth - 1, found);
                    }
                }
            }
            Some("include" | "hwcap") | None => {}
            Some(_) => {
                // `DIR=TYPE` is what libc5 needed.
                let directory = line.split('=').next().unwrap_or_default().trim_end();
                let directory = PathBuf::from(directory);
                if directory.is_absolute() && !found.contains(&directory) {
                    found.push(directory);
                }
            }
        }
    }
}

/// Files that `pattern` of the file `path` stands for, sorted, as glob(3) has them; only the last part may have wildcards.
fn matching(root: &Root, path: &Path, pattern: &str) -> Vec<PathBuf> {
    let own = path.parent().unwrap_or(Path::new("/"));
    let pattern = own.join(pattern);
    let directory = pattern.parent().unwrap_or(Path::new("/"));
    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
    let Ok(glob) = Glob::new(&name) else {
        return Vec::new();
    };
    let glob = glob.compile_matcher();
    let entries = fs::read_dir(root.on_host(directory)).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    // A dot in front is not matched by a wildcard.
    let visible = names.filter(|found| name.starts_with('.') || !is_hidden(found));
    let mut files: Vec<PathBuf> = visible
        .filter(|name| glob.is_match(name))
        .map(|name| directory.join(name))
        .collect();
    files.sort_unstable();
    files
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_include_others() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join("etc").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "ld.so.conf",
            "# first\n/opt/a  # why\ninclude ld.so.conf.d/*.conf\nhwcap 0 nosegneg\n/opt/a\nrelative\n/opt/z=libc6\n",
        );
        write("ld.so.conf.d/2.conf", "/opt/c\ninclude /etc/ld.so.conf\n");
        write("ld.so.conf.d/1.conf", "\t/opt/b\n");
        write("ld.so.conf.d/.hidden.conf", "/opt/hidden\n");
        write("ld.so.conf.d/note", "/opt/note\n");
        let root = Root::at(directory.path()).unwrap();
        let found = directories(&root, Path::new("/etc/ld.so.conf"));
        let expected = ["/opt/a", "/opt/b", "/opt/c", "/opt/z"];
        assert_eq!(found, expected.map(PathBuf::from));
        assert!(directories(&root, Path::new("/etc/none.conf")).is_empty());
    }
}
