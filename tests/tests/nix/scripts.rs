//! Syntax and lint of the shell scripts, and the layout of Nix files.

use std::fs;
use std::path::Path;

use e2e::run::on_host;

const SCRIPTS: [&str; 6] = [
    "nix/not-the-hook.sh",
    "nix/setup-hook.sh",
    "tests/nix/stand-in/stdenv/builder.sh",
    "tests/nix/stand-in/stdenv/setup",
    "tests/tests/watch/mounts.sh",
    "tests/tests/watch/service.sh",
];

#[test]
fn are_clean() {
    for script in SCRIPTS {
        let path = format!("{}/../{script}", env!("CARGO_MANIFEST_DIR"));
        on_host("bash", &["-n", &path]).success();
        on_host("shellcheck", &["--external-sources", &path]).success();
    }
}

/// The directories with Nix files.
const DIRECTORIES: [&str; 5] = [
    "",
    "nix",
    "nix/template",
    "tests/nix/stand-in",
    "tests/nix/stand-in/nixos/lib",
];

/// Approximates the checks of nixfmt: no tabs, no trailing spaces, indentation by two spaces, single empty lines, and one line end
/// at the end.
#[test]
fn nix_files_are_laid_out_as_nixfmt_does() {
    let top = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut files = Vec::new();
    for directory in DIRECTORIES {
        let entries = fs::read_dir(top.join(directory)).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry of a directory").path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|name| name == "nix")));
    }
    assert!(files.len() >= 17, "only {} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).expect("it was listed");
        let name = file.display();
        assert!(text.ends_with('\n'), "{name}: its last line has no end");
        assert!(!text.ends_with("\n\n"), "{name}: empty lines at its end");
        assert!(!text.contains("\n\n\n"), "{name}: two empty lines");
        for (number, line) in text.lines().enumerate() {
            let at = format!("{name}:{}: {line:?}", number + 1);
            assert!(!line.contains('\t'), "{at}: a tab");
            assert_eq!(line.trim_end(), line, "{at}: blanks at its end");
            let indent = line.len() - line.trim_start().len();
            assert!(indent.is_multiple_of(2), "{at}: {indent} spaces");
        }
    }
}
