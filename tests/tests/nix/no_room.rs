//! Libraries without room for a search path.

use std::path::Path;

use e2e::{Arch, Build, Kind, Libc, Output, Store, Variant, source, toolchain};

/// A package `foo` with libfoo.so, and with it in scope a derivation with `/files/libbar.so`, which needs it, as a plugin.
const PLUGIN: &str = r#"
let
  foo = runCommand "foo" { } "mkdir -p $out/lib; cp ${/files/libfoo.so} $out/lib/libfoo.so";
in
stdenv.mkDerivation ({
  name = "sample";
  nativeBuildInputs = [ wrapBuddyHook ];
  buildInputs = [ foo ];
  installPhase = ''
    mkdir -p $out/plugins
    cp ${/files/libbar.so} $out/plugins/libbar.so
    if [ -n "''${opener-}" ]; then
      mkdir -p $out/bin
      cp ${/files/program} $out/bin/program
    fi
  '';
} // {
"#;

/// A store with the files of that derivation. The program opens the library in its argument, and has its name among its strings.
fn sample(flags: &[&str]) -> Store {
    let variant = Variant::new(Arch::host(), Libc::Glibc, Kind::Pie);
    let store = Store::new(&[variant.arch]);
    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
    let outer = Build::library(variant, source("lib/bar.c"), "libbar.so")
        .flags(["-DNAME=bar", "-DCALLS=foo"])
        .flags(toolchain::lld())
        .flags(flags.iter().copied());
    let outer = toolchain::without_room(&outer.link(&inner).build());
    let program = Build::program(variant, source("open.c"))
        .flag("-ldl")
        .build();
    let files: [(&Path, &str); 3] = [
        (&inner, "libfoo.so"),
        (&outer, "libbar.so"),
        (&program, "program"),
    ];
    for (file, name) in files {
        store.add_file(file, name);
    }
    store
}

fn build(store: &Store, attributes: &str) -> Output {
    let expression = format!("{PLUGIN}{attributes} }})");
    store.build(Arch::host(), &expression).output()
}

#[test]
fn the_warning_names_the_attribute() {
    let store = sample(&[]);
    let output = build(&store, "").success();
    let mut lines = output.stderr.lines();
    let warning = lines.find(|line| line.contains("warning") && line.contains("no room"));
    let warning = warning.unwrap_or_else(|| panic!("no warning: {output}"));
    assert!(warning.contains("libbar.so"), "{warning}");
    assert!(
        warning.contains(r#"wrapBuddyFallback = "patchelf";"#),
        "{warning}"
    );
    assert!(!warning.contains("--"), "{warning}");

    let strict = build(&store, "wrapBuddyStrict = true;");
    assert_ne!(strict.status, Some(0), "{strict}");
    assert!(
        strict
            .stderr
            .contains("which wrapBuddyStrict does not allow"),
        "{strict}"
    );
}

#[test]
fn patchelf_gives_it_a_search_path() {
    let store = sample(&[]);
    for structured in [false, true] {
        let attributes = format!(
            "opener = true; wrapBuddyStrict = true; wrapBuddyFallback = \"patchelf\"; __structuredAttrs = {structured};"
        );
        let path = store.built(Arch::host(), &format!("{PLUGIN}{attributes} }})"));
        let root = store.closure_root(&path);
        let program = root.command(&format!("{path}/bin/program"));
        says_42(&program.arg(format!("{path}/plugins/libbar.so")).output());
        assert!(
            !root
                .path(&format!("{path}/plugins/.libbar.so.wrapbuddy"))
                .exists()
        );
    }
}

/// The library may read the data by its offset in the file.
#[test]
fn patchelf_does_not_change_a_library_with_data_after_it() {
    let store = sample(&[]);
    let attributes =
        "wrapBuddyFallback = \"patchelf\"; preFixup = \"echo data >> $out/plugins/libbar.so\";";
    let output = build(&store, attributes).success();
    assert!(
        output
            .stderr
            .contains("libbar.so: not changed by patchelf, because data follows"),
        "{output}"
    );
    let path = output.stdout.trim();
    let library = store.root().read(&format!("{path}/plugins/libbar.so"));
    assert!(library.ends_with(b"data\n"));

    let output = build(&store, "wrapBuddyFallback = \"rpath\";");
    assert_ne!(output.status, Some(0), "{output}");
    assert!(
        output.stderr.contains("the only value is \"patchelf\""),
        "{output}"
    );
}

/// A check after the build finds what patchelf has broken.
#[test]
fn a_library_that_patchelf_breaks_fails_the_build() {
    let store = sample(&[]);
    let attributes = r#"
        wrapBuddyFallback = "patchelf";
        preFixup = ''
          patchelf() { command patchelf --set-rpath /none "''${@: -1}"; }
        '';"#;
    let output = build(&store, attributes);
    assert_ne!(output.status, Some(0), "{output}");
    assert!(
        output
            .stderr
            .contains("wrapBuddy: error: a library that patchelf has changed does not load"),
        "{output}"
    );
}

/// A library with a DT_RUNPATH inherits nothing from the program that opens it.
#[test]
fn a_library_that_a_program_of_the_package_opens_is_an_error() {
    let store = sample(&["-Wl,--enable-new-dtags,-rpath,/gone"]);
    let output = build(&store, "opener = true;");
    assert_ne!(output.status, Some(0), "{output}");
    assert!(
        output.stderr.contains("libbar.so: a program opens it"),
        "{output}"
    );
    // Nothing of the package opens it: another package may load its needs before.
    build(&store, "").success();
    build(&store, "opener = true; wrapBuddyStrict = false;").success();
    let path = store.built(
        Arch::host(),
        &format!("{PLUGIN} opener = true; wrapBuddyFallback = \"patchelf\"; }})"),
    );
    let root = store.closure_root(&path);
    let program = root.command(&format!("{path}/bin/program"));
    says_42(&program.arg(format!("{path}/plugins/libbar.so")).output());
}

fn says_42(output: &Output) {
    assert_eq!(
        (output.status, &*output.stdout),
        (Some(0), "42\n"),
        "{output}"
    );
}
