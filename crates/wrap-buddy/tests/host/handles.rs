//! What writes below a named directory goes by handles: a path may lead somewhere else by the time it is used.

use std::fs;
use std::path::{Path, PathBuf};

/// What takes a path, and follows links in it.
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

/// Lines that may do so all the same, and why.
const ALLOWED: &[(&str, &str)] = &[
    // The directory of loaders, which the user or this tool has chosen and nobody swaps.
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
    // /proc.
    ("apply/running.rs", "fs::read_dir(\"/proc\")"),
    (
        "apply/running.rs",
        "fs::metadata(process.path().join(\"exe\"))",
    ),
    // What is open already, or was looked at without following a link.
    ("state/found_sidecar.rs", "metadata.is_file()"),
    ("state/found_sidecar.rs", "metadata.is_dir()"),
    (
        "plan/restore.rs",
        "path.symlink_metadata().is_ok_and(|found| found.is_file())",
    ),
    // Names, of which none is removed without a look at it by its handle.
    ("plan/restore.rs", "fs::read_dir(directory)"),
    ("plan/restore.rs", "fs::read_link(entry.path())"),
    // At a path that a stub tells, its last part without following a link.
    ("state/found_sidecar.rs", "let mut open = File::options();"),
];

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn nothing_is_written_by_its_path() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut allowed = ALLOWED.to_vec();
    let mut found = Vec::new();
    for room in [
        "apply",
        "state/found_sidecar.rs",
        "plan/restore.rs",
        "commands/restore.rs",
        "commands/watch/cleanup.rs",
    ] {
        for source in sources(&home.join(room)) {
            let name = source.strip_prefix(&home).unwrap().display().to_string();
            let text = fs::read_to_string(&source).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let lines = code.lines().filter(|line| {
                let is_code = !["//", "use "]
                    .iter()
                    .any(|one| line.trim().starts_with(one));
                let by_path = BY_PATH.iter().any(|one| line.contains(one));
                is_code && by_path && !line.contains("unix::fs::") && !line.contains("rustix::fs::")
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
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(allowed.is_empty(), "no longer there: {allowed:#?}");
}
