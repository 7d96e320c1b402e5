//! The released binary with real stubs and loaders: the programs that it wraps run.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_empty};

use crate::fixture::*;

e2e::architectures!(starts_do_not_fail_while_settings_change);

const MAIN: &str = "#include <stdio.h>
int answer(void);
int main(void) { printf(\"the answer is %d\\n\", answer()); return 0; }";

/// `lib/libanswer.so.1`, and a program in `directory` that needs it and whose dynamic linker does not exist.
fn build(dir: &TestDir, target: Arch, directory: &str) -> PathBuf {
    let soname = "-Wl,-soname,libanswer.so.1";
    let source = "int answer(void) { return 42; }";
    let library = ["-shared", "-fPIC", soname];
    dir.compile(target, "lib/libanswer.so.1", source, &library);
    let gone = "-Wl,--dynamic-linker=/gone/ld.so";
    let arguments = ["lib/libanswer.so.1", gone];
    dir.compile(target, &format!("{directory}/main"), MAIN, &arguments)
}

fn assert_answers(target: Arch, program: &Path) {
    let output = run(target, program).unwrap();
    let (out, errors) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    assert_eq!(out, b"the answer is 42\n", "{}: {errors}", target.name());
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}

/// The tool at `path`, with a data directory in the test directory.
fn tool(dir: &TestDir, path: &Path) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(path);
    command.env("XDG_DATA_HOME", dir.path("data"));
    command.current_dir(&dir.root);
    command
}

fn built_tool() -> PathBuf {
    assert_cmd::cargo::cargo_bin("wrap-buddy")
}

/// The loader of the machine's own architecture, in a directory of the test.
fn write_loader(dir: &TestDir, name: &str) -> PathBuf {
    let stage = stages::for_machine(Arch::X86_64.machine()).unwrap();
    dir.write(name, stage.loader)
}

#[test]
fn wraps_and_runs_with_a_loader_it_installs() {
    for target in Arch::ALL {
        let dir = TestDir::new();
        let main = build(&dir, target, "app");
        let before = run(target, &main);
        assert!(!before.is_ok_and(|output| output.status.success()));
        let system = Path::new(target.interpreter()).parent().unwrap();
        let wrap = || {
            let mut command = tool(&dir, &built_tool());
            command.args(["--interpreter", target.interpreter()]);
            command
                .args(["--paths", "./app", "--libs", "./lib"])
                .arg(system);
            command
        };
        let loader = format!("data/wrap-buddy/loader-{}-", target.name());
        wrap()
            .assert()
            .success()
            .stderr(is_empty())
            .stdout(contains("installed the loader ").and(contains(&loader)))
            .stdout(contains("1 wrapped\n"));
        assert_answers(target, &main);

        wrap()
            .assert()
            .success()
            .stdout(contains("main: skipped: already wrapped"));
        // A second program finds the loader there.
        let other = build(&dir, target, "app/other");
        wrap().assert().success().stdout(
            contains("installed")
                .not()
                .and(contains("1 wrapped, 1 skipped")),
        );
        assert_answers(target, &other);
    }
}

#[test]
fn the_systems_own_dynamic_linker_is_found() {
    let dir = TestDir::new();
    let main = build(&dir, Arch::X86_64, "app");
    tool(&dir, &built_tool())
        .args(["--paths", "./app", "--libs", "./lib"])
        .assert()
        .success()
        .stderr(is_empty())
        .stdout(contains(Arch::X86_64.interpreter()));
    assert_answers(Arch::X86_64, &main);
}

#[test]
fn loader_next_to_the_tool_comes_first() {
    let dir = TestDir::new();
    let copy = dir.path("prefix/bin/wrap-buddy");
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(built_tool(), &copy).unwrap();
    let loader = write_loader(&dir, "prefix/lib/wrap-buddy/loader.bin");
    let main = build(&dir, Arch::X86_64, "app");
    tool(&dir, &copy)
        .args(["-vv", "app", "--libs", "lib"])
        .assert()
        .success()
        .stdout(contains(loader.to_str().unwrap()).and(contains("installed").not()));
    assert!(!dir.path("data").exists());
    assert_answers(Arch::X86_64, &main);
    // That loader is used.
    fs::write(&loader, "").unwrap();
    let broken = run(Arch::X86_64, &main).unwrap();
    assert_eq!(broken.status.code(), Some(127));

    // It is not valid any more, so another one is installed.
    let other = build(&dir, Arch::X86_64, "app/other");
    tool(&dir, &copy)
        .args(["--paths", "app/other", "--libs", "lib"])
        .assert()
        .success()
        .stdout(contains("installed the loader"));
    assert_answers(Arch::X86_64, &other);
}

#[test]
fn a_loader_directory_may_be_filled_later() {
    let dir = TestDir::new();
    let main = build(&dir, Arch::X86_64, "app");
    dir.compile(
        Arch::X86_64,
        "app/second",
        "int main(void) { return 0; }",
        &[],
    );
    let loader = dir.path("later/loader.bin");
    let warning = format!("warning: {}: loader does not exist yet", loader.display());
    tool(&dir, &built_tool())
        .args([
            "--force",
            "--paths",
            "app",
            "--libs",
            "lib",
            "--loader-dir-path",
            "later",
        ])
        .assert()
        .success()
        .stderr(contains(&warning).count(1))
        .stdout(contains("2 wrapped"));
    let too_early = run(Arch::X86_64, &main).unwrap();
    assert_eq!(too_early.status.code(), Some(127));
    let line = String::from_utf8_lossy(&too_early.stderr).into_owned();
    // ENOENT.
    assert_eq!(line, format!("wrap-buddy: {} missing\n", loader.display()));
    write_loader(&dir, "later/loader.bin");
    assert_answers(Arch::X86_64, &main);
}

#[test]
fn a_relocatable_tree_runs_elsewhere() {
    for target in Arch::ALL {
        let dir = TestDir::new();
        build(&dir, target, "tree/bin");
        fs::create_dir_all(dir.path("tree/lib")).unwrap();
        for library in [Path::new(target.interpreter()), &target.glibc()] {
            let name = library.file_name().unwrap();
            fs::copy(library, dir.path("tree/lib").join(name)).unwrap();
        }
        fs::rename(
            dir.path("lib/libanswer.so.1"),
            dir.path("tree/lib/libanswer.so.1"),
        )
        .unwrap();
        let interpreter =
            Path::new("tree/lib").join(Path::new(target.interpreter()).file_name().unwrap());
        tool(&dir, &built_tool())
            .args([
                "--relocatable",
                "--paths",
                "tree/bin",
                "--libs",
                "tree/lib",
                "--interpreter",
            ])
            .arg(interpreter)
            .assert()
            .success()
            .stderr(is_empty())
            .stdout(contains("1 wrapped"));
        assert!(!dir.path("data").exists());
        fs::create_dir(dir.path("elsewhere")).unwrap();
        fs::rename(dir.path("tree"), dir.path("elsewhere/moved")).unwrap();
        assert_answers(target, &dir.path("elsewhere/moved/bin/main"));
    }
}

/// `other/libanswer.so.1`, which returns another answer.
fn build_other_library(dir: &TestDir, target: Arch) {
    let source = "int answer(void) { return 43; }";
    let arguments = ["-shared", "-fPIC", "-Wl,-soname,libanswer.so.1"];
    dir.compile(target, "other/libanswer.so.1", source, &arguments);
}

/// Wraps the programs in `app`, which find their library in `libs`.
fn wrap_with(dir: &TestDir, target: Arch, libs: &str, more: &[&str]) -> assert_cmd::Command {
    let mut command = tool(dir, &built_tool());
    command.args(["--interpreter", target.interpreter()]);
    command.args(["--paths", "app", "--libs", libs]);
    command.arg(Path::new(target.interpreter()).parent().unwrap());
    command.args(more);
    command
}

#[test]
fn a_running_program_gets_other_settings_for_its_next_start() {
    let dir = TestDir::new();
    build(&dir, Arch::X86_64, "app");
    build_other_library(&dir, Arch::X86_64);
    let source = "#include <stdio.h>
int answer(void);
int main(void) {
    printf(\"the answer is %d\\n\", answer());
    fflush(stdout);
    return getchar() != EOF;
}";
    let library = ["lib/libanswer.so.1"];
    let main = dir.compile(Arch::X86_64, "app/main", source, &library);
    wrap_with(&dir, Arch::X86_64, "lib", &[]).assert().success();
    let before = snapshot(&dir.path("app"));
    let modified = fs::metadata(&main).unwrap().modified().unwrap();

    let mut start = Command::new(&main);
    start.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = start.spawn().unwrap();
    let mut line = [0; "the answer is 42\n".len()];
    let out = running.stdout.as_mut().unwrap();
    out.read_exact(&mut line).unwrap();
    assert_eq!(line, *b"the answer is 42\n");

    wrap_with(&dir, Arch::X86_64, "other", &[])
        .assert()
        .success()
        .stderr(is_empty())
        .stdout(contains("1 wrapped"));
    let next = run(Arch::X86_64, &main).unwrap();
    assert_eq!(next.stdout, b"the answer is 43\n");
    assert!(
        running.try_wait().unwrap().is_none(),
        "it ran all the while"
    );
    drop(running.stdin.take());
    assert!(running.wait().unwrap().success());

    // Only the sidecar has changed.
    let after = snapshot(&dir.path("app"));
    let changed = before
        .iter()
        .zip(&after)
        .filter(|(one, other)| one != other);
    let changed: Vec<_> = changed.map(|((path, _), _)| path.as_path()).collect();
    assert_eq!(changed, [dir.path("app/.main.wrapbuddy")]);
    assert_eq!(fs::metadata(&main).unwrap().modified().unwrap(), modified);
}

fn starts_do_not_fail_while_settings_change(target: Arch) {
    let dir = TestDir::new();
    let main = build(&dir, target, "app");
    build_other_library(&dir, target);
    for way in [&[][..], &["--self-contained"]] {
        wrap_with(&dir, target, "lib", way).assert().success();
        let done = AtomicBool::new(false);
        let start_all_the_while = || {
            let mut answers = [0, 0];
            while !done.load(Ordering::Relaxed) {
                let output = run_once(target, &main).unwrap();
                match output.stdout.as_slice() {
                    b"the answer is 42\n" => answers[0] += 1,
                    b"the answer is 43\n" => answers[1] += 1,
                    _ => panic!("{output:?}"),
                }
            }
            answers
        };
        let answers = thread::scope(|scope| {
            let starts = scope.spawn(start_all_the_while);
            let libs = ["other", "lib"].into_iter().cycle().take(200);
            let mut wrappings = libs.map(|libs| wrap_with(&dir, target, libs, way).output());
            let refused = wrappings.find(|one| {
                let text = one.as_ref().map(|one| String::from_utf8_lossy(&one.stdout));
                starts.is_finished() || !text.is_ok_and(|text| text.contains("1 wrapped"))
            });
            // Set even after a failure, because the other thread waits for it.
            done.store(true, Ordering::Relaxed);
            let answers = starts.join().unwrap();
            assert!(refused.is_none(), "{refused:?}");
            answers
        });
        assert!(answers.iter().all(|&starts| starts > 0), "{answers:?}");
    }
}

#[test]
fn library_next_to_the_program_is_reported() {
    let dir = TestDir::new();
    let main = build(&dir, Arch::X86_64, "app/bin");
    fs::create_dir(dir.path("app/lib")).unwrap();
    // A file of the directory, so it was scanned; the library's name is a symbolic link, as usual.
    let file = dir.path("app/lib/libanswer.so.1.2.3");
    fs::rename(dir.path("lib/libanswer.so.1"), file).unwrap();
    std::os::unix::fs::symlink("libanswer.so.1.2.3", dir.path("app/lib/libanswer.so.1")).unwrap();
    let before = fs::read(&main).unwrap();
    let run = |args: &[&str]| tool(&dir, &built_tool()).args(args).assert();
    // Files that you name one by one are not a tree.
    run(&["--paths", "app/bin/main", "app/lib/libanswer.so.1.2.3"])
        .code(1)
        .stderr(contains("libanswer.so.1\n"))
        .stderr(contains("it is in app/lib; add --libs app/lib\n"));
    assert!(fs::read(&main).unwrap() == before);
    run(&["--paths", "app/bin/main", "--libs", "app/lib"]).success();
    assert_answers(Arch::X86_64, &main);
    run(&["restore", "app"]).success();
    run(&["--paths", "app"]).success();
    assert_answers(Arch::X86_64, &main);
}

#[test]
fn program_without_its_sidecar_is_not_taken_for_static() {
    // With room at the entry point, and without: then the stub is in padding.
    for filler in [
        "",
        "__attribute__((used)) static void f(void) { __asm__(\".skip 4000, 0x90\"); }",
    ] {
        let dir = TestDir::new();
        let source = format!("{filler}\nint main(void) {{ return 0; }}");
        let main = dir.compile(Arch::X86_64, "app/main", &source, &[]);
        let wrap = || {
            let mut command = tool(&dir, &built_tool());
            command.args(["--force", "--paths", "app"]);
            command
        };
        wrap().assert().success().stdout(contains("1 wrapped"));
        fs::remove_file(main.with_file_name(".main.wrapbuddy")).unwrap();
        wrap()
            .assert()
            .code(1)
            .stderr(contains("is wrapped, but its sidecar ").and(contains(
                "put it back, or download or build the program again\n",
            )));
    }
}

#[test]
fn directory_without_programs_is_reported() {
    let dir = TestDir::new();
    dir.write("app/readme", "text");
    tool(&dir, &built_tool())
        .args(["--paths", "app"])
        .assert()
        .success()
        .stdout("nothing to wrap: no ELF file in these paths\n");
}

#[test]
fn endless_loader_is_not_waited_for() {
    let dir = TestDir::new();
    let target = Arch::ALL[0];
    let program = build(&dir, target, "app");
    let loaders = dir.path("loaders");
    fs::create_dir(&loaders).unwrap();
    let arch = sys::arch::all()
        .iter()
        .find(|arch| arch.machine == target.machine())
        .unwrap();
    let loader = loaders.join(wrap_buddy::state::loaders::usual_loader_name(arch));
    let run = |arguments: &[&str]| {
        let mut tool = tool(&dir, &built_tool());
        tool.timeout(Duration::from_secs(20)).args(arguments);
        tool
    };
    let (path, lib) = (program.to_str().unwrap(), dir.path("lib"));
    let wrap = [
        "--paths",
        path,
        "--libs",
        lib.to_str().unwrap(),
        "--interpreter",
        target.interpreter(),
        "--loader-dir-path",
        loaders.to_str().unwrap(),
    ];
    run(&wrap).assert().success();
    for endless in ["fifo", "/dev/zero", "/dev/ptmx"] {
        match endless {
            "fifo" => nix::unistd::mkfifo(&loader, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            device => std::os::unix::fs::symlink(device, &loader).unwrap(),
        }
        run(&["check", path]).assert().failure();
        run(&["status", path]).assert().failure();
        run(&wrap)
            .assert()
            .failure()
            .stderr(contains("cannot be read"));
        fs::remove_file(&loader).unwrap();
    }
}

/// Files that ld.so reads below `--root`: a FIFO without a writer, and a sparse file larger than memory.
#[test]
fn endless_files_below_a_root_are_not_read() {
    let dir = TestDir::new();
    let root = dir.path("root");
    for directory in ["app", "etc"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let musl = "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1";
    let library = dir.compile(Arch::X86_64, "libgone.so", "", &["-shared", "-nostdlib"]);
    let library = library.to_str().unwrap();
    for (name, linker) in [("glibc", "-Wl,-z,now"), ("musl", musl)] {
        let flags = ["-nostdlib", "-Wl,--no-as-needed", linker, library];
        let built = dir.compile(Arch::X86_64, name, "void _start(void) {}", &flags);
        fs::copy(built, root.join("app").join(name)).unwrap();
    }
    let files = [
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.preload",
        "ld-musl-x86_64.path",
    ];
    for file in files.map(|name| root.join("etc").join(name)) {
        for is_fifo in [true, false] {
            match is_fifo {
                true => nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                false => fs::File::create(&file).unwrap().set_len(1 << 40).unwrap(),
            }
            let mut tool = tool(&dir, &built_tool());
            tool.timeout(Duration::from_secs(20))
                .args(["check", "--find-in=", "--root"])
                .args([&root, &root.join("app")])
                .assert()
                .code(1)
                .stdout(contains(
                    "libgone.so is not found\n  in root/app/glibc\n  in root/app/musl\n",
                ));
            fs::remove_file(&file).unwrap();
        }
    }
}
