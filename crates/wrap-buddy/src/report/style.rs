//! How things look on a terminal. Where output goes elsewhere, or NO_COLOR is set, the stream takes the colours out.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::AnsiColor;

/// How a part of a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// What was done, or is well.
    Good,
    /// What was left as it is, and what a line is about.
    Dim,
    /// What the user may want to do something about.
    Warning,
    /// What the user has to do something about.
    Error,
    /// What a paragraph is about.
    Bold,
    /// What is not known.
    Unknown,
    /// What is not well.
    Bad,
}

/// The first of the Unicode noncharacters that stand for styles.
const FIRST_MARK: u32 = 0xfdd0;

impl Style {
    const ALL: [Self; 7] = [
        Self::Good,
        Self::Dim,
        Self::Warning,
        Self::Error,
        Self::Bold,
        Self::Unknown,
        Self::Bad,
    ];

    pub(super) fn ansi(self) -> anstyle::Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Dim => anstyle::Style::new().dimmed(),
            Self::Warning => AnsiColor::Yellow.on_default().bold(),
            Self::Error => AnsiColor::Red.on_default().bold(),
            Self::Bold => anstyle::Style::new().bold(),
            Self::Unknown => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
        }
    }

    /// Stands for it in a line that is not written yet.
    pub(super) fn mark(self) -> char {
        char::from_u32(FIRST_MARK + self as u32).unwrap_or_default()
    }

    /// The style that `mark` stands for.
    pub(super) fn of_mark(mark: char) -> Option<Self> {
        let index = u32::from(mark).checked_sub(FIRST_MARK)?;
        Self::ALL.get(index as usize).copied()
    }
}

/// A stream that passes on whole what it is given: [`AutoStream`] alone makes a system call of each line from which it takes the
/// colours out. No colour may begin in one text and end in the next.
#[derive(Debug)]
pub struct Whole<S> {
    stream: S,
    choice: ColorChoice,
}

impl<S: RawStream> Whole<S> {
    /// One that writes to `stream`, with colours if it takes any.
    pub fn new(stream: S) -> Self {
        Self {
            choice: AutoStream::choice(&stream),
            stream,
        }
    }
}

impl<S: RawStream> Write for Whole<S> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut coloured = AutoStream::new(Vec::with_capacity(text.len()), self.choice);
        coloured.write_all(text)?;
        self.stream.write_all(&coloured.into_inner())?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A path as people read it: relative to the current directory where that is shorter.
pub fn shown(path: impl AsRef<Path>) -> String {
    static HERE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let here = HERE.get_or_init(|| env::current_dir().ok());
    let path = path.as_ref();
    match here {
        Some(here) => relative(path, here).display().to_string(),
        None => path.display().to_string(),
    }
}

fn relative(path: &Path, here: &Path) -> PathBuf {
    // At the root the slash is all that would go.
    let gains = path.is_absolute() && here.parent().is_some();
    let relative = gains.then(|| pathdiff::diff_paths(path, here));
    let relative = relative.flatten().filter(|relative| {
        let len = relative.as_os_str().len();
        (1..path.as_os_str().len()).contains(&len)
    });
    relative.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;

    use super::*;

    #[test]
    fn what_is_written_arrives_whole() {
        // Each write is a packet there, and so is each read.
        let (reader, writer) = pipe2(OFlag::O_DIRECT).unwrap();
        let text = format!("one\n{}\nthree\n", "\x1b[32mtwo\x1b[0m");
        let mut stream = Whole::new(File::from(writer));
        stream.write_all(text.as_bytes()).unwrap();
        let mut packet = [0; 64];
        let len = File::from(reader).read(&mut packet).unwrap();
        assert_eq!(&packet[..len], b"one\ntwo\nthree\n");
    }

    #[test]
    fn paths_are_relative_where_that_is_shorter() {
        for (path, here, expected) in [
            ("/home/me/app/bin/main", "/home/me", "app/bin/main"),
            ("/home/me/lib/main", "/home/me/app", "../lib/main"),
            ("/opt/main", "/home/me/app", "/opt/main"),
            ("/home/me", "/home/me", "/home/me"),
            ("app/main", "/home/me", "app/main"),
            ("../main", "/home/me", "../main"),
            ("/tmp/main", "/", "/tmp/main"),
        ] {
            assert_eq!(
                relative(path.as_ref(), here.as_ref()),
                Path::new(expected),
                "{path}"
            );
        }
    }
}
