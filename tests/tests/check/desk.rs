//! Checking a file of a root, and typing what that says.

use e2e::{Output, Root, Run};
use serde_json::Value;

/// What `check` says of one file.
pub struct Checked {
    pub file: Value,
    pub output: Output,
}

fn command<'r>(root: &'r Root, arguments: &[&str]) -> Run<'r> {
    // What it installs is to last, and nothing else has a PATH.
    let run = root.wrap_buddy().env("HOME", "/app/home");
    run.args(arguments.iter().copied())
}

/// Checks `path` with more `arguments`.
#[track_caller]
pub fn check(root: &Root, path: &str, arguments: &[&str]) -> Checked {
    let all = [&["check", "--format", "json", path], arguments].concat();
    let output = command(root, &all).output();
    let document: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON: {error}; {output}"));
    let files = document["files"].as_array().expect("a list of files");
    assert_eq!(files.len(), 1, "{output}");
    let broken = document["summary"]["broken"].as_u64();
    assert_eq!(
        output.status,
        Some(i32::from(broken != Some(0))),
        "{output}"
    );
    Checked {
        file: files[0].clone(),
        output,
    }
}

/// What people read.
pub fn human(root: &Root, path: &str, arguments: &[&str]) -> String {
    let all = [&["check", path], arguments].concat();
    let output = command(root, &all).output();
    assert!(output.stderr.is_empty(), "{output}");
    assert!(
        !output.stdout.contains('\x1b'),
        "no terminal, no colours; {output}"
    );
    output.stdout
}

impl Checked {
    /// Kinds of the problems, and the libraries they are about; that no emulator is registered is left out.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.file["problems"]
            .as_array()
            .expect("a list of problems");
        let told = problems.iter().map(|problem| {
            let kind = problem["kind"].as_str().expect("a kind");
            match problem["soname"].as_str() {
                Some(soname) => format!("{kind} {soname}"),
                None => kind.to_owned(),
            }
        });
        told.filter(|text| text != "machine").collect()
    }

    /// All that it says of problems.
    pub fn text(&self) -> String {
        self.file["problems"].to_string()
    }

    #[track_caller]
    pub fn is(self, problems: &[&str]) -> Checked {
        assert_eq!(self.problems(), problems, "{}", self.output);
        self
    }

    /// The command to be typed.
    #[track_caller]
    pub fn next(&self) -> Vec<String> {
        let next = self.file["next"].as_array().expect("a list");
        let mut commands = next.iter().filter_map(|next| next["command"].as_str());
        let command = commands
            .next()
            .unwrap_or_else(|| panic!("no command; {}", self.output));
        shlex::split(command).expect("a command line")
    }

    /// Types it.
    #[track_caller]
    pub fn repair(&self, root: &Root) -> Output {
        let words = self.next();
        assert_eq!(words[0], "wrap-buddy", "{}", self.output);
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        command(root, &arguments).output().success()
    }
}
