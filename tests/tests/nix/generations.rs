//! Programs outside the store, after an update of the system and a garbage collection.

use std::fs;
use std::os::unix::fs::symlink;

use e2e::{Arch, Store, says};

use crate::modules::nixos;
use crate::vendor;

const HOME: &str = "/files/home";
const CURRENT: &str = "/run/current-system";

/// One more service, for a directory with the program.
const SETTINGS: &str = r#"
    programs.wrap-buddy = {
      enable = true;
      presets.mine.paths = [ "/files/home/t*" ];
      watch.tools = {
        presets = [ "mine" ];
        libraries = [
          (pkgs.runCommand "foo" { } "mkdir -p $out/lib; cp ${/files/libfoo.so} $out/lib/libfoo.so")
        ];
      };
    };
"#;

/// Builds the part of a system that is in its profile, and makes it the current one. Returns its store path.
fn switch(store: &Store) -> String {
    let root = store.root();
    let expression = format!(
        "builtins.head (builtins.filter (one: one.name == \"wrap-buddy-share\") {}.environment.systemPackages)",
        nixos(SETTINGS)
    );
    let build = store.nix("nix-build").args(["-E", &expression]);
    let build = build.args(["--out-link", "/nix/var/nix/gcroots/system"]);
    build.output().success();
    let path = fs::read_link(root.path("/nix/var/nix/gcroots/system"));
    let path = path.expect("a link of nix-build");
    let current = root.path(&format!("{CURRENT}/sw"));
    let _ = fs::remove_file(&current);
    root.mkdir(CURRENT);
    symlink(&path, current).expect("symlink");
    path.to_string_lossy().into_owned()
}

/// Makes the next generation have everything at other paths.
pub fn update(store: &Store) {
    let machine = store.root().path("/stand-in/machine/default.nix");
    let text = fs::read_to_string(&machine).expect("it was written");
    let renamed = text.replace("name = \"glibc-", "name = \"new-glibc-");
    assert_ne!(text, renamed);
    fs::write(&machine, renamed).expect("it can be written");
}

#[test]
fn programs_in_a_home_directory_survive() {
    let arch = Arch::host();
    let store = vendor::sample(arch);
    let root = store.root();
    let old = switch(&store);
    root.install(
        &root.path("/files/program"),
        &format!("{HOME}/tools/program"),
    );

    // Nix writes the file of presets when it builds a file that refers to it.
    let expression = format!(
        "let inherit ({}) nixpkgs systemd; in nixpkgs.pkgs.writeText \"command\" systemd.user.services.wrap-buddy-tools.serviceConfig.ExecStart",
        nixos(SETTINGS)
    );
    let build = store
        .nix("nix-build")
        .args(["--no-out-link", "-E", &expression]);
    let file = build.output().success().stdout;
    let quoted = String::from_utf8(root.read(file.trim())).expect("UTF-8");
    let parts = shlex::split(quoted.trim()).expect("quoted words");
    let (tool, arguments) = parts.split_first().expect("a program");
    let watch = store.shell(root.command(tool)).args(arguments);
    let output = watch.arg("--once").output().success();
    assert!(output.stdout.contains("program: wrapped"), "{output}");

    update(&store);
    let new = switch(&store);
    assert_ne!(old, new);
    store.nix("nix-store").arg("--gc").output().success();
    assert!(!root.path(&old).exists(), "{old}");

    let closure = store.closure_root(&new);
    closure.bind(&root.path(HOME), HOME);
    closure.mkdir(CURRENT);
    symlink(&new, closure.path(&format!("{CURRENT}/sw"))).expect("symlink");
    says(closure.command(&format!("{HOME}/tools/program")).output());
}
