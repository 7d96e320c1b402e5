//! A Graphviz graph: programs, the libraries that they load, and the rules that find them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Checked, FileCheck};
use crate::system::shell::is_unsafe;
use elf_file::FileId;
use ldso::Answerer;

/// A file is one node, under any of its paths.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    File(FileId),
    Path(PathBuf),
    /// A library that is not found.
    Missing(String),
}

impl Key {
    fn of(file_id: Option<FileId>, path: &Path) -> Self {
        file_id.map_or_else(|| Self::Path(path.to_owned()), Self::File)
    }
}

#[derive(Default)]
struct Graph {
    numbers: HashMap<Key, usize>,
    /// Label and further attributes of each node.
    nodes: Vec<(String, &'static str)>,
    /// The rules by which the second node is found for the first; none if it is always loaded before.
    edges: BTreeMap<(usize, usize), BTreeSet<String>>,
}

/// Writes the libraries of each program as a graph in the DOT language.
pub fn write(checked: &Checked, verbose: bool, out: &mut impl Write) -> io::Result<()> {
    let mut graph = Graph::default();
    for file in checked.with_trees(verbose) {
        graph.add(file);
    }
    out.write_all(graph.text().as_bytes())?;
    out.flush()
}

impl Graph {
    fn node(&mut self, key: Key, label: impl Into<String>, attributes: &'static str) -> usize {
        let next = self.nodes.len();
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.nodes.push((label.into(), attributes));
        }
        number
    }

    fn add(&mut self, file: &FileCheck) {
        let tree = &file.tree;
        let label = file.path.display().to_string();
        let own = self.node(Key::of(file.file_id, &file.path), label, "");
        self.nodes[own].1 = ", shape=box";
        let nodes = tree.nodes.iter().map(|node| {
            let path = &node.found.path;
            let key = Key::of(node.found.elf.file_id, path);
            self.node(key, path.display().to_string(), "")
        });
        let nodes: Vec<usize> = nodes.collect();
        let files = std::iter::once(None).chain((0..nodes.len()).map(Some));
        for by in files {
            let from = by.map_or(own, |index| nodes[index]);
            for need in tree.needs(by) {
                let name = need.name.display().to_string();
                let missing = Key::Missing(name.clone());
                let to = match need.answer {
                    Answerer::Library(index) => nodes[index],
                    Answerer::Missing => self.node(missing, name, ", color=red, fontcolor=red"),
                    Answerer::Optional => {
                        let attributes = ", color=red, fontcolor=red, style=dashed";
                        self.node(missing, name, attributes)
                    }
                    Answerer::Linker | Answerer::Loaded => continue,
                };
                let rules = self.edges.entry((from, to)).or_default();
                match need.answer {
                    Answerer::Library(index) if tree.nodes[index].by == by => {
                        rules.insert(file.rule(index));
                    }
                    Answerer::Library(_) => {}
                    _ => _ = rules.insert("not found".to_owned()),
                }
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::from("digraph libraries {\n  rankdir=LR;\n");
        // Writing to a String cannot fail.
        for (number, (label, attributes)) in self.nodes.iter().enumerate() {
            let label = quoted(label);
            let _ = writeln!(text, "  n{number} [label={label}{attributes}];");
        }
        for ((from, to), rules) in &self.edges {
            let is_missing = rules.contains("not found");
            let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
            let attributes = match (rules.as_slice(), is_missing) {
                ([], _) => "style=dotted".to_owned(),
                (rules, true) => format!("label={}, color=red", quoted(&rules.join(", "))),
                (rules, false) => format!("label={}", quoted(&rules.join(", "))),
            };
            let _ = writeln!(text, "  n{from} -> n{to} [{attributes}];");
        }
        text.push_str("}\n");
        text
    }
}

/// `text` as a string of the DOT language, without control characters.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if is_unsafe(character) => {
                let _ = write!(quoted, "\\{}", character.escape_default());
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
