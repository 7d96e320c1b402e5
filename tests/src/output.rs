//! The result of a program.

use std::fmt;

/// The exit status and output of a program.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command, for messages.
    pub command: String,
    /// The exit status, unless a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Whether it exceeded its time limit and was killed.
    pub timed_out: bool,
}

impl Output {
    /// Asserts that the program succeeded.
    #[track_caller]
    pub fn success(self) -> Output {
        self.exits_with(0)
    }

    /// Asserts that the program exited with `status`.
    #[track_caller]
    pub fn exits_with(self, status: i32) -> Output {
        assert_eq!(self.status, Some(status), "exit status; {self}");
        self
    }

    /// Asserts that a stub or loader exited with 127 and printed one line that has all of `words`, and returns the line.
    #[track_caller]
    pub fn refuses(self, words: &[impl AsRef<str>]) -> String {
        assert_eq!(self.status, Some(127), "exit status; {self}");
        let line = self.stderr.strip_suffix('\n').unwrap_or_default();
        assert!(
            line.starts_with("wrap-buddy: ") && !line.contains('\n'),
            "one line that begins with wrap-buddy; {self}"
        );
        for word in words {
            assert!(
                line.contains(word.as_ref()),
                "{:?} in the message; {self}",
                word.as_ref()
            );
        }
        line.to_string()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output {
            command,
            status,
            signal,
            stdout,
            stderr,
            timed_out,
        } = self;
        writeln!(f, "{command}")?;
        writeln!(
            f,
            "status {status:?}, signal {signal:?}, timed out: {timed_out}"
        )?;
        let (stdout, stderr) = (visible(stdout), visible(stderr));
        write!(f, "--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Escapes characters that a terminal does not show, such as NUL.
fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}
