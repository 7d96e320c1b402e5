//! Tests and tools do not contain names of a distribution's compilers or directories. The test kit finds compilers and queries
//! them.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Literal, TokenStream, TokenTree};
use walkdir::WalkDir;

/// The sources of tests and tools; of crates, their tests.
const SOURCES: [&str; 4] = ["crates", "fuzz/fuzz_targets", "tests", "xtask"];

/// Files about one distribution.
const EXCEPTIONS: [&str; 3] = [
    // The packages of Debian that `cargo xtask setup` installs.
    "xtask/setup/src/needs.rs",
    // Files written by an earlier version of the tool.
    "crates/wrap-buddy/tests/host/versions.rs",
    // This file.
    "xtask/tests/machines.rs",
];

#[test]
fn sources_contain_no_paths_of_one_distribution() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a directory of the workspace");
    let files = SOURCES
        .iter()
        .flat_map(|directory| WalkDir::new(root.join(directory)));
    let files: Vec<PathBuf> = files
        .map(|entry| entry.expect("a directory").into_path())
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .filter(|path| !EXCEPTIONS.iter().any(|one| *path == root.join(one)))
        .filter(|path| {
            let is_test = path.iter().any(|part| part == "tests");
            is_test || !path.starts_with(root.join("crates"))
        })
        .collect();
    assert!(files.len() > 100, "the sources were not found");
    let found = files.iter().flat_map(|path| {
        let text = fs::read_to_string(path).expect("a source is UTF-8");
        let tokens: TokenStream = text.parse().expect("a Rust source");
        let found = of_one_distribution(tokens).into_iter();
        found.map(|literal| format!("{}: {literal}", path.display()))
    });
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn names_of_compilers_and_directories_are_found() {
    let source = r#"
        f("x86_64-linux-gnu-gcc", "aarch64-unknown-linux-musl-objdump", "/usr/lib/aarch64-linux-gnu/x");
        g!["/lib64/ld-linux-x86-64.so.2"];
        h("x86_64-unknown-linux-gnu", "usr/lib/x86_64-linux-gnu/perl", "ld-linux.so.2", "/lib/libfoo.so");
    "#;
    assert_eq!(
        of_one_distribution(source.parse().expect("tokens")).len(),
        4
    );
}

/// The literals that are the name of a cross compiler or its tools, a directory of libraries of one architecture, or the path of a
/// dynamic linker.
fn of_one_distribution(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => found.extend(of_one_distribution(group.stream())),
            TokenTree::Literal(literal) if is_of_one_distribution(&literal) => {
                found.push(literal.to_string());
            }
            _ => {}
        }
    }
    found
}

fn is_of_one_distribution(literal: &Literal) -> bool {
    let text = literal.to_string();
    let text = text.trim_matches(['"', 'b', 'r', '#']);
    let is_library = text.starts_with("/lib") || text.starts_with("/usr/lib");
    let is_tool = || {
        let rest = ["-linux-gnu-", "-linux-musl-"]
            .iter()
            .find_map(|system| text.split_once(system));
        rest.is_some_and(|(arch, tool)| !arch.contains(['/', '{']) && !tool.contains('/'))
    };
    is_library && (text.contains("-linux-gnu") || text.contains("/ld-linux")) || is_tool()
}
