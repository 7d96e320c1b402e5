//! Code that writes below a directory that you name uses directory handles: a path may lead somewhere else when it is used.

use std::fs;
use std::path::{Path, PathBuf};

/// Functions that take a path and follow links in it.
const BY_PATH: &[&str] = &[
    "fs::",
    "File::open",
    "File::create",
    "File::options",
    "open_regular",
    "read_regular",
    "Source::open",
    ".exists()",
    ".is_file()",
    ".is_dir()",
    ".canonicalize()",
    "symlink(target, &",
    "access(",
    "chmod(",
];

/// Allowed lines, with the reason.
const ALLOWED: &[(&str, &str)] = &[
    // The directory of loaders, which the user or this tool has chosen, and which other users cannot swap.
    (
        "apply/mod.rs",
        "ancestors().take_while(|one| !one.exists())",
    ),
    ("apply/mod.rs", "fs::create_dir_all(above)"),
    ("apply/mod.rs", "fs::set_permissions(made,"),
    (
        "apply/mod.rs",
        "Directory::open(&fs::canonicalize(above)?)?",
    ),
    // The user's cache, which other users cannot swap.
    ("apply/cached_copy.rs", "fs::create_dir_all(&entry.parent)"),
    (
        "apply/cached_copy.rs",
        "Directory::open(&fs::canonicalize(&entry.parent)?)?",
    ),
    (
        "apply/cached_copy.rs",
        "Directory::open_listed(&fs::canonicalize(parent)?)?",
    ),
    // The directory of a package's files.
    ("commands/generate/mod.rs", "fs::create_dir_all(top)"),
    (
        "commands/generate/mod.rs",
        "Directory::open(&fs::canonicalize(top)?)?",
    ),
    // The files that are copied into a bundle. They are only read.
    ("apply/tree.rs", "open_regular(&item.on_host)?"),
    // /proc.
    ("apply/running.rs", "fs::read_dir(\"/proc\")"),
    (
        "apply/running.rs",
        "fs::metadata(process.path().join(\"exe\"))",
    ),
    // The file is open already, or was looked at without following a link.
    ("state/found_sidecar.rs", "metadata.is_file()"),
    ("state/found_sidecar.rs", "metadata.is_dir()"),
    ("plan/restore.rs", ".is_ok_and(|found| found.is_file())"),
    // Names only. Each is looked at by its handle before it is removed.
    ("plan/restore.rs", "fs::read_dir(links)"),
    ("plan/restore.rs", "fs::read_link(entry.path())"),
    // The path is from a stub. The last component is opened without following a link.
    ("state/found_sidecar.rs", "let mut open = File::options();"),
];

/// Functions that change a file or a directory, and take a path.
const WRITES: &[&str] = &[
    "fs::write(",
    "fs::copy(",
    "fs::remove_",
    "fs::rename(",
    "fs::create_dir",
    "fs::set_permissions(",
    "fs::hard_link(",
    "fs::symlink(",
    "fs::chown(",
    "fs::lchown(",
    "File::create",
    "File::options()",
    "OpenOptions::",
    "O_CREAT",
    "xattr::set(",
    "xattr::remove(",
    "mkfifo(",
    "tempfile",
];

/// Allowed lines in the whole tool.
const MAY_WRITE: &[(&str, &str)] = &[
    // Directories that you have named, for loaders and for a package's files, with their parents.
    ("apply/mod.rs", "fs::create_dir_all(above)"),
    ("apply/mod.rs", "fs::set_permissions(made,"),
    ("commands/generate/mod.rs", "fs::create_dir_all(top)"),
    // The user's cache.
    ("apply/cached_copy.rs", "fs::create_dir_all(&entry.parent)"),
    // /proc.
    (
        "system/mount.rs",
        "fs::write(\"/proc/self/setgroups\", \"deny\")",
    ),
    ("system/mount.rs", "fs::write(\"/proc/self/uid_map\","),
    ("system/mount.rs", "fs::write(\"/proc/self/gid_map\","),
    // Opens for reading.
    ("state/found_sidecar.rs", "let mut open = File::options();"),
    // By handles.
    ("system/directory.rs", "OFlag::O_CREAT | OFlag::O_EXCL"),
];

/// Source files at and below `path`, but for files of unit tests alone (`tests.rs`).
fn sources(path: &Path) -> Vec<PathBuf> {
    if path.ends_with("tests.rs") {
        return Vec::new();
    }
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap();
    entries
        .flat_map(|entry| sources(&entry.unwrap().path()))
        .collect()
}

/// Fails if code in `rooms` has one of these `words` on a line that is not `allowed`, or if an allowed line does not exist.
fn has_only(rooms: &[&str], words: &[&str], allowed: &[(&str, &str)]) {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut allowed = allowed.to_vec();
    let mut found = Vec::new();
    for source in rooms.iter().flat_map(|room| sources(&home.join(room))) {
        let name = source.strip_prefix(&home).unwrap().display().to_string();
        let text = fs::read_to_string(&source).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let lines = code.lines().filter(|line| {
            let is_code = !["//", "use "]
                .iter()
                .any(|one| line.trim().starts_with(one));
            let has_word = words.iter().any(|one| line.contains(one));
            is_code && has_word
        });
        for line in lines {
            let known = allowed
                .iter()
                .position(|(file, part)| *file == name && line.contains(part));
            match known {
                Some(known) => drop(allowed.remove(known)),
                None => found.push(format!("{name}: {line}")),
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(allowed.is_empty(), "no longer there: {allowed:#?}");
}

#[test]
fn nothing_is_written_by_its_path() {
    let rooms = [
        "apply",
        "state/found_sidecar.rs",
        "plan/restore.rs",
        "commands/restore.rs",
        "commands/generate",
        "commands/watch/cleanup.rs",
    ];
    has_only(&rooms, BY_PATH, ALLOWED);
}

/// No other room writes, and the lists above are complete.
#[test]
fn everything_that_writes_is_known() {
    has_only(&[""], WRITES, MAY_WRITE);
}
