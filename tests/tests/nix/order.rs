//! The hook runs after those of other packages, and the build fails if a wrapped file is changed later.

use e2e::{Arch, Store, says};

use crate::vendor::{derivation, sample};

/// Setup hooks that change the program as real ones do: from a function that is added when the hook is sourced (autoPatchelfHook), or only in
/// preFixup.
const OTHERS: &str = r#"
  hook = text: runCommand "other" { } ''
    mkdir -p $out/nix-support
    cat > $out/nix-support/setup-hook <<'END'
    ${text}
    END
  '';
  change = ''
    otherChange() {
      patchelf --set-interpreter ${stdenv.cc.bintools.dynamicLinker} --set-rpath ${foo}/lib:${dirOf stdenv.cc.bintools.dynamicLinker} "$out/bin/program"
    }
  '';
  autoPatchelf = hook ''
    ${change}
    autoPatchelfPostFixup() { [[ -n ''${dontAutoPatchelf-} ]] || otherChange; }
    postFixupHooks+=(autoPatchelfPostFixup)
  '';
  late = hook ''
    ${change}
    addLate() { postFixupHooks+=(otherChange); }
    preFixupHooks+=(addLate)
  '';
"#;

/// A package with `attributes`, and hooks in this order.
fn with_hooks(hooks: &str, attributes: &str) -> String {
    let attributes =
        format!("buildInputs = [ foo ]; nativeBuildInputs = [ {hooks} ];\n{attributes}");
    let derivation = derivation("stdenv", &attributes);
    derivation.replacen("\nin\n", &format!("{OTHERS}\nin\n"), 1)
}

const WARNING: &str = "wrapBuddy: warning: autoPatchelfHook has changed the files before";

#[track_caller]
fn starts(store: &Store, expression: &str) -> String {
    let output = store.build(Arch::host(), expression).output().success();
    let path = output.stdout.trim();
    let root = store.closure_root(path);
    says(root.command(&format!("{path}/bin/program")).output());
    output.stderr
}

/// patchelf breaks a wrapped program.
#[test]
fn hooks_in_every_order() {
    let store = sample(Arch::host());
    for structured in [false, true] {
        for strict in [false, true] {
            let attributes = format!("__structuredAttrs = {structured}; strictDeps = {strict};");
            for hooks in ["wrapBuddyHook autoPatchelf", "autoPatchelf wrapBuddyHook"] {
                let said = starts(&store, &with_hooks(hooks, &attributes));
                assert!(said.contains(WARNING), "{said}");
                let disabled = format!("{attributes} dontAutoPatchelf = true;");
                let said = starts(&store, &with_hooks(hooks, &disabled));
                assert!(!said.contains(WARNING), "{said}");
                assert!(said.contains("/bin/program: wrapped"), "{said}");
            }
            for hooks in ["wrapBuddyHook late", "late wrapBuddyHook"] {
                let said = starts(&store, &with_hooks(hooks, &attributes));
                assert!(!said.contains(WARNING), "{said}");
            }
        }
    }
}

/// Files are changed in a phase after the fixup phase, in each output.
#[test]
fn changes_after_the_hook_fail_the_build() {
    let store = sample(Arch::host());
    let changes = [
        ("patchelf --set-rpath /none", "patchelf"),
        ("strip", "strip"),
        (
            "f() { rm \"$(dirname \"$1\")/.$(basename \"$1\").wrapbuddy\"; }; f",
            "sidecar",
        ),
    ];
    for (structured, strict, output) in [
        (false, false, "out"),
        (false, true, "lib"),
        (true, false, "lib"),
        (true, true, "out"),
    ] {
        let attributes = |change: &str| {
            format!(
                "outputs = [ \"out\" \"lib\" ];
                buildInputs = [ foo ];
                __structuredAttrs = {structured};
                strictDeps = {strict};
                postPhases = [ \"ownPhase\" ];
                ownPhase = \"echo own phase\";
                installPhase = ''
                  mkdir -p $out/bin $lib/bin
                  cp ${{/files/program}} $out/bin/program
                  cp ${{/files/program}} $lib/bin/program
                '';
                doInstallCheck = true;
                installCheckPhase = ''
                  {change}
                '';"
            )
        };
        let build = |change: &str| {
            let expression = derivation("stdenv", &attributes(change));
            store.build(Arch::host(), &expression).output()
        };
        let unchanged = build("true").success();
        assert!(unchanged.stderr.contains("own phase"), "{unchanged}");
        for (change, name) in changes {
            let built = build(&format!("{change} \"${output}/bin/program\""));
            assert_ne!(built.status, Some(0), "{name}: {built}");
            let error = "wrapBuddy: error: a later step has changed wrapped files";
            assert!(built.stderr.contains(error), "{name}: {built}");
        }
    }
}

/// The check is for packages that wrap something. Files that were wrapped by hand count too.
#[test]
fn packages_are_checked_if_they_wrap_something() {
    let store = sample(Arch::host());
    let attributes = "dontWrapBuddy = true; buildInputs = [ foo ];";
    let foreign = "postFixup = \"echo from elsewhere > $out/bin/.program.wrapbuddy\";";
    let package = derivation("stdenv", &format!("{attributes}{foreign}"));
    store.build(Arch::host(), &package).output().success();
    let by_hand = "postFixup = \"wrapBuddy $out/bin; strip $out/bin/program\";";
    let package = derivation("stdenv", &format!("{attributes}{by_hand}"));
    let output = store.build(Arch::host(), &package).output();
    assert_ne!(output.status, Some(0), "{output}");
    let error = "wrapBuddy: error: a later step has changed wrapped files: /nix/store/";
    assert!(output.stderr.contains(error), "{output}");
}
