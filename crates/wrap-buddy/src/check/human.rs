//! What was found, for people: a line for what will start, all there is to say of what will not, and that last.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};

use super::diagnosis::Trouble;
use super::{Checked, FileCheck, Kind, State};
use crate::cli::Output;
use crate::resolve::{Cause, Node, Tree};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Writes all of it to `out`, in colours; a stream that is no terminal's takes them out again. Paths below `cwd` are shown
/// relative to it.
pub fn write(
    checked: &Checked,
    output: Output,
    cwd: &Path,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut page = Page {
        text: Vec::new(),
        verbose: output.verbose,
        prefix: format!("{}/", cwd.display()),
    };
    let (well, broken): (Vec<&FileCheck>, Vec<&FileCheck>) =
        checked.files.iter().partition(|file| file.is_well());
    if !output.quiet {
        for file in &well {
            page.well(file)?;
        }
    }
    for file in &broken {
        page.broken(file)?;
    }
    for note in &checked.notes {
        page.line(0, "note:", note)?;
    }
    if !output.quiet || !broken.is_empty() {
        page.summary(well.len(), &broken)?;
    }
    out.write_all(&page.text)?;
    out.flush()
}

struct Page {
    text: Vec<u8>,
    verbose: bool,
    prefix: String,
}

fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

impl Page {
    /// Paths below the current directory without it.
    fn shorter(&self, text: &str) -> String {
        match self.prefix.as_str() {
            "//" => text.to_owned(),
            prefix => {
                let at_start = text.strip_prefix(prefix).unwrap_or(text);
                at_start.replace(&format!(" {prefix}"), " ")
            }
        }
    }

    fn line(&mut self, indent: usize, label: &str, text: &str) -> io::Result<()> {
        let text = self.shorter(text);
        writeln!(self.text, "{:indent$}{label} {text}", "")
    }

    fn head(&mut self, file: &FileCheck, verdict: &str) -> io::Result<()> {
        let path = self.shorter(&file.path.display().to_string());
        let about = about(file);
        let about = if about.is_empty() {
            about
        } else {
            format!(" {}", styled(DIM, about))
        };
        writeln!(self.text, "{}: {verdict}{about}", styled(BOLD, path))
    }

    fn well(&mut self, file: &FileCheck) -> io::Result<()> {
        self.head(file, &styled(GOOD, "ok"))?;
        self.details(file)
    }

    fn broken(&mut self, file: &FileCheck) -> io::Result<()> {
        let verdict = match file.kind {
            Kind::Library => "will not load",
            _ => "will not start",
        };
        self.head(file, &styled(BAD, verdict))?;
        for problem in &file.problems {
            let help: String = problem
                .help
                .iter()
                .map(|help| format!("; {help}"))
                .collect();
            let text = format!("{}{help}", problem.text);
            self.line(2, &styled(BAD, "error:"), &text)?;
        }
        self.details(file)?;
        for next in &file.next {
            match &next.command {
                Some(command) => {
                    // Typed from here, so the paths in it may stay short, too.
                    let command = styled(BOLD, self.shorter(command));
                    writeln!(self.text, "  next: {command}")?;
                    self.line(8, "#", &next.text)?;
                }
                None => self.line(2, "next:", &next.text)?,
            }
        }
        Ok(())
    }

    fn details(&mut self, file: &FileCheck) -> io::Result<()> {
        let all = self.verbose;
        for note in file.notes.iter().filter(|note| all || !note.is_detail) {
            self.line(2, "note:", &note.text)?;
        }
        if !self.verbose {
            return Ok(());
        }
        if let Some(interpreter) = &file.interpreter {
            self.line(2, "by", &interpreter.display().to_string())?;
        }
        self.branch(&file.tree, None, 2)
    }

    /// What a file has loaded, below it what that has.
    fn branch(&mut self, tree: &Tree, by: Option<usize>, indent: usize) -> io::Result<()> {
        for child in tree.children(by) {
            let Node { name, found, .. } = &tree.nodes[child];
            let path = found.path.display();
            let hwcaps = found.subdirectory.as_ref();
            let hwcaps = hwcaps.map(|one| format!(", {}", one.display()));
            let cause = match &tree.nodes[child].cause {
                Cause::Needed => String::new(),
                Cause::Filtee => ", filtee".to_owned(),
                Cause::Preload(from) => format!(", preloaded by {}", from.display()),
            };
            let why = format!("({}{}{cause})", found.rule, hwcaps.unwrap_or_default());
            let text = format!("=> {path} {}", styled(DIM, why));
            self.line(indent, &name.display().to_string(), &text)?;
            self.branch(tree, Some(child), indent + 2)?;
        }
        let lost = tree.lost.iter().filter(|lost| lost.by == by);
        for lost in lost {
            let text = format!("=> {}", styled(BAD, "not found"));
            self.line(indent, &lost.name.display().to_string(), &text)?;
        }
        Ok(())
    }

    fn summary(&mut self, well: usize, broken: &[&FileCheck]) -> io::Result<()> {
        let all = well + broken.len();
        if all == 0 {
            return writeln!(
                self.text,
                "nothing to check: there is no program in these paths"
            );
        }
        if broken.is_empty() {
            let text = format!("{all} checked, all well");
            return writeln!(self.text, "{}", styled(GOOD, text));
        }
        let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
        let problems = broken.iter().flat_map(|file| &file.problems);
        for problem in
            problems.filter(|one| matches!(one.trouble, Trouble::Library | Trouble::Opened))
        {
            *missing
                .entry(problem.soname.as_deref().unwrap_or_default())
                .or_default() += 1;
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
        let text = format!("{} of {all} with errors", broken.len());
        writeln!(self.text, "{}{missing}", styled(BAD, text))
    }
}

/// What a file is, in a few words.
fn about(file: &FileCheck) -> String {
    let kind = match file.kind {
        Kind::Program => "",
        Kind::Static => "static",
        Kind::Library => "library",
        Kind::Script => "script",
        Kind::Other => "",
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
    let words = [machine, kind, state, &count].into_iter();
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [] => String::new(),
        words => format!("({})", words.join(", ")),
    }
}

/// The current directory, or none that anything is below.
pub fn current_directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}
