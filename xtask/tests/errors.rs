//! Errors are types, not sentences: no `Result<_, String>` outside of tests.

use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{GenericArgument, ItemMod, PathArguments, Type, TypePath};
use walkdir::WalkDir;

/// Where the sources are.
const SOURCES: [&str; 4] = ["crates", "loader/src", "stub/src", "xtask/src"];

#[test]
fn no_error_is_a_string() {
    let mut read = 0;
    for path in SOURCES.iter().flat_map(|directory| sources(directory)) {
        let source = fs::read_to_string(&path).expect("a source");
        read += 1;
        let found = string_errors(&source);
        assert_eq!(found, 0, "Result<_, String> in {}", path.display());
    }
    assert!(read > 100, "the sources were not found");
}

#[test]
fn string_errors_are_found_wherever_a_type_is() {
    let source = "fn f() -> Result<Vec<u8>, String> { loop {} } \
        struct S { a: Option<std::result::Result<(), String>>, b: Result<String>, c: Result<String, E> } \
        #[cfg(test)] mod tests { fn g() -> Result<(), String> { loop {} } }";
    assert_eq!(string_errors(source), 2);
}

fn sources(directory: &str) -> Vec<PathBuf> {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = xtask
        .parent()
        .expect("xtask is a directory of the workspace");
    let entries = WalkDir::new(root.join(directory)).into_iter();
    let paths = entries.map(|entry| entry.expect("a directory").into_path());
    let is_source = |path: &PathBuf| {
        let is_test = path.iter().any(|part| part == "tests");
        path.extension().is_some_and(|end| end == "rs") && !is_test
    };
    paths.filter(is_source).collect()
}

fn string_errors(source: &str) -> usize {
    let file = syn::parse_file(source).expect("a Rust source");
    let mut found = Found(0);
    found.visit_file(&file);
    found.0
}

struct Found(usize);

impl<'ast> Visit<'ast> for Found {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let is_test = module.attrs.iter().any(|one| {
            let of_cfg = one.path().is_ident("cfg");
            of_cfg && one.parse_args::<syn::Ident>().is_ok_and(|on| on == "test")
        });
        if !is_test {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_type_path(&mut self, path: &'ast TypePath) {
        let last = path.path.segments.last();
        if let Some(last) = last.filter(|last| last.ident == "Result")
            && let PathArguments::AngleBracketed(arguments) = &last.arguments
            && let Some(GenericArgument::Type(Type::Path(error))) = arguments.args.get(1)
            && error
                .path
                .segments
                .last()
                .is_some_and(|one| one.ident == "String")
        {
            self.0 += 1;
        }
        visit::visit_type_path(self, path);
    }
}
