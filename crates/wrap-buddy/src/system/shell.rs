//! Command lines to be typed.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// `words` as one line for a shell. A word that cannot be shown as it is (a control character, bytes that are no UTF-8) is in
/// `$'…'`, as bash, zsh and POSIX.1-2024 have it, so that the line can be copied from a terminal.
pub fn quoted<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> String {
    let words = words.into_iter().map(|word| quoted_word(word.as_ref()));
    words.collect::<Vec<_>>().join(" ")
}

fn quoted_word(word: &OsStr) -> String {
    let plain = word.to_str().filter(|text| !text.chars().any(is_special));
    // Without a control character there is no NUL in it, the one thing that cannot be quoted.
    if let Some(quoted) = plain.and_then(|text| shlex::try_quote(text).ok()) {
        return quoted.into_owned();
    }
    let mut quoted = String::from("$'");
    for &byte in word.as_bytes() {
        match byte {
            b'\'' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            // Three digits, so that one that follows is not taken for a part of it. A String takes everything.
            _ => _ = write!(quoted, "\\{byte:03o}"),
        }
    }
    quoted.push('\'');
    quoted
}

fn is_special(character: char) -> bool {
    is_unsafe(character)
}

/// Whether `text` means itself in any language it is put into: letters, digits and a few marks that paths have.
pub fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte);
    text.bytes().all(is_plain)
}

/// Whether a terminal does something else with `character` than show it: control characters, line and paragraph separators, and
/// what changes the direction of the text after it (Unicode Bidirectional Algorithm, explicit formatting characters).
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
        let words: [&[u8]; 8] = [
            b"plain",
            b"a b",
            b"it's",
            b"a\nb1",
            b"\x1b]0;x\x07'\\",
            b"\xff\xfe0",
            "größe".as_bytes(),
            "\u{202e}x".as_bytes(),
        ];
        let line = quoted(words.map(OsStr::from_bytes));
        assert!(!line.contains(is_special), "{line}");
        let script = format!("printf '%s\\0' {line}");
        let read = Command::new("bash").args(["-c", &script]).output().unwrap();
        let read: Vec<&[u8]> = read.stdout.split(|&byte| byte == 0).collect();
        assert_eq!(read[..8], words);
    }
}
