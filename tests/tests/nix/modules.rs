//! The modules for NixOS and home-manager.

use std::fs;

use e2e::{Arch, Store};
use serde_json::{Value, json};

use crate::flake::OVERRIDE;
use crate::shell::{block, clone};

const SETTINGS: &str = r#"
    programs.wrap-buddy = {
      enable = true;
      package = wrap-buddy;
      libraries = [ "/run/opengl-driver/lib" ];
      presets.mine = { paths = [ "~/mine" ]; exclude = [ "*.part" ]; };
      watch.editor.presets = [ "vscode-server" "mine" ];
      watch.tools = {
        directories = [ "%h/my tools" "/opt/$x" ];
        libraries = [ pkgs.hello-libraries "/opt/lib" ];
        extraFlags = [ "--strategy" "auto" ];
      };
    };
"#;

/// More for NixOS.
const SYSTEM: &str = r#"
    programs.wrap-buddy.watch.programs = {
      system = true;
      directories = [ "/srv/all programs" ];
    };
"#;

/// The packages, with one more that has a library.
const PACKAGES: &str = r#"
    pkgs = pkgs'.extend (final: _: {
      hello-libraries = final.runCommand "hello-libraries" { } "mkdir -p $out/lib; touch $out/lib/libhello.so.1";
    });
    inherit (pkgs) lib wrap-buddy;
"#;

fn in_nixpkgs(body: &str) -> String {
    let nixpkgs = e2e::store::nixpkgs();
    let system = e2e::store::system(Arch::host());
    format!(
        "(let
          pkgs' = (import {nixpkgs} {{ system = \"{system}\"; }}).extend (import /source/nix/overlay.nix);
          {PACKAGES}
        in {body})"
    )
}

/// A NixOS system with `settings`.
pub fn nixos(settings: &str) -> String {
    let nixpkgs = e2e::store::nixpkgs();
    in_nixpkgs(&format!(
        "(import {nixpkgs}/nixos/lib/eval-config.nix {{
          system = null;
          modules = [ /source/nix/module.nix {{ nixpkgs.pkgs = pkgs; }} {{ {settings} }} ];
        }}).config"
    ))
}

/// A home of home-manager, which is not in nixpkgs, with `settings`.
fn home(settings: &str) -> String {
    in_nixpkgs(&format!(
        "(lib.evalModules {{
          specialArgs = {{ inherit pkgs; }};
          modules = [
            /source/nix/home-module.nix
            {{ {settings} }}
            {{
              options = with lib; {{
                assertions = mkOption {{ type = types.listOf types.raw; }};
                home.packages = mkOption {{ type = types.listOf types.package; }};
                systemd.user.services = mkOption {{ type = types.attrsOf types.raw; }};
                xdg.dataHome = mkOption {{ default = \"/home/user/.local/share\"; }};
                xdg.dataFile = mkOption {{ type = types.attrsOf types.raw; }};
              }};
            }}
          ];
        }}).config"
    ))
}

/// Evaluates `what` of a configuration.
#[track_caller]
fn evaluate(store: &Store, config: &str, what: &str) -> Value {
    let expression = format!("let config = {config}; in {what}");
    let output = store
        .nix("nix-instantiate")
        .args(["--eval", "--strict", "--json", "-E", &expression])
        .output()
        .success();
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}; {output}"))
}

/// The words of a service's command, without quotes, and with store paths without their hash.
fn words(command: &Value) -> Vec<String> {
    let text = command.as_str().expect("a command");
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let words = inner.expect("quoted words").split("\" \"");
    let short = words.map(|word| match word.strip_prefix("/nix/store/") {
        Some(path) => path.split_once('-').expect("a hash").1.to_owned(),
        None => word.to_owned(),
    });
    short.collect()
}

const TOOL: &str = concat!("wrap-buddy-", env!("CARGO_PKG_VERSION"), "/bin/wrap-buddy");

fn editor(links: &str) -> Vec<String> {
    let (ld_so, loaders) = (linker(links), format!("{links}/loaders"));
    let libs = format!("{links}/lib-editor");
    let words = [
        TOOL,
        "watch",
        "--libs",
        &libs,
        "/run/opengl-driver/lib",
        "--interpreter",
        &ld_so,
        "--loader-dir-path",
        &loaders,
        "--preset",
        "vscode-server",
        "--preset",
        "mine",
        "--config",
        "wrap-buddy-watch.toml",
    ];
    words.map(str::to_owned).to_vec()
}

fn tools(links: &str) -> Vec<String> {
    let (ld_so, loaders) = (linker(links), format!("{links}/loaders"));
    let libs = format!("{links}/lib-tools");
    let words = [
        TOOL,
        "watch",
        "%h/my tools",
        "/opt/$$x",
        "--libs",
        &libs,
        "/run/opengl-driver/lib",
        "/opt/lib",
        "--interpreter",
        &ld_so,
        "--loader-dir-path",
        &loaders,
        "--strategy",
        "auto",
    ];
    words.map(str::to_owned).to_vec()
}

fn linker(links: &str) -> String {
    format!("{links}/linker/{}", Arch::host().ld_so())
}

/// The settings that confine the unit in docs/watch.md with `setting`, from there to the end of its section.
fn confining(setting: &str) -> Vec<(String, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/watch.md");
    let page = fs::read_to_string(page).expect("a page");
    let (_, unit) = page.split_once(setting).expect("a unit");
    let (unit, _) = unit.split_once("\n\n").expect("the end of its settings");
    let unit = format!("{setting}{unit}");
    let lines = unit.lines().filter(|line| !line.starts_with('#'));
    let settings = lines.map(|line| line.split_once('=').expect("a setting"));
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    settings.collect()
}

/// Asserts that a service is confined as the unit in docs/watch.md.
#[track_caller]
fn is_confined(service: &Value, setting: &str) {
    let settings = confining(setting);
    assert!(settings.len() > 8, "{settings:?}");
    for (name, value) in settings.iter().filter(|one| one.0 != "ReadWritePaths") {
        assert_eq!(&service[name], value, "{name}");
    }
    let reload = service["ExecReload"].as_str().expect("a command");
    assert!(reload.ends_with("/bin/kill -HUP $MAINPID"), "{reload}");
    assert_eq!(service["Type"], "notify");
}

#[test]
fn nixos_module() {
    const LINKS: &str = "/run/current-system/sw/share/wrap-buddy";
    let store = Store::new(&[Arch::host()]);
    let config = nixos(&format!("{SETTINGS}{SYSTEM}"));
    let what = "{
      user = builtins.mapAttrs (_: unit: {
        inherit (unit) wantedBy serviceConfig unitConfig;
      }) { inherit (config.systemd.user.services) wrap-buddy-editor wrap-buddy-tools; };
      system = { inherit (config.systemd.services.wrap-buddy-programs) wantedBy serviceConfig; };
      installed = map (package: package.name) config.environment.systemPackages;
      linked = config.environment.pathsToLink;
      failed = builtins.filter (one: !one.assertion) config.assertions;
    }";
    let config = evaluate(&store, &config, what);
    let unit = &config["user"]["wrap-buddy-editor"];
    assert_eq!(words(&unit["serviceConfig"]["ExecStart"]), editor(LINKS));
    is_confined(&unit["serviceConfig"], "NoNewPrivileges=");
    assert_eq!(unit["wantedBy"], json!(["default.target"]));
    assert_eq!(unit["unitConfig"]["ConditionUser"], "!@system");
    let unit = &config["user"]["wrap-buddy-tools"];
    assert_eq!(words(&unit["serviceConfig"]["ExecStart"]), tools(LINKS));

    let unit = &config["system"];
    is_confined(&unit["serviceConfig"], "ProtectSystem=strict");
    let writable = &unit["serviceConfig"]["ReadWritePaths"];
    assert_eq!(writable, &json!(["\"/srv/all programs\""]));
    assert_eq!(unit["wantedBy"], json!(["multi-user.target"]));

    let has = |list: &str, name: &str| {
        let list = config[list].as_array().expect("a list");
        list.iter().any(|one| one.as_str() == Some(name))
    };
    assert!(has("linked", "/share/wrap-buddy"));
    assert!(has("installed", "wrap-buddy-share"), "{config}");

    let what = "config.systemd.user.services ? wrap-buddy-editor";
    let off = nixos("programs.wrap-buddy.watch.editor.presets = [ \"cursor\" ];");
    assert_eq!(evaluate(&store, &off, what), json!(false));
}

#[test]
fn home_manager_module() {
    const LINKS: &str = "/home/user/.local/share/wrap-buddy/nix";
    let store = Store::new(&[Arch::host()]);
    let what = "{
      units = config.systemd.user.services;
      installed = map (package: package.pname) config.home.packages;
      links = config.xdg.dataFile.\"wrap-buddy/nix\".source.name;
    }";
    let config = evaluate(&store, &home(SETTINGS), what);
    let unit = &config["units"]["wrap-buddy-editor"];
    assert_eq!(words(&unit["Service"]["ExecStart"]), editor(LINKS));
    assert_eq!(unit["Install"]["WantedBy"], json!(["default.target"]));
    is_confined(&unit["Service"], "NoNewPrivileges=");
    assert!(unit["Unit"]["Description"].is_string());
    let unit = &config["units"]["wrap-buddy-tools"];
    assert_eq!(words(&unit["Service"]["ExecStart"]), tools(LINKS));
    assert_eq!(config["installed"][0], "wrap-buddy");
    assert_eq!(config["links"], "wrap-buddy-links");
}

/// The flake of a machine on the page, without the overlay.
#[test]
fn the_machine_on_the_page_has_a_service() {
    let store = Store::new(&[Arch::host()]);
    clone(&store);
    let root = store.root();
    root.write("/files/machine/flake.nix", block("NixOS and home-manager"));
    root.write("/files/machine/configuration.nix", "{ }");
    let lock = store
        .nix("nix")
        .args(["flake", "lock", "path:/files/machine"]);
    lock.args(OVERRIDE).output().success();
    let service = "nixosConfigurations.machine.config.systemd.user.services.wrap-buddy-editor";
    let command = format!("path:/files/machine#{service}.serviceConfig.ExecStart");
    let eval = store.nix("nix").args(["eval", "--raw", &command]);
    let output = eval.output().success();
    assert!(
        output.stdout.contains("\"--preset\" \"vscode-server\""),
        "{output}"
    );
}

/// The messages of assertions that fail.
#[test]
fn mistakes_are_reported() {
    let store = Store::new(&[Arch::host()]);
    let what = "map (one: one.message) (builtins.filter (one: !one.assertion
        && pkgs'.lib.hasPrefix \"programs.wrap-buddy\" one.message) config.assertions)";
    let packages = in_nixpkgs("pkgs'");
    let what = format!("let pkgs' = {packages}; in {what}");
    for (settings, expected) in [
        ("watch.idle = { };", "watch.idle: neither"),
        (
            "watch.\"a b\".directories = [ \"/a\" ];",
            "watch.a b: the name",
        ),
        (
            "watch.a.presets = [ \"vscode\" ];",
            "watch.a.presets: there is no preset vscode; use one of ",
        ),
        (
            "watch.a = { system = true; directories = [ \"%h/a\" ]; };",
            "watch.a: a service of the system needs",
        ),
        (
            "watch.a = { system = true; presets = [ \"cursor\" ]; };",
            "watch.a: a service of the system needs",
        ),
    ] {
        let settings = format!("programs.wrap-buddy = {{ enable = true; {settings} }};");
        let messages = evaluate(&store, &nixos(&settings), &what);
        let messages = messages.as_array().expect("a list");
        assert_eq!(messages.len(), 1, "{messages:?}");
        let message = messages[0].as_str().expect("a message");
        let expected = format!("programs.wrap-buddy.{expected}");
        assert!(message.starts_with(&expected), "{message}");
    }
}
