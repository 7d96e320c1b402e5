//! The unit in the documentation, run by systemd.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use e2e::{Driver, Output, Variant, debian, matrix, run, tool};
use nix::unistd::geteuid;

use crate::hello;

// The architectures of the tool. A systemd of the same architecture runs it.
matrix!([x86_64_glibc_pie aarch64_glibc_pie]: (system_unit_wraps_files_of_other_users, user_manager_runs_the_unit));

/// The unit in docs/watch.md, with the path of the tool and more arguments.
fn unit(tool: &str, words: &str) -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/watch.md"));
    let page = page.expect("it is there");
    let (_, behind) = page.split_once("```ini\n").expect("a unit");
    let (unit, _) = behind.split_once("```").expect("its end");
    assert!(
        unit.contains(
            "\nExecStart=/path/to/wrap-buddy watch --preset vscode-server --libs /opt/lib "
        )
    );
    let start = format!("{tool} watch {words} --preset");
    unit.replace("/path/to/wrap-buddy watch --preset", &start)
}

/// The system unit in docs/watch.md, with the path of the tool, and directories below the home.
fn system_unit(tool: &str) -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/watch.md"));
    let page = page.expect("it is there");
    let unit = page
        .split("```")
        .find(|part| part.contains("\nProtectSystem=strict"));
    let unit = unit.expect("a unit").trim_start_matches("ini\n");
    let start = format!("{tool} watch --force");
    unit.replace("/path/to/wrap-buddy watch", &start)
        .replace("/srv/programs", "%h/.vscode-server")
        .replace("/usr/local/lib/wrap-buddy", "%h/loaders")
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
fn unit_passes_systemd_analyze() {
    let tool = tool::path().display().to_string();
    let home = home_with(&unit(&tool, ""));
    let file = home.path().join(".config/systemd/user/wrap-buddy.service");
    for kind in ["--user", "--system"] {
        assert_eq!(verify(&file, kind), "", "{kind}");
    }
    // systemd-analyze reports a mistake.
    fs::write(&file, unit(&tool, "").replace("=notify", "=notiffy")).expect("write");
    assert!(verify(&file, "--user").contains("notiffy"));
}

/// The exposure that systemd computes, 2.6 with systemd 252, stays below 3.0.
#[test]
fn system_unit_is_confined() {
    let home = home_with(&system_unit(&tool::path().display().to_string()));
    let file = home.path().join(".config/systemd/user/wrap-buddy.service");
    assert_eq!(verify(&file, "--system"), "");
    let file = file.to_str().expect("UTF-8");
    let threshold = [
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=30",
        file,
    ];
    run::on_host("systemd-analyze", &threshold).success();
}

/// Names, owners, groups and modes.
const FILES: [(&str, u32, u32, u32); 5] = [
    ("bin/node", 0, 0, 0o755),
    ("bin/set-group-id", 0, 50, 0o2755),
    ("theirs/program", 1000, 1000, 0o755),
    ("theirs/read-only", 1000, 1000, 0o555),
    ("theirs/set-id", 1000, 1000, 0o4755),
];

/// The confined service wraps files of root and of another user, keeps their modes, and cannot write elsewhere.
fn system_unit_wraps_files_of_other_users(variant: Variant) {
    if !geteuid().is_root() {
        return e2e::skipped("a second user id takes root");
    }
    let Some(driver) = Driver::new(variant.arch) else {
        return;
    };
    // It ends with an error where the confinement lacks something.
    let confined = r#"[ -w %h/.vscode-server ] && ! [ -w %h ] && ! [ -w /proc/sys/vm/swappiness ] && [ "$$(stat -c %%a /proc/kmsg)" = 0 ]"#;
    let also = format!("[Service]\nExecStartPost=sh -c '{confined}'\n");
    let home = home_with(&system_unit(&driver.tool()).replace("[Service]\n", &also));
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).expect("chmod");
    let built = hello(variant);
    let inside = |name: &str| home.path().join(name);
    fs::create_dir(inside("loaders")).expect("create");
    for (name, owner, group, mode) in FILES {
        let path = inside(".vscode-server").join(name);
        let directory = path.parent().expect("a directory");
        fs::create_dir_all(directory).expect("create");
        fs::copy(&built, &path).expect("copy");
        for path in [directory, &path] {
            chown(path, Some(owner), Some(group)).expect("chown");
        }
        let private = Permissions::from_mode(if owner == 0 { 0o755 } else { 0o700 });
        fs::set_permissions(directory, private).expect("chmod");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
    }
    let output = run_by_systemd(&driver, home.path());
    let started = "started.ActiveState=active
started.StatusText=5 files wrapped or edited, 0 failed
";
    assert!(output.stdout.contains(started), "{output}");
    if !variant.arch.is_native() {
        // Another machine had the files.
        return;
    }
    for (name, owner, group, mode) in FILES {
        let path = inside(".vscode-server").join(name);
        assert!(fs::read(&path).ok() != fs::read(&built).ok(), "{name}");
        let sidecar = format!(".{}.wrapbuddy", name.rsplit('/').next().expect("a name"));
        let sidecar = fs::metadata(path.with_file_name(sidecar)).expect("a sidecar");
        let about = fs::metadata(&path).expect("it is there");
        assert_eq!(
            (about.uid(), about.mode() & 0o7777),
            (owner, mode),
            "{name}"
        );
        assert_eq!(sidecar.uid(), owner, "{name}");
        assert!(owner == 0 || sidecar.gid() == group, "{name}");
    }
}

/// The output of `service.sh` for the unit in `home`, run by a systemd in namespaces of its own.
fn run_by_systemd(driver: &Driver, home: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/watch/service.sh");
    let home = home.to_str().expect("UTF-8");
    let words = [
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--propagation",
        "private",
        "bash",
        script,
        home,
    ];
    let Some(mut machine) = driver.machine() else {
        return run::on_host("unshare", &words).success();
    };
    let system = tempfile::tempdir().expect("a temporary directory");
    let packages = [
        "systemd",
        "dash",
        "bash",
        "procps",
        "mount",
        "util-linux",
        "findutils",
        "coreutils",
    ];
    debian::unpack_of(driver.arch(), &packages, system.path());
    let path = |name: &str| system.path().join(name);
    fs::set_permissions(path(""), Permissions::from_mode(0o755)).expect("chmod");
    // systemd needs terminals for PrivateDevices=.
    for name in ["dev/pts", "dev/shm", "sys/fs/cgroup"] {
        fs::create_dir_all(path(name)).expect("create");
    }
    symlink("pts/ptmx", path("dev/ptmx")).expect("a symlink");
    machine.add(system.path(), "/");
    machine.add(Path::new(home), home);
    machine.add(Path::new(script), script);
    machine.set(["proc", "variable", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    machine.set(["argument", "unshare"]);
    for word in words {
        machine.set(["argument", word]);
    }
    machine.start("/usr/bin/unshare", 1).remove(0).success()
}

/// It is ready when existing files are wrapped, reloads, is restarted after a crash, and stops successfully.
fn user_manager_runs_the_unit(variant: Variant) {
    let Some(driver) = Driver::new(variant.arch) else {
        return;
    };
    // The programs start here without wrapping. The arguments are quoted as in nix/watch.nix: systemd has to pass a space and a
    // dollar sign, and to expand its own %h.
    let home = home_with(&unit(&driver.tool(), r#"--force "%h/my tools" "%h/$$x""#));
    let built = hello(variant);
    let inside = |name: &str| home.path().join(name);
    for name in [".vscode-server/bin/node", "my tools/one", "$x/two"] {
        let path = inside(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("create");
        fs::copy(&built, &path).expect("copy");
    }
    let output = run_by_systemd(&driver, home.path());
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
    if !variant.arch.is_native() {
        return;
    }
    for name in ["my tools/.one.wrapbuddy", "$x/.two.wrapbuddy"] {
        assert!(inside(name).exists(), "{name}");
    }
}
