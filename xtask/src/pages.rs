//! The pages of the repository: their links and headings.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::workspace;

/// The list of chapters, in the order of the book.
pub const SUMMARY: &str = "docs/SUMMARY.md";

/// A page, read.
struct Page {
    /// Relative to the repository.
    path: PathBuf,
    links: Vec<Link>,
    anchors: HashSet<String>,
}

struct Link {
    line: usize,
    /// As it is written.
    written: String,
    /// Relative to the repository; `None` for other machines.
    file: Option<PathBuf>,
    anchor: Option<String>,
}

/// All pages: those at the top of the repository and those in docs.
fn all() -> Result<Vec<Page>> {
    let mut pages = Vec::new();
    for directory in ["", "docs"] {
        let listed = fs::read_dir(workspace::root().join(directory)).context(directory)?;
        for entry in listed {
            let path = Path::new(directory).join(entry?.file_name());
            if path.extension().is_some_and(|end| end == "md") {
                let text = fs::read_to_string(workspace::root().join(&path))
                    .with_context(|| path.display().to_string())?;
                pages.push(Page::new(path, &text));
            }
        }
    }
    pages.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(pages)
}

/// Copies all pages, and the files that they show or link to, to the same relative paths in `directory`.
///
/// # Errors
/// If a file cannot be read or written.
pub fn copy_to(directory: &Path) -> Result<()> {
    for page in all()? {
        let linked = page.links.iter().filter_map(|link| link.file.as_ref());
        for file in linked.chain([&page.path]) {
            let (from, to) = (workspace::root().join(file), directory.join(file));
            if from.is_file() {
                fs::create_dir_all(to.parent().context("a parent")?)?;
                fs::copy(&from, &to).with_context(|| {
                    format!("cannot copy {} to {}", from.display(), to.display())
                })?;
            }
        }
    }
    Ok(())
}

/// Checks that each link leads to a file or heading, and that the book has each page once.
///
/// # Errors
/// With each link that does not.
pub fn check() -> Result<()> {
    let pages = all()?;
    let mut wrong = wrong_links(&pages, &|file| workspace::root().join(file).exists());
    let summary = pages.iter().find(|page| page.path == Path::new(SUMMARY));
    let summary = summary.with_context(|| format!("{SUMMARY} does not exist"))?;
    for page in pages.iter().filter(|page| page.path != summary.path) {
        let links = summary.links.iter().filter_map(|link| link.file.as_ref());
        let times = links.filter(|file| **file == page.path).count();
        if times != 1 {
            wrong.push(format!(
                "{SUMMARY}: {} is in it {times} times",
                page.path.display()
            ));
        }
    }
    ensure!(wrong.is_empty(), "links of pages:\n{}", wrong.join("\n"));
    Ok(())
}

fn wrong_links(pages: &[Page], exists: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let by_path: HashMap<&Path, &Page> = pages
        .iter()
        .map(|page| (page.path.as_path(), page))
        .collect();
    let mut wrong = Vec::new();
    for page in pages {
        for link in &page.links {
            let Some(file) = &link.file else {
                continue;
            };
            let target = by_path.get(file.as_path());
            let problem = match (&link.anchor, target) {
                _ if !exists(file) => "no such file",
                (Some(anchor), Some(target)) if !target.anchors.contains(anchor) => {
                    "no such heading"
                }
                (Some(_), None) => "the file has no headings",
                _ => continue,
            };
            let (path, Link { line, written, .. }) = (page.path.display(), link);
            wrong.push(format!("{path}:{line}: {written}: {problem}"));
        }
    }
    wrong
}

impl Page {
    fn new(path: PathBuf, text: &str) -> Self {
        let (mut links, mut anchors) = (Vec::new(), HashSet::new());
        let mut heading: Option<String> = None;
        let events = Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter();
        for (event, range) in events {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let line = 1 + text[..range.start].matches('\n').count();
                    links.push(Link::new(&path, line, &dest_url));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap_or_default());
                    let names = (1..).map(|number| format!("{slug}-{number}"));
                    let mut names = std::iter::once(slug.clone()).chain(names);
                    names.find(|name| anchors.insert(name.clone()));
                }
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    }
                }
                _ => {}
            }
        }
        Self {
            path,
            links,
            anchors,
        }
    }
}

impl Link {
    fn new(page: &Path, line: usize, written: &str) -> Self {
        let (file, anchor) = match written.split_once('#') {
            Some((file, anchor)) => (file, Some(anchor.to_owned())),
            None => (written, None),
        };
        let file = match file {
            "" => Some(page.to_owned()),
            _ if file.contains("://") || file.starts_with("mailto:") => None,
            _ => Some(normal(&page.with_file_name(file))),
        };
        Self {
            line,
            written: written.to_owned(),
            file,
            anchor,
        }
    }
}

/// Without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// The anchor of a heading, as forges and mdBook make it.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|char| match char {
        ' ' => Some('-'),
        '-' | '_' => Some(char),
        _ => char
            .is_alphanumeric()
            .then(|| char.to_lowercase().next())
            .flatten(),
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_the_pages_resolve() {
        check().unwrap();
        assert!(all().unwrap().len() > 10);
    }

    #[test]
    fn links_to_nothing_are_found() {
        let readme = "# The `tool`\n[a](docs/a.md#one-two-1) [b](docs/none.md)\n\n```\n[c](none)\n```\n\
            `[d](none)` [e](https://example.com/none)\n\n| t |\n|---|\n| [f](#the-tool) [g](#tool) |\n";
        let other =
            "## One, two\n## One two\n![h](../none.svg) [i](../README.md#none) [j](a.txt#x)\n";
        let pages = [("README.md", readme), ("docs/a.md", other)]
            .map(|(path, text)| Page::new(path.into(), text));
        let exists = |path: &Path| {
            ["README.md", "docs/a.md", "docs/a.txt"].contains(&path.to_str().unwrap())
        };
        assert_eq!(
            wrong_links(&pages, &exists),
            [
                "README.md:2: docs/none.md: no such file",
                "README.md:11: #tool: no such heading",
                "docs/a.md:3: ../none.svg: no such file",
                "docs/a.md:3: ../README.md#none: no such heading",
                "docs/a.md:3: a.txt#x: the file has no headings",
            ]
        );
    }
}
