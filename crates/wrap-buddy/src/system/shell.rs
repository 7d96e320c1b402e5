//! Quoting for shells.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// `words` as one line for a shell. A word with control characters or invalid UTF-8 is quoted as `$'…'` (bash, zsh, POSIX.1-2024), so
/// that you can copy the line from a terminal.
pub fn quoted<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> String {
    let words = words.into_iter().map(|word| quoted_word(word.as_ref()));
    words.collect::<Vec<_>>().join(" ")
}

fn quoted_word(word: &OsStr) -> String {
    let plain = word.to_str();
    let plain = plain.filter(|text| !text.chars().any(is_unsafe));
    // shlex refuses only NUL, which is a control character.
    if let Some((text, quoted)) = plain.and_then(|text| Some((text, shlex::try_quote(text).ok()?)))
    {
        // shlex ends and begins the quotes again at a `^`.
        let simple = quoted != text && !text.contains('\'');
        return match simple {
            true => format!("'{text}'"),
            false => quoted.into_owned(),
        };
    }
    let mut quoted = String::from("$'");
    for &byte in word.as_bytes() {
        match byte {
            b'\'' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            // Always three digits, so that a digit that follows is not read as part of it. Writing to a String cannot fail.
            _ => _ = write!(quoted, "\\{byte:03o}"),
        }
    }
    quoted.push('\'');
    quoted
}

/// Whether `text` needs no quoting in any language: letters, digits and some punctuation of paths.
pub fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte);
    text.bytes().all(is_plain)
}

/// Whether a terminal interprets `character` instead of displaying it: control characters, line and paragraph separators, and explicit
/// formatting characters of the Unicode Bidirectional Algorithm.
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_the_words_that_were_quoted() {
        let words: [&[u8]; 9] = [
            b"plain",
            b"a b",
            b"it's",
            b"1s|^#!.*|#!/bin/sh|",
            b"a\nb1",
            b"\x1b]0;x\x07'\\",
            b"\xff\xfe0",
            "größe".as_bytes(),
            "\u{202e}x".as_bytes(),
        ];
        let line = quoted(words.map(OsStr::from_bytes));
        assert!(line.contains(" '1s|^#!.*|#!/bin/sh|' "), "{line}");
        assert!(!line.contains(is_unsafe), "{line}");
        let script = format!("printf '%s\\0' {line}");
        let read = Command::new("bash").args(["-c", &script]).output().unwrap();
        let read: Vec<&[u8]> = read.stdout.split(|&byte| byte == 0).collect();
        assert_eq!(read[..9], words);
    }
}
