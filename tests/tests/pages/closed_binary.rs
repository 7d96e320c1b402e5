//! A package of a vendor's program, from an archive.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use e2e::{Arch, Build, Kind, Libc, Session, Store, Variant, source};

use crate::bash;

const PAGE: &str = "docs/closed-binary.md";

#[test]
fn it_is_packaged() {
    let arch = Arch::host();
    let store = Store::new(&[arch]);
    let variant = Variant::new(arch, Libc::Glibc, Kind::Pie);
    let library = Build::library(variant, source("lib/foo.c"), "libsodium.so.26").build();
    let program = Build::program(variant, source("sample.c"))
        .link(&library)
        .build();
    let root = store.root();
    root.install(&library, "/stand-in/machine/libsodium.so.26");
    root.install(&program, "/files/tool-1.0/tool");
    root.mkdir("/files/work");
    let pack = "tar -czf work/tool-1.0.tar.gz --sort=name tool-1.0";
    let pack = bash(root).args(["-c", pack]).env("PATH", "/usr/bin:/bin");
    pack.cwd("/files").output().success();
    symlink("/source", root.path("/files/work/wrap-buddy")).expect("symlink");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let page = fs::read_to_string(path).expect("a page");
    let (_, rest) = page.split_once("```nix\n").expect("a file");
    let (file, _) = rest.split_once("```").expect("its end");
    root.write("/files/work/default.nix", file);

    let shell = store.shell(bash(root)).cwd("/files/work");
    let shell = shell.env("NIX_PATH", "nixpkgs=/stand-in");
    Session::read(PAGE, None).type_into(shell, "");
    let wrapped = root.read("/files/work/default.nix");
    assert_ne!(wrapped, file.as_bytes(), "the session edits it");
}
