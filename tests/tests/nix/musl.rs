//! With musl, nixpkgs names the dynamic linker by a pattern, `lib/ld-musl-*`.

use e2e::{Arch, Kind, Libc, Store, Variant, says};

use crate::vendor;

/// A musl package, the hook of a musl package set, and a wrapper of binutils with the pattern.
const MUSL: &str = r#"
let
  musl = runCommand "musl" { } ''
    mkdir -p $out/lib
    cp ${/files/libc.so} $out/lib/libc.so
    ln -s libc.so $out/lib/ld-musl-${stdenv.hostPlatform.parsed.cpu.name}.so.1
  '';
  pattern = "${musl}/lib/ld-musl-*";
  foo = runCommand "foo" { } "mkdir -p $out/lib; cp ${/files/libfoo.so} $out/lib/libfoo.so";
  hook = callPackage /source/nix/hook.nix {
    targetPackages.stdenv = {
      inherit (stdenv) hostPlatform;
      cc.bintools.dynamicLinker = pattern;
    };
  };
  wrapper = runCommand "wrapper" { } ''
    mkdir -p $out/nix-support
    echo '${pattern}' > $out/nix-support/dynamic-linker
  '';
in
stdenv.mkDerivation ({
  name = "sample";
  buildInputs = [ foo ];
  installPhase = ''
    mkdir -p $out/bin
    cp ${/files/program} $out/bin/program
  '';
} // {
"#;

fn sample() -> Store {
    let variant = Variant::new(Arch::host(), Libc::Musl, Kind::Pie);
    let store = vendor::sample_of(variant);
    store.add_file(&variant.dynamic_linker(), "libc.so");
    store
}

#[test]
fn pattern_stands_for_the_dynamic_linker() {
    let store = sample();
    for attributes in [
        // The hook's own, in stdenvNoCC, and the one of the stdenv.
        "nativeBuildInputs = [ hook ]; NIX_BINTOOLS = \"\";",
        "nativeBuildInputs = [ wrapBuddyHook ]; NIX_BINTOOLS = wrapper;",
        "nativeBuildInputs = [ wrapBuddyHook ]; wrapBuddyInterpreter = pattern;",
    ] {
        for structured in [false, true] {
            let expression = format!("{MUSL}{attributes} __structuredAttrs = {structured}; }})");
            let path = store.built(Arch::host(), &expression);
            let root = store.closure_root(&path);
            says(root.command(&format!("{path}/bin/program")).output());
        }
    }
}

#[test]
fn pattern_without_a_match_is_an_error() {
    let store = sample();
    let attributes =
        "nativeBuildInputs = [ wrapBuddyHook ]; wrapBuddyInterpreter = \"${musl}/none-*\";";
    let output = store
        .build(Arch::host(), &format!("{MUSL}{attributes}}})"))
        .output();
    assert_ne!(output.status, Some(0), "{output}");
    assert!(
        output
            .stderr
            .contains("wrapBuddy: error: no dynamic linker matches"),
        "{output}"
    );
}
