//! Reads `/etc/ld.so.conf`, the directories that ldconfig indexes in ld.so.cache. ld.so itself does not read it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use globset::Glob;

use crate::root::Root;
use elf_file::read_regular;

/// Maximum depth of nested includes.
const MAX_DEPTH: usize = 32;

/// Maximum length of a file in bytes. Files of distributions have fewer than a hundred.
const MAX_LEN: u64 = 1 << 20;

/// The directories that the file at `path` in `root` and the files that it includes list, in order (glibc elf/ldconfig.c,
/// parse_conf). Empty if there is no such file.
pub fn directories(root: &Root, path: &Path) -> Vec<PathBuf> {
    let mut reader = Reader {
        root,
        files: HashSet::new(),
        known: HashSet::new(),
        directories: Vec::new(),
    };
    reader.read(path, MAX_DEPTH);
    reader.directories
}

/// Reads `ld.so.conf` and its includes. Each file is read once, because a second time would add no directory.
struct Reader<'a> {
    root: &'a Root,
    files: HashSet<PathBuf>,
    known: HashSet<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Reader<'_> {
    fn read(&mut self, path: &Path, depth: usize) {
        if !self.files.insert(self.root.real(path)) {
            return;
        }
        let Ok(bytes) = read_regular(&self.root.on_host(path), MAX_LEN) else {
            return;
        };
        for line in String::from_utf8_lossy(&bytes).lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("include") if depth > 0 => {
                    for pattern in words {
                        for file in matching(self.root, path, pattern) {
                            self.read(&file, depth - 1);
                        }
                    }
                }
                Some("include" | "hwcap") | None => {}
                Some(_) => {
                    // libc5 allowed `DIR=TYPE`.
                    let directory = line.split('=').next().unwrap_or_default().trim_end();
                    let directory = PathBuf::from(directory);
                    if directory.is_absolute() && self.known.insert(directory.clone()) {
                        self.directories.push(directory);
                    }
                }
            }
        }
    }
}

/// The files that match `pattern`, an include in the file `path`, sorted as by glob(3) without flags: braces are plain characters
/// (glibc elf/ldconfig.c, parse_conf_include). Only the last component may have wildcards.
fn matching(root: &Root, path: &Path, pattern: &str) -> Vec<PathBuf> {
    let own = path.parent().unwrap_or(Path::new("/"));
    let pattern = own.join(pattern);
    let directory = pattern.parent().unwrap_or(Path::new("/"));
    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
    let Ok(glob) = Glob::new(&name.replace('{', "\\{").replace('}', "\\}")) else {
        return Vec::new();
    };
    let glob = glob.compile_matcher();
    let entries = fs::read_dir(root.on_host(directory)).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    // A wildcard does not match a leading dot.
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

    #[test]
    fn hostile_files_take_no_time() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        // Each file includes all files twice.
        let all = "include *.conf\ninclude *.conf\n";
        for number in 0..40 {
            fs::write(
                at(&format!("{number:02}.conf")),
                format!("{all}/opt/{number}\n"),
            )
            .unwrap();
        }
        let nested = format!("include {}\n", "{a,".repeat(100_000));
        fs::write(at("ld.so.conf"), format!("{nested}{all}")).unwrap();
        nix::unistd::mkfifo(&at("fifo.conf"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::write(at("long.conf"), "/opt/long\n".repeat(1 << 17)).unwrap();
        let root = Root::at(directory.path()).unwrap();
        let found = directories(&root, Path::new("/ld.so.conf"));
        assert_eq!(found.len(), 40);
    }

    #[test]
    fn braces_are_part_of_a_name() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ld.so.conf"), "include {a,b}.conf\n").unwrap();
        for (name, text) in [("a.conf", "/a\n"), ("{a,b}.conf", "/braces\n")] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let root = Root::at(directory.path()).unwrap();
        let found = directories(&root, Path::new("/ld.so.conf"));
        assert_eq!(found, [PathBuf::from("/braces")]);
    }
}
