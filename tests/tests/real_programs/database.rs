//! PostgreSQL with its bundled libraries: programs that start one another, and libraries that need libraries.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use e2e::{Edited, Root, Run, assert_fails_unwrapped, corpus};
use postgres::{Client, NoTls};

use crate::layout::{Case, ShortPath, check, eventually, install_tree, mkdir_for, root_with_shell};

on!([x86_64 i686 aarch64 x86_64_auto i686_auto aarch64_auto armv7 armv7_auto]: a_cluster_is_made_and_a_server_answers);

/// PostgreSQL refuses to run as root.
const USER: u32 = 1000;

const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

fn a_cluster_is_made_and_a_server_answers(case: Case) {
    let root = installed(case);
    let initdb =
        as_user(&root, "initdb").args(["-D", "/app/run/data", "-U", "tester", "--no-sync"]);
    let options = [
        "--encoding=UTF8",
        "--locale-provider=icu",
        "--icu-locale=und",
        "--locale=C",
    ];
    initdb.args(options).arg("--auth=trust").output().success();

    let single = as_user(&root, "postgres").args(["--single", "-D", "/app/run/data", "postgres"]);
    let query = "select 'sum ' || sum(n) || ' ' || upper('ä') from generate_series(1, 8) n\n";
    let output = single.stdin(query).output().success();
    assert!(output.stdout.contains("\"sum 36 Ä\""), "{output}");

    // pg_ctl leaves the server running. It ends with the PID namespace, when the shell ends.
    let start = "-w -D /app/run/data -l /app/run/log -o '-k /app/run -c listen_addresses='";
    let script = format!(
        "read go; /app/pg/bin/pg_ctl start {start} || exit; read go; /app/pg/bin/pg_ctl stop -w -D /app/run/data"
    );
    let shell = root
        .command("/bin/sh")
        .args(["-c", &script])
        .user(USER)
        .as_pid_1();
    let running = shell.stdin("go\n").spawn().expect("start the shell");
    let sockets = ShortPath::new(&root, "/app/run");
    let connect = || {
        let mut config = Client::configure();
        config
            .host_path(sockets.path())
            .user("tester")
            .dbname("postgres")
            .connect(NoTls)
            .ok()
    };
    let Some(mut client) = eventually(connect) else {
        let log = fs::read_to_string(root.path("/app/run/log")).unwrap_or_default();
        panic!(
            "no connection; {}\n--- server's log\n{log}",
            running.finish(Duration::ZERO)
        );
    };
    client
        .batch_execute(
            "create table t (n int primary key, word text); insert into t values (1, 'wrapped')",
        )
        .expect("create a table");
    let row = client
        .query_one("select word, n + $1 from t", &[&41])
        .expect("a row");
    assert_eq!((row.get(0), row.get(1)), ("wrapped", 42));
    // A library that the server opens with dlopen, and that needs others.
    client
        .batch_execute("create extension hstore")
        .expect("create an extension");
    let row = client
        .query_one("select ('a=>1'::hstore -> 'a')", &[])
        .expect("a row");
    assert_eq!(row.get::<_, &str>(0), "1");
    drop(client);
    let output = running.finish(Duration::from_secs(60)).success();
    assert!(output.stdout.contains("server stopped"), "{output}");
}

/// The package, wrapped as a whole.
fn installed(case: Case) -> Root {
    let root = root_with_shell(case);
    let package = corpus::fetch("postgres", case.arch);
    install_tree(&root, &package, "/app/pg");
    // npm packages cannot contain symlinks. This one lists those that its installation makes.
    let links = fs::read(package.join("pg-symlinks.json")).expect("the list of symlinks");
    let links: serde_json::Value = serde_json::from_slice(&links).expect("JSON");
    for link in links.as_array().expect("a list") {
        let [source, target] = ["source", "target"].map(|key| {
            let path = link[key].as_str().expect("a path");
            path.strip_prefix("native/").expect("a path in the package")
        });
        let (source_dir, source_name) = source.rsplit_once('/').expect("a path");
        assert_eq!(
            target.rsplit_once('/').map(|(dir, _)| dir),
            Some(source_dir)
        );
        symlink(source_name, root.path(&format!("/app/pg/{target}"))).expect("a symlink");
    }
    root.write(
        "/etc/passwd",
        format!("tester:x:{USER}:{USER}::/app/run:/bin/sh\n"),
    );
    mkdir_for(&root, "/app/run", USER);

    let paths = PROGRAMS.map(|name| format!("/app/pg/bin/{name}"));
    let originals = paths.each_ref().map(|path| {
        assert_fails_unwrapped(root.command(path));
        root.read(path)
    });
    let icu = "/app/pg/lib/libicuuc.so.60.2";
    let original = root.read(icu);
    // Some programs of extensions need the package's libraries and have no search path for them.
    let wrap = root.wrap("/app/pg").libs(["/app/pg/lib"]);
    let report = wrap.args(["--strategy", case.strategy()]).report();
    let report = report.success();
    for (path, original) in paths.iter().zip(originals) {
        check(case, &root, path, original, &report);
    }
    // ICU needs libstdc++ and finds it by itself: no program loads a library for another library.
    report.file(icu).is("edited", &[]);
    let icu = Edited::read(&root, icu, original);
    let needed = icu.dynamic("NEEDED");
    assert!(needed.contains(&"libstdc++.so.6".into()), "{needed:?}");
    for file in report.files() {
        assert_eq!(file.needed(), [""; 0], "{file:#?}");
    }
    root
}

fn as_user<'r>(root: &'r Root, program: &str) -> Run<'r> {
    // Without this, initdb compares every time zone with the system's, which takes seconds.
    root.command(&format!("/app/pg/bin/{program}"))
        .user(USER)
        .env("TZ", "UTC")
}
