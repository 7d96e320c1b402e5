//! Evaluates and builds the flake, its modules and its template with the stand-in as nixpkgs.

use std::fs;
use std::path::Path;

use e2e::{Arch, Store, corpus};
use serde_json::Value;

use crate::vendor;

/// Makes the flake use the stand-in.
pub const OVERRIDE: [&str; 3] = ["--override-input", "nixpkgs", "path:/stand-in"];

#[test]
fn every_file_parses() {
    let store = Store::new(&[]);
    for dir in [
        "/source",
        "/source/nix",
        "/source/nix/template",
        "/stand-in",
        "/stand-in/nixos/lib",
    ] {
        let entries = fs::read_dir(store.root().path(dir)).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry of a directory").file_name());
        let names: Vec<String> = names
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        for name in names.iter().filter(|name| name.ends_with(".nix")) {
            let file = format!("{dir}/{name}");
            let parse = store.nix("nix-instantiate").args(["--parse", &file]);
            parse.output().success();
        }
    }
}

/// With the real nixpkgs that `WRAP_BUDDY_NIXPKGS` names, if it is set.
#[test]
fn every_output_evaluates() {
    let store = Store::new(&Arch::ALL);
    let nixpkgs = format!("path:{}", e2e::store::nixpkgs());
    let nixpkgs = ["--override-input", "nixpkgs", &nixpkgs];
    let show = store
        .nix("nix")
        .args([
            "flake",
            "show",
            "--json",
            "path:/source",
            "--no-write-lock-file",
        ])
        .args(nixpkgs)
        .output()
        .success();
    let shown: Value = serde_json::from_str(&show.stdout).expect("JSON");
    for arch in Arch::ALL {
        let system = e2e::store::system(arch);
        let names = |output: &str| {
            let outputs = shown[output][&system].as_object();
            let outputs = outputs.unwrap_or_else(|| panic!("{output} for {system}: {show}"));
            outputs.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(
            names("packages"),
            ["default", "wrap-buddy", "wrapBuddy", "wrapBuddyHook"]
        );
        assert_eq!(names("devShells"), ["default"]);
        let bundlers = format!("path:/source#bundlers.{system}");
        let names_of = ["eval", "--json", "--no-write-lock-file", &bundlers];
        let names_of = store.nix("nix").args(names_of).args(nixpkgs);
        let output = names_of.args(["--apply", "builtins.attrNames"]).output();
        assert_eq!(output.success().stdout.trim(), r#"["default","directory"]"#);
        assert_eq!(
            names("checks"),
            [
                "in-place",
                "nixos-module",
                "package",
                "program",
                "structured-attributes"
            ]
        );
    }
    let check = store
        .nix("nix")
        .args([
            "flake",
            "check",
            "--no-build",
            "path:/source",
            "--no-write-lock-file",
        ])
        .args(nixpkgs);
    check.output().success();
}

#[test]
fn its_checks_pass() {
    let store = Store::new(&[Arch::host()]);
    let package = ["package", "program", "structured-attributes", "in-place"];
    for name in package.into_iter().chain(["nixos-module"]) {
        let system = e2e::store::system(Arch::host());
        let check = format!("path:/source#checks.{system}.{name}");
        store
            .nix("nix")
            .args(["build", "--no-link", "--no-write-lock-file", &check])
            .args(OVERRIDE)
            .output()
            .success();
    }
}

/// The package has manual pages and completions at their usual paths, and loaders in an output of their own.
#[test]
fn package_is_complete() {
    let arch = Arch::host();
    let store = Store::new(&[arch]);
    let out = store.built(arch, "wrap-buddy");
    let inside = |path: &str| store.root().read(&format!("{out}/{path}"));
    let page = inside("share/man/man1/wrap-buddy-watch.1");
    assert!(String::from_utf8_lossy(&page).contains("wrap\\-buddy\\-watch"));
    for (path, text) in [
        ("bash-completion/completions/wrap-buddy", "complete -F"),
        ("zsh/site-functions/_wrap-buddy", "#compdef wrap-buddy"),
        (
            "fish/vendor_completions.d/wrap-buddy.fish",
            "complete -c wrap-buddy",
        ),
        (
            "nushell/vendor/autoload/wrap-buddy.nu",
            "export extern wrap-buddy",
        ),
    ] {
        let content = inside(&format!("share/{path}"));
        assert!(String::from_utf8_lossy(&content).contains(text), "{path}");
    }
    let programs = fs::read_dir(store.root().path(&format!("{out}/bin"))).expect("a directory");
    assert_eq!(programs.count(), 1);
    let loader = store.built(arch, "wrap-buddy.loader");
    for stage in stages::all() {
        let name = format!("loader-{}.v{}.bin", stage.name, sidecar::loader::ABI);
        let image = store
            .root()
            .read(&format!("{loader}/lib/wrap-buddy/{name}"));
        assert_eq!(image, stage.loader);
    }
    let link = store.root().path(&format!("{out}/lib/wrap-buddy"));
    let link = fs::read_link(link).expect("a link");
    assert_eq!(link, Path::new(&format!("{loader}/lib/wrap-buddy")));
    let usual = store
        .root()
        .read(&format!("{loader}/lib/wrap-buddy/loader.bin"));
    let host = stages::all().iter().find(|stage| stage.name == arch.name());
    assert_eq!(usual, host.expect("this machine's stages").loader);
}

/// nixpkgs has a pattern instead of the file name for musl.
#[test]
fn default_dynamic_linker_is_a_file() {
    let store = Store::new(&[]);
    for (cpu, linker, expected) in [
        ("x86_64", "/c/lib/ld-musl-*", "/c/lib/ld-musl-x86_64.so.1"),
        ("aarch64", "/c/lib/ld-musl-*", "/c/lib/ld-musl-aarch64.so.1"),
        ("i686", "/c/lib/ld-musl-*", "/c/lib/ld-musl-i386.so.1"),
        ("i686", "/c/lib/ld-linux.so.2", "/c/lib/ld-linux.so.2"),
    ] {
        let expression = format!(
            "import /source/nix/dynamic-linker.nix {{
              inherit (import {}) lib;
              stdenv.cc.bintools.dynamicLinker = \"{linker}\";
              stdenv.hostPlatform.parsed.cpu.name = \"{cpu}\";
            }}",
            format_args!("{} {{ }}", e2e::store::nixpkgs())
        );
        let eval = store.nix("nix-instantiate").args(["--eval", "--json"]);
        let output = eval.args(["-E", &expression]).output().success();
        assert_eq!(output.stdout.trim(), format!("\"{expected}\""));
    }
}

/// Without flakes.
#[test]
fn packages_build_and_the_shell_starts_with_channels() {
    let arch = Arch::host();
    let store = Store::new(&[arch]);
    let path = store.built(arch, "wrap-buddy");
    let channel = ["NIX_PATH", "nixpkgs=/stand-in"];
    for (name, expected) in [("wrap-buddy", Some(&path)), ("wrapBuddy", None)] {
        let build = store.nix("nix-build").args(["--no-out-link", "/source"]);
        let build = build.args(["-A", name]).env(channel[0], channel[1]);
        let output = build.output().success();
        let built = output.stdout.lines().next();
        assert!(expected.is_none_or(|path| built == Some(path)), "{output}");
    }
    let shell = store.nix("nix-shell").args(["/source/shell.nix", "--run"]);
    let shell = shell.arg("echo source: $WRAP_BUDDY_RUST_SRC");
    let output = shell.env(channel[0], channel[1]).output().success();
    assert!(output.stdout.contains("source: /nix/store/"), "{output}");
}

/// `nix flake init` with the template, then `nix build`: unedited, and with the one line changed that you have to change.
#[test]
fn template_builds_and_its_program_runs() {
    let arch = Arch::host();
    let store = Store::new(&[arch]);
    let wheel = corpus::fetch_archive("ruff", arch);
    let name = wheel.file_name().expect("a name").to_string_lossy();
    store
        .root()
        .install(&wheel, &format!("/stand-in/machine/wheels/{name}"));
    store.root().mkdir("/files/mine");
    // Without a network, a lock file has to name the stand-in as nixpkgs.
    let lock = store.nix("nix").args(["flake", "lock", "path:/source"]);
    lock.args(OVERRIDE).output().success();
    let init = store
        .nix("nix")
        .args(["flake", "init", "-t", "path:/source"]);
    init.cwd("/files/mine").output().success();
    for file in ["flake.nix", "package.nix"] {
        assert!(store.root().path(&format!("/files/mine/{file}")).exists());
    }

    let build = |more: &[&str]| {
        let build = store
            .nix("nix")
            .args(["build", "--json", "--no-link", "path:/files/mine"])
            .args(["--no-write-lock-file"])
            .args(OVERRIDE)
            .args(more.iter().copied())
            .output()
            .success();
        let built: Value = serde_json::from_str(&build.stdout).expect("JSON");
        let path = built[0]["outputs"]["out"].as_str();
        path.expect("a path").to_owned()
    };
    let path = &build(&["--override-input", "wrap-buddy", "path:/source"]);
    let flake = store.root().path("/files/mine/flake.nix");
    let text = fs::read_to_string(&flake).expect("it is there");
    let edited = text.replace("\"git+file:///path/to/wrap-buddy\"", "\"path:/source\"");
    assert_ne!(text, edited);
    fs::write(&flake, edited).expect("it can be written");
    assert_eq!(&build(&[]), path);
    let root = store.closure_root(path);
    let version = root.command(&format!("{path}/bin/ruff")).arg("--version");
    let output = version.output().success();
    assert!(output.stdout.starts_with("ruff "), "{output}");
}

/// `nix run URL -- …`, without an installation.
#[test]
fn it_runs_from_the_flake() {
    let arch = Arch::host();
    let store = vendor::sample(arch);
    let lock = store.nix("nix").args(["flake", "lock", "path:/source"]);
    lock.args(OVERRIDE).output().success();
    let foo = store.built(
        arch,
        "runCommand \"foo\" { } \"mkdir -p $out/lib; cp ${/files/libfoo.so} $out/lib/libfoo.so\"",
    );
    let run = store
        .nix("nix")
        .args(["run", "path:/source", "--", "--paths", "./program"]);
    let run = run.args(["--libs", &format!("{foo}/lib")]).cwd("/files");
    let output = run.output().success();
    assert!(output.stdout.contains("program: wrapped"), "{output}");
}

/// `nix bundle --bundler URL`: the program starts in a root without a store.
#[test]
fn bundlers_make_programs_that_need_no_store() {
    let arch = Arch::host();
    let store = vendor::sample(arch);
    let lock = store.nix("nix").args(["flake", "lock", "path:/source"]);
    lock.args(OVERRIDE).output().success();
    let package = vendor::program("meta.mainProgram = \"program\";");
    let package = e2e::store::in_scope(arch, &package);
    let path = store.built(arch, &vendor::program("meta.mainProgram = \"program\";"));
    let app = format!("{{ type = \"app\"; program = \"${{{package}}}/bin/program\"; }}");
    for (bundler, expression, program) in [
        ("path:/source", &package, ""),
        ("path:/source", &app, ""),
        ("path:/source#directory", &package, "/bin/program"),
    ] {
        let bundle = ["bundle", "--impure", "--bundler", bundler];
        let bundle = store.nix("nix").args(bundle).cwd("/files");
        let bundle = bundle.args(["--expr", expression, "-o", "result"]);
        bundle.output().success();
        let made = fs::read_link(store.root().path("/files/result")).expect("a link");
        fs::remove_file(store.root().path("/files/result")).expect("remove a link");
        let made = store.root().path(&made.to_string_lossy());
        let root = e2e::Root::for_programs_of(&[(arch, e2e::Libc::Glibc)]);
        let paths = [&made, &root.path("/app/made")].map(|path| path.display().to_string());
        e2e::run::on_host("cp", &["-a", &paths[0], &paths[1]]).success();
        let run = root.command(&format!("/app/made{program}"));
        e2e::says(run.env("HOME", "/tmp").output());
        assert!(!root.path(&path).exists());
    }
}
