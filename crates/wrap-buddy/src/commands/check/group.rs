//! Findings that several files have in common, each once.

use std::collections::HashMap;

use super::FileCheck;

/// A finding, and the files that have it.
pub struct Group<'c> {
    /// The text of the only file, or the one for several files.
    pub text: String,
    /// Those that make the check fail come first.
    pub files: Vec<&'c FileCheck>,
}

impl Group<'_> {
    /// Whether it makes the check fail.
    pub fn fails(&self) -> bool {
        self.files.iter().any(|file| file.fails())
    }
}

/// The problems of `files`: those that make the check fail come first.
pub fn problems<'c>(files: &[&'c FileCheck]) -> Vec<Group<'c>> {
    let all = files.iter().flat_map(|file| {
        file.problems.iter().map(|one| {
            let help: Vec<&str> = one.help.iter().map(String::as_str).collect();
            let with_help = |text: &String| [&[text.as_str()], &help[..]].concat().join("; ");
            let general = one.general.as_ref().unwrap_or(&one.text);
            (*file, with_help(&one.text), with_help(general))
        })
    });
    let mut groups = groups(all);
    groups.sort_by_key(|group| !group.fails());
    groups
}

/// The notes of `files`; with `all`, also details.
pub fn notes<'c>(files: &[&'c FileCheck], all: bool) -> Vec<Group<'c>> {
    let notes = files.iter().flat_map(|file| {
        let notes = file.notes.iter().filter(move |note| all || !note.is_detail);
        notes.map(|note| {
            let general = note.general.as_ref().unwrap_or(&note.text);
            (*file, note.text.clone(), general.clone())
        })
    });
    groups(notes)
}

/// Groups files with their text, by the text for several files.
fn groups<'c>(all: impl Iterator<Item = (&'c FileCheck, String, String)>) -> Vec<Group<'c>> {
    let mut groups: Vec<Group<'c>> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (file, text, general) in all {
        let Some(&index) = known.get(&general) else {
            known.insert(general, groups.len());
            groups.push(Group {
                text,
                files: vec![file],
            });
            continue;
        };
        groups[index].files.push(file);
    }
    for (general, index) in known {
        let group = &mut groups[index];
        // A file may have one finding for several of its libraries.
        group.files.dedup_by_key(|file| &file.path);
        if group.files.len() > 1 {
            group.text = general;
        }
        group.files.sort_by_key(|file| !file.fails());
    }
    groups
}
