//! Programs that unpack another one when they start, made by the packers themselves: `wrap` and `check` report them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Arch, corpus, run, tool};

/// The output of `check` and of a dry run on the program.
fn said(program: &Path) -> [String; 2] {
    let path = program.display().to_string();
    let check = run::on_host(tool::path(), &["check", &path]).success();
    // It starts here without wrapping.
    let wrap = ["--dry-run", "--force", "--loader-dir-path", "/none"];
    let wrap = [&wrap[..], &["--paths", &path]].concat();
    let wrap = run::on_host(tool::path(), &wrap).success();
    [check.stdout, wrap.stdout]
}

#[track_caller]
fn is_said(program: &Path, prints: &str, made_by: &str) {
    let output = run::on_host(program, &[]).success();
    assert_eq!(output.stdout, prints, "{output}");
    let said = said(program);
    assert!(said[0].contains("not checked in full"), "{}", said[0]);
    for text in said {
        let note = format!("{made_by} made it, and it unpacks ");
        assert!(
            text.contains(&note) && text.contains("wrap-buddy watch"),
            "{text}"
        );
    }
}

/// Packed by `pp` of Debian's libpar-packer-perl.
#[test]
fn par() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("hello");
    let mut packer = Command::new("pp");
    packer
        .args(["-e", "print qq(packed\\n)", "-o"])
        .arg(&program);
    let packed = packer.output().expect("pp; run: cargo xtask setup");
    assert!(packed.status.success(), "{packed:?}");
    is_said(&program, "packed\n", "PAR::Packer");
}

/// caxa's own stub, an archive, and the line at the end of the file, put together as by its `source/index.mts`.
#[test]
fn caxa() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = |name: &str| -> PathBuf { directory.path().join(name) };
    fs::create_dir(place("application")).expect("a directory");
    let script = place("application/hello");
    fs::write(&script, "#!/bin/sh\necho unpacked\n").expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    let archive = place("application.tgz");
    let mut tar = Command::new("tar");
    tar.arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(place("application"));
    assert!(tar.arg("hello").status().expect("tar").success());
    let mut bytes = fs::read(corpus::fetch("caxa-stub", Arch::X86_64)).expect("the stub");
    bytes.extend(fs::read(archive).expect("the archive"));
    let identifier = format!("wrap-buddy/{}", std::process::id());
    let footer = serde_json::json!({
        "identifier": identifier,
        "command": ["{{caxa}}/hello"],
    });
    bytes.extend(format!("\n{footer}").bytes());
    let program = place("hello");
    fs::write(&program, bytes).expect("the program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
    is_said(&program, "unpacked\n", "caxa");
    let left = std::env::temp_dir().join("caxa");
    for kind in ["applications", "locks"] {
        let _ = fs::remove_dir_all(left.join(kind).join(&identifier));
    }
}
