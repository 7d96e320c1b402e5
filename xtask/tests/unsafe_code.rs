//! Unsafe code is only where SECURITY.md lists it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use walkdir::{DirEntry, WalkDir};

/// These crates consist of unsafe code.
const FREESTANDING: [&str; 5] = [
    "crates/launcher",
    "crates/sys",
    "crates/unpacker",
    "loader",
    "stub",
];

/// The kinds and numbers of unsafe code in each file, in the format of the table.
type Occurrences = BTreeMap<String, String>;

#[test]
fn unsafe_code_is_where_the_list_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a directory of the workspace");
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("it is there");
    let listed = listed(&text);
    let found = found(root);
    assert!(!found.is_empty(), "the sources were not found");
    assert_eq!(
        found, listed,
        "left: the sources; right: the table of SECURITY.md, \"Unsafe code\""
    );
}

#[test]
fn every_kind_is_counted_but_not_in_strings() {
    let source = "// unsafe {}\nunsafe impl Send for X {}\nunsafe fn f() { let s = \"unsafe {}\"; }\n\
        unsafe extern \"C\" { }\nfn g() { unsafe { h(unsafe { i() }) } }\n\
        macro_rules! m { () => { unsafe { j() } } }\n#[unsafe(no_mangle)] fn k() {}";
    let tokens: TokenStream = source.parse().expect("tokens");
    assert_eq!(
        shown(&count(tokens)),
        "1 × attribute, 3 × block, 1 × extern, 1 × fn, 1 × impl"
    );
}

#[test]
fn row_without_reason_is_ignored() {
    let table = "## Unsafe code\n\n| file | unsafe | why |\n|---|---|---|\n| `a.rs` | 1 × fn | so. |\n| `b.rs` | 1 × fn | |\n";
    let listed = listed(table);
    assert_eq!(listed.get("a.rs").map(String::as_str), Some("1 × fn"));
    assert_eq!(listed.get("b.rs").map(String::as_str), None);
}

/// The rows of the table that have a reason.
fn listed(text: &str) -> Occurrences {
    let section = text
        .split("\n## ")
        .map(|part| part.trim_start_matches("## "));
    let section = section
        .into_iter()
        .find(|part| part.starts_with("Unsafe code"));
    let rows = section.unwrap_or_default().lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let file = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        let (amount, reason) = (cells.next()?, cells.next()?);
        (!reason.is_empty()).then(|| (file.to_owned(), amount.to_owned()))
    });
    rows.collect()
}

fn found(root: &Path) -> Occurrences {
    let is_ours = |entry: &DirEntry| {
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let name = entry.file_name().to_string_lossy();
        let hidden = name.starts_with('.') && entry.depth() > 0;
        !hidden
            && name != "target"
            && !FREESTANDING
                .iter()
                .any(|skipped| path == Path::new(skipped))
    };
    let mut occurrences = Occurrences::new();
    let files = WalkDir::new(root).into_iter().filter_entry(is_ours);
    for file in files.map(|entry| entry.expect("the checkout can be read")) {
        if file.path().extension().is_none_or(|end| end != "rs") {
            continue;
        }
        let text = fs::read_to_string(file.path()).expect("a source is UTF-8");
        let tokens = text.parse();
        let tokens: TokenStream =
            tokens.unwrap_or_else(|error| panic!("{}: {error}", file.path().display()));
        let counts = count(tokens);
        if !counts.is_empty() {
            let path = file.path().strip_prefix(root).expect("it is below");
            occurrences.insert(path.to_string_lossy().into_owned(), shown(&counts));
        }
    }
    occurrences
}

/// Counts the kinds of `unsafe`, also in macros.
fn count(tokens: TokenStream) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        match token {
            TokenTree::Group(group) => {
                for (kind, more) in count(group.stream()) {
                    *counts.entry(kind).or_default() += more;
                }
            }
            TokenTree::Ident(word) if word == "unsafe" => {
                let kind = match rest.peek() {
                    Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                        "block"
                    }
                    Some(TokenTree::Group(_)) => "attribute",
                    Some(TokenTree::Ident(word)) if word == "fn" => "fn",
                    Some(TokenTree::Ident(word)) if word == "impl" => "impl",
                    Some(TokenTree::Ident(word)) if word == "trait" => "trait",
                    Some(TokenTree::Ident(word)) if word == "extern" => "extern",
                    other => panic!("unsafe in front of {other:?}"),
                };
                *counts.entry(kind).or_default() += 1;
            }
            _ => {}
        }
    }
    counts
}

fn shown(counts: &BTreeMap<&str, usize>) -> String {
    let counts = counts.iter();
    let shown: Vec<String> = counts
        .map(|(kind, count)| format!("{count} × {kind}"))
        .collect();
    shown.join(", ")
}
