//! Checks a file of a root, and types the proposed command.

use std::path::Path;

use e2e::toolchain::find_program;
use e2e::{Output, Root, Run};
use serde_json::Value;

/// The report of `check` on one file.
pub struct Checked {
    pub file: Value,
    pub output: Output,
}

fn command<'r>(root: &'r Root, arguments: &[&str]) -> Run<'r> {
    // Its loaders have to stay installed, and only here there is a PATH.
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
    let broken = document["summary"]["broken"] != 0;
    let nothing = ["not-executable", "not-loadable"];
    let nothing = diagnoses(&files[0])
        .iter()
        .any(|one| nothing.contains(&&**one));
    assert_eq!(
        output.status,
        Some(i32::from(broken || nothing)),
        "{output}"
    );
    Checked {
        file: files[0].clone(),
        output,
    }
}

/// The whole JSON document of `check`.
pub fn document(root: &Root, arguments: &[&str]) -> Value {
    let all = [&["check", "--format", "json"], arguments].concat();
    let output = command(root, &all).output();
    serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON: {error}; {output}"))
}

/// The text output.
pub fn human(root: &Root, path: &str, arguments: &[&str]) -> String {
    let all = [&["check", path], arguments].concat();
    let output = command(root, &all).output();
    // ld.so starts the tool too.
    let mut lines = output.stderr.lines();
    let is_ld_so = |line: &str| line.starts_with("ERROR: ld.so: object ");
    assert!(lines.all(is_ld_so), "{output}");
    assert!(
        !output.stdout.contains('\x1b'),
        "no terminal, no colours; {output}"
    );
    output.stdout
}

/// The names of all diagnoses of a file.
pub fn diagnoses(file: &Value) -> Vec<String> {
    let problems = file["problems"].as_array().expect("a list of problems");
    let problems = problems.iter().map(|problem| &problem["diagnosis"]);
    let notes = file["note_diagnoses"].as_array().expect("a list of names");
    let all = problems.chain(notes).map(|name| name.as_str());
    all.map(|name| name.expect("a name").to_owned()).collect()
}

impl Checked {
    /// The kinds of the problems with their libraries, without "no emulator is registered".
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

    /// The text of all problems.
    pub fn text(&self) -> String {
        self.file["problems"].to_string()
    }

    #[track_caller]
    pub fn is(self, problems: &[&str]) -> Checked {
        assert_eq!(self.problems(), problems, "{}", self.output);
        self
    }

    /// The names of all diagnoses, problems or not.
    pub fn diagnoses(&self) -> Vec<String> {
        diagnoses(&self.file)
    }

    /// All proposed commands.
    pub fn commands(&self) -> Vec<&str> {
        let next = self.file["next"].as_array().expect("a list");
        let commands = next.iter().filter_map(|next| next["command"].as_str());
        commands.collect()
    }

    /// The first proposed command.
    #[track_caller]
    pub fn next(&self) -> Vec<String> {
        let commands = self.commands();
        let command = commands
            .first()
            .unwrap_or_else(|| panic!("no command; {}", self.output));
        shlex::split(command).expect("a command line")
    }

    /// Types it.
    #[track_caller]
    pub fn repair(&self, root: &Root) -> Output {
        let words = self.next();
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let run = match &*words[0] {
            "wrap-buddy" => command(root, &arguments),
            // Debian's ldconfig is static, and works on its own `/`.
            "ldconfig" => {
                root.install(Path::new("/sbin/ldconfig"), "/sbin/ldconfig");
                root.command("/sbin/ldconfig").args(arguments)
            }
            program => {
                root.bind_host();
                let program = find_program(program).expect("a program of this machine");
                root.host_command(&program).args(arguments)
            }
        };
        run.output().success()
    }
}
