//! The output of `--format json` and `json-lines` matches docs/schema.json.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use jsonschema::Validator;
use serde_json::Value;

use crate::fixture::*;

fn schema_file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema.json")
}

fn validator() -> Validator {
    let schema = fs::read_to_string(schema_file()).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap()
}

#[track_caller]
fn check(validator: &Validator, value: &Value) {
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

/// Runs a command, and returns its output.
fn output(format: &str, arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("wrap-buddy").unwrap();
    let output = command.args(arguments).args(["--format", format]);
    let output = output.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(errors, "", "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn document(arguments: &[&str]) -> Value {
    serde_json::from_str(&output("json", arguments)).unwrap()
}

fn lines(arguments: &[&str]) -> Vec<Value> {
    let output = output("json-lines", arguments);
    let lines = output.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn schema_is_up_to_date() {
    let expected = wrap_buddy::commands::json::schema();
    let expected = serde_json::to_value(&expected).unwrap();
    let written: Value = serde_json::from_str(&fs::read_to_string(schema_file()).unwrap()).unwrap();
    assert!(
        written == expected,
        "docs/schema.json is not up to date: cargo xtask schema"
    );
}

#[test]
fn documents_of_every_command_match_the_schema() {
    let validator = validator();
    let dir = TestDir::new();
    let main = dir.walk_through(Arch::X86_64, &[]);
    let source = "int bar(void); int plug(void) { return bar(); }";
    dir.compile(
        Arch::X86_64,
        "app/libplug.so",
        source,
        &["-shared", "-fPIC", "bar/lib/libbar.so.1"],
    );
    dir.compile(
        Arch::X86_64,
        "app/lacking",
        "int foo(void); int main(void) { return foo(); }",
        &["foo/lib/libfoo.so.1"],
    );
    dir.write("app/script", "#!/bin/sh\n");
    let path = |name: &str| dir.path(name).display().to_string();
    let (app, bar, foo) = (path("app"), path("bar/lib"), path("foo/lib"));
    let (loaders, main) = (path("loaders"), main.display().to_string());
    let with = |libs: &[&str], more: &[&str]| -> Vec<String> {
        let fixed = ["--loader-dir-path", &loaders, "--paths", &app, "--libs"];
        let all = fixed.iter().chain(libs).chain(more);
        all.map(|word| (*word).to_owned()).collect()
    };
    let steps: Vec<(&str, Vec<String>)> = vec![
        ("wrap", with(&[&bar], &["--dry-run"])),
        (
            "wrap",
            with(
                &[&bar, &foo],
                &["--dry-run", "-v", "--needed", "libfoo.so.1"],
            ),
        ),
        ("wrap", with(&[&bar, &foo], &[])),
        ("wrap", with(&[&bar, &foo], &[])),
        ("status", vec!["status".into(), app.clone(), "-v".into()]),
        ("check", vec!["check".into(), app.clone(), "-v".into()]),
        (
            "check",
            vec!["check".into(), "/none".into(), "--libs".into(), bar.clone()],
        ),
        ("show", vec!["show".into(), app.clone(), "-v".into()]),
        ("show", vec!["show".into(), main, "/none".into()]),
        (
            "restore",
            vec!["restore".into(), app.clone(), "--dry-run".into()],
        ),
        (
            "restore",
            vec!["restore".into(), app.clone(), "/none".into()],
        ),
    ];
    let settings = ["check", "--settings", &app, "--libs", &bar];
    for value in lines(&settings).into_iter().chain([document(&settings)]) {
        check(&validator, &value);
        assert_eq!(value["command"], "settings");
        assert_eq!(value["settings"][0]["name"], "libs");
        assert_eq!(value["settings"][0]["values"][0], *bar);
        assert_eq!(value["settings"][0]["source"], "flag");
        assert_eq!(value["settings"][1]["source"], "default");
    }
    for (command, arguments) in &steps {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // A run that changes files reports the changes only once.
        let repeatable =
            *command != "wrap" && *command != "restore" || arguments.contains(&"--dry-run");
        if repeatable {
            let lines = lines(&arguments);
            for line in &lines {
                check(&validator, line);
                assert_eq!(line["command"], *command, "{line:#}");
            }
            let document = document(&arguments);
            check(&validator, &document);
            assert_eq!(document["schema_version"], 1);
            agree(&lines, &document);
        } else {
            let document = document(&arguments);
            check(&validator, &document);
            assert_eq!(document["command"], *command);
        }
    }
}

#[test]
fn lines_of_a_watch() {
    let validator = validator();
    let dir = TestDir::new();
    dir.walk_through(Arch::X86_64, &[]);
    dir.compile(
        Arch::X86_64,
        "app/lacking",
        "int foo(void); int main(void) { return foo(); }",
        &["foo/lib/libfoo.so.1"],
    );
    let path = |name: &str| dir.path(name).display().to_string();
    let (app, bar, loaders) = (path("app"), path("bar/lib"), path("loaders"));
    let once = [
        "watch",
        &app,
        "--once",
        "--libs",
        &bar,
        "--loader-dir-path",
        &loaders,
    ];
    let output = output("json", &once);
    let lines = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let mut events: Vec<String> = Vec::new();
    for line in lines {
        check(&validator, &line);
        events.push(line["event"].as_str().unwrap().to_owned());
    }
    for event in ["file", "batch", "stopped"] {
        assert!(events.iter().any(|one| one == event), "{events:?}");
    }
}

/// Asserts that lines report the same files as the document, in any order, and have the same end.
fn agree(lines: &[Value], document: &Value) {
    let without = |value: &Value, names: &[&str]| -> Value {
        let mut value = value.clone();
        let fields = value.as_object_mut().unwrap();
        for name in names {
            fields.remove(*name);
        }
        value
    };
    let by_path = |files: &mut Vec<Value>| files.sort_by_key(|file| file["path"].to_string());
    let (last, files) = lines.split_last().unwrap();
    let mut files: Vec<Value> = files
        .iter()
        .map(|line| without(line, &["type", "command"]))
        .collect();
    let mut expected = document["files"].as_array().unwrap().clone();
    by_path(&mut files);
    by_path(&mut expected);
    assert_eq!(files, expected);
    assert_eq!(last["type"], "summary");
    assert_eq!(without(last, &["type"]), without(document, &["files"]));
}

/// A run that changes files reports each file once.
#[test]
fn lines_of_a_run_that_writes() {
    let validator = validator();
    let dir = TestDir::new();
    for number in 0..20 {
        let name = format!("app/main{number}");
        match number % 2 {
            0 => dir.compile(Arch::X86_64, &name, "int main(void) { return 0; }", &[]),
            _ => dir.write(&name, b"\x7fELF, or not"),
        };
    }
    let (app, loaders) = (dir.path("app"), dir.path("loaders"));
    let (app, loaders) = (app.to_str().unwrap(), loaders.to_str().unwrap());
    let wrapped = lines(&[
        "--force",
        "--paths",
        app,
        "--loader-dir-path",
        loaders,
        "-j",
        "4",
    ]);
    assert_eq!(wrapped.len(), 21);
    for line in &wrapped {
        check(&validator, line);
    }
    let count = |lines: &[Value], status: &str| {
        lines.iter().filter(|line| line["status"] == status).count()
    };
    assert_eq!(count(&wrapped, "wrapped"), 10);
    assert_eq!(wrapped[20]["summary"]["wrapped"], 10);
    // Files that do not change are reported before anything is written.
    assert!(wrapped[..10].iter().all(|line| line["status"] != "wrapped"));
    let restored = lines(&["restore", app]);
    assert_eq!(count(&restored, "restored"), 10);
    for line in &restored {
        check(&validator, line);
    }
}

#[test]
fn schema_refuses_unknown_fields() {
    let validator = validator();
    for wrong in [
        serde_json::json!({}),
        serde_json::json!({"schema_version": 1, "command": "wrap"}),
        serde_json::json!({"type": "file", "command": "status", "path": "x", "state": "fine"}),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}
