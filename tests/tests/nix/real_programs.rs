//! Real programs in derivations, started from the store.

use e2e::{Arch, Root, Run, Store, corpus};

/// A program that was packaged.
struct Packaged {
    path: String,
    root: Root,
    _store: Store,
}

impl Packaged {
    /// Its program at `inside`, in a root with nothing but the closure of the package.
    fn command(&self, inside: &str) -> Run<'_> {
        self.root.command(&format!("{}/{inside}", self.path))
    }
}

/// Packages `name` of the corpus for `arch`.
fn packaged(name: &str, arch: Arch) -> Packaged {
    let store = Store::new(&[arch]);
    store.add_tree(&corpus::fetch(name, arch), name);
    let expression = format!(
        "stdenvNoCC.mkDerivation {{
          name = \"{name}\";
          nativeBuildInputs = [ wrapBuddyHook ];
          buildInputs = [ stdenv.cc.cc.lib ];
          installPhase = ''
            mkdir -p $out/bin
            cp -r ${{/files/{name}}} $out/bin/{name}
          '';
        }}"
    );
    let path = store.built(arch, &expression);
    let root = store.closure_root(&path);
    Packaged {
        path,
        root,
        _store: store,
    }
}

fn node_runs(arch: Arch) {
    let node = packaged("node", arch);
    let output = node
        .command("bin/node")
        .args(["-p", "[process.execPath, 6 * 7].join()"])
        .output()
        .success();
    assert_eq!(output.stdout, format!("{}/bin/node,42\n", node.path));
}

#[test]
fn node_on_x86_64() {
    node_runs(Arch::X86_64);
}

#[test]
fn node_on_aarch64() {
    node_runs(Arch::Aarch64);
}

#[test]
fn ruff_on_i686() {
    let ruff = packaged("ruff", Arch::I686);
    let output = ruff.command("bin/ruff").arg("--version").output().success();
    assert!(output.stdout.starts_with("ruff "), "{output}");
}

/// A tree of programs and libraries that find each other.
#[test]
fn java_on_x86_64() {
    let java = packaged("java", Arch::X86_64);
    let program = java.command("bin/java/bin/java");
    let output = program
        .args(["-Xshare:auto", "--version"])
        .output()
        .success();
    assert!(output.stdout.starts_with("openjdk "), "{output}");
}
