//! Text for people, in lines.
//!
//! File names, sonames, PT_INTERP and `#!` lines come from strangers. A page keeps each of its lines one line, and passes no control
//! character on to the terminal: neither a newline that would forge a line of the report, nor a control sequence.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use super::style::Style;
use crate::system::shell::is_unsafe;

/// Stands for the end of a style in the text of a line.
const END: char = '\u{fdef}';

/// Lines that are written at once.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    pub fn line(&mut self, text: impl Display) {
        // A String takes everything.
        let _ = write!(Escaping(&mut self.text), "{text}");
        self.text.push('\n');
    }

    /// One more line, what it is about in a column of its own.
    pub fn labelled(&mut self, label: &str, text: impl Display) {
        let label = styled(format_args!("{label:<12}"), Style::Dim);
        self.line(format_args!("  {label} {text}"));
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Writes all lines to `out`.
    ///
    /// # Errors
    /// As `out`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(self.text.as_bytes())?;
        out.flush()
    }
}

/// `text` in `style`, for a line of a page. The style is a character of no meaning (a Unicode noncharacter) until the line is
/// written, so a control sequence in `text` itself is never taken for a style.
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
}
