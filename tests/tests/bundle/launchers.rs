//! Scripts, and programs with variables: a launcher starts them.

use std::os::unix::fs::symlink;

use e2e::{Arch, Build, Root, Sample, Variant, matrix, source};

use crate::place::{USER, bundle, document, set_mode, starts_anywhere};

matrix!(systems: scripts_start_with_their_interpreter, programs_get_variables);

fn native() -> Variant {
    Variant::named("x86_64_glibc_pie")
}

/// A root with a program that prints its arguments and some variables.
fn with_printer(variant: Variant, at: &str) -> Sample {
    let sample = Sample::installed_at(variant, "/app/program");
    let printer = Build::program(variant, source("launched.c")).build();
    sample.root.install(&printer, at);
    sample
}

fn script(root: &Root, path: &str, content: &str) {
    root.write(path, content);
    set_mode(&root.path(path), 0o755);
}

/// Paths, options and names as the kernel gives them to the interpreter of a script.
fn scripts_start_with_their_interpreter(variant: Variant) {
    let sample = with_printer(variant, "/usr/bin/show-1");
    let root = &sample.root;
    symlink("show-1", root.path("/usr/bin/show")).expect("a link");
    script(root, "/opt/app/bin/direct", "#! /usr/bin/show -w -x \n");
    script(root, "/opt/app/bin/by-env", "#!/usr/bin/env show\n");
    script(
        root,
        "/opt/app/libexec/split",
        "#!/usr/bin/env -S show -w -x\n",
    );
    script(root, "/opt/app/bin/nested", "#!/opt/app/bin/direct -n\n");
    script(root, "/opt/app/bin/read.sh", "#!/usr/bin/show\n");
    root.write("/opt/app/share/data", "data");
    symlink("direct", root.path("/opt/app/bin/alias")).expect("a link");
    let run = bundle(
        root,
        &[
            "/opt/app/bin/direct",
            "/opt/app/bin/by-env",
            "--output",
            "/out",
        ],
    );
    let output = run.env("PATH", "/usr/bin").output().success();
    // Another program may read it.
    let note = "1 script is started by the host's interpreter: bin/read.sh (/usr/bin/show)";
    assert!(output.stderr.contains(note), "{output}");
    let system = (variant.arch, variant.libc);
    starts_anywhere(system, &root.path("/out"), &|root, at| {
        let show = format!("{at}/bin/show");
        let direct = format!("{at}/.bin.launched/direct");
        for (name, expected) in [
            ("bin/direct", vec![&*show, "-w -x", &direct]),
            (
                "bin/by-env",
                vec![&*show, &format!("{at}/.bin.launched/by-env")],
            ),
            (
                "libexec/split",
                vec![&*show, "-w", "-x", &format!("{at}/.libexec.launched/split")],
            ),
            (
                "bin/alias",
                vec![&*show, "-w -x", &format!("{at}/.bin.launched/alias")],
            ),
            (
                "bin/nested",
                vec![
                    &*show,
                    "-w -x",
                    &direct,
                    "-n",
                    &format!("{at}/.bin.launched/nested"),
                ],
            ),
        ] {
            let expected = [expected, vec!["one", "", "two words"]].concat();
            let run = root.command(&format!("{at}/{name}"));
            let run = run.args(["one", "", "two words"]).user(USER);
            let output = run.output().success();
            let printed: Vec<&str> = output.stdout.lines().collect();
            let (variables, arguments) = printed.split_first().expect("a line");
            assert_eq!(arguments, expected, "{name}: {output}");
            assert!(!variables.is_empty(), "{output}");
        }
        // `..` and the other files of the directory are where they were.
        for path in ["../share/data", "by-env", "nested", "show", "read.sh"] {
            // The mount of a read-only bundle is not in this namespace.
            let there = root.path(&format!("{at}/.bin.launched/{path}"));
            assert!(at == "/bundle" || there.exists(), "{path}");
        }
    });
    if variant.arch != Arch::host() {
        return;
    }
    let check = root.wrap_buddy().args(["check", "/out"]).output().success();
    assert!(check.stdout.contains("all well"), "{check}");
}

const TABLE: &str = "[own]
programs = ['show']
files.data = ['{prefix}/share/own']
files.none = ['{prefix}/none']
variables = { SET = '{data}', JOINED = '{bundle}/share:{none}:{before}/usr/share', NONE = '{none}' }

[other]
programs = ['show']
files.data = ['{prefix}/share/own']
variables.UNLESS = '{data}'
unless = '/etc/own'
";

/// A variable of the caller stays, or is appended. A variable for files of the host is not set if they exist.
fn programs_get_variables(variant: Variant) {
    let sample = with_printer(variant, "/usr/bin/show");
    let root = &sample.root;
    root.write("/usr/share/own/data", "data");
    root.write("/table.toml", TABLE);
    bundle(
        root,
        &[
            "/usr/bin/show",
            "--table",
            "/table.toml",
            "--output",
            "/out",
        ],
    )
    .output()
    .success();
    let system = (variant.arch, variant.libc);
    starts_anywhere(system, &root.path("/out"), &|root, at| {
        let run = || {
            root.command(&format!("{at}/bin/show"))
                .argv0("as typed")
                .arg("one")
        };
        let data = format!("{at}/share/own");
        let plain =
            format!("SET={data} JOINED={at}/share:/usr/share UNLESS={data} NONE=\nas typed\none\n");
        assert_eq!(run().output().success().stdout, plain);
        let set = run().env("SET", "mine").env("JOINED", "/mine:/two");
        let expected =
            format!("SET=mine JOINED={at}/share:/mine:/two UNLESS={data} NONE=\nas typed\none\n");
        assert_eq!(set.output().success().stdout, expected);
        // A program of the bundle starts another one.
        let again = run()
            .env("JOINED", format!("{at}/share:/mine"))
            .env("JOINED2", "x");
        let output = again.output().success();
        assert!(
            output
                .stdout
                .contains(&format!(" JOINED={at}/share:/mine ")),
            "{output}"
        );
        if at == "/one" {
            root.write("/etc/own", "");
            assert!(run().output().success().stdout.contains(" UNLESS= "));
            std::fs::remove_file(root.path("/etc/own")).expect("remove a file");
        }
    });
}

/// A launcher does not replace other programs' errors, and says what is missing.
#[test]
fn what_is_missing_is_named() {
    let sample = with_printer(native(), "/usr/bin/show");
    let root = &sample.root;
    script(root, "/app/script", "#!/usr/bin/show\n");
    bundle(root, &["/app/script", "--output", "/out"])
        .output()
        .success();
    std::fs::remove_file(root.path("/out/bin/show")).expect("remove a program");
    let output = root.command("/out/bin/script").output().exits_with(127);
    assert_eq!(
        output.stderr,
        "wrap-buddy: /out/bin/show: cannot be started\n"
    );
    // Names of directories reach the terminal as text.
    let name = "/to\x1b[31mols\n";
    std::fs::rename(root.path("/out"), root.path(name)).expect("rename the bundle");
    let run = root.command(&format!("{name}/bin/script"));
    let output = run.output().exits_with(127);
    let expected = "wrap-buddy: /to^[[31mols^J/bin/show: cannot be started\n";
    assert_eq!(output.stderr, expected);
}

/// Programs that are added later are next to the launched files, too.
#[test]
fn a_second_script_joins_the_first() {
    let sample = with_printer(native(), "/usr/bin/show");
    let root = &sample.root;
    script(root, "/app/one", "#!/usr/bin/show\n");
    script(root, "/app/two", "#!/usr/bin/show\n");
    bundle(root, &["/app/one", "--output", "/out"])
        .output()
        .success();
    bundle(root, &["/app/two", "--output", "/out"])
        .output()
        .success();
    let args = ["/app/program", "--output", "/out", "--format", "json"];
    let added = document(&bundle(root, &args).output().success());
    let programs = serde_json::json!(["bin/one", "bin/program", "bin/two"]);
    assert_eq!(added["programs"], programs);
    for name in ["one", "two"] {
        let output = root.command(&format!("/out/bin/{name}")).output().success();
        let expected = format!("/out/bin/show\n/out/.bin.launched/{name}\n");
        assert!(output.stdout.ends_with(&expected), "{output}");
    }
    assert!(root.path("/out/.bin.launched/program").exists());
    let files = added["files"].as_array().expect("files");
    let listed = |path: &str| files.iter().any(|file| file["path"] == path);
    assert!(
        listed(".bin.launched/program") && listed(".bin.launched/one"),
        "{added}"
    );
    bundle(root, &args).output().success();
}

/// A row of a file replaces the built-in one, and an invalid one is refused.
#[test]
fn an_invalid_table_is_refused() {
    let sample = Sample::installed_at(native(), "/app/program");
    let root = &sample.root;
    root.write("/table.toml", "[own]\nprogram = ['x']\n");
    for (table, words) in [
        ("/table.toml", "unknown field `program`"),
        ("/none.toml", "/none.toml: "),
    ] {
        let args = ["/app/program", "--table", table, "--output", "/out"];
        let output = bundle(root, &args).output().exits_with(1);
        assert!(
            output.stderr.contains(words) && output.stderr.contains(table),
            "{output}"
        );
        assert!(!root.path("/out").exists());
    }
}
