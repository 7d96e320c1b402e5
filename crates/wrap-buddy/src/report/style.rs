//! How things look on a terminal. Where output goes elsewhere, or NO_COLOR is set, the stream takes the colours out.

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// What was done.
pub const DONE: Style = AnsiColor::Green.on_default();
/// What was left as it is.
pub const LEFT: Style = Style::new().dimmed();
/// What a line is about.
pub const LABEL: Style = Style::new().dimmed();
/// What the user may want to do something about.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// What the user has to do something about.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();

/// In a style.
pub fn styled(text: impl Display, style: Style) -> String {
    format!("{style}{text}{style:#}")
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
        let text = format!("one\n{}\nthree\n", styled("two", DONE));
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
