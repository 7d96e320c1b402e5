//! Faults of a file itself, or of its sidecar.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::legacy::Legacy;
use e2e::{Arch, Build, Kind, Libc, Root, Sample, Variant, matrix, run, source, tool};

use crate::checking::{check, human};

matrix!(systems: program_wrapped_by_the_first_wrap_buddy);

const HOST: Variant = Variant::new(Arch::X86_64, Libc::Glibc, Kind::Pie);

#[test]
fn a_sidecar_that_is_gone() {
    let sample = Sample::new(HOST);
    let sidecar = sample.root.path("/app/.program.wrapbuddy");
    let away = sample.root.path("/app/away");
    fs::rename(&sidecar, &away).expect("move the sidecar");
    let checked = check(&sample.root, &sample.program, &[]).is(&["sidecar"]);
    assert!(checked.text().contains("put it back"), "{}", checked.output);
    fs::rename(&away, &sidecar).expect("move it back");
    check(&sample.root, &sample.program, &[]).is(&[]);
}

/// Emulators do not support x32.
#[test]
fn a_program_for_x32() {
    let root = Root::new(HOST);
    let flags = ["-mx32", "-nostdlib", "-static", "-Wl,-e,foo"];
    let build = Build::program(HOST, source("lib/foo.c")).flags(flags);
    let program = root.install(&build.build(), "/app/program");
    let checked = check(&root, &program, &[]);
    let says = ["it is for x32", "CONFIG_X86_X32_ABI", "syscall.x32=y"];
    let text = &checked.output.stdout;
    assert!(says.iter().all(|one| text.contains(one)), "{text}");
}

/// Wrapped, before garbage collection removed the store path.
#[test]
fn a_dynamic_linker_that_is_gone() {
    let sample = Sample::unwrapped(HOST);
    let linker = fs::read(sample.root.lookup(&sample.interpreter())).expect("the linker");
    sample.root.write("/app/old/ld-linux-x86-64.so.2", &linker);
    let old = "/app/old/ld-linux-x86-64.so.2";
    sample.wrapping().interpreter(old).run();
    sample.run();
    fs::remove_dir_all(sample.root.path("/app/old")).expect("remove it");
    let checked = check(&sample.root, &sample.program, &[]);
    assert!(
        checked.problems().contains(&"interpreter".into()),
        "{}",
        checked.output
    );
    assert!(checked.text().contains(old), "{}", checked.output);
    checked.repair(&sample.root);
    sample.run();
    check(&sample.root, &sample.program, &[]).is(&[]);
}

#[test]
fn a_program_that_was_cut_short_and_one_that_is_not_there() {
    let sample = Sample::unwrapped(HOST);
    let whole = fs::read(&sample.built).expect("built before");
    sample
        .root
        .write(&sample.program, &whole[..whole.len() / 4]);
    let checked = check(&sample.root, &sample.program, &[]).is(&["unreadable"]);
    assert!(checked.text().contains("cut short"), "{}", checked.output);
    check(&sample.root, "/app/none", &[]).is(&["unreadable"]);
    let usage = sample.root.wrap_buddy().args(["check", "--no-such-flag"]);
    usage.output().exits_with(2);
}

/// The command for a script is pasted into a shell.
#[test]
fn the_printed_command_repairs_scripts() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().display().to_string();
    for names in [&["one"][..], &["one", "it's two", "three $x"]] {
        for name in names {
            let path = directory.path().join(name);
            fs::write(&path, "#!/none/bin/sh\necho \"started $0\"\n").expect("write a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        let text = run::on_host(tool::path(), &["check", &place])
            .exits_with(1)
            .stdout;
        let mut lines = text.lines().map(str::trim_start);
        let commands: Vec<&str> = lines
            .by_ref()
            .filter_map(|line| line.strip_prefix("next: "))
            .collect();
        let [command] = commands.as_slice() else {
            panic!("{text}");
        };
        assert!(command.starts_with("sed -i '1s|^#!"), "{text}");
        run::on_host("/bin/sh", &["-c", command]).success();
        for name in names {
            let path = format!("{place}/{name}");
            let started = run::on_host(&path, &[]).success();
            assert_eq!(started.stdout, format!("started {path}\n"));
        }
        run::on_host(tool::path(), &["check", &place]).success();
    }
}

/// A directory: each finding once.
#[test]
fn the_whole_report_of_a_directory() {
    let sample = Sample::unwrapped(HOST);
    sample.wrap();
    let other = Sample::unwrapped(HOST);
    let unwrapped = fs::read(other.root.path(&other.program)).expect("installed");
    sample.root.write("/app/another", unwrapped);
    sample.root.write("/app/notes.txt", "nothing to start\n");
    insta::assert_snapshot!(human(&sample.root, "/app", &[]));
    insta::assert_snapshot!("quiet", human(&sample.root, "/app", &["-q"]));
}

/// Another machine's root, checked from outside: paths and links are resolved inside it.
#[test]
fn a_tree_elsewhere() {
    for arch in Arch::ALL {
        let variant = Variant::new(arch, Libc::Glibc, Kind::Pie);
        let sample = Sample::unwrapped(variant);
        let linker = fs::read(sample.root.lookup(&sample.interpreter())).expect("the linker");
        let libc = fs::read(arch.glibc()).expect("a libc");
        let place = format!("/opt/libc/{}", arch.ld_so());
        sample.root.write(&place, linker);
        sample.root.write("/opt/libc/libc.so.6", libc);
        let root = sample.root.path("/").display().to_string();
        let with = ["--root", &root, "--find-in", "/opt", &sample.library_dir];
        let arguments = [&["check", "--format", "json", &sample.program], &with[..]].concat();
        let output = run::on_host(tool::path(), &arguments).exits_with(1);
        let document: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        let command = document["files"][0]["next"][0]["command"].as_str();
        let expected = format!(
            "wrap-buddy --paths /app/program --libs {} --interpreter {place} --root {root}",
            sample.library_dir
        );
        assert_eq!(command, Some(&*expected), "{output}");
    }
}

/// Programs of the first wrap-buddy: shown as far as they are understood, restored, and wrapped like any other.
fn program_wrapped_by_the_first_wrap_buddy(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    Legacy::of(&sample, false).wrap(&sample);
    let show = |arguments: &[&str]| {
        let run = sample.root.wrap_buddy().args(["show", &sample.program]);
        let run = run.args(arguments.iter().copied());
        run.output().success().stdout
    };
    let document: serde_json::Value =
        serde_json::from_str(&show(&["--format", "json"])).expect("JSON");
    let file = &document["files"][0];
    assert_eq!(file["state"], "foreign", "{file}");
    let kinds: Vec<&str> = file["edits"]
        .as_array()
        .expect("a list of edits")
        .iter()
        .filter_map(|edit| edit["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["slot", "interp"], "{file}");
    let original = fs::read(&sample.built).expect("built before");
    let interp = e2e::check::segments(&original)
        .into_iter()
        .find(|one| one.kind == 3)
        .expect("PT_INTERP");
    let edit = &file["edits"][1];
    assert_eq!(edit["offset"], interp.header_at, "{edit}");
    assert_eq!(
        (&edit["before"], &edit["after"]),
        (&"03000000".into(), &"00000000".into())
    );
    let text = show(&[]);
    assert!(text.contains("first wrap-buddy"), "{text}");

    let restore = sample.root.wrap_buddy().args(["restore", &sample.program]);
    restore.output().success();
    assert_eq!(sample.root.read(&sample.program), original);
    sample.wrap();
    sample.run();
    check(&sample.root, &sample.program, &[]).is(&[]);
}
