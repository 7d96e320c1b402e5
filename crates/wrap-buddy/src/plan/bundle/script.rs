//! The first line of a script.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use elf_file::{Identity, Source, identify};
use ldso::Root;

/// How a script is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The interpreter on this machine, by the name with which it is called.
    pub interpreter: PathBuf,
    /// Arguments before the script's path.
    pub arguments: Vec<String>,
}

/// The rest of the first line of the script at `path`; `None` if it is not an executable script.
pub(super) fn line(root: &Root, path: &Path) -> Option<String> {
    let path = root.on_host(path);
    let metadata = fs::metadata(&path).ok()?;
    if metadata.permissions().mode() & 0o111 == 0 {
        return None;
    }
    match identify(&mut Source::open(&path).ok()?).ok()? {
        Identity::Script(line) => Some(line),
        _ => None,
    }
}

impl Start {
    /// Reads `line` as the kernel does: an interpreter, and the rest as one argument. Of `env`, only the forms `env NAME` and
    /// `env -S NAME ARGUMENT…` are known. `find` searches the PATH.
    pub fn of(line: &str, find: impl Fn(&str) -> Option<PathBuf>) -> Option<Self> {
        let line = line.trim_matches([' ', '\t']);
        let (program, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim_matches([' ', '\t']);
        let interpreter = PathBuf::from(program);
        if !interpreter.is_absolute() {
            return None;
        }
        if interpreter.file_name() != Some("env".as_ref()) {
            let arguments = [rest].into_iter().filter(|rest| !rest.is_empty());
            return Some(Self {
                interpreter,
                arguments: arguments.map(str::to_owned).collect(),
            });
        }
        let split = rest
            .strip_prefix("-S")
            .or_else(|| rest.strip_prefix("--split-string="));
        let is_plain = |text: &str| !text.contains(['\'', '"', '\\', '$', '#']);
        let mut words = match split {
            Some(text) if is_plain(text) => text.split_ascii_whitespace(),
            None if !rest.contains([' ', '\t']) => rest.split_ascii_whitespace(),
            _ => return None,
        };
        let name = words.next()?;
        if name.starts_with('-') || name.contains('=') {
            return None;
        }
        Some(Self {
            interpreter: find(name)?,
            arguments: words.map(str::to_owned).collect(),
        })
    }

    /// The name by which the interpreter is called.
    pub fn name(&self) -> OsString {
        super::layout::name(&self.interpreter).to_owned()
    }
}

/// The directories of programs in another root, where no PATH is known.
const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The program `name` on the PATH, or in another root, in its usual directories.
pub fn on_path(root: &Root, name: &str) -> Option<PathBuf> {
    if root.is_own() {
        return which::which(name).ok();
    }
    let mut paths = PATH.iter().map(|directory| Path::new(directory).join(name));
    paths.find(|path| {
        let found = fs::metadata(root.on_host(path));
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_kernel_and_env_read_them() {
        let find = |name: &str| Some(Path::new("/found").join(name));
        let start = |line| {
            let start = Start::of(line, find)?;
            Some((
                start.interpreter.display().to_string(),
                start.arguments.join("|"),
            ))
        };
        for (line, interpreter, arguments) in [
            ("/bin/sh", "/bin/sh", ""),
            (" /usr/bin/perl -w ", "/usr/bin/perl", "-w"),
            ("/bin/sh -e -u", "/bin/sh", "-e -u"),
            ("/usr/bin/env python3", "/found/python3", ""),
            ("/usr/bin/env -S perl -w -T", "/found/perl", "-w|-T"),
            ("/usr/bin/env -Sperl -w", "/found/perl", "-w"),
        ] {
            let expected = Some((interpreter.to_owned(), arguments.to_owned()));
            assert_eq!(start(line), expected, "{line}");
        }
        for line in [
            "",
            "bin/sh",
            "/usr/bin/env",
            "/usr/bin/env perl -w",
            "/usr/bin/env -i perl",
            "/usr/bin/env -S A=1 perl",
            "/usr/bin/env -S perl '-w x'",
        ] {
            assert_eq!(start(line), None, "{line}");
        }
    }
}
