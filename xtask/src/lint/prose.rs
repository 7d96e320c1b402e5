//! Phrases that pages and help text do without: CONTRIBUTING.md, "Prose", says what to write instead.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use walkdir::WalkDir;

use crate::workspace;

/// In lower case, words separated by one space.
const BANNED: &[&str] = &[
    "tell of",
    "tells of",
    "told of",
    "is told",
    "are told",
    "been told",
    "was told",
    "whoever",
    "beside",
    "besides",
    "behind",
    "dealt with",
    "desk",
    "crew",
    "shelf",
    "teller",
    "heirs",
    "thawed",
    "hasten",
];

/// Pages at the top, and directories of pages and of help text.
const PAGES: &[&str] = &[
    "README.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs",
    "crates/wrap-buddy/src/cli",
];

/// Fails with each banned phrase, its file and line.
pub fn check() -> Result<()> {
    let mut found = Vec::new();
    for page in PAGES {
        for file in WalkDir::new(workspace::root().join(page)) {
            let file = file?.into_path();
            let Some(is_prose) = prose_of(&file) else {
                continue;
            };
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            for (line, phrase) in banned(&text, is_prose) {
                let file: PathBuf = file.strip_prefix(workspace::root())?.into();
                found.push(format!("{}:{line}: {phrase:?}", file.display()));
            }
        }
    }
    ensure!(
        found.is_empty(),
        "phrases to avoid, see CONTRIBUTING.md, \"Prose\":\n{}",
        found.join("\n")
    );
    Ok(())
}

/// Gives the prose in a line, if it has any.
type Prose = fn(&str) -> Option<&str>;

/// Which lines of a file are prose; none for a file without.
fn prose_of(file: &Path) -> Option<Prose> {
    match file.extension()?.to_str()? {
        "md" => Some(|line| Some(line)),
        // clap makes help text from doc comments.
        "rs" => Some(|line| line.trim_start().strip_prefix("///")),
        _ => None,
    }
}

/// Each banned phrase in `text` with the number of the line that its first word is in. A phrase may go on in the next line. Blocks of
/// code, and code in backquotes, are passed over.
fn banned(text: &str, prose: Prose) -> Vec<(usize, &'static str)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let (mut in_block, mut in_code) = (false, false);
    for (number, line) in (1..).zip(text.lines()) {
        let Some(line) = prose(line) else {
            // A phrase does not go on here.
            words.push((number, String::new()));
            continue;
        };
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if line.trim().is_empty() {
            words.push((number, String::new()));
            in_code = false;
        } else if !in_block {
            for (index, part) in line.split('`').enumerate() {
                in_code ^= index > 0;
                if !in_code {
                    let part = part.to_lowercase();
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

    #[test]
    fn a_phrase_is_found_in_prose_across_lines() {
        let page = "It tells\nof more.\n\n```\nbeside\n```\nAnd `beside` it. Whoever reads.\nIt tells\n\nof less.";
        assert_eq!(
            banned(page, |line| Some(line)),
            [(1, "tells of"), (7, "whoever")]
        );
    }

    #[test]
    fn help_text_is_in_doc_comments() {
        let source = "    /// How it is\n    /// told\nlet beside = 1; // beside";
        let prose = prose_of(Path::new("cli/args.rs")).unwrap();
        assert_eq!(banned(source, prose), [(1, "is told")]);
    }
}
