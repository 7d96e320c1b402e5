//! Names and strings from files reach a terminal as text: they cannot forge a line or contain a control sequence.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::fixture::*;

/// Ends a line, and changes title, colours, the screen and the direction of text.
const HOSTILE: &str = "x\nFORGED\r\x1b]0;title\x07\x1b[8m\u{9b}2J\u{202e}y";

/// The beginnings and ends of the tool's own styles.
const STYLES: [&str; 6] = [
    "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m",
];

#[track_caller]
fn assert_is_text(command: &[&str], output: &[u8]) {
    let text = String::from_utf8(output.to_vec()).unwrap();
    for line in text.lines() {
        assert!(
            !line.trim_start().starts_with("FORGED"),
            "{command:?}: {text:?}"
        );
    }
    let mut rest = text.clone();
    for style in STYLES {
        rest = rest.replace(style, "");
    }
    let is_unsafe = |character: char| character.is_control() || character == '\u{202e}';
    let found = rest.replace('\n', "").find(is_unsafe);
    assert_eq!(found, None, "{command:?}: {text:?}");
}

e2e::architectures!(names_and_strings_from_files_are_escaped);

fn names_and_strings_from_files_are_escaped(target: Arch) {
    let dir = TestDir::new();
    let directory = format!("tree/{HOSTILE}");
    let soname = format!("-Wl,-soname,{HOSTILE}.so");
    let library = dir.compile(
        target,
        &format!("{directory}/lib{HOSTILE}.so"),
        "int answer(void) { return 42; }",
        &["-shared", "-fPIC", &soname],
    );
    let interpreter = format!("-Wl,--dynamic-linker=/{HOSTILE}/ld.so");
    let path = format!("-Wl,-rpath,/{HOSTILE}");
    dir.compile(
        target,
        &format!("{directory}/main{HOSTILE}"),
        "int answer(void); int main(void) { return answer(); }",
        &[library.to_str().unwrap(), &interpreter, &path],
    );
    let script = dir.write(
        &format!("{directory}/script{HOSTILE}"),
        "#!/gone/|e touch /tmp/x;\x1b]0;t\x07|\x1b[8m -x\n",
    );
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // An unknown sidecar, and links at the path of a sidecar.
    dir.write(&format!("{directory}/.other{HOSTILE}.wrapbuddy"), HOSTILE);
    dir.write(&format!("{directory}/other{HOSTILE}"), "\x7fELF");
    let tree = dir.path("tree");
    let tree = tree.to_str().unwrap();
    let libs = dir.path(&directory);
    let libs = libs.to_str().unwrap();
    let loader = dir.path("loader");
    let loader = loader.to_str().unwrap();
    let wrap = ["--paths", tree, "--libs", libs, "-v"];
    let wrap = [&wrap[..], &["--interpreter", target.interpreter()]].concat();
    let commands: [&[&str]; 15] = [
        &["check", tree, "-v"],
        &["show", tree, "-v"],
        &["status", tree, "-v"],
        &["--paths", tree, "--dry-run", "-v"],
        &["--paths", tree, "--relocatable"],
        &["--paths", tree, "--libs", libs, "--relocatable"],
        &wrap,
        &[&wrap[..], &["--strategy", "inplace"]].concat(),
        &["check", tree, "-v"],
        &["show", tree, "-v"],
        &["status", tree, "-v"],
        &["watch", "--once", "-v", tree, "--libs", libs],
        &["restore", tree, "-v"],
        &["check", &format!("{tree}/gone{HOSTILE}")],
        &["--paths", &format!("{tree}/gone{HOSTILE}")],
    ];
    let mut lines = 0;
    for command in commands {
        let mut tool = assert_cmd::Command::cargo_bin("wrap-buddy").unwrap();
        // As on a terminal.
        tool.env("CLICOLOR_FORCE", "1").current_dir(&dir.root);
        if command[0].starts_with("--") || command[0] == "watch" {
            tool.args(command).args(["--loader-dir-path", loader]);
        } else {
            tool.args(command);
        }
        let output = tool.output().unwrap();
        assert_is_text(command, &output.stdout);
        assert_is_text(command, &output.stderr);
        let all = [output.stdout, output.stderr].concat();
        lines += String::from_utf8(all).unwrap().matches("\\nFORGED").count();
    }
    // The names were printed.
    assert!(lines > 30, "{lines}");
}

#[test]
fn a_script_does_not_put_words_into_a_command() {
    let dir = TestDir::new();
    let bin = dir.path("bin|w out");
    fs::create_dir(&bin).unwrap();
    let program = dir.write("bin|w out/interp", "");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let script = dir.write("script", "#!/gone/interp\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut tool = assert_cmd::Command::cargo_bin("wrap-buddy").unwrap();
    let output = tool.arg("check").arg(&script).env("PATH", &bin).output();
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(output.contains("change its first line to"), "{output}");
    assert!(!output.contains("sed"), "{output}");
}
