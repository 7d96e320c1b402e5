//! The packages of the tests: files as a vendor ships them.

use e2e::{Arch, Build, Kind, Libc, Store, Variant, source};

/// `/files/program`, which needs `/files/libfoo.so` and prints `value 42`.
pub fn sample(arch: Arch) -> Store {
    sample_of(Variant::new(arch, Libc::Glibc, Kind::Pie))
}

/// The same for another C library.
pub fn sample_of(variant: Variant) -> Store {
    let store = Store::new(&[variant.arch]);
    let library = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let program = Build::program(variant, source("sample.c"))
        .link(&library)
        .build();
    store.add_file(&library, "libfoo.so");
    store.add_file(&program, "program");
    store
}

/// A package `foo` with libfoo.so, and with it in scope a derivation of the program, with more `attributes`.
pub fn program(attributes: &str) -> String {
    derivation("stdenv", &format!("buildInputs = [ foo ];\n{attributes}"))
}

/// The same with empty `buildInputs`, and with another stdenv.
pub fn derivation(stdenv: &str, attributes: &str) -> String {
    format!(
        r#"
let
  foo = runCommand "foo" {{ }} ''
    mkdir -p $out/lib
    cp ${{/files/libfoo.so}} $out/lib/libfoo.so
  '';
in
{stdenv}.mkDerivation ({{
  name = "sample";
  nativeBuildInputs = [ wrapBuddyHook ];
  installPhase = ''
    mkdir -p $out/bin
    cp ${{/files/program}} $out/bin/program
  '';
}} // {{
{attributes}
}})
"#
    )
}
