//! A Java runtime: launchers of 12 KB open a virtual machine of 27 MB, which finds its needs by their DT_RPATH.

use e2e::{Libc, corpus};

use crate::layout::{Case, install_tree, root, wrap};

on!([x86_64 aarch64 x86_64_auto aarch64_auto]: java_and_keytool_share_a_keystore);
on!([x86_64 aarch64]: java_runs_once);

fn java_and_keytool_share_a_keystore(case: Case) {
    let root = root(case);
    install_tree(&root, &corpus::fetch("java", case.arch), "/app/java");
    // libjvm.so is opened with dlopen, needs librt.so.1, and has no search path of its own: it inherits DT_RPATH.
    for launcher in ["java", "keytool"] {
        wrap(case, &root, &format!("/app/java/bin/{launcher}"), &[]);
    }
    let store = ["-storepass", "changeit", "-keystore", "/app/keystore"];
    let generate = root
        .command("/app/java/bin/keytool")
        .args(["-genkeypair", "-alias", "wrapped"]);
    generate
        .args(["-keyalg", "EC", "-dname", "CN=wrapped"])
        .args(store)
        .output()
        .success();
    let list = root.command("/app/java/bin/java").arg("-m");
    let list = list
        .args(["java.base/sun.security.tools.keytool.Main", "-list"])
        .args(store);
    let list = list.output().success();
    assert!(
        list.stdout.contains("Your keystore contains 1 entry"),
        "{list}"
    );
    assert!(list.stdout.contains("PrivateKeyEntry"), "{list}");
    // Many of its libraries need libjvm.so, which is not on their search paths. The launchers have opened it before.
    let check = ["check", "--format", "json", "/app/java"];
    let check = root.wrap_buddy().args(check).output();
    let document: serde_json::Value = serde_json::from_str(&check.stdout).expect("JSON");
    let files = document["files"].as_array().expect("files");
    let libraries: Vec<_> = files
        .iter()
        .filter(|one| one["kind"] == "library")
        .collect();
    let by_launcher = |file: &&&serde_json::Value| {
        file["note_diagnoses"]
            .to_string()
            .contains("loaded-by-program")
    };
    assert!(libraries.iter().filter(by_launcher).count() > 5, "{check}");
    for library in libraries {
        // Libraries for windows need others that do not exist here.
        let problems = library["problems"].to_string();
        assert!(!problems.contains("libjvm.so"), "{library}");
    }
}

/// The launcher finds its libraries by the path of its executable.
fn java_runs_once(case: Case) {
    let root = root(case);
    install_tree(&root, &corpus::fetch("java", case.arch), "/app/java");
    let tool = root.tool_itself();
    let run = root.command(&tool).args(["run", "--search", "rpath"]);
    let run = run.args(["--interpreter", &root.interpreter(case.arch, Libc::Glibc)]);
    let libs = root.library_dirs().into_iter();
    let run = run.args(libs.flat_map(|dir| ["--libs".to_string(), dir]));
    let output = run.args(["/app/java/bin/java", "-version"]).output();
    let output = output.success();
    assert!(output.stderr.contains("openjdk version"), "{output}");
}
