//! Phrases to avoid in pages, comments, messages and help text. CONTRIBUTING.md, "Prose", says what to write instead.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use walkdir::{DirEntry, WalkDir};

use crate::workspace;

/// In lower case, with one space between words.
const BANNED: &[&str] = &[
    "tell of",
    "tells of",
    "told of",
    "is told",
    "are told",
    "be told",
    "been told",
    "was told",
    "were told",
    "whoever",
    "beside",
    "besides",
    "behind",
    "dealt with",
    "nobody else",
    "of its own kind",
    "comes and goes",
    "desk",
    "crew",
    "shelf",
    "teller",
    "heirs",
    "thawed",
    "hasten",
];

/// Paths that are not read.
const EXCLUDED: &[&str] = &[
    // The phrases themselves.
    "xtask/src/lint/prose.rs",
];

/// Fails with each banned phrase, its file and line.
pub fn check() -> Result<()> {
    let root = workspace::root();
    let is_read = |entry: &DirEntry| {
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0
            || !name.starts_with('.')
                && name != "target"
                && !EXCLUDED.iter().any(|excluded| path == Path::new(excluded))
    };
    let mut found = Vec::new();
    for file in WalkDir::new(root).into_iter().filter_entry(is_read) {
        let file = file?;
        let Some(prose_of) = language(file.path()).filter(|_| file.file_type().is_file()) else {
            continue;
        };
        let path = file.path().strip_prefix(root)?.display();
        let text = fs::read_to_string(file.path()).with_context(|| path.to_string())?;
        for (line, phrase) in banned(&prose_of(&text)) {
            found.push(format!("{path}:{line}: {phrase:?}"));
        }
    }
    ensure!(
        found.is_empty(),
        "phrases to avoid, see CONTRIBUTING.md, \"Prose\":\n{}",
        found.join("\n")
    );
    Ok(())
}

/// Lines of prose with their numbers. An empty line ends a paragraph.
type Prose<'t> = Vec<(usize, &'t str)>;

/// How to find the prose in a file; none for files without prose.
fn language(file: &Path) -> Option<fn(&str) -> Prose<'_>> {
    match file.extension()?.to_str()? {
        "md" => Some(page),
        "rs" | "c" | "cc" => Some(source),
        "nix" | "sh" => Some(script),
        _ => None,
    }
}

fn page(text: &str) -> Prose<'_> {
    (1..).zip(text.lines()).collect()
}

/// Comments, and strings that have a space in them: messages.
fn source(text: &str) -> Prose<'_> {
    const CHAR: &str = r"'(?:\\.[^']*|[^\\'])'";
    const COMMENT: &str = r"(?://[/!]?|/\*)(?<comment>(?-s:.*))";
    const RAW: &str = r##"r"[^"]*"|r#".*?"#"##;
    const STRING: &str = r#""(?<string>(?:\\.|[^\\"])*)""#;
    let pattern = Regex::new(&format!("(?s){CHAR}|{RAW}|{COMMENT}|{STRING}")).expect("a pattern");
    let mut prose = Prose::new();
    for token in pattern.captures_iter(text) {
        if let Some(comment) = token.name("comment") {
            add(&mut prose, text, comment.start(), comment.as_str());
        } else if let Some(string) = token.name("string")
            && string.as_str().contains(' ')
        {
            prose.push((0, ""));
            add(&mut prose, text, string.start(), string.as_str());
            prose.push((0, ""));
        }
    }
    prose
}

fn script(text: &str) -> Prose<'_> {
    let pattern = Regex::new(r"(?m)(?:^|\s)#(.*)").expect("a pattern");
    let mut prose = Prose::new();
    for comment in pattern.captures_iter(text) {
        let comment = comment.get(1).expect("it is not optional");
        add(&mut prose, text, comment.start(), comment.as_str());
    }
    prose
}

/// Adds `lines`, which begin at byte `start` of `text`, as a paragraph of their own unless they begin in the line after the last one.
fn add<'t>(prose: &mut Prose<'t>, text: &str, start: usize, lines: &'t str) {
    let number = 1 + text[..start].matches('\n').count();
    if prose.last().is_some_and(|(last, _)| last + 1 != number) {
        prose.push((0, ""));
    }
    prose.extend((number..).zip(lines.lines()));
}

/// Each banned phrase with the number of the line that its first word is in. A phrase may go on in the next line. Blocks of code, code
/// in backquotes and the `{names}` of format strings are passed over.
fn banned(prose: &Prose<'_>) -> Vec<(usize, &'static str)> {
    let names = Regex::new(r"\{[^{}]*\}|\\.").expect("a pattern");
    let mut words: Vec<(usize, String)> = Vec::new();
    let (mut in_block, mut in_code) = (false, false);
    for &(number, line) in prose {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if line.trim().is_empty() {
            words.push((number, String::new()));
            in_code = false;
        } else if !in_block {
            for (index, part) in line.split('`').enumerate() {
                in_code ^= index > 0;
                if !in_code {
                    let part = names.replace_all(part, " ").to_lowercase();
                    let all = part.split(|char: char| !char.is_alphanumeric());
                    let all = all.filter(|word| !word.is_empty());
                    words.extend(all.map(|word| (number, word.to_owned())));
                }
            }
        }
    }
    let begins = |at: usize, phrase: &str| {
        let mut rest = words[at..].iter().map(|(_, word)| word.as_str());
        phrase.split(' ').all(|word| rest.next() == Some(word))
    };
    let at = |at: usize| BANNED.iter().filter(move |phrase| begins(at, phrase));
    (0..words.len())
        .flat_map(|index| at(index).map(move |phrase| (index, *phrase)))
        .map(|(index, phrase)| (words[index].0, phrase))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banned_in(name: &str, text: &str) -> Vec<(usize, &'static str)> {
        let prose_of = language(Path::new(name)).expect("a file with prose");
        banned(&prose_of(text))
    }

    #[test]
    fn phrase_in_page_is_found_across_lines() {
        let page = "It tells\nof more.\n\n```\nbeside\n```\nAnd `beside` it. Whoever reads.\nIt tells\n\nof less.";
        assert_eq!(
            banned_in("page.md", page),
            [(1, "tells of"), (7, "whoever")]
        );
    }

    #[test]
    fn phrase_in_comment_or_message_is_found() {
        let source = "    /// How it is\n    /// told\nlet beside = '\"'; // beside\n//! a `crew`\n\
            let x = \"beside\";\nbail!(\"{behind}: it tells\\n\\\n  of {}\");\nlet y = r\"is told\"; // shelf";
        assert_eq!(
            banned_in("source.rs", source),
            [(1, "is told"), (3, "beside"), (6, "tells of"), (8, "shelf")]
        );
    }

    #[test]
    fn phrase_in_comment_of_script_is_found() {
        let script = "beside=${#behind} # whoever\n# is\n# told\nbehind";
        assert_eq!(
            banned_in("hook.sh", script),
            [(1, "whoever"), (2, "is told")]
        );
    }
}
