//! ruff and uv, the Rust programs that Python projects install from wheels.

use e2e::{Root, corpus};

use crate::layout::{Case, root, wrap};

on!([x86_64 i686 aarch64 x86_64_auto i686_auto aarch64_auto riscv64 riscv64_auto armv7 armv7_auto i686_embedded aarch64_embedded riscv64_embedded armv7_embedded]: ruff_checks_and_formats);
on!([x86_64 i686 x86_64_auto i686_auto riscv64 armv7]: uv_edits_and_exports_a_project);

fn ruff_checks_and_formats(case: Case) {
    let root = root(case);
    let ruff = root.install(&corpus::fetch("ruff", case.arch), "/app/venv/bin/ruff");
    wrap(case, &root, &ruff, &[]);
    root.write("/app/src/module.py", "import os\n\nprint( 'x' )\n");
    let run = |command: &str| {
        root.command(&ruff)
            .args([command, "--isolated", "--no-cache"])
            .cwd("/app/src")
    };

    let check = run("check")
        .args(["--output-format", "json", "."])
        .output()
        .exits_with(1);
    let findings: serde_json::Value = serde_json::from_str(&check.stdout).expect("JSON");
    let codes = findings
        .as_array()
        .expect("a list")
        .iter()
        .map(|finding| &finding["code"]);
    assert!(
        codes.clone().any(|code| code == "F401"),
        "unused import; {check}"
    );

    run("check").args(["--fix", "."]).output().success();
    run("format").arg(".").output().success();
    assert_eq!(root.read("/app/src/module.py"), b"print(\"x\")\n");
}

fn uv_edits_and_exports_a_project(case: Case) {
    let root = root(case);
    let programs = corpus::fetch("uv", case.arch);
    for name in ["uv", "uvx"] {
        let program = root.install(&programs.join(name), &format!("/app/venv/bin/{name}"));
        wrap(case, &root, &program, &[]);
    }
    work_with_uv(&root);
    // uvx only executes the uv next to it.
    let version = root
        .command("/app/venv/bin/uvx")
        .arg("--version")
        .output()
        .success();
    assert!(version.stdout.starts_with("uvx "), "{version}");
}

/// uv's wheel for aarch64 works with glibc and with musl, because it is linked statically: there is nothing to wrap.
#[test]
fn static_uv_is_left_alone() {
    let case = Case::named("aarch64");
    let root = root(case);
    let uv = root.install(
        &corpus::fetch("uv", case.arch).join("uv"),
        "/app/venv/bin/uv",
    );
    let before = root.read(&uv);
    let output = root.wrap(&uv).run();
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains("static"), "{output}");
    assert!(root.read(&uv) == before, "a skipped file was changed");
    assert!(!root.path("/app/venv/bin/.uv.wrapbuddy").exists());
    work_with_uv(&root);
}

/// Commands that need neither a network nor an interpreter.
fn work_with_uv(root: &Root) {
    root.write("/app/demo/pyproject.toml", PROJECT);
    root.write("/app/demo/uv.lock", LOCK);
    root.write(
        "/app/demo/helper/pyproject.toml",
        "[project]\nname = \"helper\"\nversion = \"0.1.0\"\n",
    );
    let uv = || {
        let options = ["--offline", "--no-cache", "--no-config"];
        root.command("/app/venv/bin/uv")
            .env("HOME", "/tmp")
            .cwd("/app/demo")
            .args(options)
    };
    let tree = uv()
        .args(["tree", "--frozen", "--universal"])
        .output()
        .success();
    assert!(tree.stdout.contains("helper v0.1.0"), "{tree}");
    let export = uv()
        .args(["export", "--frozen", "--no-header"])
        .output()
        .success();
    assert!(export.stdout.starts_with("./helper\n"), "{export}");
    uv().args(["version", "--bump", "minor", "--frozen"])
        .output()
        .success();
    let project = String::from_utf8(root.read("/app/demo/pyproject.toml")).expect("UTF-8");
    assert_eq!(project, PROJECT.replace("1.2.3", "1.3.0"));
}

const PROJECT: &str = r#"[project]
name = "demo"
version = "1.2.3"
requires-python = ">=3.9"
dependencies = ["helper"]

[tool.uv.sources]
helper = { path = "helper" }
"#;

const LOCK: &str = r#"version = 1
revision = 3
requires-python = ">=3.9"

[[package]]
name = "demo"
version = "1.2.3"
source = { virtual = "." }
dependencies = [
    { name = "helper" },
]

[package.metadata]
requires-dist = [{ name = "helper", directory = "helper" }]

[[package]]
name = "helper"
version = "0.1.0"
source = { directory = "helper" }
"#;
