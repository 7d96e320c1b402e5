//! Programs wrapped by the first wrap-buddy, unknown sidecars, and copies of wrapped programs.
//!
//! The first wrap-buddy is not run: its sidecars are written here by their documented layout.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf, read};
use sidecar::{Flags, Sidecar};
use wrap_buddy::commands::status::Condition;
use wrap_buddy::plan::outcome::{Report, Status};

use crate::fixture::*;
use crate::lifecycle::{condition, restore, states};

targets!(
    restored_bit_for_bit,
    wrapped_anew_in_one_step,
    flags_come_before_what_the_sidecar_says,
    what_nobody_understands_is_left_alone,
    bytes_that_would_give_no_program_are_not_put_back,
    a_program_whose_interpreter_is_no_path_is_not_restored,
    a_copy_gets_a_sidecar_of_its_own,
    a_copy_whose_sidecar_is_gone,
    a_program_written_by_a_wrapped_one,
    settings_that_change_are_told,
);

/// The first wrap-buddy's changes to a program, and the layout of its sidecar.
#[derive(Clone)]
struct First {
    interpreter: String,
    search: String,
    /// `None` for the layout of 1.0.0 and 1.0.1.
    names: Option<Vec<&'static str>>,
}

/// Bytes of the imitated stub.
const STUB: usize = 200;

/// Offsets in a program.
struct Offsets {
    is_64: bool,
    entry: u64,
    entry_at: usize,
    /// The program header of PT_INTERP.
    interp_header: usize,
    interp_string: std::ops::Range<usize>,
}

fn offsets(bytes: &[u8]) -> Offsets {
    match read::FileKind::parse(bytes).unwrap() {
        read::FileKind::Elf32 => offsets_of::<elf::FileHeader32<Endianness>>(bytes),
        _ => offsets_of::<elf::FileHeader64<Endianness>>(bytes),
    }
}

fn offsets_of<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Offsets {
    let header = H::parse(bytes).unwrap();
    let endian = header.endian().unwrap();
    let segments = header.program_headers(endian, bytes).unwrap();
    let entry: u64 = header.e_entry(endian).into();
    let mut loads = segments
        .iter()
        .filter(|one| one.p_type(endian) == elf::PT_LOAD);
    let entry_at = loads.find_map(|load| {
        let into = entry.checked_sub(load.p_vaddr(endian).into())?;
        (into < load.p_filesz(endian).into()).then(|| load.p_offset(endian).into() + into)
    });
    let interp = segments
        .iter()
        .position(|one| one.p_type(endian) == elf::PT_INTERP);
    let interp = interp.unwrap();
    let phoff: u64 = header.e_phoff(endian).into();
    let (offset, len) = segments[interp].file_range(endian);
    Offsets {
        is_64: header.is_type_64(),
        entry,
        entry_at: entry_at.unwrap() as usize,
        interp_header: phoff as usize + interp * usize::from(header.e_phentsize(endian)),
        interp_string: offset as usize..(offset + len) as usize,
    }
}

impl First {
    /// With the settings for `app/main` of the directory to find its libraries.
    fn new(dir: &TestDir, target: Target, is_relocatable: bool) -> Self {
        let root = dir.root.to_str().unwrap();
        let up = "../".repeat(dir.path("app").components().count() - 1);
        let interpreter = target.interpreter.trim_start_matches('/');
        match is_relocatable {
            true => Self {
                interpreter: format!("{up}{interpreter}"),
                search: "$ORIGIN/../foo/lib:$ORIGIN/../bar/lib".to_owned(),
                names: Some(Vec::new()),
            },
            false => Self {
                interpreter: target.interpreter.to_owned(),
                search: format!("{root}/foo/lib:{root}/bar/lib"),
                names: Some(Vec::new()),
            },
        }
    }

    fn sidecar(&self, original: &[u8]) -> Vec<u8> {
        let Offsets {
            is_64,
            entry,
            entry_at,
            ..
        } = offsets(original);
        let word = if is_64 { 8 } else { 4 };
        let ended = |text: &str| [text.as_bytes(), b"\0"].concat();
        let (interpreter, search) = (ended(&self.interpreter), ended(&self.search));
        let names: Option<Vec<u8>> = self.names.as_ref().map(|names| {
            let names = names.iter().map(|name| ended(name));
            names.collect::<Vec<_>>().concat()
        });
        let mut sidecar = entry.to_le_bytes()[..word].to_vec();
        sidecar.extend(&STUB.to_le_bytes()[..word]);
        for part in [&interpreter, &search].into_iter().chain(&names) {
            sidecar.extend((part.len() as u16).to_le_bytes());
        }
        sidecar.extend(interpreter);
        sidecar.extend(search);
        sidecar.extend(&original[entry_at..entry_at + STUB]);
        sidecar.extend(names.unwrap_or_default());
        sidecar
    }

    /// Wraps `main` as the first wrap-buddy did, and returns the original bytes.
    fn wrap(&self, main: &Path) -> Vec<u8> {
        let original = fs::read(main).unwrap();
        let offsets = offsets(&original);
        fs::write(sidecar_path(main), self.sidecar(&original)).unwrap();
        let mut bytes = original.clone();
        bytes[offsets.entry_at..][..STUB].fill(0xf4);
        bytes[offsets.interp_header..][..4].fill(0);
        fs::write(main, bytes).unwrap();
        original
    }
}

fn sidecar_path(main: &Path) -> PathBuf {
    let name = format!(".{}.wrapbuddy", main.file_name().unwrap().to_str().unwrap());
    main.with_file_name(name)
}

/// Every layout: without the field for names, with it but without names, and with names; absolute and relocatable.
fn layouts(dir: &TestDir, target: Target) -> Vec<First> {
    let names = [
        None,
        Some(Vec::new()),
        Some(vec!["libbar.so.1", "libfoo.so.1"]),
    ];
    let modes = [false, true].into_iter();
    let modes = modes.map(|is_relocatable| First::new(dir, target, is_relocatable));
    modes
        .flat_map(|first| {
            let names = names.clone().into_iter();
            names.map(move |names| First {
                names,
                ..first.clone()
            })
        })
        .collect()
}

const KINDS: [&[&str]; 2] = [&["-pie", "-fPIE"], &["-no-pie", "-fno-pie"]];

/// Everything in `app/` with its content.
fn tree(dir: &TestDir) -> Vec<(PathBuf, Vec<u8>)> {
    snapshot(&dir.path("app"))
}

fn restored_bit_for_bit(target: Target) {
    for kind in KINDS {
        let dir = TestDir::new();
        let main = dir.walk_through(target, kind);
        for first in layouts(&dir, target) {
            let original = first.wrap(&main);
            let status = states(&main).remove(0);
            assert_eq!(status.state, Condition::Foreign);
            assert_eq!(status.interpreter.as_deref(), Some(&*first.interpreter));
            assert_eq!(status.search_path.as_deref(), Some(&*first.search));
            assert_eq!(status.needed, first.names.clone().unwrap_or_default());
            let report = restore(&[main.to_str().unwrap()]);
            assert_eq!(only(&report).status, Status::Restored, "{report:#?}");
            assert!(fs::read(&main).unwrap() == original);
            assert_eq!(tree(&dir).len(), 1);
        }
    }
}

fn wrapped_anew_in_one_step(target: Target) {
    for kind in KINDS {
        let dir = TestDir::new();
        let main = dir.walk_through(target, kind);
        for first in layouts(&dir, target) {
            let original = first.wrap(&main);
            let report = dir.wrap(&[&"--paths", &main]);
            let plan = wrapped(&report);
            let note = &plan.notes[0];
            assert!(
                note.contains("first wrap-buddy") && note.contains(&first.search),
                "{note}"
            );
            let names = first.names.iter().flatten().count();
            // The directory of a dynamic linker other than the system's is added.
            let is_relocatable = first.interpreter.starts_with("..");
            let is_same = target.machine == X86_64.machine && names == 0 && !is_relocatable;
            let changed = &plan.settings_changed;
            assert!(changed.is_empty() || !is_same, "{changed:?}");
            let bytes = fs::read(sidecar_path(&main)).unwrap();
            let sidecar = Sidecar::parse(&bytes).unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            // Relative paths are normalised, with their links resolved.
            let interpreter = text(sidecar.interpreter());
            let real = |path: &str| fs::canonicalize(main.with_file_name(path)).unwrap();
            assert_eq!(real(&interpreter), real(&first.interpreter));
            assert!(is_relocatable || interpreter == first.interpreter);
            assert!(text(sidecar.search()).starts_with(&first.search));
            // The program's own DT_NEEDED are not repeated.
            assert_eq!(sidecar.needed_names().count(), 0);
            assert_eq!(
                sidecar.header().flags.contains(Flags::RELOCATABLE),
                is_relocatable
            );
            assert_eq!(condition(&main), Condition::Wrapped);
            restore(&[main.to_str().unwrap()]);
            assert!(fs::read(&main).unwrap() == original);
            assert_eq!(tree(&dir).len(), 1);
        }
        // Names that the program does not need itself become DT_NEEDED again.
        let soname = "-Wl,-soname,libmore.so";
        let source = "int more(void) { return 1; }";
        dir.compile(
            target,
            "foo/lib/libmore.so",
            source,
            &["-shared", "-fPIC", soname],
        );
        let first = First {
            names: Some(vec!["libmore.so"]),
            ..First::new(&dir, target, false)
        };
        let original = first.wrap(&main);
        wrapped(&dir.wrap(&[&"--paths", &main]));
        let bytes = fs::read(sidecar_path(&main)).unwrap();
        let sidecar = Sidecar::parse(&bytes).unwrap();
        let names: Vec<&[u8]> = sidecar.needed_names().collect();
        assert_eq!(names, [&b"libmore.so"[..]]);
        restore(&[main.to_str().unwrap()]);
        assert!(fs::read(&main).unwrap() == original);
        // Also in place, if there is room.
        first.wrap(&main);
        let report = dir.wrap(&[&"--paths", &main, &"--strategy", &"inplace"]);
        edited(&report);
        assert_eq!(condition(&main), Condition::InPlace);
        assert_eq!(run(target, &main).unwrap().status.code(), Some(0));
        restore(&[main.to_str().unwrap()]);
        assert!(fs::read(&main).unwrap() == original);
    }
}

fn flags_come_before_what_the_sidecar_says(target: Target) {
    let dir = TestDir::new();
    let main = dir.walk_through(target, &[]);
    let (of_foo, of_bar) = (dir.path("foo/lib"), dir.path("bar/lib"));
    First {
        interpreter: "/gone/ld.so".to_owned(),
        search: "/gone/lib".to_owned(),
        names: Some(vec!["libgone.so"]),
    }
    .wrap(&main);
    let wrapped_bytes = tree(&dir);
    // A missing file is an error, and a program that may work is not changed.
    let report = dir.wrap(&[&"--paths", &main]);
    reason(&report, Status::Failed);
    assert!(tree(&dir) == wrapped_bytes);
    let report = dir.wrap(&[
        &"--paths",
        &main,
        &"--libs",
        &of_bar,
        &of_foo,
        &"--interpreter",
        &target.interpreter,
        &"--needed",
        &"libfoo.so.1",
    ]);
    let plan = wrapped(&report);
    assert_eq!(
        plan.search[..2],
        [of_bar.into_os_string(), of_foo.into_os_string()]
    );
    let names: Vec<&str> = plan.settings_changed.iter().map(|one| one.name).collect();
    assert_eq!(names, ["interpreter", "search path", "added DT_NEEDED"]);
    assert!(
        plan.notes[0].contains("nothing is taken"),
        "{:?}",
        plan.notes
    );
}

/// Asserts that no command damages `main`, a program in any state.
#[track_caller]
fn assert_left_alone(dir: &TestDir, target: Target, main: &Path, what: &str) {
    let before = tree(dir);
    let name = main.to_str().unwrap();
    for more in [&[][..], &["--replace"], &["--strategy", "inplace"]] {
        let libs = [dir.path("foo/lib"), dir.path("bar/lib")];
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![
            &"--paths",
            &name,
            &"--interpreter",
            &target.interpreter,
            &"--libs",
            &libs[0],
            &libs[1],
        ];
        arguments.extend(more.iter().map(|one| one as &dyn AsRef<std::ffi::OsStr>));
        let report = dir.wrap(&arguments);
        reason(&report, Status::Failed);
        assert!(tree(dir) == before, "{what} {more:?}");
    }
    for more in [&[][..], &["--replace"]] {
        let report = restore(&[&[name][..], more].concat());
        reason(&report, Status::Failed);
        assert!(tree(dir) == before, "{what} {more:?}");
    }
    let status = states(main).remove(0);
    assert!(status.needs_attention(), "{what}");
    assert_ne!(status.state, Condition::Stale, "{what}");
}

fn what_nobody_understands_is_left_alone(target: Target) {
    let dir = TestDir::new();
    let main = dir.walk_through(target, &[]);
    let first = First::new(&dir, target, false);
    let original = first.wrap(&main);
    let by_first = fs::read(&main).unwrap();
    let good = fs::read(sidecar_path(&main)).unwrap();
    restore(&[main.to_str().unwrap()]);
    let libs = [dir.path("foo/lib"), dir.path("bar/lib")];
    let interpreter = target.interpreter;
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 7] = [
        &"--paths",
        &main,
        &"--interpreter",
        &interpreter,
        &"--libs",
        &libs[0],
        &libs[1],
    ];
    wrapped(&dir.wrap(&arguments));
    let by_us = fs::read(&main).unwrap();
    let own = fs::read(sidecar_path(&main)).unwrap();

    let mut newer = own.clone();
    newer[7] = b'9';
    let mut of_other_entry = good.clone();
    of_other_entry[0] ^= 4;
    let mut contents = vec![
        ("garbage", b"garbage".to_vec()),
        ("of a newer version", newer),
        ("half of its own", own[..own.len() / 2].to_vec()),
        ("longer", [&good[..], b"x"].concat()),
        ("damaged", {
            let mut damaged = own.clone();
            damaged[60] ^= 1;
            damaged
        }),
    ];
    for len in [1, 8, 20, 60, good.len() - 1] {
        contents.push(("cut", good[..len].to_vec()));
    }
    for (what, content) in &contents {
        fs::write(sidecar_path(&main), content).unwrap();
        for program in [&original, &by_first, &by_us] {
            fs::write(&main, program).unwrap();
            assert_left_alone(&dir, target, &main, what);
            assert_eq!(condition(&main), Condition::UnknownSidecar, "{what}");
        }
    }
    // Valid, but of another program.
    for content in [&of_other_entry, &own] {
        fs::write(sidecar_path(&main), content).unwrap();
        fs::write(&main, &by_first).unwrap();
        assert_left_alone(&dir, target, &main, "another's");
    }
    // The entry point is neither the original nor known to belong to another program.
    let mut changed = original.clone();
    let at = offsets(&original).entry_at;
    changed[at..at + STUB].fill(0xf4);
    fs::write(sidecar_path(&main), &good).unwrap();
    fs::write(&main, &changed).unwrap();
    assert_left_alone(&dir, target, &main, "PT_INTERP and another entry point");
    fs::remove_file(sidecar_path(&main)).unwrap();
    for program in [&by_first, &by_us] {
        fs::write(&main, program).unwrap();
        assert_left_alone(&dir, target, &main, "no sidecar");
        assert_eq!(condition(&main), Condition::Orphan);
    }
    fs::create_dir(sidecar_path(&main)).unwrap();
    for program in [&original, &by_first, &by_us] {
        fs::write(&main, program).unwrap();
        assert_left_alone(&dir, target, &main, "a directory");
    }
    fs::remove_dir(sidecar_path(&main)).unwrap();

    // Nothing is lost in these cases: the original next to a sidecar with the same bytes, and a file of zeros.
    fs::write(&main, &original).unwrap();
    for content in [good, vec![0; 100]] {
        fs::write(sidecar_path(&main), &content).unwrap();
        restore(&[main.to_str().unwrap()]);
        assert!(fs::read(&main).unwrap() == original);
        assert!(!sidecar_path(&main).exists());
        fs::write(sidecar_path(&main), &content).unwrap();
        wrapped(&dir.wrap(&arguments));
        restore(&[main.to_str().unwrap()]);
    }
}

fn bytes_that_would_give_no_program_are_not_put_back(target: Target) {
    let dir = TestDir::new();
    let main = dir.walk_through(target, &[]);
    let first = First::new(&dir, target, false);
    let original = first.wrap(&main);
    let by_first = fs::read(&main).unwrap();
    let sidecar = fs::read(sidecar_path(&main)).unwrap();
    let offsets = offsets(&original);
    // The string of the former PT_INTERP: without its NUL, with a second NUL, and not a path.
    let string = &offsets.interp_string;
    for (at, byte) in [
        (string.end - 1, b'x'),
        (string.start + 4, 0),
        (string.start, b'\n'),
    ] {
        let mut program = by_first.clone();
        program[at] = byte;
        fs::write(&main, &program).unwrap();
        fs::write(sidecar_path(&main), &sidecar).unwrap();
        assert_left_alone(&dir, target, &main, "PT_INTERP");
    }
    // The entry point is in no segment, in both program and sidecar.
    let word = if offsets.is_64 { 8 } else { 4 };
    let far = &(1_u64 << 30).to_le_bytes()[..word];
    let (mut program, mut elsewhere) = (by_first, sidecar);
    program[24..24 + word].copy_from_slice(far);
    elsewhere[..word].copy_from_slice(far);
    fs::write(&main, &program).unwrap();
    fs::write(sidecar_path(&main), &elsewhere).unwrap();
    assert_left_alone(&dir, target, &main, "e_entry");
}

/// The identity in this tool's sidecar does not cover the string in PT_INTERP.
fn a_program_whose_interpreter_is_no_path_is_not_restored(target: Target) {
    let dir = TestDir::new();
    let main = dir.walk_through(target, &[]);
    let string = offsets(&fs::read(&main).unwrap()).interp_string;
    wrapped(&wrap(&dir, target, &main, &[]));
    let mut program = fs::read(&main).unwrap();
    program[string.start] = b'\n';
    fs::write(&main, &program).unwrap();
    assert_left_alone(&dir, target, &main, "PT_INTERP");
}

/// `app/main`, wrapped, and a copy of it, `copies/copy`.
fn copied(dir: &TestDir, target: Target) -> (PathBuf, PathBuf, Vec<u8>) {
    let main = dir.walk_through(target, &[]);
    let original = fs::read(&main).unwrap();
    wrapped(&wrap(dir, target, &main, &[]));
    let copy = dir.path("copies/copy");
    fs::create_dir(dir.path("copies")).unwrap();
    fs::copy(&main, &copy).unwrap();
    (main, copy, original)
}

fn wrap(dir: &TestDir, target: Target, path: &Path, more: &[&str]) -> Report {
    let libs = [dir.path("foo/lib"), dir.path("bar/lib")];
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![
        &"--paths",
        &path,
        &"--interpreter",
        &target.interpreter,
        &"--libs",
        &libs[0],
        &libs[1],
    ];
    arguments.extend(more.iter().map(|one| one as &dyn AsRef<std::ffi::OsStr>));
    dir.wrap(&arguments)
}

fn a_copy_gets_a_sidecar_of_its_own(target: Target) {
    let dir = TestDir::new();
    let (main, copy, original) = copied(&dir, target);
    let first = (
        fs::read(&main).unwrap(),
        fs::read(sidecar_path(&main)).unwrap(),
    );
    assert_eq!(condition(&copy), Condition::Wrapped);
    let report = wrap(&dir, target, &copy, &["--runtime-dependencies", "/x"]);
    let plan = wrapped(&report);
    assert_eq!(
        plan.settings_changed.len(),
        1,
        "{:?}",
        plan.settings_changed
    );
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("one of its own now")),
        "{plan:#?}"
    );
    let status = states(&copy).remove(0);
    assert_eq!(status.sidecar, Some(sidecar_path(&copy)));
    assert!(status.search_path.unwrap().contains("/x"));
    assert!(
        (
            fs::read(&main).unwrap(),
            fs::read(sidecar_path(&main)).unwrap()
        ) == first
    );
    // The copy does not need the other sidecar any more.
    fs::remove_file(sidecar_path(&main)).unwrap();
    fs::remove_file(&main).unwrap();
    let again = wrap(&dir, target, &copy, &["--runtime-dependencies", "/x"]);
    assert_eq!(reason(&again, Status::Skipped), "already wrapped");
    restore(&[copy.to_str().unwrap()]);
    assert!(fs::read(&copy).unwrap() == original);
    assert!(!sidecar_path(&copy).exists());

    // Another name of the same file is not a copy.
    wrapped(&wrap(&dir, target, &copy, &[]));
    let name = dir.path("app/name");
    fs::hard_link(&copy, &name).unwrap();
    let before = snapshot(&dir.root);
    let report = wrap(&dir, target, &name, &["--runtime-dependencies", "/x"]);
    let text = reason(&report, Status::Skipped);
    assert!(
        text.contains("hard link of") && text.contains("copies/copy"),
        "{text}"
    );
    assert!(snapshot(&dir.root) == before);
}

fn a_copy_whose_sidecar_is_gone(target: Target) {
    let dir = TestDir::new();
    let (main, copy, original) = copied(&dir, target);
    let wrapped_copy = fs::read(&copy).unwrap();
    // The program from which it was copied was restored, or wrapped with another stub: the original bytes are known.
    for more in [None, Some(["--self-contained"])] {
        restore(&[main.to_str().unwrap()]);
        if let Some(more) = more {
            wrapped(&wrap(&dir, target, &main, &more));
        }
        fs::write(&copy, &wrapped_copy).unwrap();
        let status = states(&copy).remove(0);
        assert_eq!(status.state, Condition::Orphan);
        let advice = status.advice.unwrap();
        assert!(advice.contains("has its original bytes"), "{advice}");
        restore(&[copy.to_str().unwrap()]);
        assert!(fs::read(&copy).unwrap() == original);
        fs::write(&copy, &wrapped_copy).unwrap();
        wrapped(&wrap(&dir, target, &copy, &[]));
        assert_eq!(condition(&copy), Condition::Wrapped);
        restore(&[copy.to_str().unwrap()]);
        assert!(fs::read(&copy).unwrap() == original);
    }
    // No bytes are taken from another program.
    restore(&[main.to_str().unwrap()]);
    let offsets = offsets(&original);
    let file = fs::File::options().write(true).open(&main).unwrap();
    file.write_all_at(&[0xf4], offsets.entry_at as u64 + 1)
        .unwrap();
    drop(file);
    fs::write(&copy, &wrapped_copy).unwrap();
    let texts = [
        reason(&restore(&[copy.to_str().unwrap()]), Status::Failed).to_owned(),
        reason(&wrap(&dir, target, &copy, &[]), Status::Failed).to_owned(),
        states(&copy).remove(0).advice.unwrap(),
    ];
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:#?}");
    assert!(texts[0].contains("put it back"), "{texts:#?}");
    assert!(fs::read(&copy).unwrap() == wrapped_copy);
}

/// As with sbcl's save-lisp-and-die: the running executable, and data after it.
fn a_program_written_by_a_wrapped_one(target: Target) {
    let dir = TestDir::new();
    let (main, _, original) = copied(&dir, target);
    let payload = vec![b'p'; 10_000];
    let written = dir.path("copies/written");
    let with = |program: &[u8]| [program, &payload[..]].concat();
    let program = fs::read(&main).unwrap();
    fs::write(&written, with(&program)).unwrap();
    let status = states(&written).remove(0);
    assert_eq!(status.state, Condition::Wrapped);
    assert_eq!(status.sidecar, Some(sidecar_path(&main)));
    let report = restore(&[written.to_str().unwrap()]);
    assert_eq!(only(&report).status, Status::Restored, "{report:#?}");
    assert!(fs::read(&written).unwrap() == with(&original));
    assert!(sidecar_path(&main).exists());

    fs::write(&written, with(&program)).unwrap();
    let modified = fs::metadata(&written).unwrap().mtime();
    wrapped(&wrap(&dir, target, &written, &[]));
    assert_eq!(
        states(&written).remove(0).sidecar,
        Some(sidecar_path(&written))
    );
    fs::remove_file(sidecar_path(&main)).unwrap();
    let again = wrap(&dir, target, &written, &[]);
    assert_eq!(reason(&again, Status::Skipped), "already wrapped");
    restore(&[written.to_str().unwrap()]);
    assert!(fs::read(&written).unwrap() == with(&original));
    assert!(fs::metadata(&written).unwrap().mtime() >= modified);
}

fn settings_that_change_are_told(target: Target) {
    for strategy in ["stub", "inplace"] {
        let dir = TestDir::new();
        let main = dir.walk_through(target, &[]);
        let base = ["--strategy", strategy];
        let run = |more: &[&str]| wrap(&dir, target, &main, &[&base[..], more].concat());
        let changed = |report: &Report| -> Vec<&'static str> {
            let plan = only(report).plan.as_ref().unwrap();
            plan.settings_changed.iter().map(|one| one.name).collect()
        };
        let report = run(&["--runtime-dependencies", "/x", "--needed", "libfoo.so.1"]);
        assert!(changed(&report).is_empty(), "{report:#?}");
        let report = run(&[]);
        assert_eq!(changed(&report), ["search path"], "{strategy}");
        let plan = only(&report).plan.as_ref().unwrap();
        let change = &plan.settings_changed[0];
        assert!(change.before.contains("bar/lib:/x"), "{change:?}");
        assert!(!change.after.contains("/x"), "{change:?}");
        let report = run(&["--search", "rpath"]);
        assert_eq!(changed(&report), ["search path"], "{strategy}");
        let mut human = (Vec::new(), Vec::new());
        let output = wrap_buddy::report::Output {
            verbose: true,
            ..Default::default()
        };
        wrap_buddy::commands::wrap::human::write(&report, output, &mut human.0, &mut human.1)
            .unwrap();
        let text = plain(human.0);
        assert!(text.contains("settings changed: search path\n"), "{text}");
        assert!(
            text.contains("search path: DT_RUNPATH ") && text.contains(" → DT_RPATH "),
            "{text}"
        );
        if strategy == "stub" {
            let report = run(&[
                "--self-contained",
                "--relocatable",
                "--allow-outside",
                "--search",
                "rpath",
            ]);
            let all = ["interpreter", "search path", "relocatable", "loader"];
            assert_eq!(changed(&report), all);
            assert_eq!(changed(&run(&[])), all);
        }
    }
}
