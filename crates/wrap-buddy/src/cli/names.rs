//! Words on the command line that are neither a command nor a file: what you may have meant.

use std::path::Path;

use clap::CommandFactory;

use super::args::CommandLine;
use crate::commands::on_path;
use crate::report::style::shown;

/// Words that other tools use for a command, and what to type here.
const MEANINGS: &[(&[&str], &str)] = &[
    (
        &["exec", "start", "launch"],
        "use `wrap-buddy run PROGRAM`; a wrapped program is started by its own path, as before",
    ),
    (
        &[
            "unwrap",
            "undo",
            "unpatch",
            "revert",
            "remove",
            "uninstall",
            "reset",
        ],
        "use `wrap-buddy restore PATH`",
    ),
    (
        &["patch", "fix", "install", "add", "repair", "autopatch"],
        "use `wrap-buddy PATH --libs DIR`; `wrap-buddy check PATH` prints which directories",
    ),
    (
        &["info", "inspect", "dump", "print", "diff"],
        "use `wrap-buddy show PATH`",
    ),
    (
        &["pack", "package", "export", "archive"],
        "use `wrap-buddy bundle PROGRAM --output DIR`",
    ),
    (&["list", "ls", "state"], "use `wrap-buddy status PATH`"),
    (
        &["diagnose", "doctor", "verify", "test", "ldd", "lint"],
        "use `wrap-buddy check PATH`",
    ),
];

/// Similarity, from 0 to 1, from which a word is taken for a mistyped command.
const SIMILAR: f64 = 0.85;

/// What you may have meant by `word`, where a file is expected; none where there is such a file, or for what looks like a path.
pub fn hint(word: &Path) -> Option<String> {
    let text = word.to_str()?;
    if text.contains('/') || word.exists() {
        return None;
    }
    let said = MEANINGS.iter().find(|(words, _)| words.contains(&text));
    if let Some((_, meaning)) = said {
        return Some(format!("there is no command `{text}`: {meaning}"));
    }
    let definition = CommandLine::command();
    let names = definition.get_subcommands().map(clap::Command::get_name);
    let similarity = |name: &str| strsim::jaro_winkler(name, text);
    path_hint(word).or_else(|| {
        let meant = names.filter(|name| similarity(name) >= SIMILAR || is_abbreviation(text, name));
        let best = meant.max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
        Some(format!(
            "there is no file and no command `{text}`: did you mean `wrap-buddy {best}`?"
        ))
    })
}

/// Whether `text` is at least half of `name`: its first letter, and others in their order.
fn is_abbreviation(text: &str, name: &str) -> bool {
    let mut letters = name.chars();
    2 * text.len() >= name.len()
        && text.chars().next() == name.chars().next()
        && text
            .chars()
            .all(|letter| letters.any(|other| other == letter))
}

/// The path to name where `word`, a file to write to, is a program on PATH.
pub fn path_hint(word: &Path) -> Option<String> {
    let (text, found) = (word.display(), on_path(word)?);
    Some(format!(
        "there is no file `{text}` here; the program of that name is {}: name that path",
        shown(&found)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_tools_and_mistyped_commands_have_a_hint() {
        for (word, expected) in [
            ("undo", Some("restore")),
            ("unwrap", Some("restore")),
            ("exec", Some("by its own path")),
            ("patch", Some("--libs")),
            ("fix", Some("check")),
            ("chekc", Some("wrap-buddy check")),
            ("restor", Some("wrap-buddy restore")),
            ("stauts", Some("wrap-buddy status")),
            ("chk", Some("wrap-buddy check")),
            ("wrp", Some("wrap-buddy wrap")),
            ("ck", None),
            ("crate", None),
            ("sh", Some("/sh: name that path")),
            ("no-such-program", None),
            ("./undo", None),
            ("app/undo", None),
        ] {
            let hint = hint(Path::new(word));
            match expected {
                Some(expected) => assert!(hint.unwrap().contains(expected), "{word}"),
                None => assert_eq!(hint, None, "{word}"),
            }
        }
    }
}
