//! Files that are left alone, each with its reason.

use e2e::offsets::{E_MACHINE, EI_DATA};
use elf_file::Kind;
use ldso::Libc;
use object::elf;
use std::fs;
use std::os::unix::fs::symlink;
use sys::arch::ElfTarget;
use wrap_buddy::commands::wrap::human;
use wrap_buddy::plan::outcome::Status;
use wrap_buddy::report::Output;
use wrap_buddy::report::Reporter;

use crate::fixture::*;

const MAIN: &str = "int main(void) { return 0; }";

fn skipped(dir: &TestDir, path: &std::path::Path) -> Reason {
    let before = fs::read(path).unwrap();
    let report = dir.wrap(&[&"--paths", &path]);
    assert!(!report.failed());
    assert_eq!(fs::read(path).unwrap(), before);
    reason(&report, Status::Skipped).clone()
}

#[test]
fn files_that_are_not_dynamic_programs_are_skipped() {
    let dir = TestDir::new();
    let cases: [(&str, &str, &[&str], SkipReason); 5] = [
        (
            "static",
            MAIN,
            &["-static", "-no-pie"],
            SkipReason::Kind(Kind::StaticProgram),
        ),
        (
            "static-pie",
            MAIN,
            &["-static-pie"],
            SkipReason::Kind(Kind::StaticPie),
        ),
        (
            "lib.so",
            "int f(void) { return 0; }",
            &["-shared", "-fPIC"],
            SkipReason::LibraryFindsAll,
        ),
        ("main.o", MAIN, &["-c"], SkipReason::Kind(Kind::Object)),
        (
            "libentry.so",
            "void go(void) {}",
            &["-shared", "-fPIC", "-Wl,-soname,libentry.so.1,-e,go"],
            SkipReason::LibraryFindsAll,
        ),
    ];
    for (output, source, arguments, expected) in cases {
        let path = dir.compile(Arch::X86_64, output, source, arguments);
        assert_eq!(skipped(&dir, &path), expected.into(), "{output}");
    }
    // It has an entry point and a PT_INTERP, and is a library nevertheless.
    assert_eq!(
        skipped(&dir, &Arch::X86_64.glibc()),
        SkipReason::LibraryFindsAll.into()
    );
}

#[test]
fn separate_debug_information() {
    let dir = TestDir::new();
    for pie in ["-pie", "-no-pie"] {
        let program = dir.compile(Arch::X86_64, "main", MAIN, &["-g", pie]);
        let debug = dir.path("main.debug");
        let objcopy = std::process::Command::new("objcopy")
            .arg("--only-keep-debug")
            .args([&program, &debug])
            .status();
        assert!(objcopy.unwrap().success());
        assert_eq!(
            skipped(&dir, &debug),
            SkipReason::Kind(Kind::DebugInformation).into()
        );
    }
}

#[test]
fn files_that_are_not_elf_are_skipped() {
    let dir = TestDir::new();
    let script = dir.write("script", "#!/bin/sh -e\necho\n");
    let text = dir.write("text", "text");
    let empty = dir.write("empty", "");
    let line = "/bin/sh -e".to_owned();
    assert_eq!(skipped(&dir, &script), SkipReason::Script(line).into());
    assert_eq!(skipped(&dir, &text), SkipReason::NotElf.into());
    assert_eq!(skipped(&dir, &empty), SkipReason::NotElf.into());
    // In a directory, they are not reported.
    assert!(dir.wrap(&[&"--paths", &dir.root]).files.is_empty());
    assert_eq!(dir.wrap(&[&"--paths", &dir.root, &"-v"]).files.len(), 3);
}

#[test]
fn other_architectures_and_libcs() {
    let dir = TestDir::new();
    let host = "--interpreter=/lib64/ld-linux-x86-64.so.2";
    let foreign = dir.compile(Arch::Aarch64, "foreign", MAIN, &[]);
    let report = dir.wrap(&[&"--paths", &foreign, &host]);
    let expected = SkipReason::ProgramOfOtherArchitecture {
        asks_for: format!("/lib/{}", Arch::Aarch64.ld_so()).into(),
        arch: "aarch64",
    };
    assert_eq!(*reason(&report, Status::Failed), expected.into());
    assert_eq!(
        report.errors,
        [
            "--interpreter: /lib64/ld-linux-x86-64.so.2 is for x86_64 (glibc), and the files here are for aarch64 (glibc): pass a dynamic linker of that kind"
        ]
    );
    // In a directory with another program that the dynamic linker fits.
    dir.compile(Arch::Aarch64, "tree/foreign", MAIN, &[]);
    dir.compile(Arch::X86_64, "tree/own", MAIN, &[]);
    let report = dir.wrap(&[&"--paths", &dir.path("tree"), &host]);
    let states: Vec<Status> = report.files.iter().map(|file| file.status).collect();
    assert_eq!(states, [Status::Skipped, Status::Wrapped]);
    assert!(!report.failed(), "{report:?}");
    // In a directory without such a program.
    fs::remove_file(dir.path("tree/own")).unwrap();
    let report = dir.wrap(&[&"--paths", &dir.path("tree"), &host]);
    assert!(
        report.failed() && report.count(Status::Failed) == 0,
        "{report:?}"
    );
    // Without `--interpreter`, this is not an error.
    let report = dir.wrap(&[&"--paths", &dir.path("tree")]);
    assert!(!report.failed(), "{report:?}");

    let linker = "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1";
    // The libc that a program is linked to counts more than its PT_INTERP.
    let glibc = dir.compile(Arch::X86_64, "glibc", MAIN, &[linker]);
    let report = dir.wrap(&[&"--paths", &glibc, &host]);
    assert_eq!(report.files[0].status, Status::Wrapped, "{report:?}");
    let bare = ["-nostdlib", "-Wl,-e,main", linker];
    let musl = dir.compile(Arch::X86_64, "musl", "int main(void) { return 0; }", &bare);
    let report = dir.wrap(&[&"--paths", &musl, &host]);
    let expected = SkipReason::ProgramOfOtherLibc {
        asks_for: "/lib/ld-musl-x86_64.so.1".into(),
        libc: Libc::Musl,
        known: Libc::Glibc,
    };
    assert_eq!(*reason(&report, Status::Failed), expected.into());

    let mut big_endian = fs::read(&foreign).unwrap();
    big_endian[EI_DATA] = elf::ELFDATA2MSB;
    big_endian[E_MACHINE..][..2].copy_from_slice(&elf::EM_S390.to_be_bytes());
    let big_endian = dir.write("s390", big_endian);
    let report = dir.wrap(&[&"--paths", &big_endian]);
    let expected = SkipReason::OtherArchitecture {
        target: ElfTarget::new(22, 2, 0),
        little_endian: false,
    };
    assert_eq!(*reason(&report, Status::Failed), expected.into());
}

#[test]
fn an_architecture_without_a_stage_says_how_to_get_it() {
    let dir = TestDir::new();
    let foreign = dir.compile(Arch::Aarch64, "foreign", MAIN, &[]);
    let arguments = ["wrap-buddy", "--paths", foreign.to_str().unwrap()];
    let cli = wrap_options(arguments);
    let missing = [("aarch64", "install its core library")];
    let report =
        wrap_buddy::commands::wrap::wrap(&cli, &[], &missing, &Reporter::default()).unwrap();
    assert_eq!(
        *reason(&report, Status::Failed),
        SkipReason::NoStage {
            arch: "aarch64",
            remedy: missing[0].1.to_owned(),
        }
        .into()
    );
}

#[test]
fn missing_needed_names_are_an_error() {
    let dir = TestDir::new();
    let main = dir.compile(Arch::X86_64, "main", MAIN, &[]);
    wrapped(&dir.wrap(&[&"--paths", &main]));
    let before = snapshot(&dir.root);
    let report = dir.wrap(&[&"--paths", &main, &"--needed", &"libnowhere.so.1"]);
    assert!(report.failed());
    let mut errors = Vec::new();
    let output = Output::default();
    human::write(&report, output, &mut Vec::new(), &mut errors).unwrap();
    let text = plain(errors);
    assert!(text.contains("libnowhere.so.1\n    needed by "), "{text}");
    assert!(!text.contains("only shared libraries"), "{text}");
    assert!(snapshot(&dir.root) == before);
}

#[test]
fn program_that_starts_unwrapped_is_skipped() {
    let dir = TestDir::new();
    let wrap = |more: &[&str]| {
        let path = dir.path("app/main").display().to_string();
        let all = [&["wrap-buddy", "--dry-run", "--paths", &path], more].concat();
        let cli = wrap_options(all);
        let report =
            wrap_buddy::commands::wrap::wrap(&cli, &stages(), &[], &Reporter::default()).unwrap();
        only(&report).clone()
    };
    let own = Arch::X86_64.interpreter();
    let interpreter = &*format!("--interpreter={own}");
    let copy = dir.path("copy/ld-linux-x86-64.so.2");
    fs::create_dir(dir.path("copy")).unwrap();
    fs::copy(own, &copy).unwrap();
    let other = format!("--interpreter={}", copy.display());
    let link = dir.path("link.so");
    symlink(own, &link).unwrap();
    let same = format!("--interpreter={}", link.display());
    dir.compile(Arch::X86_64, "app/main", MAIN, &[]);
    for (more, expected) in [
        (&[][..], Status::Skipped),
        (&[interpreter], Status::Skipped),
        (&[&same], Status::Skipped),
        (&[&other], Status::WouldWrap),
        (&["--force"], Status::WouldWrap),
        (&["--needed", "libm.so.6"], Status::WouldWrap),
        (&["--runtime-dependencies", "/opt"], Status::WouldWrap),
        (&["--search", "frozen"], Status::WouldWrap),
        (&["--search", "rpath"], Status::Skipped),
        (&["--strategy", "auto"], Status::Skipped),
    ] {
        let file = wrap(more);
        assert_eq!(file.status, expected, "{more:?} {:?}", file.reason);
        if expected == Status::Skipped {
            assert_eq!(file.reason, Some(SkipReason::StartsAsItIs.into()));
        }
    }
    // A directory that does not exist is no reason to wrap it; a library that is not found is.
    dir.compile(Arch::X86_64, "app/main", MAIN, &["-Wl,-rpath,/gone"]);
    assert_eq!(wrap(&[]).status, Status::Skipped);
    dir.walk_through(Arch::X86_64, &[]);
    assert_eq!(wrap(&[]).status, Status::Failed);
    let libs = [dir.path("foo/lib"), dir.path("bar/lib")];
    let libs = libs.each_ref().map(|path| path.to_str().unwrap());
    assert_eq!(
        wrap(&["--libs", libs[0], libs[1]]).status,
        Status::WouldWrap
    );
    // It finds them by itself.
    let path = format!("-Wl,-rpath,{}:{}", libs[0], libs[1]);
    dir.walk_through(Arch::X86_64, &[&path]);
    assert_eq!(wrap(&[]).status, Status::Skipped);
}

#[test]
fn an_interpreter_in_the_store() {
    let dir = TestDir::new();
    let linker = "-Wl,--dynamic-linker=/nix/store/hash-glibc/lib/ld-linux-x86-64.so.2";
    let path = dir.compile(Arch::X86_64, "main", MAIN, &[linker]);
    let interpreter = "/nix/store/hash-glibc/lib/ld-linux-x86-64.so.2".into();
    assert_eq!(
        skipped(&dir, &path),
        SkipReason::InStore(interpreter).into()
    );
}

#[test]
fn the_second_run_finds_everything_done() {
    let dir = TestDir::new();
    let main = dir.walk_through(Arch::X86_64, &[]);
    let tree = dir.path("app");
    let wrap = || dir.wrap_with_libs(Arch::X86_64, &tree, &[]);
    wrapped(&wrap());
    let before = snapshot(&tree);
    let report = wrap();
    assert_eq!(
        *reason(&report, Status::Skipped),
        SkipReason::Wrapped.into()
    );
    assert!(snapshot(&tree) == before);

    // Under another name, it still finds its sidecar. Without one, it is broken, and the run reports that.
    let renamed = dir.path("app/.main-wrapped");
    fs::rename(&main, &renamed).unwrap();
    fs::remove_file(dir.path("app/.main.wrapbuddy")).unwrap();
    let report = dir.wrap(&[&"--paths", &renamed]);
    let gone = Unusable::Orphan(dir.path("app/.main.wrapbuddy"));
    assert_eq!(*reason(&report, Status::Failed), Refusal::from(gone).into());
}

#[test]
fn each_file_is_wrapped_once() {
    let dir = TestDir::new();
    let main = dir.compile(Arch::X86_64, "tree/a", MAIN, &[]);
    fs::hard_link(&main, dir.path("tree/b")).unwrap();
    symlink("a", dir.path("tree/link")).unwrap();
    let tree = dir.path("tree");
    let report = dir.wrap(&[&"--paths", &tree, &tree.join("a"), &tree.join("link")]);
    let states: Vec<Status> = report.files.iter().map(|file| file.status).collect();
    assert_eq!(states, [Status::Wrapped, Status::Skipped]);
    let expected = SkipReason::HardLink {
        of: dir.path("tree/a"),
        done: "changed",
    };
    assert_eq!(report.files[1].reason, Some(expected.into()));
    assert!(!dir.path("tree/.b.wrapbuddy").exists());
    assert!(report.files[0].plan.as_ref().unwrap().notes.is_empty());

    // A file that was not found in the scan changes as well.
    let main = dir.compile(Arch::X86_64, "other/a", MAIN, &[]);
    fs::hard_link(&main, dir.path("elsewhere")).unwrap();
    let report = dir.wrap(&[&"--paths", &dir.path("other")]);
    let notes = &wrapped(&report).notes;
    assert!(notes[0].contains("1 elsewhere change with it"), "{notes:?}");
}

#[test]
fn a_link_that_is_named_leads_to_the_file() {
    let dir = TestDir::new();
    dir.compile(Arch::X86_64, "real/main", MAIN, &[]);
    symlink("real/main", dir.path("link")).unwrap();
    wrapped(&dir.wrap(&[&"--paths", &dir.path("link")]));
    assert!(dir.path("real/.main.wrapbuddy").exists());
    assert!(dir.path("link").is_symlink());
}
