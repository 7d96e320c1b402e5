//! Derivations written for the flake of the first wrap-buddy, and mistaken names.

use e2e::{Arch, Store};

use crate::vendor::{derivation, sample};

const WARNING: &str = "wrap-buddy: warning: no program was wrapped: this package is the tool";

/// Builds the sample with these attributes, and returns whether it was wrapped, and what was printed.
fn built(store: &Store, attributes: &str) -> (bool, String) {
    let build = store.build(Arch::host(), &derivation("stdenv", attributes));
    let output = build.output().success();
    let path = output.stdout.trim();
    let sidecar = format!("{path}/bin/.program.wrapbuddy");
    (store.root().path(&sidecar).exists(), output.stderr)
}

#[test]
fn the_tool_instead_of_the_hook_causes_a_warning() {
    let store = sample(Arch::host());
    for inputs in [
        "nativeBuildInputs = [ wrap-buddy ];",
        "nativeBuildInputs = [ ]; buildInputs = [ wrap-buddy ];",
        "nativeBuildInputs = [ wrap-buddy ]; __structuredAttrs = true;",
    ] {
        let (is_wrapped, said) = built(&store, inputs);
        assert!(!is_wrapped, "{inputs}");
        assert_eq!(said.matches(WARNING).count(), 1, "{inputs}: {said}");
    }
    for inputs in [
        "buildInputs = [ foo ]; nativeBuildInputs = [ wrap-buddy wrapBuddyHook ];",
        "buildInputs = [ foo ]; nativeBuildInputs = [ wrapBuddyHook wrap-buddy ];",
    ] {
        let (is_wrapped, said) = built(&store, inputs);
        assert!(
            is_wrapped && !said.contains("this package"),
            "{inputs}: {said}"
        );
    }
    let by_hand = "nativeBuildInputs = [ wrap-buddy ]; dontWrapBuddy = true;";
    let (_, said) = built(&store, by_hand);
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn the_hook_has_its_former_name_and_members() {
    let store = sample(Arch::host());
    let inputs = "buildInputs = [ foo ];
        nativeBuildInputs = [ wrapBuddy ];
        postInstall = \"wrap-buddy --version; test -e ${wrapBuddy.wrapBuddy}/lib/wrap-buddy/loader.bin\";
        installPhase = ''
          mkdir -p $out/bin
          cp ${/files/program} $out/bin/program
          runHook postInstall
        '';";
    let (is_wrapped, said) = built(&store, inputs);
    assert!(is_wrapped, "{said}");
    let version = concat!("wrap-buddy ", env!("CARGO_PKG_VERSION"));
    assert!(said.contains(version), "{said}");
}
