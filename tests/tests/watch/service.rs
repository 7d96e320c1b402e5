//! The unit of the documentation, run by systemd.

use std::fs;
use std::path::Path;

use e2e::{run, tool};

use crate::{HOST, hello};

/// The unit as docs/watch.md has it, with the path of the tool; and more words for it.
fn unit(words: &str) -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/watch.md"));
    let page = page.expect("it is there");
    let (_, behind) = page.split_once("```ini\n").expect("a unit");
    let (unit, _) = behind.split_once("```").expect("its end");
    assert!(
        unit.contains(
            "\nExecStart=/path/to/wrap-buddy watch --preset vscode-server --libs /opt/lib "
        )
    );
    let start = format!("{} watch {words} --preset", tool::path().display());
    unit.replace("/path/to/wrap-buddy watch --preset", &start)
}

fn home_with(unit: &str) -> tempfile::TempDir {
    let home = tempfile::Builder::new().prefix("service").tempdir();
    let home = home.expect("a temporary directory");
    let units = home.path().join(".config/systemd/user");
    fs::create_dir_all(&units).expect("create");
    fs::write(units.join("wrap-buddy.service"), unit).expect("write");
    home
}

fn verify(unit: &Path, kind: &str) -> String {
    let file = unit.to_str().expect("UTF-8");
    let run =
        format!("mkdir -p $0 && XDG_RUNTIME_DIR=$0 systemd-analyze verify --man=no {kind} {file}");
    let runtime = unit.with_file_name("runtime");
    let output = run::on_host("sh", &["-c", &run, runtime.to_str().expect("UTF-8")]);
    output.success().stderr
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let home = home_with(&unit(""));
    let file = home.path().join(".config/systemd/user/wrap-buddy.service");
    for kind in ["--user", "--system"] {
        assert_eq!(verify(&file, kind), "", "{kind}");
    }
    // It would tell.
    fs::write(&file, unit("").replace("=notify", "=notiffy")).expect("write");
    assert!(verify(&file, "--user").contains("notiffy"));
}

/// Ready when what was there is wrapped; reloaded, started anew after a crash, and stopped well.
#[test]
fn a_manager_of_services_runs_it() {
    // The programs start here as they are. Quoted as nix/watch.nix does it: systemd is to pass on a space, a dollar sign, and its own %h filled in.
    let home = home_with(&unit(r#"--force "%h/my tools" "%h/$$x""#));
    let built = hello(HOST);
    let inside = |name: &str| home.path().join(name);
    for name in [".vscode-server/bin/node", "my tools/one", "$x/two"] {
        let path = inside(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("create");
        fs::copy(&built, &path).expect("copy");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/watch/service.sh");
    let namespaces = [
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--propagation",
        "private",
    ];
    let command = ["bash", script, home.path().to_str().expect("UTF-8")];
    let output = run::on_host("unshare", &[&namespaces[..], &command].concat()).success();
    let expected = "start=yes
started.ActiveState=active
started.StatusText=3 files wrapped or edited, 0 failed
started.Type=notify
wrapped=when ready
reload=yes
reloaded.ActiveState=active
stop=yes
stopped.ActiveState=inactive
stopped.Result=success
stopped.ExecMainStatus=0
";
    assert_eq!(output.stdout, expected, "{output}");
    for name in ["my tools/.one.wrapbuddy", "$x/.two.wrapbuddy"] {
        assert!(inside(name).exists(), "{name}");
    }
}
