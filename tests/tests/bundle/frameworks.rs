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

/// Runs a QML file without a display. `conf` is the file that names plugins and modules, next to `program`.
fn runs_qml(packages: &[&str], program: &str, conf: &str) {
    let root = root_with(packages);
    made_in(&root, &[&format!("/usr/{program}"), "--exclude", "gconv"]);
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
    let conf = Path::new(program).with_file_name(conf);
    std::fs::remove_file(root.path(&format!("{at}/{}", conf.display()))).expect("remove a file");
    let output = qml();
    assert_ne!(output.status, Some(0), "{output}");
}

#[test]
fn qt_finds_plugins_and_qml_modules() {
    let packages = ["qml", "qml-module-qtquick2", "qml-module-qtquick-window2"];
    runs_qml(&packages, "lib/qt5/bin/qml", "qt.conf");
}

#[test]
fn qt_6_finds_plugins_and_qml_modules() {
    let packages = [
        "qml-qt6",
        "qml6-module-qtquick",
        "qml6-module-qtquick-window",
        "qml6-module-qtqml-workerscript",
    ];
    runs_qml(&packages, "lib/qt6/bin/qml", "qt6.conf");
}

/// gdk-pixbuf reads SVG with a module.
fn encodes_svg(package: &str, program: &str) {
    let root = root_with(&[package, "librsvg2-common", "shared-mime-info"]);
    let directory = "usr/lib/x86_64-linux-gnu/gdk-pixbuf-2.0";
    let query = format!("/{directory}/gdk-pixbuf-query-loaders");
    let cache = in_chroot(&root, &[&query]).stdout;
    root.write(&format!("/{directory}/2.10.0/loaders.cache"), cache);
    in_chroot(&root, &["/usr/bin/update-mime-database", "/usr/share/mime"]);
    made_in(&root, &[program, "--exclude", "gconv"]);
    let (root, at) = moved(&root.path("/out"));
    let svg = "<svg xmlns='http://www.w3.org/2000/svg' width='16' height='16'><rect width='16' height='16' fill='#bebebe'/></svg>";
    root.write("/app/work/a-symbolic.svg", svg);
    let encode = || run(&root, at, &format!("bin/{program}")).args(["a-symbolic.svg", "16x16"]);
    encode().output().success();
    let made = root.read("/app/work/a-symbolic.symbolic.png");
    assert!(made.starts_with(b"\x89PNG"), "{made:x?}");
    // Without the module, it cannot.
    let list = format!("{at}/lib/x86_64-linux-gnu/gdk-pixbuf-2.0/2.10.0/loaders.cache");
    root.write(&list, "");
    let output = encode().output();
    assert_ne!(output.status, Some(0), "{output}");
}

#[test]
fn gtk_finds_loaders_of_images() {
    encodes_svg("libgtk-3-bin", "gtk-encode-symbolic-svg");
}

#[test]
fn gtk_4_finds_loaders_of_images() {
    encodes_svg("libgtk-4-bin", "gtk4-encode-symbolic-svg");
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

/// The database of types, at a path that `file` does not have built in.
#[test]
fn file_finds_its_database() {
    let root = root_with(&["file"]);
    made_in(&root, &["file", "--exclude", "gconv"]);
    let (root, at) = moved(&root.path("/out"));
    root.write("/app/work/a", "\x1f\u{8b}");
    root.write("/app/work/script", "#!/bin/sh\n");
    let file = |program: &str| run(&root, at, program).args(["-b", "script"]).output();
    let output = file("bin/file").success();
    assert!(output.stdout.contains("shell script"), "{output}");
    // Without the launcher, it has none.
    let output = file(".bin.launched/file");
    assert!(!output.stdout.contains("shell script"), "{output}");
}

/// A pipeline of elements from plugins, one of which needs a library of its own.
#[test]
fn gstreamer_finds_plugins() {
    let root = root_with(&["gstreamer1.0-tools", "gstreamer1.0-plugins-base"]);
    made_in(&root, &["gst-launch-1.0", "--exclude", "gconv"]);
    let (root, at) = moved(&root.path("/out"));
    let pipeline =
        "audiotestsrc num-buffers=4 ! audioconvert ! vorbisenc ! oggmux ! filesink location=a.ogg";
    let launch = |program: &str| {
        let run = run(&root, at, program).args(["-q"]);
        run.args(pipeline.split(' ')).output()
    };
    launch("bin/gst-launch-1.0").success();
    assert!(root.read("/app/work/a.ogg").starts_with(b"OggS"));
    let output = launch(".bin.launched/gst-launch-1.0");
    assert_ne!(output.status, Some(0), "{output}");
}

/// Descriptions of libraries, which the introspection of Python reads.
#[test]
fn python_finds_typelibs() {
    let root = root_with(&["python3-gi", "gir1.2-glib-2.0"]);
    let modules = "/usr/lib/python3/dist-packages";
    made_in(
        &root,
        &["python3", "--include", modules, "--exclude", "gconv"],
    );
    let (root, at) = moved(&root.path("/out"));
    let script = "import gi; gi.require_version('Gio', '2.0'); from gi.repository import Gio, GLib; \
        print(Gio.File.new_for_path('/a/b').get_basename(), GLib.MAJOR_VERSION)";
    let python = run(&root, at, "bin/python3").args(["-B", "-c", script]);
    assert_eq!(python.output().success().stdout, "b 2\n");
}

/// A module of GIO, for TLS.
#[test]
fn gio_finds_modules() {
    let root = root_with(&["libglib2.0-bin", "glib-networking"]);
    made_in(&root, &["gio", "--exclude", "gconv"]);
    let (root, at) = moved(&root.path("/out"));
    // The module loads before the name is looked up, and without it, TLS is not available.
    let info = |program: &str| run(&root, at, program).args(["info", "-a", "standard::size", "."]);
    info("bin/gio").output().success();
    let traced = info("bin/gio").env("LD_DEBUG", "files").output();
    let module = format!("{at}/lib/x86_64-linux-gnu/gio/modules/");
    assert!(traced.stderr.contains(&module), "{traced}");
    let traced = info(".bin.launched/gio").env("LD_DEBUG", "files").output();
    assert!(!traced.stderr.contains(&module), "{traced}");
}
