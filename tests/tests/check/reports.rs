//! The report on several files: each finding once, as few commands as possible, and which problems count for the exit status.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::{Arch, Build, Kind, Libc, Output, Root, Variant, matrix, run, says, source, tool};
use serde_json::Value;

use crate::cases::install_system;
use crate::checking::{document, human};

matrix!(architectures: a_library_counts_if_a_program_uses_it);

const HOST: Variant = Variant::new(Arch::X86_64, Libc::Glibc, Kind::Pie);

#[test]
fn the_whole_report_of_many_files() {
    let root = Root::new(HOST);
    install_system(&root, HOST);
    let inner = Build::library(HOST, source("lib/foo.c"), "libfoo.so").build();
    let gone = Build::library(HOST, source("lib/foo.c"), "libgone.so").build();
    let plugin = Build::library(HOST, source("lib/bar.c"), "libplugin.so");
    root.install(&plugin.link(&gone).build(), "/app/lib/libplugin.so");
    let program = Build::program(HOST, source("sample.c"))
        .link(&inner)
        .build();
    let package = root.package("foo", &[&inner]);
    for name in ["a", "b", "c", "d", "e"] {
        root.install(&program, &format!("/app/bin/{name}"));
    }
    let fine = Build::program(HOST, source("hello.c")).build();
    root.install(&fine, "/app/bin/fine");
    root.install(&fine, "/app/bin/fine too");
    let packed = Build::program(HOST, source("hello.c"))
        .flag("-no-pie")
        .build();
    for name in ["packed", "packed too"] {
        let path = root.install(&packed, &format!("/app/{name}"));
        let mut bytes = root.read(&path);
        // The kernel ignores the padding of e_ident.
        bytes[8..11].copy_from_slice(b"AI\x02");
        root.write(&path, bytes);
    }
    for closed in ["/app/bin/a", "/app/bin/e"] {
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(root.path(closed), mode).expect("chmod");
    }
    let default = HOST.default_library_dir();
    let shown = |arguments: &[&str]| {
        let text = human(&root, "/app", arguments);
        text.replace(&package, "/PACKAGE")
            .replace(&default, "/DEFAULT")
    };
    insta::assert_snapshot!("many", shown(&[]));
    insta::assert_snapshot!("many_verbose", shown(&["-v"]));
    insta::assert_snapshot!("many_quiet", shown(&["-q"]));
}

/// The commands of the report on several files.
fn commands(document: &Value) -> Vec<String> {
    let next = document["next"].as_array().expect("a list").iter();
    let commands = next.filter_map(|one| one["command"].as_str());
    commands.map(str::to_owned).collect()
}

/// Programs for two architectures get different dynamic linkers by one command.
#[test]
fn one_command_for_two_architectures() {
    let other = Variant::new(Arch::I686, Libc::Glibc, Kind::Pie);
    let variants = [HOST, other];
    let root = Root::with_systems(&variants.map(|one| (one.arch, one.libc)));
    for variant in variants {
        let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
        let program = Build::program(variant, source("sample.c")).link(&inner);
        let program = program.build();
        let name = variant.arch.name();
        root.package(&format!("foo-{name}"), &[&inner]);
        for number in 0..2 {
            root.install(&program, &format!("/app/{name}/{number}"));
        }
    }
    let document = document(&root, &["/app"]);
    let commands = commands(&document);
    assert_eq!(commands.len(), 1, "{document}");
    let words = shlex::split(&commands[0]).expect("a command line");
    let run = root.wrap_buddy().env("HOME", "/app/home");
    run.args(words[1..].iter().cloned()).output().success();
    for variant in variants {
        for number in 0..2 {
            says(
                root.command(&format!("/app/{}/{number}", variant.arch.name()))
                    .output(),
            );
        }
    }
}

/// The report on the tree of another machine, and its exit status.
fn outside(root: &Root, path: &str) -> (Output, Value) {
    let directory = root.path("/").display().to_string();
    let arguments = ["check", "--format", "json", "--root", &directory, path];
    let output = run::on_host(tool::path(), &arguments);
    let document = serde_json::from_str(&output.stdout).expect("JSON");
    (output, document)
}

fn a_library_counts_if_a_program_uses_it(variant: Variant) {
    let root = Root::new(variant);
    install_system(&root, variant);
    let gone = Build::library(variant, source("lib/foo.c"), "libgone.so").build();
    let plugin = Build::library(variant, source("lib/bar.c"), "libplugin.so");
    let plugin = plugin.link(&gone).build();
    let plugin_at = root.install(&plugin, "/app/lib/libplugin.so");
    let hello = Build::program(variant, source("hello.c")).build();
    root.install(&hello, "/app/hello");
    let fails = |path: &str| {
        let (output, document) = outside(&root, path);
        let files = document["files"].as_array().expect("files");
        let path = |file: &Value| file["path"].as_str().map(str::to_owned);
        let is_plugin = |file: &&Value| path(file).is_some_and(|one| one.ends_with(&plugin_at));
        let plugin = files.iter().find(is_plugin);
        let plugin = plugin.expect("the library");
        assert_eq!(plugin["status"], "broken", "{output}");
        let fails = plugin["fails"].as_bool().expect("a boolean");
        assert_eq!(output.status, Some(i32::from(fails)), "{output}");
        assert_eq!(document["summary"]["failed"], i32::from(fails), "{output}");
        fails
    };
    assert!(!fails("/app"));
    assert!(fails(&plugin_at));
    // It may open the library.
    let opening = Build::program(variant, source("open.c"));
    let opening = opening.flags(["-ldl", "-DOPENS=\"libplugin.so\""]).build();
    let opening_at = root.install(&opening, "/app/open");
    assert!(fails("/app"));
    fs::remove_file(root.path(&opening_at)).expect("remove it");
    assert!(!fails("/app"));
    // It loads the library, and has another problem with it.
    let flags = "-Wl,--no-as-needed,--unresolved-symbols=ignore-all,--allow-shlib-undefined,-rpath,/app/lib";
    let loading = Build::program(variant, source("hello.c")).link(&plugin);
    root.install(&loading.flag(flags).build(), "/app/loading");
    let (output, document) = outside(&root, "/app");
    assert_eq!(output.status, Some(1), "{output}");
    assert_eq!(document["summary"]["failed"], 2, "{output}");
}
