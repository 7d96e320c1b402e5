//! Makes a book of the pages with mdBook, and checks the links in the result.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use tempfile::TempDir;
use walkdir::WalkDir;

use crate::pages::{self, SUMMARY};
use crate::workspace;

pub fn run() -> Result<()> {
    let out = workspace::target_dir()?.join("book");
    build(&out)?;
    println!("{}", out.join("index.html").display());
    Ok(())
}

/// mdBook needs all pages below one directory, with SUMMARY.md at its top. The repository has pages at its top too, so all are copied.
fn build(out: &Path) -> Result<()> {
    let directory = TempDir::new().context("cannot make a directory")?;
    let (book, source) = (directory.path(), directory.path().join("src"));
    pages::copy_to(&source)?;
    let summary = fs::read_to_string(source.join(SUMMARY)).context(SUMMARY)?;
    let summary = summary.replace("](", "](docs/").replace("docs/../", "");
    fs::write(source.join("SUMMARY.md"), summary)?;
    fs::remove_file(source.join(SUMMARY))?;
    fs::copy(
        workspace::root().join("docs/book.toml"),
        book.join("book.toml"),
    )
    .context("docs/book.toml")?;
    let mut mdbook = Command::new("mdbook");
    mdbook.arg("build").arg("--dest-dir").arg(out).arg(book);
    let output = mdbook
        .output()
        .context("cannot start mdbook; run: cargo xtask setup")?;
    let printed = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && !printed.contains("WARN"),
        "mdbook:\n{printed}"
    );
    // mdBook makes index.html of README.md, but does not change the links to it.
    fs::copy(out.join("index.html"), out.join("README.html")).context("no first page")?;
    let wrong = wrong_links(out)?;
    ensure!(wrong.is_empty(), "links of the book:\n{}", wrong.join("\n"));
    Ok(())
}

/// Each link of the HTML pages in `book` to a file, or to an element of a page, that does not exist.
fn wrong_links(book: &Path) -> Result<Vec<String>> {
    let mut pages: HashMap<PathBuf, String> = HashMap::new();
    for entry in WalkDir::new(book) {
        let path = entry?.into_path();
        if path.extension().is_some_and(|end| end == "html") {
            let text = fs::read_to_string(&path)?;
            pages.insert(path, text);
        }
    }
    ensure!(!pages.is_empty(), "{}: no pages", book.display());
    let links = Regex::new(r#"(?:href|src)="([^"\x23]*)(?:\x23([^"]*))?""#)?;
    let mut wrong = Vec::new();
    for (page, text) in &pages {
        for link in links.captures_iter(text) {
            let (whole, file) = (&link[0], &link[1]);
            // print.html and 404.html have a base of their own.
            let is_elsewhere = file.contains(':') || file.starts_with('/');
            if is_elsewhere || page.ends_with("print.html") || page.ends_with("404.html") {
                continue;
            }
            let target = match file {
                "" => page.clone(),
                _ => fs::canonicalize(page.with_file_name("").join(file)).unwrap_or_default(),
            };
            let has_element = link.get(2).is_none_or(|anchor| {
                let id = format!("id=\"{}\"", anchor.as_str());
                pages.get(&target).is_some_and(|text| text.contains(&id))
            });
            if !target.exists() || !has_element {
                wrong.push(format!("{}: {whole}", page.display()));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    Ok(wrong)
}
