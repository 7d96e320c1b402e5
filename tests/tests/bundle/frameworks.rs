//! Programs of Debian's packages that open much by themselves: plugins, modules and data, which the table of `bundle` has.

use std::os::unix::fs::chown;
use std::path::Path;

use e2e::run::on_host;
use e2e::{Output, Root, Run, corpus, debian};

use crate::debian::{SYSTEM, TIMEOUT, made_in, with_busybox};
use crate::place::{USER, copy, set_mode};

/// A root with only busybox and the bundle at `tree`, at a path with spaces and after two moves.
fn moved(tree: &Path) -> (Root, &'static str) {
    let root = Root::for_programs_of(&[SYSTEM]);
    with_busybox(&root);
    copy(tree, &root.path("/first"));
    let at = "/with some spaces/in it";
    root.mkdir("/with some spaces");
    for (from, to) in [("/first", "/second"), ("/second", at)] {
        std::fs::rename(root.path(from), root.path(to)).expect("move the bundle");
    }
    chown(root.mkdir("/app/work"), Some(USER), Some(USER)).expect("chown");
    (root, at)
}

/// `program` of the bundle at `at`, as a user who owns nothing but the current directory.
fn run<'r>(root: &'r Root, at: &str, program: &str) -> Run<'r> {
    let run = root.command(&format!("{at}/{program}")).user(USER);
    let run = run
        .env("HOME", "/app/work")
        .env("PATH", format!("{at}/bin:/bin"));
    run.cwd("/app/work").timeout(TIMEOUT)
}

fn root_with(packages: &[&str]) -> Root {
    let root = Root::for_programs_of(&[SYSTEM]);
    debian::unpack(packages, &root.path("/"));
    root
}

/// A program of the root with all its packages, as the scripts of packages start it.
fn in_chroot(root: &Root, args: &[&str]) -> Output {
    let top = root.path("/").display().to_string();
    on_host("chroot", &[&[&*top], args].concat()).success()
}

#[test]
fn qt_finds_plugins_and_qml_modules() {
    let root = root_with(&["qml", "qml-module-qtquick2", "qml-module-qtquick-window2"]);
    made_in(&root, &["/usr/lib/qt5/bin/qml", "--exclude", "gconv"]);
    let (root, at) = moved(&root.path("/out"));
    let source = "import QtQuick 2.15\nText { text: 'x'; Timer { interval: 1; running: true; onTriggered: { console.log('width', parent.width > 0); Qt.quit() } } }\n";
    root.write("/app/work/a.qml", source);
    let qml = || {
        let run = run(&root, at, "bin/qml").env("QT_QPA_PLATFORM", "offscreen");
        run.env("QT_QUICK_BACKEND", "software")
            .arg("a.qml")
            .output()
    };
    let output = qml().success();
    assert!(output.stderr.contains("qml: width true"), "{output}");
    // Without the file that names them, it finds nothing.
    std::fs::remove_file(root.path(&format!("{at}/lib/qt5/bin/qt.conf"))).expect("remove a file");
    let output = qml();
    assert_ne!(output.status, Some(0), "{output}");
}

/// gdk-pixbuf reads SVG with a module.
#[test]
fn gtk_finds_loaders_of_images() {
    let root = root_with(&["libgtk-3-bin", "librsvg2-common", "shared-mime-info"]);
    let directory = "usr/lib/x86_64-linux-gnu/gdk-pixbuf-2.0";
    let query = format!("/{directory}/gdk-pixbuf-query-loaders");
    let cache = in_chroot(&root, &[&query]).stdout;
    root.write(&format!("/{directory}/2.10.0/loaders.cache"), cache);
    in_chroot(&root, &["/usr/bin/update-mime-database", "/usr/share/mime"]);
    made_in(&root, &["gtk-encode-symbolic-svg", "--exclude", "gconv"]);
    let (root, at) = moved(&root.path("/out"));
    let svg = "<svg xmlns='http://www.w3.org/2000/svg' width='16' height='16'><rect width='16' height='16' fill='#bebebe'/></svg>";
    root.write("/app/work/a-symbolic.svg", svg);
    let encode = || run(&root, at, "bin/gtk-encode-symbolic-svg").args(["a-symbolic.svg", "16x16"]);
    encode().output().success();
    let made = root.read("/app/work/a-symbolic.symbolic.png");
    assert!(made.starts_with(b"\x89PNG"), "{made:x?}");
    // Without the module, it cannot.
    let list = format!("{at}/lib/x86_64-linux-gnu/gdk-pixbuf-2.0/2.10.0/loaders.cache");
    root.write(&list, "");
    let output = encode().output();
    assert_ne!(output.status, Some(0), "{output}");
}

/// A node that has its library inside. Debian's has it at an absolute path.
#[test]
fn node_runs_scripts() {
    let root = root_with(&["libstdc++6", "libatomic1"]);
    root.install(&corpus::fetch("node", SYSTEM.0), "/usr/bin/node");
    let script = "#!/usr/bin/env -S node --no-warnings\nconsole.log(require('../lib/words').say(process.argv.slice(2)))\n";
    root.write("/opt/app/bin/say", script);
    set_mode(&root.path("/opt/app/bin/say"), 0o755);
    root.write(
        "/opt/app/lib/words.js",
        "exports.say = (all) => all.join('+')\n",
    );
    made_in(&root, &["/opt/app/bin/say", "--exclude", "gconv"]);
    let (root, at) = moved(&root.path("/out"));
    let output = run(&root, at, "bin/say")
        .args(["a", "b"])
        .output()
        .success();
    assert_eq!(output.stdout, "a+b\n");
}

#[test]
fn ffmpeg_encodes() {
    let root = root_with(&["ffmpeg"]);
    // Links that a package's script would make.
    let libraries = root.path("usr/lib/x86_64-linux-gnu");
    for name in ["blas", "lapack"] {
        let library = format!("lib{name}.so.3");
        std::os::unix::fs::symlink(format!("{name}/{library}"), libraries.join(library))
            .expect("a link");
    }
    made_in(&root, &["ffmpeg", "--exclude", "gconv"]);
    let (root, at) = moved(&root.path("/out"));
    let args = [
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc=duration=1:size=64x64",
        "-c:v",
        "libx264",
        "a.mp4",
    ];
    run(&root, at, "bin/ffmpeg").args(args).output().success();
    assert!(root.read("/app/work/a.mp4").len() > 1000);
}

#[test]
fn java_finds_its_modules() {
    let root = root_with(&["openjdk-17-jre-headless"]);
    made_in(
        &root,
        &[
            "/usr/lib/jvm/java-17-openjdk-amd64/bin/java",
            "--exclude",
            "gconv",
        ],
    );
    let (root, at) = moved(&root.path("/out"));
    let output = run(&root, at, "bin/java")
        .arg("--list-modules")
        .output()
        .success();
    assert!(output.stdout.contains("java.base@17"), "{output}");
    let output = run(&root, at, "bin/java")
        .args(["-XshowSettings:properties", "-version"])
        .output()
        .success();
    let home = format!("java.home = {at}/lib/jvm/java-17-openjdk-amd64");
    assert!(output.stderr.contains(&home), "{output}");
}

#[test]
fn postgres_makes_and_queries_a_database() {
    let root = root_with(&["postgresql-15", "tzdata"]);
    made_in(
        &root,
        &[
            "/usr/lib/postgresql/15/bin/initdb",
            "/usr/lib/postgresql/15/bin/postgres",
            "--include",
            "/usr/share/zoneinfo/Etc",
            "--exclude",
            "gconv",
        ],
    );
    let (root, at) = moved(&root.path("/out"));
    root.write(
        "/etc/passwd",
        format!("tester:x:{USER}:{USER}::/app/work:/bin/sh\n"),
    );
    // Debian's build reads the time zones of the host.
    copy(
        &root.path(&format!("{at}/share/zoneinfo")),
        &root.mkdir("/usr/share").join("zoneinfo"),
    );
    run(&root, at, "bin/initdb")
        .args(["-D", "data", "--no-locale", "-E", "UTF8", "--no-sync"])
        .output()
        .success();
    let query = run(&root, at, "bin/postgres").args(["--single", "-D", "data", "postgres"]);
    let output = query.stdin("select 6 * 7 as answer;\n").output().success();
    assert!(output.stdout.contains("answer = \"42\""), "{output}");
}
