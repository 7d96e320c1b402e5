//! Human-readable text, line by line.
//!
//! File names, sonames, PT_INTERP and `#!` lines are untrusted. A page escapes control characters in each line, so that none of them can
//! forge a line of the report or send a control sequence to the terminal.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use anstream::AutoStream;
use anstream::stream::RawStream;

use super::style::Style;
use crate::system::shell::is_unsafe;

/// Marks the end of a style in the text of a line.
const END: char = '\u{fdef}';

/// Lines that are written in one piece.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    pub fn line(&mut self, text: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(Escaping(&mut self.text), "{text}");
        self.text.push('\n');
    }

    /// Adds a line with `label` in a column of its own.
    pub fn labelled(&mut self, label: &str, text: impl Display) {
        let label = styled(format_args!("{label:<12}"), Style::Dim);
        self.line(format_args!("  {label} {text}"));
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Writes all lines to `out` in one piece, without colours if `out` takes none.
    pub fn write_to(&self, out: &mut impl RawStream) -> io::Result<()> {
        // AutoStream by itself makes a system call for each line from which it removes a colour.
        let mut text = AutoStream::new(Vec::new(), AutoStream::choice(out));
        text.write_all(self.text.as_bytes())?;
        out.write_all(&text.into_inner())?;
        out.flush()
    }
}

/// `text` in `style`, for a line of a page. Until the line is written, a Unicode noncharacter stands for the style, so that a control
/// sequence in `text` itself is never taken for a style.
pub fn styled(text: impl Display, style: Style) -> String {
    format!("{}{text}{END}", style.mark())
}

struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if let Some(style) = Style::of_mark(character) {
                write!(self.0, "{}", style.ansi())?;
            } else if character == END {
                self.0.push_str("\x1b[0m");
            } else if is_unsafe(character) {
                write!(self.0, "{}", character.escape_default())?;
            } else {
                self.0.push(character);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;

    use super::*;

    #[test]
    fn text_cannot_leave_its_line() {
        for (text, expected) in [
            ("bin/main", "bin/main"),
            ("größe 程序", "größe 程序"),
            ("a\n  next: rm", "a\\n  next: rm"),
            ("a\r\tb", "a\\r\\tb"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("\x1b[8mhidden", "\\u{1b}[8mhidden"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}cod.sh", "\\u{202e}cod.sh"),
            ("a\u{2028}b", "a\\u{2028}b"),
        ] {
            let mut page = Page::default();
            page.line(text);
            assert_eq!(page.text, format!("{expected}\n"));
        }
    }

    #[test]
    fn styles_are_those_of_the_page() {
        let mut page = Page::default();
        page.line(styled("error\x1b[0m", Style::Error));
        assert_eq!(page.text, "\x1b[1m\x1b[31merror\\u{1b}[0m\x1b[0m\n");
    }

    #[test]
    fn a_page_is_one_write_without_colours_into_a_pipe() {
        // In packet mode each read returns one write.
        let (reader, writer) = pipe2(OFlag::O_DIRECT).unwrap();
        let mut page = Page::default();
        page.line("one");
        page.line(styled("two", Style::Good));
        page.write_to(&mut File::from(writer)).unwrap();
        let mut packet = [0; 64];
        let len = File::from(reader).read(&mut packet).unwrap();
        assert_eq!(&packet[..len], b"one\ntwo\n");
    }
}
