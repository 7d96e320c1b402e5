//! The kind of a file: every command gives the same answer.

use e2e::offsets::{E_TYPE, EI_OSABI};
use elf_file::Kind;
use object::elf;
use std::fs;
use std::path::Path;
use std::process::Command;
use wrap_buddy::commands::Command as Parsed;
use wrap_buddy::commands::check::diagnosis::Diagnosis;
use wrap_buddy::commands::status::Condition;
use wrap_buddy::plan::outcome::Status;
use wrap_buddy::report::Reporter;

use crate::fixture::*;

const MAIN: &str = "int main(void) { return 0; }";

fn command(words: &[&str]) -> Parsed {
    parsed([&["wrap-buddy"], words].concat())
}

fn checked(path: &Path) -> wrap_buddy::commands::check::Checked {
    match command(&["check", path.to_str().unwrap()]) {
        Parsed::Check(check) => {
            wrap_buddy::commands::check::check(&check, &stages(), &Reporter::default()).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// The kinds that `check` and `show` report.
fn kinds(path: &Path) -> [Kind; 2] {
    let shown = match command(&["show", path.to_str().unwrap()]) {
        Parsed::Show(look) => {
            wrap_buddy::commands::show::show(&look, &stages(), &Reporter::default()).unwrap()
        }
        other => panic!("{other:?}"),
    };
    let original = shown[0].original.as_ref();
    let shown = original.unwrap_or_else(|| panic!("{shown:?}")).kind;
    [checked(path).files[0].kind, shown]
}

#[test]
fn commands_agree_on_the_kind_of_a_file() {
    let dir = TestDir::new();
    let compile = |name: &str, arguments: &[&str]| dir.compile(Arch::X86_64, name, MAIN, arguments);
    let program = compile("program", &["-g"]);
    let debug = |from: &Path, name: &str| {
        let to = dir.path(name);
        let mut objcopy = Command::new("objcopy");
        let status = objcopy.arg("--only-keep-debug").args([from, &to]).status();
        assert!(status.unwrap().success());
        to
    };
    let changed = |from: &Path, name: &str, at: usize, to: u8| {
        let mut bytes = fs::read(from).unwrap();
        bytes[at] = to;
        dir.write(name, bytes)
    };
    let object = compile("main.o", &["-c"]);
    let library = compile("lib.so", &["-shared", "-fPIC", "-g"]);
    let cases = [
        (program.clone(), Kind::Program),
        (compile("fixed", &["-no-pie"]), Kind::Program),
        (
            compile("static", &["-static", "-no-pie"]),
            Kind::StaticProgram,
        ),
        (compile("static-pie", &["-static-pie"]), Kind::StaticPie),
        (library.clone(), Kind::Library),
        (Arch::X86_64.glibc(), Kind::Library),
        (debug(&program, "program.debug"), Kind::DebugInformation),
        (debug(&library, "lib.debug"), Kind::DebugInformation),
        (object.clone(), Kind::Object),
        (
            changed(&object, "core", E_TYPE, elf::ET_CORE as u8),
            Kind::CoreDump,
        ),
        (
            changed(&program, "freebsd", EI_OSABI, elf::ELFOSABI_FREEBSD),
            Kind::OtherSystem,
        ),
        (changed(&object, "other", E_TYPE, 9), Kind::Other),
    ];
    for (path, kind) in cases {
        assert_eq!(kinds(&path), [kind; 2], "{}", path.display());
        let report = dir.wrap(&[&"--paths", &path, &"--dry-run"]);
        let file = only(&report);
        let expected = match kind {
            Kind::Program => {
                assert!(file.plan.is_some(), "{file:?}");
                continue;
            }
            Kind::OtherSystem => SkipReason::OtherSystem(elf::ELFOSABI_FREEBSD),
            Kind::Other => SkipReason::OtherType(9),
            Kind::Library => SkipReason::LibraryFindsAll,
            kind => SkipReason::Kind(kind),
        };
        assert_eq!(file.reason, Some(expected.into()));
    }
}

/// If you name the file, each command reports an error. In a directory, it is ignored as data.
#[test]
fn truncated_or_invalid_elf_header_is_reported() {
    let dir = TestDir::new();
    let short = dir.write("short", b"\x7fELF\x02\x01\x01");
    let mut header = b"\x7fELF\x07\x01\x01".to_vec();
    header.resize(128, 0);
    let class = dir.write("class", &header);
    header[4..6].copy_from_slice(&[2, 9]);
    let order = dir.write("order", &header);
    let says = [
        (
            &short,
            "malformed ELF file: truncated: its ELF header takes 64 bytes, and the file has 7",
        ),
        (&class, "malformed ELF file: its EI_CLASS is 7"),
        (&order, "malformed ELF file: its EI_DATA is 9"),
    ];
    for (path, expected) in says {
        let text = path.to_str().unwrap();
        let report = dir.wrap(&[&"--paths", path]);
        assert_eq!(reason(&report, Status::Failed).to_string(), expected);
        let checked = checked(path);
        let problem = &checked.files[0].problems[0];
        assert_eq!(
            (problem.diagnosis, &*problem.text),
            (Diagnosis::Malformed, expected)
        );
        let Parsed::Status(look) = command(&["status", text]) else {
            panic!("status");
        };
        let status =
            wrap_buddy::commands::status::status(&look, &stages(), &Reporter::default()).unwrap();
        assert_eq!(status[0].state, Condition::Unreadable);
        assert_eq!(status[0].advice.as_deref(), Some(expected));
        let Parsed::Show(look) = command(&["show", text]) else {
            panic!("show");
        };
        let shown =
            wrap_buddy::commands::show::show(&look, &stages(), &Reporter::default()).unwrap();
        assert!(shown[0].failed(), "{shown:?}");
        let Parsed::Restore(restore) = command(&["restore", text]) else {
            panic!("restore");
        };
        let restored =
            wrap_buddy::commands::restore::restore(&restore, &stages(), &Reporter::default())
                .unwrap();
        assert_eq!(reason(&restored, Status::Failed).to_string(), expected);
    }
    let report = dir.wrap(&[&"--paths", &dir.root]);
    assert!(!report.failed(), "{report:?}");
    assert!(checked(&dir.root).files.is_empty());
}

/// The reports of `wrap` and `check` on a program with these bytes replaced and appended.
fn said_of(dir: &TestDir, head: (usize, &[u8]), tail: &[u8]) -> (Status, String, Vec<Diagnosis>) {
    let program = dir.compile(Arch::X86_64, "static", MAIN, &["-static", "-no-pie"]);
    let mut bytes = fs::read(&program).unwrap();
    bytes[head.0..head.0 + head.1.len()].copy_from_slice(head.1);
    bytes.extend(tail);
    fs::write(&program, bytes).unwrap();
    let report = dir.wrap(&[&"--paths", &program]);
    let file = only(&report);
    let notes = checked(&program).files[0].notes.clone();
    let texts: Vec<String> = notes.iter().map(|note| note.text.clone()).collect();
    let reason = file.reason.as_ref().unwrap().to_string();
    assert!(
        texts.is_empty() || reason.ends_with(&texts.join(", ")),
        "{reason} {texts:?}"
    );
    (
        file.status,
        reason,
        notes.iter().map(|note| note.diagnosis).collect(),
    )
}

/// Uses the documented marks of the packers. In the end-to-end tests, PAR and caxa themselves make such programs.
#[test]
fn programs_that_carry_others() {
    let dir = TestDir::new();
    // The padding of e_ident is unused.
    let none = (9, &b""[..]);
    let carries = [Diagnosis::CarriesProgram];
    let says = |head, tail: &[u8], text: &str, diagnoses: &[Diagnosis]| {
        let (status, reason, found) = said_of(&dir, head, tail);
        assert_eq!((status, &*found), (Status::Skipped, diagnoses), "{reason}");
        assert!(reason.contains(text), "{reason}");
    };
    says((8, b"AI\x01"), b"", "an AppImage of type 1", &carries);
    says((8, b"AI\x02"), b"", "--appimage-extract", &carries);
    says((8, b"AI\x03"), b"", "static executable", &[]);

    let len = fs::metadata(dir.path("static")).unwrap().len();
    let start = len.to_le_bytes();
    says(
        none,
        &[b"KAY and more", &start[..]].concat(),
        "Nuitka",
        &carries,
    );
    says(
        none,
        &[b"KOY and more", &start[..]].concat(),
        "static executable",
        &[],
    );

    let archive = |name: &[u8], kind: u8| {
        let content = b"content";
        let mut entry = Vec::new();
        let entry_len = 18 + name.len() as u32 + 1;
        for word in [entry_len, 0, 7, 7] {
            entry.extend(word.to_be_bytes());
        }
        entry.extend([0, kind]);
        entry.extend(name);
        entry.push(0);
        let mut cookie = b"MEI\x0c\x0b\x0a\x0b\x0e".to_vec();
        let all = content.len() as u32 + entry_len + 88;
        for word in [all, content.len() as u32, entry_len, 311] {
            cookie.extend(word.to_be_bytes());
        }
        cookie.resize(88, 0);
        // Section headers follow.
        [&content[..], &entry, &cookie, &[0; 100]].concat()
    };
    says(
        none,
        &archive(b"bin/tool", b'b'),
        "unpacks bin/tool",
        &carries,
    );
    says(
        none,
        &archive(b"libpython3.13.so.1.0", b'b'),
        "static executable",
        &[],
    );
    says(none, &archive(b"bin/tool", b's'), "static executable", &[]);
    // Lengths that lead outside the file.
    let mut broken = archive(b"bin/tool", b'b');
    let at = broken.len() - 100 - 88 + 8;
    broken[at..at + 12].fill(0xff);
    says(none, &broken, "static executable", &[]);

    let (status, reason, found) = said_of(&dir, (9, b"UPX!"), b"");
    assert_eq!(
        (status, &*found),
        (Status::Failed, &[Diagnosis::Packed][..])
    );
    assert!(reason.contains("upx -d"), "{reason}");
}

/// An archive is not a program, and `check` reports that it checked nothing.
#[test]
fn archive_is_not_a_program() {
    let dir = TestDir::new();
    let archive = dir.write("app.tgz", b"\x1f\x8b\x08\0rest");
    let found = checked(&archive);
    assert!(!found.is_well());
    let note = &found.files[0].notes[0];
    assert!(note.text.contains("gzip archive"), "{}", note.text);
    let program = dir.compile(Arch::X86_64, "program", MAIN, &[]);
    let both = [
        "check",
        archive.to_str().unwrap(),
        program.to_str().unwrap(),
    ];
    let Parsed::Check(check) = command(&both) else {
        panic!("check");
    };
    let found =
        wrap_buddy::commands::check::check(&check, &stages(), &Reporter::default()).unwrap();
    assert!(found.is_well(), "{found:?}");
}

/// `status` and `show` report that there is nothing, and print one line about a file edited in place.
#[test]
fn empty_result_is_reported() {
    let dir = TestDir::new();
    let human = |command: &str| {
        let root = dir.root.to_str().unwrap();
        let mut out = Vec::new();
        match self::command(&[command, root]) {
            Parsed::Status(look) => {
                let files =
                    wrap_buddy::commands::status::status(&look, &stages(), &Reporter::default());
                wrap_buddy::commands::status::write(&files.unwrap(), look.output, &mut out)
                    .unwrap();
            }
            Parsed::Show(look) => {
                let views =
                    wrap_buddy::commands::show::show(&look, &stages(), &Reporter::default());
                wrap_buddy::commands::show::human::write(&views.unwrap(), look.output, &mut out)
                    .unwrap();
            }
            other => panic!("{other:?}"),
        }
        plain(out)
    };
    let main = dir.walk_through(Arch::X86_64, &[]);
    for command in ["status", "show"] {
        let said = human(command);
        assert!(
            said.starts_with("no file here is wrapped or edited in place"),
            "{said}"
        );
    }
    let report = dir.wrap_with_libs(Arch::X86_64, &main, &["--strategy", "inplace"]);
    assert!(!report.failed(), "{report:?}");
    let said = human("status");
    let interpreter = format!("  interpreter  {}", Arch::X86_64.interpreter());
    assert!(said.contains(&interpreter), "{said}");
    assert!(said.contains("  search path  "), "{said}");
}
