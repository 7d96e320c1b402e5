//! The human-readable report: one line for files that will start, all findings for the others, a summary at the end.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use anstream::stream::RawStream;

use super::command::Command;
use super::diagnosis::{Next, Trouble};
use super::{Checked, FileCheck, Outcome, State};
use crate::report::Output;
use crate::report::{Page, Style, styled};
use elf_file::Kind;
use ldso::{Cause, MissingLibrary, Node, Tree};

/// Deepest level of the library tree that is indented.
const MOST_INDENTED: usize = 32;

/// Paths below `cwd` are shown relative to it.
pub fn write(
    checked: &Checked,
    output: Output,
    cwd: &Path,
    out: &mut impl RawStream,
) -> io::Result<()> {
    let mut page = Writer {
        page: Page::default(),
        verbose: output.verbose,
        prefix: format!("{}/", cwd.display()),
    };
    let (well, broken): (Vec<&FileCheck>, Vec<&FileCheck>) =
        checked.files.iter().partition(|file| file.is_well());
    if !output.quiet {
        for file in &well {
            page.well(file);
        }
    }
    let combined = checked.next.iter().filter_map(|next| next.call.as_deref());
    let combined: Vec<&Command> = combined.collect();
    for file in &broken {
        page.broken(file, &combined);
    }
    for note in &checked.notes {
        page.line(0, "note:", note);
    }
    if !output.quiet || !broken.is_empty() {
        page.summary(&well, &broken);
    }
    for next in &checked.next {
        page.next(0, next);
    }
    page.page.write_to(out)
}

struct Writer {
    page: Page,
    verbose: bool,
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

    fn head(&mut self, file: &FileCheck, outcome: &str) {
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

    fn well(&mut self, file: &FileCheck) {
        let outcome = match file.outcome() {
            Outcome::Unknown if file.is_no_program() => styled("not checked", Style::Unknown),
            Outcome::Unknown => styled("not checked in full", Style::Unknown),
            Outcome::Ok | Outcome::Broken => styled("ok", Style::Good),
        };
        self.head(file, &outcome);
        self.details(file)
    }

    /// Commands that one of `combined` covers are not repeated here.
    fn broken(&mut self, file: &FileCheck, combined: &[&Command]) {
        let mut problems = file.problems.iter();
        let outcome = match file.kind {
            Kind::Library => "will not load",
            _ if problems.all(|problem| problem.trouble == Trouble::Privilege) => "is not safe",
            _ => "will not start",
        };
        self.head(file, &styled(outcome, Style::Bad));
        for problem in &file.problems {
            let help: String = problem
                .help
                .iter()
                .map(|help| format!("; {help}"))
                .collect();
            let text = format!("{}{help}", problem.text);
            self.line(2, &styled("error:", Style::Bad), &text);
        }
        self.details(file);
        for next in &file.next {
            let call = next.call.as_deref();
            if !call.is_some_and(|call| combined.iter().any(|all| all.covers(call))) {
                self.next(2, next);
            }
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

    fn details(&mut self, file: &FileCheck) {
        let all = self.verbose;
        for note in file.notes.iter().filter(|note| all || !note.is_detail) {
            self.line(2, "note:", &note.text);
        }
        if !self.verbose {
            return;
        }
        if let Some(interpreter) = &file.interpreter {
            self.line(2, "by", &interpreter.display().to_string());
        }
        self.branches(&file.tree)
    }

    /// The tree of loaded libraries, then the missing ones.
    fn branches(&mut self, tree: &Tree) {
        let mut below: HashMap<Option<usize>, Vec<Leaf<'_>>> = HashMap::new();
        for missing in tree.missing.iter().rev() {
            below
                .entry(missing.by)
                .or_default()
                .push(Leaf::MissingLibrary(missing));
        }
        for (index, node) in tree.nodes.iter().enumerate().rev() {
            let leaf = Leaf::Found(index, node);
            below.entry(node.by).or_default().push(leaf);
        }
        let of = |leaves: Vec<_>, depth| leaves.into_iter().map(move |leaf| (depth, leaf));
        let mut ahead: Vec<(usize, Leaf<'_>)> = Vec::new();
        ahead.extend(of(below.remove(&None).unwrap_or_default(), 1));
        while let Some((depth, leaf)) = ahead.pop() {
            let indent = 2 * depth.min(MOST_INDENTED);
            match leaf {
                Leaf::MissingLibrary(missing) => {
                    let text = format!("=> {}", styled("not found", Style::Bad));
                    self.line(indent, &missing.name.display().to_string(), &text);
                }
                Leaf::Found(index, node) => {
                    self.line(indent, &node.name.display().to_string(), &found(node));
                    let leaves = below.remove(&Some(index)).unwrap_or_default();
                    ahead.extend(of(leaves, depth + 1));
                }
            }
        }
    }

    fn summary(&mut self, well: &[&FileCheck], broken: &[&FileCheck]) {
        let unknown = well
            .iter()
            .filter(|file| file.outcome() == Outcome::Unknown);
        let unknown = unknown.count();
        let all = well.len() + broken.len();
        if all == 0 {
            return self
                .page
                .line("nothing to check: no program in these paths");
        }
        if broken.is_empty() && well.iter().all(|file| file.is_no_program()) {
            let text = "nothing to check: none of these files is a program or a library";
            return self.page.line(styled(text, Style::Unknown));
        }
        let open = match unknown {
            0 => String::new(),
            count => format!("; {count} not checked in full"),
        };
        if broken.is_empty() {
            let text = match unknown {
                0 => format!("{all} checked, all well"),
                _ => format!("{all} checked, no errors{open}"),
            };
            return self.page.line(styled(text, Style::Good));
        }
        let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
        let problems = broken.iter().flat_map(|file| &file.problems);
        for problem in
            problems.filter(|one| matches!(one.trouble, Trouble::Library | Trouble::Opened))
        {
            if let Some(name) = problem.soname.as_deref() {
                *missing.entry(name).or_default() += 1;
            }
        }
        let missing: Vec<String> = missing
            .iter()
            .map(|(name, count)| match count {
                1 => (*name).to_owned(),
                count => format!("{name} ({count} files)"),
            })
            .collect();
        let missing = match missing.as_slice() {
            [] => String::new(),
            names => format!("; missing: {}", names.join(", ")),
        };
        let text = format!("{} of {all} with errors{open}", broken.len());
        self.page
            .line(format!("{}{missing}", styled(text, Style::Bad)))
    }
}

enum Leaf<'t> {
    Found(usize, &'t Node),
    MissingLibrary(&'t MissingLibrary),
}

/// Path and search rule of a library.
fn found(Node { found, cause, .. }: &Node) -> String {
    let path = found.path.display();
    let hwcaps = found.subdirectory.as_ref();
    let hwcaps = hwcaps.map(|one| format!(", {}", one.display()));
    let cause = match cause {
        Cause::Needed => String::new(),
        Cause::Filtee => ", filtee".to_owned(),
        Cause::Preload(from) => format!(", preloaded by {}", from.display()),
    };
    let why = format!("({}{}{cause})", found.rule, hwcaps.unwrap_or_default());
    format!("=> {path} {}", styled(why, Style::Dim))
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
