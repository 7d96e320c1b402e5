//! `bench rooms`: the number of real libraries with room for a search path. The tool only plans.

pub(super) mod kit;
pub(super) mod libraries;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Figures;
use crate::workspace::{release_tool, target_dir};
use kit::Kit;

#[derive(clap::Args)]
pub struct Options {
    /// Libraries, or directories with libraries, such as unpacked wheels, each of which gets a line; by default 1000 of this system, and
    /// those of the real programs if they are fetched
    paths: Vec<PathBuf>,
    /// Bytes of the path of each library directory; the default is two of a Nix store and a colon
    #[arg(long, default_value_t = 151, value_parser = clap::value_parser!(u16).range(100..=2000))]
    length: u16,
}

const OF_SYSTEM: usize = 1000;

/// No program loads these files.
const DEBUG_INFORMATION: &str = "/usr/lib/debug";

/// Maximum percentage of libraries without room, of those that need a search path.
const TARGET_WITHOUT_ROOM: f64 = 7.0;

/// The plan for a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Method {
    /// It gets the whole search path, and other tools show it.
    Visible,
    /// It gets the whole search path, which only ld.so finds.
    Hidden,
    /// It gets a directory of links instead of the search path.
    Links,
    NoPadding,
    /// It is refused for another reason.
    Refused,
    /// It needs no search path, or is not supported.
    Skipped,
}

impl Method {
    const ALL: [(Method, &str); 6] = [
        (Method::Visible, "in place, visible"),
        (Method::Hidden, "in place, hidden"),
        (Method::Links, "directory of links"),
        (Method::NoPadding, "no room"),
        (Method::Refused, "refused"),
        (Method::Skipped, "nothing to do"),
    ];

    /// From the tool's report on the file.
    fn of(file: &Value) -> Self {
        let has_links = (file["links"].as_array()).is_some_and(|links| !links.is_empty());
        match file["status"].as_str() {
            Some("would-edit") if has_links => Self::Links,
            Some("would-edit") if file["hidden"] == true => Self::Hidden,
            Some("would-edit") => Self::Visible,
            _ if file["no_room"].is_object() => Self::NoPadding,
            Some("failed") => Self::Refused,
            _ => Self::Skipped,
        }
    }
}

pub fn run(options: &Options, figures: &mut Figures) -> Result<()> {
    let tool = release_tool()?;
    let kit = Kit::new(usize::from(options.length))?;
    if options.paths.is_empty() {
        let paths = default_libraries()?;
        ensure!(!paths.is_empty(), "there is no library to look at");
        println!(
            "{} libraries, and {} bytes for each directory they need",
            paths.len(),
            options.length
        );
        report(&looked_at(&kit, &tool, &paths)?, figures);
        return Ok(());
    }
    println!("{} bytes for each directory they need", options.length);
    let mut all = Vec::new();
    for path in &options.paths {
        // The libraries of a directory find each other, as in a package.
        let mut files = looked_at(&kit, &tool, std::slice::from_ref(path))?;
        files.retain(|file| file["status"] != "would-wrap");
        println!("{}", line_of(&name_of(path), &files));
        all.extend(files);
    }
    ensure!(!all.is_empty(), "there is no library to look at");
    report(&all, figures);
    Ok(())
}

/// The name of a wheel and its version, if the directory is an unpacked one: that of its `.dist-info`.
fn name_of(path: &Path) -> String {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names = entries.filter_map(|entry| {
        let name = entry.file_name();
        Some(name.to_str()?.strip_suffix(".dist-info")?.to_owned())
    });
    let own = || path.display().to_string();
    names.next().unwrap_or_else(own)
}

/// One line with the number of libraries for each method.
fn line_of(name: &str, files: &[Value]) -> String {
    let count = |method| {
        files
            .iter()
            .filter(|file| Method::of(file) == method)
            .count()
    };
    let methods = Method::ALL
        .iter()
        .map(|&(method, what)| (count(method), what));
    let counts = methods.filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, what)| format!("{what} {count}"))
        .collect();
    format!("{name}: {} libraries: {}", files.len(), counts.join(", "))
}

/// Libraries of this system, at most `count`.
pub(super) fn of_system(count: usize) -> Vec<PathBuf> {
    let mut found = libraries::below(&[PathBuf::from("/usr/lib")]);
    found.retain(|path| !path.starts_with(DEBUG_INFORMATION));
    found.truncate(count);
    found
}

fn default_libraries() -> Result<Vec<PathBuf>> {
    let mut found = of_system(OF_SYSTEM);
    found.extend(libraries::below(&[target_dir()?.join("corpus")]));
    Ok(found)
}

/// The tool's report on each library; if it crashes, an object that says so.
fn looked_at(kit: &Kit, tool: &Path, paths: &[PathBuf]) -> Result<Vec<Value>> {
    match kit.plan(tool, paths) {
        Ok(files) => Ok(files),
        // Halves the list repeatedly until only the library remains at which it crashes.
        Err(error) => match paths.split_at(paths.len() / 2) {
            ([], _) => {
                let path = paths.first().context("no library to look at")?;
                let reason = format!("the tool breaks: {error:#}");
                let broken =
                    serde_json::json!({"path": path, "status": "failed", "reason": reason});
                Ok(vec![broken])
            }
            (some, others) => {
                let mut files = looked_at(kit, tool, some)?;
                files.extend(looked_at(kit, tool, others)?);
                Ok(files)
            }
        },
    }
}

fn report(files: &[Value], figures: &mut Figures) {
    let mut methods: BTreeMap<Method, Vec<&Value>> = BTreeMap::new();
    for file in files {
        methods.entry(Method::of(file)).or_default().push(file);
    }
    let count = |method| methods.get(&method).map_or(0, Vec::len);
    let need: usize = Method::ALL
        .iter()
        .map(|&(method, _)| count(method))
        .sum::<usize>()
        - count(Method::Skipped);
    for (method, name) in Method::ALL {
        let share = match method {
            Method::Skipped => String::new(),
            _ => format!("  {:5.1} %", percent(count(method), need)),
        };
        println!("  {name:<20} {:>5}{share}", count(method));
    }
    for method in [Method::NoPadding, Method::Refused] {
        for file in methods.get(&method).into_iter().flatten() {
            let text = |key: &str| file[key].as_str().unwrap_or_default();
            println!("  {} {}", text("path"), text("reason"));
        }
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for file in methods.get(&Method::Skipped).into_iter().flatten() {
        let reason = file["reason"]
            .as_str()
            .unwrap_or("not a library to the tool");
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, count) in reasons {
        println!("  left alone: {count:>5} {reason}");
    }
    let without = count(Method::NoPadding) + count(Method::Refused);
    println!("  of {need} that need a search path");
    figures.compare(
        "  have no room, even for links",
        percent(without, need),
        TARGET_WITHOUT_ROOM,
        " %",
    );
    figures.compare(
        "  have no room for the whole search path",
        percent(without + count(Method::Links), need),
        TARGET_WITHOUT_ROOM,
        " %",
    );
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn methods_are_recognised() {
        let link = json!([{"path": "a", "target": "b"}]);
        for (file, method) in [
            (
                json!({"status": "would-edit", "links": [], "hidden": false}),
                Method::Visible,
            ),
            (
                json!({"status": "would-edit", "hidden": true}),
                Method::Hidden,
            ),
            (
                json!({"status": "would-edit", "hidden": true, "links": link}),
                Method::Links,
            ),
            (
                json!({"status": "failed", "no_room": {}}),
                Method::NoPadding,
            ),
            (
                json!({"status": "skipped", "no_room": {}}),
                Method::NoPadding,
            ),
            (
                json!({"status": "failed", "reason": "malformed ELF file"}),
                Method::Refused,
            ),
            (
                json!({"status": "skipped", "reason": "not an ELF file"}),
                Method::Skipped,
            ),
            (json!({"status": "would-wrap"}), Method::Skipped),
        ] {
            assert_eq!(Method::of(&file), method, "{file}");
        }
    }

    #[test]
    fn a_wheel_has_a_line() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(name_of(dir.path()), dir.path().display().to_string());
        std::fs::create_dir(dir.path().join("tool-1.0.dist-info")).expect("a directory");
        let files = [
            json!({"status": "would-edit"}),
            json!({"status": "skipped", "no_room": {}}),
            json!({"status": "would-edit"}),
        ];
        assert_eq!(
            line_of(&name_of(dir.path()), &files),
            "tool-1.0: 3 libraries: in place, visible 2, no room 1"
        );
    }

    #[test]
    fn libraries_without_room_are_a_miss() {
        let no_room = json!({"status": "failed", "no_room": {}});
        let fits = json!({"status": "would-edit"});
        let mut figures = Figures::default();
        report(std::slice::from_ref(&fits), &mut figures);
        assert!(figures.check().is_ok());
        report(&[fits, no_room], &mut figures);
        assert!(figures.check().is_err());
    }
}
