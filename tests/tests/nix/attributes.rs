//! The flags that the hook passes for its attributes and functions.

use e2e::{Arch, Store};

/// A derivation whose hook records its call of the tool instead of running it.
const RECORDING: &str = r#"
let
  recorder = runCommand "recorder" { } ''
    echo '#!/bin/bash' > $out
    echo '[[ $1 != status ]] || exit 0' >> $out
    echo 'printf "%s\n" "$@" > $out/arguments' >> $out
    chmod +x $out
  '';
  hook = makeSetupHook {
    name = "hook";
    substitutions = {
      wrapBuddy = recorder;
      loader = "/loader";
      interpreters = "/lib/own.so";
    };
  } /source/nix/setup-hook.sh;
  package = name: runCommand name { } "mkdir -p $out/lib; touch $out/lib/lib${name}.so";
  zlib = package "zlib";
  udev = package "udev";
in
stdenvNoCC.mkDerivation ({
  name = "p";
  nativeBuildInputs = [ hook ];
  installPhase = "mkdir -p $out; touch libcuda.so.here";
} // {
"#;

/// The arguments of the call, one in each line, without `/nix/store/HASH-`.
#[track_caller]
fn arguments(store: &Store, attributes: &str) -> Vec<String> {
    recorded(store, RECORDING, attributes)
}

#[track_caller]
fn recorded(store: &Store, recording: &str, attributes: &str) -> Vec<String> {
    let path = store.built(Arch::host(), &format!("{recording}{attributes}\n}})"));
    let text = String::from_utf8(store.root().read(&format!("{path}/arguments"))).expect("UTF-8");
    let short = |line: &str| match line.strip_prefix("/nix/store/") {
        Some(rest) => rest.split_once('-').expect("a hash").1.to_string(),
        None => line.to_string(),
    };
    text.lines().map(short).collect()
}

/// Stands for the absence of the default `--strict=opened`.
const NOT_STRICT: &str = "not strict";

/// The arguments without any attribute, and `more`.
fn usual<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "--no-settings",
        "--paths",
        "p",
        "--loader-dir-path",
        "/loader",
        "--interpreter",
        "/lib/own.so",
    ];
    // `wrapBuddyFlags` come last.
    let strict = more
        .iter()
        .any(|one| *one == "--strict" || *one == NOT_STRICT);
    let at = more
        .iter()
        .position(|one| *one == "-v")
        .unwrap_or(more.len());
    let (more, flags) = more.split_at(at);
    let default: &[&str] = if strict { &[] } else { &["--strict=opened"] };
    let more = more.iter().copied().filter(|one| *one != NOT_STRICT);
    [&usual[..], &more.collect::<Vec<_>>(), default, flags].concat()
}

/// Asserts the same flags for attributes as variables and as structured attributes.
#[track_caller]
fn becomes(attributes: &str, more: &[&str]) {
    let store = Store::new(&[]);
    assert_eq!(arguments(&store, attributes), usual(more));
    let structured = format!("{attributes}\n__structuredAttrs = true;");
    assert_eq!(arguments(&store, &structured), usual(more), "structured");
}

#[test]
fn nothing() {
    becomes("", &[]);
}

#[test]
fn dependencies() {
    becomes(
        "buildInputs = [ udev zlib ];",
        &["--libs", "udev/lib", "zlib/lib"],
    );
}

/// Without strictDeps, stdenv calls setup hooks for all dependencies alike.
#[test]
fn native_build_inputs_are_not_library_directories() {
    let native = "nativeBuildInputs = [ hook udev ]; buildInputs = [ zlib ];";
    becomes(native, &["--libs", "zlib/lib"]);
    becomes(
        &format!("{native} strictDeps = true;"),
        &["--libs", "zlib/lib"],
    );
}

#[test]
fn package_without_libraries_is_not_passed() {
    let store = Store::new(&[Arch::host()]);
    for directory in ["bin", "lib/pkgconfig"] {
        let attributes = format!(
            "runtimeDependencies = [ (runCommand \"tools\" {{ }} \"mkdir -p $out/{directory}\") ];"
        );
        let output = store.build(Arch::host(), &format!("{RECORDING}{attributes}\n}})"));
        let output = output.output().success();
        let warning = "wrapBuddy: warning: runtimeDependencies: ";
        let mut lines = output.stderr.lines();
        let line = lines.find(|line| line.starts_with(warning));
        assert!(
            line.is_some_and(|line| {
                line.contains("has no libraries") && line.contains("lib.getLib")
            }),
            "{output}"
        );
        becomes(&attributes, &[]);
    }
}

/// An earlier phase may have removed the directory.
#[test]
fn missing_paths_cause_a_warning() {
    let phases = "postFixup = ''
          addWrapBuddySearchPath /gone
          wrapBuddy /gone
        '';";
    becomes(phases, &[]);
    let store = Store::new(&[Arch::host()]);
    let output = store.build(Arch::host(), &format!("{RECORDING}{phases}\n}})"));
    let output = output.output().success();
    let warning = "wrapBuddy: warning: /gone: no such file or directory";
    let count = output
        .stderr
        .lines()
        .filter(|line| *line == warning)
        .count();
    assert_eq!(count, 2, "{output}");
}

#[test]
fn runtime_dependencies_are_packages_or_directories() {
    becomes(
        "runtimeDependencies = [ udev \"${zlib}/lib\" \"/run/opengl-driver/lib\" ];",
        &[
            "--runtime-dependencies",
            "udev/lib",
            "zlib/lib",
            "/run/opengl-driver/lib",
        ],
    );
}

#[test]
fn appended_runpaths_stay_as_they_are() {
    becomes(
        "runtimeDependencies = [ udev ]; appendRunpaths = [ \"${zlib}\" \"/opt/a\" ];",
        &["--runtime-dependencies", "udev/lib", "zlib", "/opt/a"],
    );
}

#[test]
fn extra_needed() {
    becomes(
        "wrapBuddyExtraNeeded = [ \"liba.so\" \"libb.so.1\" ];",
        &["--needed", "liba.so", "libb.so.1"],
    );
}

/// The build directory has a file libcuda.so.here: the shell must not expand patterns.
#[test]
fn patterns_of_libraries_that_may_be_missing() {
    let flags = ["--ignore-missing", "libcuda.so.*", "lib*GL*"];
    becomes(
        "wrapBuddyIgnoreMissing = [ \"libcuda.so.*\" \"lib*GL*\" ];",
        &flags,
    );
    becomes("wrapBuddyIgnoreMissing = \"libcuda.so.* lib*GL*\";", &flags);
    for all in ["true", "\"*\"", "[ \"1\" ]"] {
        let all = format!("wrapBuddyIgnoreMissing = {all};");
        becomes(&all, &["--ignore-missing", "*"]);
    }
    becomes("wrapBuddyIgnoreMissing = false;", &[]);
}

/// Packages often have these already.
#[test]
fn attributes_of_auto_patchelf_hook() {
    for (attributes, flags) in [
        (
            "autoPatchelfIgnoreMissingDeps = true;",
            &["--ignore-missing", "*"][..],
        ),
        (
            "autoPatchelfIgnoreMissingDeps = [ \"libcuda.so.1\" ]; wrapBuddyIgnoreMissing = \"liba.so\";",
            &["--ignore-missing", "liba.so", "libcuda.so.1"],
        ),
        (
            "autoPatchelfSearchPath = [ zlib ]; buildInputs = [ udev ];",
            &["--libs", "udev/lib", "zlib/lib"],
        ),
    ] {
        becomes(attributes, flags);
    }
}

#[test]
fn strategy_search_and_flags() {
    becomes("wrapBuddyStrategy = \"auto\";", &["--strategy", "auto"]);
    becomes("wrapBuddySearch = \"frozen\";", &["--search", "frozen"]);
    becomes("wrapBuddySearchMinimal = true;", &["--search-minimal"]);
    becomes("wrapBuddyStrict = true;", &["--strict"]);
    becomes("wrapBuddyStrict = false;", &[NOT_STRICT]);
    becomes(
        "wrapBuddyFlags = [ \"-v\" \"--replace\" ];",
        &["-v", "--replace"],
    );
    becomes("wrapBuddyFlags = \"-v --replace\";", &["-v", "--replace"]);
}

/// `--self-contained` and `--loader-dir-path` exclude each other.
#[test]
fn self_contained_programs_need_no_directory_of_loaders() {
    let store = Store::new(&[]);
    let arguments = arguments(&store, "wrapBuddyFlags = [ \"--self-contained\" ];");
    assert_eq!(
        arguments,
        [
            "--no-settings",
            "--paths",
            "p",
            "--interpreter",
            "/lib/own.so",
            "--strict=opened",
            "--self-contained"
        ]
    );
}

#[test]
fn interpreters() {
    let store = Store::new(&[]);
    let interpreters = |recording: &str, attributes: &str| {
        let arguments = recorded(&store, recording, attributes);
        let pairs = arguments.windows(2);
        let values = pairs.filter(|pair| pair[0] == "--interpreter");
        values.map(|pair| pair[1].clone()).collect::<Vec<_>>()
    };
    let named = interpreters(RECORDING, "wrapBuddyInterpreter = \"/lib/other.so\";");
    assert_eq!(named, ["/lib/other.so"]);
    // The interpreters of the stdenv's wrapper, and after them those of the hook, for programs that these do not fit.
    let wrapper = "NIX_BINTOOLS = runCommand \"wrapper\" { } ''
        mkdir -p $out/nix-support
        echo /lib/stdenv.so > $out/nix-support/dynamic-linker
        echo /lib/m32.so > $out/nix-support/dynamic-linker-m32
      '';";
    let with_compiler = RECORDING.replace("stdenvNoCC.", "stdenv.");
    let known = interpreters(&with_compiler, wrapper);
    assert_eq!(known, ["/lib/stdenv.so", "/lib/m32.so", "/lib/own.so"]);
}

#[test]
fn functions() {
    becomes(
        "buildInputs = [ zlib ];
        preFixup = ''
          mkdir -p \"vendor/lib dir/deep\" sibling
          touch vendor/liba.so \"vendor/lib dir/deep/libb.so.1\" sibling/libc.so
          addWrapBuddySearchPath vendor
          addWrapBuddySearchPath --no-recurse -- sibling
          addWrapBuddyRuntimeDeps ${udev} /opt/lib
        '';",
        &[
            "--libs",
            "zlib/lib",
            "vendor",
            "vendor/lib dir/deep",
            "sibling",
            "--runtime-dependencies",
            "udev/lib",
            "/opt/lib",
        ],
    );
}

#[test]
fn wrapping_by_hand() {
    let store = Store::new(&[]);
    let by_hand = "dontWrapBuddy = true;
        postFixup = ''
          mkdir -p $out/bin ./-odd
          wrapBuddy --no-recurse -- $out/bin -odd
        '';";
    let called = arguments(&store, by_hand);
    assert_eq!(called[1..5], ["--paths", "p/bin", "./-odd", "--no-recurse"]);

    let without = format!("{RECORDING} dontWrapBuddy = true; __structuredAttrs = true; }})");
    let path = store.built(Arch::host(), &without);
    assert!(!store.root().path(&format!("{path}/arguments")).exists());
}

#[test]
fn mistakes() {
    let store = Store::new(&[]);
    for (attributes, words) in [
        (
            "postFixup = \"wrapBuddy --recurse $out\";",
            "unknown flag --recurse",
        ),
        ("postFixup = \"wrapBuddy\";", "usage: wrapBuddy"),
        (
            "runtimeDependencies = [ \"lib\" ];",
            "lib: a runtime dependency has to be an absolute path",
        ),
        (
            "appendRunpaths = [ \"\\$ORIGIN/../lib\" ];",
            "appendRunpaths: $ORIGIN/../lib is not absolute",
        ),
    ] {
        let output = store
            .build(Arch::host(), &format!("{RECORDING}{attributes}\n}})"))
            .output();
        assert_ne!(output.status, Some(0), "{output}");
        let line = output
            .stderr
            .lines()
            .find(|line| line.starts_with("wrapBuddy: error: "));
        assert!(line.is_some_and(|line| line.contains(words)), "{output}");
    }
}
