//! Programs that are wrapped in a development shell.

use std::fs;
use std::path::Path;

use e2e::{Arch, Build, Kind, Libc, Run, Session, Store, Variant, source, toolchain};

use crate::flake::OVERRIDE;
use crate::generations::update;

const PAGE: &str = "docs/nix.md";

/// The first block of Nix below a heading of the page.
pub fn block(heading: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let page = fs::read_to_string(path).expect("a page");
    let (_, rest) = page
        .split_once(&format!("\n## {heading}\n"))
        .expect("a section");
    let (_, rest) = rest.split_once("```nix\n").expect("a file");
    let (file, _) = rest.split_once("```").expect("its end");
    file.replace("\"URL\"", "\"git+file:///source\"")
}

/// A clone of this repository at /source, as a user has it.
pub fn clone(store: &Store) {
    let commit = "git init -q && git add . && git -c user.name=a -c user.email=a@b commit -qm a";
    git(store, commit);
}

fn git(store: &Store, commands: &str) {
    let shell = store.shell(bash(store)).args(["-c", commands]);
    shell.cwd("/source").output().success();
}

fn bash(store: &Store) -> Run<'_> {
    let bash = toolchain::find_program("bash").expect("bash is installed");
    store.root().command(&bash.to_string_lossy()).argv0("bash")
}

#[test]
fn programs_of_a_project_run_in_it() {
    let arch = Arch::host();
    let store = Store::new(&[arch]);
    clone(&store);
    let variant = Variant::new(arch, Libc::Glibc, Kind::Pie);
    let tool = Build::program(variant, source("hello.c")).flag("-Wl,--dynamic-linker=/gone/ld.so");
    let root = store.root();
    root.install(&tool.build(), "/files/project/node_modules/tool/bin/tool");
    let flake = block("A development shell");
    let flake = flake.replace("x86_64-linux", &e2e::store::system(arch));
    root.write("/files/project/flake.nix", flake);
    // Without a network, a lock file has to name the stand-in as nixpkgs.
    let lock = store
        .nix("nix")
        .args(["flake", "lock", "path:/files/project"]);
    lock.args(OVERRIDE).output().success();

    let shell = store.shell(bash(&store)).cwd("/files/project");
    Session::read(PAGE, Some("A development shell")).type_into(shell, "");

    // With another nixpkgs and without the old store paths, it is wrapped again.
    update(&store);
    let tool = "node_modules/tool/bin/tool";
    let lock = format!("nix flake lock {}", OVERRIDE.join(" "));
    let develop = format!("{lock} && nix-store --gc && nix develop --command");
    let shell = store.shell(bash(&store)).cwd("/files/project");
    let shell = shell.args(["-c", &format!("{develop} {tool}")]);
    let output = shell.output().success();
    assert!(output.stdout.ends_with("hello\n"), "{output}");
    assert!(output.stdout.contains("tool: wrapped"), "{output}");
}
