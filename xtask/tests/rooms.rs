//! Crates and rooms refer only to those below them, and no file refers to itself through others. `docs/architecture.md` describes
//! each room.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use syn::UseTree;
use syn::visit::{self, Visit};
use walkdir::WalkDir;

/// The crates, from the lowest up.
const CRATES: [&str; 9] = [
    "crates/sidecar",
    "crates/sys",
    "crates/stages",
    "crates/elf",
    "crates/ldso",
    "loader",
    "crates/launcher",
    "crates/unpacker",
    "crates/wrap-buddy",
];

/// The rooms of `wrap-buddy`, from the lowest up.
const ROOMS: [&str; 8] = [
    "system", "scan", "state", "report", "plan", "apply", "commands", "cli",
];

/// Crates that are only searched for circles.
const TOOLS: [&str; 2] = ["tests", "xtask"];

/// Each module of a crate, by its path, with the paths of the modules that it refers to.
type Modules = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

#[test]
fn crates_refer_to_crates_below_them() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let output = cargo.current_dir(root()).output().expect("cargo");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("what cargo prints");
    let level = |directory: &str| {
        CRATES
            .iter()
            .position(|one| root().join(one) == Path::new(directory))
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        let manifest = text(&package["manifest_path"]);
        let Some(own) = level(manifest.trim_end_matches("/Cargo.toml")) else {
            continue;
        };
        found += 1;
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            // The tests of a crate may use more features of that crate.
            let limit = own + usize::from(dependency["kind"] == "dev");
            let up = level(&text(&dependency["path"])).is_some_and(|level| level >= limit);
            assert!(!up, "{} needs {}", CRATES[own], dependency["name"]);
        }
    }
    assert_eq!(found, CRATES.len());
}

#[test]
fn rooms_refer_to_rooms_below_them() {
    let level = |module: &[String]| {
        ROOMS
            .iter()
            .position(|room| module.first().is_some_and(|first| first == room))
    };
    let modules = modules(&root().join("crates/wrap-buddy"));
    for room in ROOMS {
        assert!(modules.keys().any(|module| module[..] == [room]), "{room}");
    }
    for (module, others) in &modules {
        let Some(own) = level(module) else {
            assert_eq!(module.len(), 0, "{} is in no room", module.join("::"));
            continue;
        };
        for other in others {
            let up = level(other).is_none_or(|level| level > own);
            assert!(!up, "{} refers to {}", module.join("::"), other.join("::"));
        }
    }
}

#[test]
fn no_file_is_in_a_circle() {
    for directory in CRATES.into_iter().chain(TOOLS) {
        let modules = modules(&root().join(directory));
        assert!(!modules.is_empty(), "{directory} was not found");
        for module in modules.keys() {
            if let Some(method) = way_back(&modules, module) {
                let method: Vec<String> = method.iter().map(|module| module.join("::")).collect();
                panic!("{directory}: a circle: {}", method.join(" → "));
            }
        }
    }
}

#[test]
fn references_are_found_in_a_source() {
    let source = "use crate::a::{b, c as d}; use super::e; fn f() { crate::g::h(); } \
        #[cfg(test)] mod tests { use crate::other; }";
    let own = ["x", "y"].map(str::to_owned);
    let found = references(source, &own);
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(
        found,
        ["a::b", "a::c", "g::h", "x::e"].map(|path| format!("crate::{path}"))
    );
}

fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask
        .parent()
        .expect("xtask is a directory of the workspace")
        .to_owned()
}

/// The paths in each module of the crate in `directory`.
fn paths_of(directory: &Path) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let sources = directory.join("src");
    let files = WalkDir::new(&sources)
        .into_iter()
        .map(|entry| entry.expect("a directory"));
    let files = files.filter(|entry| entry.path().extension().is_some_and(|end| end == "rs"));
    files
        .map(|entry| {
            let path = entry
                .path()
                .strip_prefix(&sources)
                .expect("below it")
                .with_extension("");
            let mut module: Vec<String> = path
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            if ["mod", "lib", "main"].contains(&module.last().map_or("", String::as_str)) {
                module.pop();
            }
            let source = fs::read_to_string(entry.path()).expect("a source");
            let found = references(&source, &module);
            (module, found)
        })
        .collect()
}

/// The modules of the crate in `directory`. References of a module to its own submodules do not count.
fn modules(directory: &Path) -> Modules {
    let all = paths_of(directory);
    let module_of = |path: &Vec<String>| {
        let path = path.strip_prefix(&["crate".to_owned()][..])?;
        let lengths = (0..=path.len()).rev();
        lengths
            .map(|len| path[..len].to_vec())
            .find(|module| all.contains_key(module))
    };
    let arrows = all.iter().map(|(module, paths)| {
        let others = paths.iter().filter_map(module_of);
        let others = others.filter(|other| !other.is_empty() && !other.starts_with(module));
        (module.clone(), others.collect())
    });
    arrows.collect()
}

/// A way from `module` through others back to it.
fn way_back<'m>(modules: &'m Modules, module: &'m Vec<String>) -> Option<Vec<&'m Vec<String>>> {
    let mut from: BTreeMap<&Vec<String>, &Vec<String>> = BTreeMap::new();
    let mut next = vec![module];
    while let Some(one) = next.pop() {
        for other in modules.get(one).into_iter().flatten() {
            if other == module {
                let back = std::iter::successors(Some(one), |one| from.get(*one).copied());
                return Some([module].into_iter().chain(back).collect());
            }
            if !from.contains_key(other) {
                from.insert(other, one);
                next.push(other);
            }
        }
    }
    None
}

/// The paths in `source`, the module `own`, without those in its tests. Paths within the crate begin with `crate::`.
fn references(source: &str, own: &[String]) -> BTreeSet<Vec<String>> {
    let file = syn::parse_file(source).expect("a Rust source");
    let mut found = Found::default();
    found.visit_file(&file);
    let all = found.paths.into_iter().map(|path| match path[0].as_str() {
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let above = own[..own.len().saturating_sub(ups)].iter();
            let inside = above.chain(&path[ups..]).cloned();
            ["crate".to_owned()].into_iter().chain(inside).collect()
        }
        _ => path,
    });
    all.collect()
}

#[derive(Default)]
struct Found {
    paths: Vec<Vec<String>>,
}

impl Found {
    fn tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: String| {
            before
                .iter()
                .cloned()
                .chain([name])
                .collect::<Vec<String>>()
        };
        match tree {
            UseTree::Path(path) => self.tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.paths.push(with(name.ident.to_string())),
            UseTree::Rename(name) => self.paths.push(with(name.ident.to_string())),
            UseTree::Glob(_) => self.paths.push(before.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = |one: &syn::Attribute| {
            one.path().is_ident("cfg")
                && one
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|what| what == "test")
        };
        if !module.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        if ["crate", "super"].contains(&&*parts[0]) {
            self.paths.push(parts);
        }
        visit::visit_path(self, path);
    }
}
