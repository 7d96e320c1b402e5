//! What was found, for programs: one JSON document. Paths that are not UTF-8 have replacement characters in them.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::{Checked, FileCheck, Kind, State, Trouble};
use crate::resolve::Rule;

#[derive(Serialize)]
struct Document {
    files: Vec<File>,
    notes: Vec<String>,
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    ok: usize,
    broken: usize,
}

#[derive(Serialize)]
struct File {
    path: String,
    status: &'static str,
    kind: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interpreter: Option<String>,
    libraries: Vec<Library>,
    problems: Vec<Problem>,
    notes: Vec<String>,
    next: Vec<Next>,
}

#[derive(Serialize)]
struct Library {
    soname: String,
    path: String,
    rule: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hwcaps: Option<String>,
    needed_by: Option<String>,
}

#[derive(Serialize)]
struct Problem {
    kind: &'static str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    soname: Option<String>,
    help: Vec<String>,
}

#[derive(Serialize)]
struct Next {
    command: Option<String>,
    text: String,
}

/// Writes all of it.
pub fn write(checked: &Checked, out: &mut impl Write) -> io::Result<()> {
    let ok = checked.files.iter().filter(|file| file.is_well()).count();
    let document = Document {
        files: checked.files.iter().map(File::from).collect(),
        notes: checked.notes.clone(),
        summary: Summary {
            ok,
            broken: checked.files.len() - ok,
        },
    };
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    out.write_all(&bytes)?;
    out.flush()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl From<&FileCheck> for File {
    fn from(file: &FileCheck) -> Self {
        let tree = &file.tree;
        let libraries = tree.nodes.iter().map(|node| Library {
            soname: node.name.to_string_lossy().into_owned(),
            path: text(&node.found.path),
            rule: rule(node.found.rule),
            hwcaps: node.found.subdirectory.as_deref().map(text),
            needed_by: node.by.map(|by| text(&tree.nodes[by].found.path)),
        });
        let problems = file.problems.iter().map(|problem| Problem {
            kind: trouble(problem.trouble),
            text: problem.text.clone(),
            soname: problem.soname.clone(),
            help: problem.help.clone(),
        });
        let next = file.next.iter().map(|next| Next {
            command: next.command.clone(),
            text: next.text.clone(),
        });
        Self {
            path: text(&file.path),
            status: if file.is_well() { "ok" } else { "broken" },
            kind: match file.kind {
                Kind::Program => "program",
                Kind::Static => "static",
                Kind::Library => "library",
                Kind::Script => "script",
                Kind::Other => "other",
            },
            state: match file.state {
                State::Original => "original",
                State::Wrapped => "wrapped",
                State::InPlace => "in-place",
            },
            machine: file.machine.clone(),
            interpreter: file.interpreter.as_deref().map(text),
            libraries: libraries.collect(),
            problems: problems.collect(),
            notes: file.notes.clone(),
            next: next.collect(),
        }
    }
}

fn rule(rule: Rule) -> &'static str {
    match rule {
        Rule::Path => "path",
        Rule::Rpath => "rpath",
        Rule::LibraryPath => "ld-library-path",
        Rule::Runpath => "runpath",
        Rule::Offered(_) => "libs",
        Rule::Cache => "ld-so-cache",
        Rule::Default => "default",
    }
}

fn trouble(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Unreadable => "unreadable",
        Trouble::Sidecar => "sidecar",
        Trouble::Loader => "loader",
        Trouble::Machine => "machine",
        Trouble::Interpreter => "interpreter",
        Trouble::Script => "script-interpreter",
        Trouble::Library => "library",
        Trouble::Unfit => "unfit-library",
        Trouble::Version => "symbol-version",
        Trouble::Opened => "dlopen",
        Trouble::NoExec => "noexec",
    }
}
