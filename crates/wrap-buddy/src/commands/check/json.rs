//! JSON of `check`. Invalid UTF-8 in paths is replaced by replacement characters.

use std::path::Path;

use serde::Serialize;

use super::diagnosis::{self, Trouble};
use super::{Checked, FileCheck, Outcome, State};
use elf_file::Kind;
use ldso::{Cause, Rule};

/// The libraries that files load, and their problems.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Checks {
    /// Every file that was checked, in order.
    files: Vec<File>,
    #[serde(flatten)]
    end: ChecksEnd,
}

/// Findings that concern the whole run.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChecksEnd {
    /// Notes that concern no single file.
    notes: Vec<String>,
    /// Proposals that concern several files.
    next: Vec<Next>,
    summary: Summary,
}

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Summary {
    /// Files that will start or load.
    ok: usize,
    /// Files that will not.
    broken: usize,
    /// Files that could not be checked in full: archives, packed programs and the like.
    unknown: usize,
    /// Files of `broken` that make the exit status 1.
    failed: usize,
}

/// A checked file.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct File {
    /// As you named it, or a file below a directory that you named.
    path: String,
    /// `ok`, `broken`, or `unknown` if it could not be checked in full.
    status: &'static str,
    /// Whether it makes the exit status 1. False for a broken library in a directory that no checked program loads or names.
    fails: bool,
    /// Kind of file.
    kind: Kind,
    /// `original`, `wrapped` or `in-place`.
    state: &'static str,
    /// The machine that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
    /// The dynamic linker that will run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    interpreter: Option<String>,
    /// The libraries that will be loaded, in load order.
    libraries: Vec<Library>,
    /// Problems.
    problems: Vec<Problem>,
    /// Notes.
    notes: Vec<String>,
    /// The names of the notes, such as `packed`.
    note_diagnoses: Vec<String>,
    /// Proposals.
    next: Vec<Next>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Library {
    /// The name in DT_NEEDED.
    soname: String,
    /// Its path.
    path: String,
    /// The search rule: `path`, `rpath`, `runpath`, `ld-library-path`, `ld-so-cache`, `default`, or `libs` if only wrapping with `--libs`
    /// would find it.
    rule: &'static str,
    /// The file whose `rpath` or `runpath` finds it: the file itself, or a library. A wrapped program may have that path in its sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    search_path_of: Option<String>,
    /// The glibc-hwcaps subdirectory that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    hwcaps: Option<String>,
    /// The library that needs it; null if the file itself does.
    needed_by: Option<String>,
    /// Why it is loaded: `needed`, `filtee` (DT_FILTER, DT_AUXILIARY) or `preload`.
    cause: &'static str,
}

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Problem {
    /// `unreadable`, `sidecar`, `loader`, `machine`, `interpreter`, `script-interpreter`, `library`, `unfit-library`,
    /// `symbol-version`, `dlopen`, `noexec`, `access`, `permission` or `privilege`.
    kind: &'static str,
    /// The name of the problem, such as `library-passed-over`.
    diagnosis: String,
    /// One line of text.
    text: String,
    /// The library concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    soname: Option<String>,
    /// Suggestions.
    help: Vec<String>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Next {
    /// A command line to type.
    command: Option<String>,
    /// The effect of the command, or advice.
    text: String,
}

impl From<&Checked> for Checks {
    fn from(checked: &Checked) -> Self {
        Self {
            files: checked.files.iter().map(File::from).collect(),
            end: ChecksEnd::from(checked),
        }
    }
}

impl From<&Checked> for ChecksEnd {
    fn from(checked: &Checked) -> Self {
        let count = |outcome| {
            let files = checked.files.iter();
            files.filter(|file| file.outcome() == outcome).count()
        };
        Self {
            notes: checked.notes.clone(),
            next: checked.next.iter().map(Next::from).collect(),
            summary: Summary {
                ok: count(Outcome::Ok),
                broken: count(Outcome::Broken),
                unknown: count(Outcome::Unknown),
                failed: checked.files.iter().filter(|file| file.fails()).count(),
            },
        }
    }
}

impl From<&diagnosis::Next> for Next {
    fn from(next: &diagnosis::Next) -> Self {
        Self {
            command: next.command.clone(),
            text: next.text.clone(),
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl From<&FileCheck> for File {
    fn from(file: &FileCheck) -> Self {
        let tree = &file.tree;
        let libraries = tree.nodes.iter().enumerate().map(|(index, node)| Library {
            soname: node.name.to_string_lossy().into_owned(),
            path: text(&node.found.path),
            rule: rule(node.found.rule),
            search_path_of: file.searched_by(index).map(text),
            hwcaps: node.found.subdirectory.as_deref().map(text),
            cause: match node.cause {
                Cause::Needed => "needed",
                Cause::Filtee => "filtee",
                Cause::Preload(_) => "preload",
            },
            needed_by: node.by.map(|by| text(&tree.nodes[by].found.path)),
        });
        let problems = file.problems.iter().map(|problem| Problem {
            kind: trouble(problem.trouble),
            diagnosis: problem.diagnosis.name(),
            text: problem.text.clone(),
            soname: problem.soname.clone(),
            help: problem.help.clone(),
        });
        let next = file.next.iter().map(Next::from);
        Self {
            path: text(&file.path),
            status: match file.outcome() {
                Outcome::Ok => "ok",
                Outcome::Broken => "broken",
                Outcome::Unknown => "unknown",
            },
            fails: file.fails(),
            kind: file.kind,
            state: match file.state {
                State::Original => "original",
                State::Wrapped => "wrapped",
                State::InPlace => "in-place",
            },
            machine: file.machine.clone(),
            interpreter: file.interpreter.as_deref().map(text),
            libraries: libraries.collect(),
            problems: problems.collect(),
            notes: file.notes.iter().map(|note| note.text.clone()).collect(),
            note_diagnoses: file
                .notes
                .iter()
                .map(|note| note.diagnosis.name())
                .collect(),
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
        Trouble::Access => "access",
        Trouble::Permission => "permission",
        Trouble::Privilege => "privilege",
    }
}
