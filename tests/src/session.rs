//! Sessions in pages: blocks of `console`, which tests type into bash.
//!
//! A line that begins with `$ ` is a command. It goes on in the next lines while a quote is open or a line ends with a backslash. The
//! lines up to the next command are its output, in which `…` stands for any text, and a line with only `…` for any lines. A command
//! without output in the page has to succeed.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::output::Output;
use crate::run::Run;

/// The sessions of one page, or of one section of it.
pub struct Session {
    page: String,
    commands: Vec<Typed>,
}

struct Typed {
    /// In the page.
    line: usize,
    text: String,
    expected: Vec<String>,
}

/// Separates the outputs of commands. No program prints it.
const MARK: &str = "\x1eafter ";

impl Session {
    /// The sessions of `page`, a path in the repository, below the heading `section`, or all of them.
    ///
    /// # Panics
    /// If there are none.
    pub fn read(page: &str, section: Option<&str>) -> Session {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let session = Session {
            page: page.into(),
            commands: commands(&text, section),
        };
        assert!(!session.commands.is_empty(), "{page} has no session");
        session
    }

    /// Types the commands into `bash`, after `before`, and compares the outputs.
    #[track_caller]
    pub fn type_into(&self, bash: Run<'_>, before: &str) -> Output {
        let mut script = format!("exec 2>&1\n{before}\n");
        for typed in &self.commands {
            // A command must not read the commands after it.
            let text = &typed.text;
            write!(
                script,
                "{{ {text}\n}} < /dev/null\nprintf '{MARK}%d\\n' $?\n"
            )
            .expect("memory");
        }
        let output = bash.stdin(script).output();
        let mut rest = output.stdout.as_str();
        for typed in &self.commands {
            let found = rest.split_once(MARK);
            let found = found.and_then(|(printed, rest)| Some((printed, rest.split_once('\n')?)));
            let Some((printed, (status, after))) = found else {
                panic!("{}:{}: bash ended; {output}", self.page, typed.line);
            };
            if let Some(wrong) = typed.compare(printed, status) {
                panic!("{}:{}: {wrong}; {output}", self.page, typed.line);
            }
            rest = after;
        }
        output
    }
}

impl Typed {
    /// Whether a quote is open, or a backslash ends the line.
    fn is_open(&self) -> bool {
        shlex::split(&self.text).is_none()
    }

    fn compare(&self, printed: &str, status: &str) -> Option<String> {
        let text = &self.text;
        if self.expected.is_empty() {
            return (status != "0").then(|| format!("{text}: exit status {status}\n{printed}"));
        }
        let printed: Vec<String> = printed.lines().map(as_typed).collect();
        (!are_like(&self.expected, &printed)).then(|| {
            let (expected, printed) = (self.expected.join("\n"), printed.join("\n"));
            format!("{text}: printed\n{printed}\ninstead of\n{expected}\n")
        })
    }
}

/// Bash names the line of a script before its messages.
fn as_typed(line: &str) -> String {
    let line = line.trim_end();
    let message = line.strip_prefix("bash: line ");
    match message.and_then(|message| message.split_once(": ")) {
        Some((_, message)) => format!("bash: {message}"),
        None => line.to_owned(),
    }
}

fn are_like(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == "…" => {
            (0..=printed.len()).any(|skipped| are_like(rest, &printed[skipped..]))
        }
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| is_like(line, first) && are_like(rest, others)),
    }
}

fn is_like(expected: &str, printed: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

fn commands(page: &str, section: Option<&str>) -> Vec<Typed> {
    let mut commands: Vec<Typed> = Vec::new();
    let (mut in_section, mut in_session, mut in_other) = (section.is_none(), false, false);
    for (number, line) in (1..).zip(page.lines()) {
        if let Some(language) = line.strip_prefix("```") {
            let begins = !in_session && !in_other;
            in_session = begins && in_section && language == "console";
            in_other = begins && !in_session;
        } else if !in_session {
            if let Some(section) = section.filter(|_| !in_other && line.starts_with('#')) {
                in_section = line.trim_start_matches('#').trim() == section;
            }
        } else if let Some(open) = commands.last_mut().filter(|last| last.is_open()) {
            open.text = format!("{}\n{line}", open.text);
        } else if let Some(text) = line.strip_prefix("$ ") {
            commands.push(Typed {
                line: number,
                text: text.into(),
                expected: Vec::new(),
            });
        } else if let Some(last) = commands.last_mut()
            && !(line.is_empty() && last.expected.is_empty())
        {
            last.expected.push(line.into());
        }
    }
    for typed in &mut commands {
        while typed.expected.last().is_some_and(String::is_empty) {
            typed.expected.pop();
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_go_on_while_a_quote_is_open() {
        let page = "# A\n```console\n$ one \\\n  two\nout\n\n$ echo 'a\n$ b'   # c\n```\n```sh\n# B\n$ three\n```\n# B\n```console\n$ four\n```\n";
        let typed = commands(page, Some("A"));
        let texts: Vec<&str> = typed.iter().map(|typed| typed.text.as_str()).collect();
        assert_eq!(texts, ["one \\\n  two", "echo 'a\n$ b'   # c"]);
        assert_eq!(typed[0].expected, ["out"]);
        assert!(typed[1].expected.is_empty());
        assert_eq!(commands(page, None).len(), 3);
    }

    #[test]
    fn ellipses_stand_for_any_text() {
        let like = |expected: &str, printed: &str| {
            let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
            are_like(&lines(expected), &lines(printed))
        };
        assert!(like("a\n…\nd", "a\nb\nc\nd") && like("a\n…\nd", "a\nd"));
        assert!(!like("a\n…\nd", "a\nb") && !like("a", "a\nb") && !like("a\nb", "a"));
        assert!(like("a…c…e", "abcde") && like("…", "x") && !like("a…c", "abcd"));
        assert!(!like("ab…bc", "abc"));
    }

    #[test]
    fn other_output_or_a_failure_is_noticed() {
        let typed = |expected: &[&str]| Typed {
            line: 1,
            text: "x".into(),
            expected: expected.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert!(typed(&[]).compare("anything", "0").is_none());
        assert!(typed(&[]).compare("", "1").is_some());
        let message = "bash: ./x: cannot execute";
        assert!(
            typed(&[message])
                .compare("bash: line 7: ./x: cannot execute\n", "126")
                .is_none()
        );
        assert!(typed(&[message]).compare("", "0").is_some());
    }
}
