//! Data that programs and libraries open by themselves: which files, and how they find them in the bundle. The rows are in `data.toml`, and
//! in files of the same format that the user names.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use super::Refusal;
use super::contents::{Contents, Item, Kind, Role};
use super::launcher::{Variable, in_bundle};
use super::layout::{Layout, link_target, name};
use super::tree;
use elf_file::io_reason;
use ldso::Root;
use sidecar::launcher::{BEFORE, BUNDLE};

pub const BUILT_IN: &str = include_str!("data.toml");

/// A row of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Patterns of names of programs.
    #[serde(default)]
    programs: Vec<String>,
    /// Patterns of sonames.
    #[serde(default)]
    libraries: Vec<String>,
    /// Files and directories, by a name of the row's own. Of each list, the first pattern that matches anything counts.
    #[serde(default)]
    files: BTreeMap<String, Vec<String>>,
    /// A text file of `files`. In its copy, paths of the directory of the library begin with `$ORIGIN`.
    relocate: Option<String>,
    /// Variables for the programs.
    #[serde(default)]
    variables: BTreeMap<String, String>,
    /// The variables are not set if this file exists.
    unless: Option<String>,
    /// Files to write into the directories of the programs.
    #[serde(default)]
    write: BTreeMap<String, String>,
}

/// A program or library for which a row matches.
struct Subject {
    /// Its path on this machine, free of symbolic links.
    path: PathBuf,
    is_library: bool,
}

/// A program of the bundle.
pub(super) struct User {
    /// Its path in the bundle.
    pub place: PathBuf,
    /// The names of all libraries that it loads.
    pub loads: HashSet<OsString>,
    /// The directory of the modules of iconv, if programs should find it.
    pub gconv: Option<PathBuf>,
}

/// The table, and what it has found.
pub(super) struct Table {
    rows: Vec<(Row, [GlobSet; 2])>,
    /// The subjects of each row, by their path in the bundle.
    seen: Vec<BTreeSet<PathBuf>>,
    /// The paths in the bundle of the files of each row.
    places: Vec<BTreeMap<String, Vec<PathBuf>>>,
}

impl Table {
    /// Reads the built-in rows, and those in the files `own`, which replace rows of the same name. Rows whose name matches `exclude` are
    /// left out.
    pub fn read(own: &[PathBuf], exclude: &GlobSet) -> Result<Self, Refusal> {
        let mut rows = parse(Path::new("data.toml"), BUILT_IN)?;
        for path in own {
            let text = fs::read_to_string(path).map_err(|error| Refusal::Table {
                path: path.clone(),
                why: io_reason(&error),
            })?;
            rows.extend(parse(path, &text)?);
        }
        rows.retain(|name, _| !exclude.is_match(name));
        let rows: Vec<_> = rows.into_values().collect();
        Ok(Self {
            seen: rows.iter().map(|_| BTreeSet::new()).collect(),
            places: rows.iter().map(|_| BTreeMap::new()).collect(),
            rows,
        })
    }

    /// Adds the files of rows for programs and libraries that are new in `contents`. Returns false if there are none.
    pub fn add(&mut self, layout: &Layout, contents: &mut Contents) -> Result<bool, Refusal> {
        let mut is_changed = false;
        for (index, (row, [programs, libraries])) in self.rows.iter().enumerate() {
            let matching = contents.items.iter().filter(|(place, item)| {
                item.kind == Kind::File
                    && item.is_elf
                    && (libraries.is_match(name(place))
                        || programs.is_match(name(place)) && is_of_programs(place))
            });
            let new: Vec<(PathBuf, PathBuf)> = matching
                .filter(|(place, _)| !self.seen[index].contains(*place))
                .map(|(place, item)| (place.clone(), item.source.clone()))
                .collect();
            for (place, path) in new {
                is_changed = true;
                let subject = Subject {
                    is_library: libraries.is_match(name(&place)),
                    path,
                };
                self.seen[index].insert(place);
                for (key, patterns) in &row.files {
                    let found = subject.find(&contents.root, patterns);
                    let places = self.places[index].entry(key.clone()).or_default();
                    for path in found {
                        tree::add_any(&path, Role::Data, layout, contents)?;
                        let place = layout.place(&path);
                        if !places.contains(&place) {
                            places.push(place);
                        }
                    }
                }
                if let Some(places) = row
                    .relocate
                    .as_ref()
                    .and_then(|key| self.places[index].get(key))
                {
                    for place in places.clone() {
                        subject.relocate(&place, layout, contents)?;
                    }
                }
            }
        }
        Ok(is_changed)
    }

    /// Writes the files of rows next to the programs, and returns the variables of each program.
    pub fn variables(
        &self,
        users: &[User],
        contents: &mut Contents,
    ) -> BTreeMap<PathBuf, Vec<Variable>> {
        let mut all = BTreeMap::new();
        for user in users {
            let mut variables = Vec::new();
            for index in 0..self.rows.len() {
                if !self.serves(index, user, users, contents) {
                    continue;
                }
                let row = &self.rows[index].0;
                let values = row.variables.iter();
                let values = values.filter_map(|(name, value)| {
                    let value = self.value(index, value)?;
                    let text = [name.as_bytes(), b"=", &value].concat();
                    let unless = row.unless.clone();
                    Some(Variable { text, unless })
                });
                for variable in values {
                    if !variables.contains(&variable) {
                        variables.push(variable);
                    }
                }
                for (file, text) in &row.write {
                    self.write(index, &user.place.with_file_name(file), text, contents);
                }
            }
            let is_program = contents.programs.contains(&user.place) || is_of_programs(&user.place);
            if let Some(gconv) = &user.gconv {
                let text = [b"GCONV_PATH=".to_vec(), in_bundle(gconv)].concat();
                variables.push(Variable { text, unless: None });
            }
            if is_program && !variables.is_empty() {
                all.insert(user.place.clone(), variables);
            }
        }
        all
    }

    /// Whether the program needs the row: by its name, by a library that it loads, or by one that no program loads, and any may open.
    fn serves(&self, index: usize, user: &User, users: &[User], contents: &Contents) -> bool {
        let [programs, libraries] = &self.rows[index].1;
        let loads = |user: &User| user.loads.iter().any(|soname| libraries.is_match(soname));
        let opened = || {
            contents.programs.contains(&user.place)
                && self.seen[index]
                    .iter()
                    .any(|place| libraries.is_match(name(place)))
                && !users.iter().any(loads)
        };
        !self.seen[index].is_empty()
            && (programs.is_match(name(&user.place)) || loads(user) || opened())
    }

    /// The value of a variable: its parts between colons, without those whose files are not there. `None` if none is.
    fn value(&self, index: usize, template: &str) -> Option<Vec<u8>> {
        let mut has_files = false;
        let parts = template.split(':').filter_map(|part| {
            let mut value = part
                .replace("{bundle}", &String::from(BUNDLE as char))
                .replace("{before}", &String::from(BEFORE as char))
                .into_bytes();
            if let Some((before, key, after)) = token(part) {
                let places = self.places[index].get(key).filter(|all| !all.is_empty());
                let keys = self.rows[index].0.files.contains_key(key);
                if keys {
                    let whole = places?.iter().map(|place| {
                        [before.as_bytes(), &in_bundle(place), after.as_bytes()].concat()
                    });
                    value = whole.collect::<Vec<_>>().join(&b':');
                    has_files = true;
                }
            }
            Some(value)
        });
        let value = parts.collect::<Vec<_>>().join(&b':');
        (has_files || self.rows[index].0.files.is_empty() || template.contains("{bundle}"))
            .then_some(value)
    }

    /// Writes `text` to the file at `place`, unless one is there, without lines whose files are not in the bundle.
    fn write(&self, index: usize, place: &Path, text: &str, contents: &mut Contents) {
        if contents.items.contains_key(place) {
            return;
        }
        let root = link_target(place, Path::new(""));
        let root = match root.to_string_lossy().into_owned() {
            root if root.is_empty() => ".".to_owned(),
            root => root,
        };
        let lines = text.lines().filter_map(|line| {
            let Some((before, key, after)) = token(line) else {
                return Some(line.to_owned());
            };
            let value = match key {
                "root" => root.clone(),
                key => self.places[index].get(key)?.first()?.display().to_string(),
            };
            Some(format!("{before}{value}{after}"))
        });
        let text: String = lines.flat_map(|line| [line, "\n".to_owned()]).collect();
        let source = self.seen[index].first();
        let source = source.and_then(|place| contents.items.get(place));
        let source = source.map_or(place.to_owned(), |item| item.source.clone());
        let item = Item::made(text.into_bytes(), 0o644, &source, Role::Data);
        contents.items.insert(place.to_owned(), item);
    }
}

impl Subject {
    /// The files of the first pattern that matches any, free of symbolic links.
    fn find(&self, root: &Root, patterns: &[String]) -> Vec<PathBuf> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let prefix = match self.is_library {
            true => prefix_of_library(directory),
            false => directory.parent().unwrap_or(Path::new("/")),
        };
        let shown = |path: &Path| path.display().to_string();
        let known = |pattern: &String| {
            pattern
                .replace("{lib}", &shown(directory))
                .replace("{prefix}", shown(prefix).trim_end_matches('/'))
                .replace("{prefix-name}", &name(prefix).to_string_lossy())
                .replace("{program}", &name(&self.path).to_string_lossy())
        };
        let mut found = patterns
            .iter()
            .map(|pattern| matches(root, Path::new(&known(pattern))));
        found.find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// Replaces the paths in the text at `place` that begin with the directory of this library.
    fn relocate(
        &self,
        place: &Path,
        layout: &Layout,
        contents: &mut Contents,
    ) -> Result<(), Refusal> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let Some(item) = contents.items.get_mut(place) else {
            return Ok(());
        };
        let text = fs::read_to_string(contents.root.on_host(&item.source))
            .map_err(|error| super::contents::unreadable(&item.source, &error))?;
        let inside = link_target(Path::new("lib/x"), &layout.place(directory));
        let origin = format!("$ORIGIN/{}/", inside.display());
        let text = text.replace(&format!("{}/", directory.display()), &origin);
        *item = Item::made(text.into_bytes(), 0o644, &item.source, item.role);
        Ok(())
    }
}

/// Whether the directory of the file at `place` has programs.
fn is_of_programs(place: &Path) -> bool {
    let directory = place.parent().unwrap_or(Path::new(""));
    directory.ends_with("bin") || directory.ends_with("sbin")
}

/// The directory above `lib` of a directory of libraries.
fn prefix_of_library(directory: &Path) -> &Path {
    let is_lib = |one: &&Path| name(one).to_string_lossy().starts_with("lib");
    let lib = directory.ancestors().find(is_lib);
    lib.and_then(Path::parent).unwrap_or(directory)
}

/// The first `{…}` of `text`, with what is before and after it.
fn token(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (key, after) = rest.split_once('}')?;
    Some((before, key, after))
}

/// The files that match `pattern`, whose components may be patterns, sorted.
fn matches(root: &Root, pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let is_pattern = part.as_os_str().to_string_lossy().contains(['*', '[', '?']);
        let glob = is_pattern
            .then(|| Glob::new(&part.as_os_str().to_string_lossy()).ok())
            .flatten();
        found = match glob.map(|glob| glob.compile_matcher()) {
            None => found.into_iter().map(|path| path.join(part)).collect(),
            Some(glob) => found
                .iter()
                .flat_map(|path| entries(root, path, &glob))
                .collect(),
        };
    }
    let real = found
        .into_iter()
        .filter_map(|path| root.existing(&path).ok());
    let mut real: Vec<PathBuf> = real.collect();
    real.sort_unstable();
    real.dedup();
    real
}

fn entries(root: &Root, directory: &Path, glob: &globset::GlobMatcher) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.on_host(directory));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter(|entry| glob.is_match(OsStr::new(&entry.file_name())))
        .map(|entry| directory.join(entry.file_name()))
        .collect()
}

fn parse(path: &Path, text: &str) -> Result<BTreeMap<String, (Row, [GlobSet; 2])>, Refusal> {
    let refused = |why: String| Refusal::Table {
        path: path.to_owned(),
        why,
    };
    let rows: BTreeMap<String, Row> =
        toml::from_str(text).map_err(|error| refused(error.to_string().trim().to_owned()))?;
    let set = |patterns: &[String]| -> Result<GlobSet, Refusal> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            set.add(Glob::new(pattern).map_err(|error| refused(error.to_string()))?);
        }
        set.build().map_err(|error| refused(error.to_string()))
    };
    let with_sets = |(name, row): (String, Row)| {
        let known = row.files.keys().map(String::as_str);
        let known: BTreeSet<&str> = known.chain(["bundle", "before", "root"]).collect();
        let texts = row.variables.values().chain(row.write.values());
        for part in texts.flat_map(|text| text.split([':', '\n'])) {
            if let Some((_, key, _)) = token(part).filter(|(_, key, _)| !known.contains(key)) {
                return Err(refused(format!("{name}: {{{key}}} is not in `files`")));
            }
        }
        let sets = [set(&row.programs)?, set(&row.libraries)?];
        Ok((name, (row, sets)))
    };
    rows.into_iter().map(with_sets).collect()
}

/// The names of the built-in rows.
#[cfg(test)]
pub(super) fn built_in_names() -> Vec<String> {
    let rows = parse(Path::new("data.toml"), BUILT_IN).expect("the built-in table");
    rows.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_row() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bundle.md");
        let page = fs::read_to_string(page).expect("read a page");
        for name in built_in_names() {
            assert!(page.contains(&format!("| `{name}` |")), "{name}");
        }
    }

    #[test]
    fn patterns_of_several_components_are_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let top = fs::canonicalize(directory.path()).expect("a path");
        for path in ["a/perl/5.36", "b/perl/5.36", "b/perl/base"] {
            fs::create_dir_all(top.join(path)).expect("create a directory");
        }
        let expected = ["a/perl/5.36", "b/perl/5.36"].map(|path| top.join(path));
        let own = Root::default();
        assert_eq!(matches(&own, &top.join("*/perl/5.[0-9]*")), expected);
        assert!(matches(&own, &top.join("*/none")).is_empty());
    }

    #[test]
    fn parts_of_a_value_without_files_are_left_out() {
        let row = "[x]\nlibraries = ['x']\nfiles.a = ['/a']\nfiles.b = ['/b']\n\
            variables = { X = '{bundle}/share:{a}:{b}', Y = '{b}' }";
        let rows: Vec<_> = parse(Path::new("x"), row)
            .expect("a table")
            .into_values()
            .collect();
        let places = [(
            "a".to_owned(),
            vec![PathBuf::from("a1"), PathBuf::from("a2")],
        )];
        let table = Table {
            rows,
            seen: vec![BTreeSet::new()],
            places: vec![places.into_iter().collect()],
        };
        let value = |name: &str| table.value(0, &table.rows[0].0.variables[name]);
        assert_eq!(
            value("X").as_deref(),
            Some(&b"\x01/share:\x01/a1:\x01/a2"[..])
        );
        assert_eq!(value("Y"), None);
    }

    #[test]
    fn unknown_names_are_refused() {
        let parsed = parse(Path::new("own.toml"), "[x]\nvariables.X = '{nothing}'");
        let error = parsed.map(drop).expect_err("refused").to_string();
        assert!(
            error.contains("own.toml") && error.contains("{nothing}"),
            "{error}"
        );
    }
}
