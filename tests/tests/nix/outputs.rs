//! The files that the hook wraps, the libraries that it finds by itself, and its output.

use std::fs;

use e2e::{Arch, Store, says};

use crate::vendor::{derivation, program, sample};

fn host() -> Store {
    sample(Arch::host())
}

/// Runs `path` in a root with nothing but its closure.
#[track_caller]
fn runs(store: &Store, output: &str, program: &str) {
    says(
        store
            .closure_root(output)
            .command(&format!("{output}/{program}"))
            .output(),
    );
}

#[test]
fn a_library_in_the_package_itself() {
    let store = host();
    for layout in ["lib", "opt/the app/lib"] {
        let attributes = format!(
            "installPhase = ''
              mkdir -p $out/bin \"$out/{layout}\"
              cp ${{/files/program}} \"$out/bin/the program\"
              cp ${{/files/libfoo.so}} \"$out/{layout}/libfoo.so\"
            '';"
        );
        for stdenv in ["stdenv", "stdenvNoCC"] {
            let path = store.built(Arch::host(), &derivation(stdenv, &attributes));
            runs(&store, &path, "bin/the program");
        }
    }
}

/// It needs a dynamic linker that does not exist here. The store's dynamic linker has to load its own C library.
#[test]
fn a_bundled_c_library_is_not_used() {
    let store = host();
    let attributes = "installPhase = ''
          mkdir -p $out/bin $out/lib
          cp ${/files/program} $out/bin/program
          cp ${/files/libfoo.so} $out/lib/libfoo.so
          echo 'not even a library' > $out/lib/libc.so.6
        '';";
    let path = store.built(Arch::host(), &derivation("stdenv", attributes));
    runs(&store, &path, "bin/program");
}

#[test]
fn structured_attributes() {
    let store = host();
    let path = store.built(Arch::host(), &program("__structuredAttrs = true;"));
    runs(&store, &path, "bin/program");
}

#[test]
fn every_output_but_debug_symbols() {
    let store = host();
    for structured in [true, false] {
        // `doc` is made after the hook.
        let attributes = format!(
            "outputs = [ \"lib\" \"out\" \"debug\" \"doc\" ];
            __structuredAttrs = {structured};
            installPhase = ''
              mkdir -p $out/bin $lib/lib $debug/bin
              cp ${{/files/program}} $out/bin/program
              cp ${{/files/program}} $debug/bin/program
              cp ${{/files/program}} $lib/lib/helper
              cp ${{/files/libfoo.so}} $lib/lib/libfoo.so
            '';
            doInstallCheck = true;
            installCheckPhase = \"mkdir $doc\";"
        );
        let built = |output: &str| {
            let expression = format!("({}).{output}", derivation("stdenv", &attributes));
            store.built(Arch::host(), &expression)
        };
        runs(&store, &built("out"), "bin/program");
        runs(&store, &built("lib"), "lib/helper");
        let sidecar = format!("{}/bin/.program.wrapbuddy", built("debug"));
        assert!(!store.root().path(&sidecar).exists());
    }
}

/// Nix builds the existing output again, at another path, and then replaces that path in the requested output.
#[test]
fn output_with_another_that_exists_already() {
    let store = host();
    let attributes = "outputs = [ \"out\" \"lib\" ];
        installPhase = ''
          mkdir -p $out/bin $lib/lib
          cp ${/files/program} $out/bin/program
          cp ${/files/libfoo.so} $lib/lib/libfoo.so
        '';";
    for strategy in ["stub", "inplace"] {
        let attributes = format!("{attributes} wrapBuddyStrategy = \"{strategy}\";");
        let expression = derivation("stdenv", &attributes);
        let out = store.built(Arch::host(), &format!("({expression}).out"));
        let lib = store.built(Arch::host(), &format!("({expression}).lib"));
        let delete = store.nix("nix-store").args(["--delete", &out]);
        delete.output().success();
        assert!(store.root().path(&lib).exists() && !store.root().path(&out).exists());
        store.built(Arch::host(), &format!("({expression}).out"));
        runs(&store, &out, "bin/program");
        assert!(store.query("--references", &out).contains(&lib));
    }
}

/// Its path is known only at the end of the build, and then replaced in the output.
#[test]
fn content_addressed() {
    let store = host();
    let attributes = "__contentAddressed = true;
        outputHashMode = \"recursive\";
        outputHashAlgo = \"sha256\";
        installPhase = ''
          mkdir -p $out/bin $out/lib
          cp ${/files/program} $out/bin/program
          cp ${/files/libfoo.so} $out/lib/libfoo.so
        '';";
    let build = store
        .build(Arch::host(), &derivation("stdenv", attributes))
        .args(["--option", "extra-experimental-features", "ca-derivations"]);
    let output = build.output().success();
    runs(&store, output.stdout.trim(), "bin/program");
}

#[test]
fn a_missing_library_fails_the_build() {
    let store = host();
    let without = derivation("stdenv", "");
    let output = store.build(Arch::host(), &without).output();
    assert_ne!(output.status, Some(0), "{output}");
    for words in [
        "libfoo.so",
        "needed by",
        "wrapBuddy: error: not everything",
        "buildInputs",
    ] {
        assert!(output.stderr.contains(words), "{words:?} in {output}");
    }

    for patterns in ["\"libnothing.so libf*.so\"", "[ \"lib?oo.so\" ]"] {
        let ignored = derivation("stdenv", &format!("wrapBuddyIgnoreMissing = {patterns};"));
        store.built(Arch::host(), &ignored);
    }
}

#[test]
fn output_of_the_hook() {
    let store = host();
    let attributes = "installPhase = ''
          mkdir -p $out/bin
          cp ${/files/program} $out/bin/program
          echo '#!/bin/sh' > $out/bin/script
          chmod +x $out/bin/script
        '';";
    let build = |attributes: &str| {
        let output = store
            .build(Arch::host(), &program(attributes))
            .output()
            .success();
        let said = output
            .stderr
            .lines()
            .skip_while(|line| !line.starts_with("wrapBuddy: "));
        said.map(String::from).collect::<Vec<_>>()
    };
    // One line for each file, and the counts.
    let said = build(attributes);
    assert!(said.len() == 3 && said[1].starts_with("  "), "{said:#?}");
    assert!(said[0].ends_with("-sample"), "{said:#?}");
    assert!(said[1].contains("/bin/program: wrapped · "), "{said:#?}");
    assert!(said[2].contains("1 wrapped"), "{said:#?}");

    let more = build(&format!("{attributes} NIX_DEBUG = 1;"));
    assert!(
        more.iter().any(|line| line.contains("search path")),
        "{more:#?}"
    );
}

/// A sidecar would be next to the output, outside of it.
#[test]
fn output_that_is_a_file() {
    let store = host();
    for structured in [false, true] {
        let output = |installs: &str, attributes: &str| {
            let package = program(&format!(
                "__structuredAttrs = {structured}; installPhase = \"{installs}\"; {attributes}"
            ));
            store.built(Arch::host(), &package)
        };
        let program = "cp ${/files/program} $out";
        let by_hand = "dontWrapBuddy = true; postFixup = \"wrapBuddy $out\";";
        for attributes in ["", by_hand] {
            let path = output(program, attributes);
            says(store.closure_root(&path).command(&path).output());
        }
        let names = fs::read_dir(store.root().path("/nix/store")).expect("a directory");
        let mut names = names.map(|entry| entry.expect("an entry").file_name());
        assert!(names.all(|name| !name.to_string_lossy().contains("wrapbuddy")));

        let text = output("echo text > $out", "");
        assert_eq!(store.root().read(&text), b"text\n");
    }
    let lacking = derivation("stdenv", "installPhase = \"cp ${/files/program} $out\";");
    let output = store.build(Arch::host(), &lacking).output();
    assert_ne!(output.status, Some(0), "{output}");
    let error = "is a file, which has to be edited in place; install it as bin/NAME";
    assert!(output.stderr.contains(error), "{output}");
}

/// A link to another package, which must not be changed.
#[test]
fn output_that_is_a_link() {
    let store = host();
    let attributes = "buildInputs = [ foo ]; installPhase = ''
          mkdir -p other/bin
          cp ${/files/program} other/bin/program
          ln -s $PWD/other $out
        ''; postPhases = [ \"lookPhase\" ]; lookPhase = \"test ! -e other/bin/.program.wrapbuddy\";";
    let package = derivation("stdenv", attributes);
    store.build(Arch::host(), &package).output().success();
}

#[test]
fn programs_for_another_machine_only() {
    let store = host();
    let mut program = store.root().read("/files/program");
    // e_machine of RISC-V, for which there is no stub.
    program[18..20].copy_from_slice(&243_u16.to_le_bytes());
    store.root().write("/files/other", program);
    let package = |attributes: &str| {
        format!(
            "stdenv.mkDerivation {{
              name = \"sample\"; nativeBuildInputs = [ wrapBuddyHook ];
              installPhase = ''
                mkdir -p $out/bin
                cp ${{/files/other}} $out/bin/one
                cp ${{/files/other}} $out/bin/two
                echo '#!/bin/sh' > $out/bin/three
              '';
              {attributes}
            }}"
        )
    };
    let warning = "warning: nothing here can run with the known dynamic linkers";
    let output = store.build(Arch::host(), &package("")).output().success();
    assert!(output.stderr.contains(warning), "{output}");
    for structured in [false, true] {
        let strict = format!("wrapBuddyStrict = true; __structuredAttrs = {structured};");
        let output = store.build(Arch::host(), &package(&strict)).output();
        assert_ne!(output.status, Some(0), "{output}");
        let error = "error: there are warnings, which wrapBuddyStrict does not allow";
        assert!(output.stderr.contains(error), "{output}");
    }
}
