//! Evaluates and builds the flake, its modules and its template with the stand-in as nixpkgs.

use std::fs;

use e2e::{Arch, Store, corpus};
use serde_json::Value;

use crate::vendor;

/// Makes the flake use the stand-in.
const OVERRIDE: [&str; 3] = ["--override-input", "nixpkgs", "path:/stand-in"];

#[test]
fn every_file_parses() {
    let store = Store::new(&[]);
    for dir in [
        "/source",
        "/source/nix",
        "/source/nix/template",
        "/stand-in",
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

#[test]
fn every_output_evaluates() {
    let store = Store::new(&Arch::ALL);
    let show = store
        .nix("nix")
        .args([
            "flake",
            "show",
            "--json",
            "path:/source",
            "--no-write-lock-file",
        ])
        .args(OVERRIDE)
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
            ["default", "wrap-buddy", "wrapBuddyHook"]
        );
        assert_eq!(names("devShells"), ["default"]);
        assert_eq!(
            names("checks"),
            ["in-place", "package", "program", "structured-attributes"]
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
        .args(OVERRIDE);
    check.output().success();
}

#[test]
fn its_checks_pass() {
    let store = Store::new(&[Arch::host()]);
    for name in ["package", "program", "structured-attributes", "in-place"] {
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
    let edited = text.replace("\"github:OWNER/wrap-buddy\"", "\"path:/source\"");
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

/// The lines of unit files that systemd executes.
const SETTINGS: &str = r#"
    programs.wrap-buddy = {
      enable = true;
      package = pkgs.wrap-buddy;
      watch.editor = {
        presets = [ "vscode-server" "jetbrains" ];
        libraries = [ ];
      };
      watch.tools = {
        directories = [ "%h/my tools" "/opt/$x" ];
        extraFlags = [ "--strategy" "auto" ];
      };
    };
"#;

/// Evaluates a module with `settings`, then `what` of its `config`.
fn module(store: &Store, module: &str, settings: &str, what: &str) -> Value {
    let others = "systemd.user.services environment.systemPackages home.packages assertions";
    let options: String = others
        .split(' ')
        .map(|name| {
            format!("{name} = lib.mkOption {{ type = lib.types.anything; default = {{ }}; }};")
        })
        .collect();
    let expression = e2e::store::in_scope(
        Arch::host(),
        &format!(
            "let
              pkgs = {{ inherit wrap-buddy stdenv callPackage; }};
              evaluated = lib.evalModules {{
                specialArgs = {{ inherit pkgs; }};
                modules = [
                  /source/nix/{module}
                  {{ options = {{ {options} }}; }}
                  {{ config = {{ {settings} }}; }}
                ];
              }};
            in ({what}) evaluated.config"
        ),
    );
    let output = store
        .nix("nix-instantiate")
        .args(["--eval", "--strict", "--json", "-E", &expression])
        .output()
        .success();
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}; {output}"))
}

/// The command of a service, with store paths without their hash.
fn command(value: &Value) -> String {
    let text = value.as_str().expect("a command");
    let mut parts = text.split("/nix/store/");
    let mut short = parts.next().unwrap_or_default().to_string();
    for part in parts {
        short.push_str(part.split_once('-').expect("a hash").1);
    }
    short
}

const TOOL: &str = concat!(
    "\"wrap-buddy-",
    env!("CARGO_PKG_VERSION"),
    "/bin/wrap-buddy\" \"watch\""
);

fn editor() -> String {
    format!("{TOOL} \"--preset\" \"vscode-server\" \"--preset\" \"jetbrains\"")
}

fn tools() -> String {
    let gcc = format!("gcc-{}/lib", Arch::host().name());
    format!("{TOOL} \"%h/my tools\" \"/opt/$$x\" \"--libs\" \"{gcc}\" \"--strategy\" \"auto\"")
}

#[test]
fn nixos_module() {
    let store = Store::new(&[Arch::host()]);
    let what = "config: {
      units = config.systemd.user.services;
      installed = map (package: package.pname) config.environment.systemPackages;
      failed = builtins.filter (one: !one.assertion) config.assertions;
    }";
    let config = module(&store, "module.nix", SETTINGS, what);
    let editor_unit = &config["units"]["wrap-buddy-editor"];
    assert_eq!(
        command(&editor_unit["serviceConfig"]["ExecStart"]),
        editor()
    );
    assert_eq!(editor_unit["serviceConfig"]["Type"], "notify");
    is_confined(&editor_unit["serviceConfig"]);
    assert_eq!(editor_unit["wantedBy"][0], "default.target");
    let tools_unit = &config["units"]["wrap-buddy-tools"];
    assert_eq!(command(&tools_unit["serviceConfig"]["ExecStart"]), tools());
    assert_eq!(config["installed"][0], "wrap-buddy");
    assert_eq!(config["failed"], serde_json::json!([]));

    let nothing = "programs.wrap-buddy = { enable = true; watch.idle = { }; };";
    let config = module(&store, "module.nix", nothing, what);
    let message = config["failed"][0]["message"].as_str().expect("a message");
    assert!(message.contains("watch.idle"), "{message}");

    let config = module(
        &store,
        "module.nix",
        "",
        "config: config.systemd.user.services",
    );
    assert_eq!(config, serde_json::json!({}), "not enabled");
}

/// The settings that confine the unit in docs/watch.md.
fn confining() -> Vec<(String, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/watch.md");
    let page = fs::read_to_string(page).expect("a page");
    let (_, unit) = page.split_once("NoNewPrivileges=").expect("a unit");
    let (unit, _) = unit.split_once("\n\n").expect("the end of its settings");
    let unit = format!("NoNewPrivileges={unit}");
    let settings = unit
        .lines()
        .map(|line| line.split_once('=').expect("a setting"));
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    settings.collect()
}

/// Asserts that a service is confined as the unit in docs/watch.md.
#[track_caller]
fn is_confined(service: &Value) {
    let settings = confining();
    assert!(settings.len() > 8, "{settings:?}");
    for (name, value) in settings {
        assert_eq!(service[&name], value, "{name}");
    }
}

#[test]
fn home_manager_module() {
    let store = Store::new(&[Arch::host()]);
    let what = "config: {
      units = config.systemd.user.services;
      installed = map (package: package.pname) config.home.packages;
    }";
    let config = module(&store, "home-module.nix", SETTINGS, what);
    let unit = &config["units"]["wrap-buddy-editor"];
    assert_eq!(command(&unit["Service"]["ExecStart"]), editor());
    assert_eq!(unit["Install"]["WantedBy"][0], "default.target");
    is_confined(&unit["Service"]);
    assert!(unit["Unit"]["Description"].is_string());
    let unit = &config["units"]["wrap-buddy-tools"];
    assert_eq!(command(&unit["Service"]["ExecStart"]), tools());
    assert_eq!(config["installed"][0], "wrap-buddy");
}
