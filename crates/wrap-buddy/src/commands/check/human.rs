//! The human-readable report: all findings of one file; of several files each finding once, with the files that have it; a summary at the
//! end.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use anstream::stream::RawStream;

use super::diagnosis::{Next, Trouble};
use super::group::{self, Group};
use super::{Checked, FileCheck, Outcome, State};
use crate::report::Output;
use crate::report::{Page, Style, styled};
use elf_file::Kind;
use ldso::{Answerer, Need};

/// Most files that are listed for one finding without `--verbose`.
const MOST_FILES: usize = 3;

/// Deepest level of the library tree that is indented.
const MOST_INDENTED: usize = 32;

/// Paths below `cwd` are shown relative to it. With `tree`, prints the libraries of each program as a tree.
pub fn write(
    checked: &Checked,
    output: Output,
    tree: bool,
    cwd: &Path,
    out: &mut impl RawStream,
) -> io::Result<()> {
    let mut page = Writer {
        page: Page::default(),
        verbose: output.verbose,
        quiet: output.quiet,
        tree,
        prefix: format!("{}/", cwd.display()),
    };
    match checked.files.as_slice() {
        [file] => page.single(file, checked),
        _ => page.several(checked),
    }
    page.page.write_to(out)
}

struct Writer {
    page: Page,
    verbose: bool,
    quiet: bool,
    tree: bool,
    prefix: String,
}

impl Writer {
    /// Removes the current directory from paths.
    fn shorter(&self, text: &str) -> String {
        match self.prefix.as_str() {
            "//" => text.to_owned(),
            prefix => {
                let at_start = text.strip_prefix(prefix).unwrap_or(text);
                at_start.replace(&format!(" {prefix}"), " ")
            }
        }
    }

    fn line(&mut self, indent: usize, label: &str, text: &str) {
        let text = self.shorter(text);
        self.page.line(format!("{:indent$}{label} {text}", ""))
    }

    fn head(&mut self, file: &FileCheck) {
        let problems = || file.problems.iter();
        let outcome = match file.outcome() {
            Outcome::Unknown if file.is_no_program() => styled("not checked", Style::Unknown),
            Outcome::Unknown => styled("not checked in full", Style::Unknown),
            Outcome::Ok => styled("ok", Style::Good),
            Outcome::Broken => {
                let is_unsafe = problems().all(|one| one.trouble == Trouble::Privilege);
                let text = match file.kind {
                    Kind::Library => "will not load",
                    _ if is_unsafe => "is not safe",
                    _ => "will not start",
                };
                styled(text, Style::Bad)
            }
        };
        let path = self.shorter(&file.path.display().to_string());
        let about = about(file);
        let about = if about.is_empty() {
            about
        } else {
            format!(" {}", styled(about, Style::Dim))
        };
        self.page
            .line(format!("{}: {outcome}{about}", styled(path, Style::Bold)))
    }

    /// All findings of the only file.
    fn single(&mut self, file: &FileCheck, checked: &Checked) {
        let is_quiet = self.quiet && file.is_well();
        if !is_quiet {
            self.head(file);
            for problem in &file.problems {
                let help: String = problem
                    .help
                    .iter()
                    .map(|help| format!("; {help}"))
                    .collect();
                let text = format!("{}{help}", problem.text);
                self.line(2, &styled("error:", Style::Bad), &text);
            }
            let all = self.verbose;
            for note in file.notes.iter().filter(|note| all || !note.is_detail) {
                self.line(2, "note:", &note.text);
            }
            if self.verbose || self.tree {
                self.libraries(file);
            }
            for next in &file.next {
                self.next(2, next);
            }
        }
        for note in &checked.notes {
            self.line(0, "note:", note);
        }
        if !is_quiet {
            self.summary(&checked.files);
        }
    }

    /// Each finding once, with the files that have it.
    fn several(&mut self, checked: &Checked) {
        let files = checked.files.iter();
        let reported: Vec<&FileCheck> = files.filter(|file| !self.quiet || file.fails()).collect();
        if !self.quiet {
            let listed: Vec<&FileCheck> = match (self.verbose, self.tree) {
                (true, _) => reported.clone(),
                (false, true) => checked.with_trees(false),
                (false, false) => Vec::new(),
            };
            for file in listed {
                self.head(file);
                self.libraries(file);
            }
        }
        for group in group::problems(&reported) {
            let label = match group.fails() {
                true => styled("error:", Style::Bad),
                false => styled("warning:", Style::Warning),
            };
            self.line(0, &label, &group.text);
            self.files(&group);
        }
        if !self.quiet {
            for group in group::notes(&reported, self.verbose) {
                let text = match group.files.as_slice() {
                    [file] => {
                        let path = self.shorter(&file.path.display().to_string());
                        format!("{path}: {}", self.shorter(&group.text))
                    }
                    files => format!("{} ({} files)", group.text, files.len()),
                };
                self.line(0, "note:", &text);
                if self.verbose && group.files.len() > 1 {
                    self.files(&group);
                }
            }
        }
        for next in &checked.next {
            self.next(0, next);
        }
        let each = reported.iter().flat_map(|file| &file.next);
        for next in each.filter(|next| !next.is_replaced) {
            self.next(0, next);
        }
        for note in &checked.notes {
            self.line(0, "note:", note);
        }
        if !self.quiet || !reported.is_empty() {
            self.summary(&checked.files);
        }
    }

    /// The first files of a group; with `--verbose`, all of them.
    fn files(&mut self, group: &Group<'_>) {
        let most = if self.verbose { usize::MAX } else { MOST_FILES };
        for file in group.files.iter().take(most) {
            self.line(2, "in", &file.path.display().to_string());
        }
        if group.files.len() > most {
            let more = group.files.len() - most;
            self.line(2, "and", &format!("{more} more; -v lists them"));
        }
    }

    fn next(&mut self, indent: usize, next: &Next) {
        let Some(command) = &next.command else {
            return self.line(indent, "next:", &next.text);
        };
        // You type it in the current directory, so relative paths work.
        let command = styled(self.shorter(command), Style::Bold);
        self.page.line(format!("{:indent$}next: {command}", ""));
        self.line(indent + 6, "#", &next.text)
    }

    /// The dynamic linker, and the tree of libraries. Without `--tree`, each library is only where it is loaded first.
    fn libraries(&mut self, file: &FileCheck) {
        if let Some(interpreter) = &file.interpreter {
            self.line(2, "by", &interpreter.display().to_string());
        }
        let tree = &file.tree;
        let mut shown: HashSet<(&OsStr, bool)> = HashSet::new();
        let is_first = |by, need: &Need<'_>| match need.answer {
            Answerer::Library(index) => tree.nodes[index].by == by,
            Answerer::Missing => {
                let mut missing = tree.missing.iter();
                missing.any(|missing| missing.name == need.name && missing.by == by)
            }
            _ => false,
        };
        let full = self.tree;
        let below = |by, depth| {
            let needs = tree.needs(by).into_iter().rev();
            let needs = needs.filter(move |need| full || is_first(by, need));
            needs.map(move |need| (depth, need))
        };
        let mut ahead: Vec<(usize, Need<'_>)> = below(None, 1).collect();
        while let Some((depth, need)) = ahead.pop() {
            let mut text = String::from("=> ");
            let mut why = match need.answer {
                Answerer::Library(index) => {
                    let node = &tree.nodes[index];
                    text += &node.found.path.display().to_string();
                    file.rule(index)
                }
                Answerer::Missing | Answerer::Optional => {
                    text += &styled("not found", Style::Bad);
                    match need.answer {
                        Answerer::Optional => "ld.so continues without it".to_owned(),
                        _ => String::new(),
                    }
                }
                Answerer::Linker => {
                    let linker = file.interpreter.as_deref();
                    text += &linker.unwrap_or(Path::new("")).display().to_string();
                    "the dynamic linker itself".to_owned()
                }
                Answerer::Loaded => {
                    text.clear();
                    "loaded before".to_owned()
                }
            };
            // A library has several names.
            let name = match need.answer {
                Answerer::Library(index) => &tree.nodes[index].name,
                _ => need.name,
            };
            let is_missing = need.answer == Answerer::Missing;
            let is_new = shown.insert((name, is_missing));
            if !is_new {
                why = "shown above".to_owned();
            }
            if !why.is_empty() {
                let space = if text.is_empty() { "" } else { " " };
                text += &format!("{space}{}", styled(format!("({why})"), Style::Dim));
            }
            let indent = 2 * depth.min(MOST_INDENTED);
            self.line(indent, &need.name.display().to_string(), &text);
            if let Answerer::Library(index) = need.answer
                && is_new
            {
                ahead.extend(below(Some(index), depth + 1));
            }
        }
    }

    fn summary(&mut self, files: &[FileCheck]) {
        let all = files.len();
        let count = |is: &dyn Fn(&&FileCheck) -> bool| files.iter().filter(is).count();
        let fails = count(&|file| file.fails());
        let warns = count(&|file| file.only_warns);
        let unknown = count(&|file| file.outcome() == Outcome::Unknown);
        if all == 0 {
            return self
                .page
                .line("nothing to check: no program in these paths");
        }
        if files.iter().all(|file| file.is_no_program()) {
            let text = "nothing to check: none of these files is a program or a library";
            return self.page.line(styled(text, Style::Unknown));
        }
        let open = match unknown {
            0 => String::new(),
            count => format!("; {count} not checked in full"),
        };
        if fails + warns == 0 {
            let text = match unknown {
                0 => format!("{all} checked, all well"),
                _ => format!("{all} checked, no errors{open}"),
            };
            return self.page.line(styled(text, Style::Good));
        }
        let style = if fails > 0 {
            Style::Bad
        } else {
            Style::Warning
        };
        let text = match fails {
            0 => format!("{all} checked, no errors"),
            _ => format!("{fails} of {all} with errors"),
        };
        let warnings = match warns {
            0 => String::new(),
            1 => "; 1 library with warnings, which no checked program loads".to_owned(),
            _ => format!("; {warns} libraries with warnings, which no checked program loads"),
        };
        let missing = match files {
            [file] => missing(file),
            // Listed above.
            _ => String::new(),
        };
        let text = styled(format!("{text}{warnings}{open}"), style);
        self.page.line(format!("{text}{missing}"))
    }
}

/// The missing libraries, for the summary.
fn missing(file: &FileCheck) -> String {
    let problems = file.problems.iter();
    let problems = problems.filter(|one| matches!(one.trouble, Trouble::Library | Trouble::Opened));
    let names: BTreeSet<&str> = problems.filter_map(|one| one.soname.as_deref()).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; missing: {}", Vec::from_iter(names).join(", ")),
    }
}

/// Kind, state and machine in a few words.
fn about(file: &FileCheck) -> String {
    let kind = match file.kind {
        Kind::Program | Kind::Other => String::new(),
        kind => kind.to_string(),
    };
    let state = match file.state {
        State::Original => "",
        State::Wrapped => "wrapped",
        State::InPlace => "edited in place",
    };
    let machine = file.machine.as_deref().unwrap_or_default();
    let count = match file.tree.nodes.len() {
        0 => String::new(),
        1 => "1 library".to_owned(),
        count => format!("{count} libraries"),
    };
    let words = [machine, &kind, state, &count].into_iter();
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [] => String::new(),
        words => format!("({})", words.join(", ")),
    }
}

/// The current directory; `/` if it is unknown.
pub fn current_directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}
