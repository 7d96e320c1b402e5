//! A wrapped program refers to all the files that it needs to run, so Nix keeps them.

use e2e::{Arch, Store, says};

use crate::vendor::{program, sample};

e2e::architectures!(a_wrapped_program, a_program_edited_in_place);

fn a_wrapped_program(arch: Arch) {
    let store = sample(arch);
    let path = runs_from_its_closure(&store, arch, &program(""));
    let loader = concat!("wrap-buddy-", env!("CARGO_PKG_VERSION"), "-loader");
    // `sample` itself has its sidecar.
    refers_to(&store, &path, &["foo", &glibc(arch), "sample", loader]);
    let names = store.query("--requisites", &path);
    assert!(
        !names
            .iter()
            .any(|name| name.ends_with(concat!("-wrap-buddy-", env!("CARGO_PKG_VERSION")))),
        "the tool itself in {names:?}"
    );
}

fn a_program_edited_in_place(arch: Arch) {
    let store = sample(arch);
    let path = runs_from_its_closure(&store, arch, &program("wrapBuddyStrategy = \"inplace\";"));
    refers_to(&store, &path, &["foo", &glibc(arch)]);
}

/// Builds it twice, collects garbage, and runs it.
fn runs_from_its_closure(store: &Store, arch: Arch, expression: &str) -> String {
    let path = store.built(arch, expression);
    store
        .nix("nix-store")
        .args([
            "--realise",
            &path,
            "--add-root",
            "/nix/var/nix/gcroots/test",
        ])
        .output()
        .success();
    let before = store.query("--requisites", &path);
    let collected = store.nix("nix-store").arg("--gc").output().success();
    assert!(
        collected.stdout.contains("wrap-buddy") || collected.stderr.contains("wrap-buddy"),
        "the tool is garbage now; {collected}"
    );
    for path in &before {
        assert!(store.root().path(path).exists(), "{path} is gone");
    }
    let root = store.closure_root(&path);
    says(root.command(&format!("{path}/bin/program")).output());
    path
}

/// Asserts that the path refers to exactly the packages with these names.
fn refers_to(store: &Store, path: &str, names: &[&str]) {
    let mut found: Vec<String> = store
        .query("--references", path)
        .iter()
        // /nix/store/HASH-NAME
        .filter_map(|path| Some(path.split_once('-')?.1.to_string()))
        .collect();
    found.sort();
    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(found, names, "references of {path}");
}

fn glibc(arch: Arch) -> String {
    format!("glibc-{}", arch.name())
}
