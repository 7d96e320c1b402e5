//! Programs wrapped by the first wrap-buddy, and unknown sidecars.
//!
//! The first wrap-buddy is not run: the test kit writes its sidecars by their documented layout.

use std::fs;
use std::path::Path;

use e2e::check::{entry_offset, segments, word};
use e2e::legacy::{Legacy, STUB};
use e2e::offsets::E_ENTRY;
use object::elf;
use sidecar::{Flags, Sidecar};
use wrap_buddy::commands::status::Condition;
use wrap_buddy::plan::outcome::Status;

use super::*;
use crate::lifecycle::condition;

e2e::architectures!(
    restored_bit_for_bit,
    wrapped_anew_in_one_step,
    flags_override_the_sidecar,
    unknown_sidecars_are_left_alone,
    bytes_that_would_give_no_program_are_not_put_back,
    program_with_invalid_interp_path_is_not_restored,
);

const KINDS: [&[&str]; 2] = [&["-pie", "-fPIE"], &["-no-pie", "-fno-pie"]];

/// With the settings for `app/main` to find its libraries.
fn legacy(dir: &TestDir, target: Arch, is_relocatable: bool) -> Legacy {
    let root = dir.root.to_str().unwrap();
    let up = "../".repeat(dir.path("app").components().count() - 1);
    let (interpreter, search) = match is_relocatable {
        true => (
            format!("{up}{}", target.interpreter().trim_start_matches('/')),
            "$ORIGIN/../foo/lib:$ORIGIN/../bar/lib".to_owned(),
        ),
        false => (
            target.interpreter().to_owned(),
            format!("{root}/foo/lib:{root}/bar/lib"),
        ),
    };
    Legacy {
        interpreter,
        search,
        names: Some(Vec::new()),
    }
}

fn layouts(dir: &TestDir, target: Arch) -> Vec<Legacy> {
    let modes = [false, true].map(|is_relocatable| legacy(dir, target, is_relocatable));
    Legacy::layouts(&modes, &["libbar.so.1", "libfoo.so.1"])
}

/// Wraps `main` as the first wrap-buddy did, and returns the original bytes.
fn wrap_legacy(legacy: &Legacy, main: &Path) -> Vec<u8> {
    let original = fs::read(main).unwrap();
    let (program, sidecar) = legacy.wrapped(&original);
    fs::write(sidecar_path(main), sidecar).unwrap();
    fs::write(main, program).unwrap();
    original
}

/// The range of the string that PT_INTERP describes.
fn interp_string(program: &[u8]) -> std::ops::Range<usize> {
    let mut segments = segments(program).into_iter();
    let interp = segments.find(|segment| segment.kind == elf::PT_INTERP);
    interp.unwrap().file
}

fn restored_bit_for_bit(target: Arch) {
    for kind in KINDS {
        let dir = TestDir::new();
        let main = dir.walk_through(target, kind);
        for legacy in layouts(&dir, target) {
            let original = wrap_legacy(&legacy, &main);
            let status = states(&main).remove(0);
            assert_eq!(status.state, Condition::Foreign);
            assert_eq!(status.interpreter.as_deref(), Some(&*legacy.interpreter));
            assert_eq!(status.search_path.as_deref(), Some(&*legacy.search));
            assert_eq!(status.needed, legacy.names.clone().unwrap_or_default());
            let report = restore(&[main.to_str().unwrap()]);
            assert_eq!(only(&report).status, Status::Restored, "{report:#?}");
            assert!(fs::read(&main).unwrap() == original);
            assert_eq!(tree(&dir).len(), 1);
        }
    }
}

fn wrapped_anew_in_one_step(target: Arch) {
    for kind in KINDS {
        let dir = TestDir::new();
        let main = dir.walk_through(target, kind);
        for legacy in layouts(&dir, target) {
            let original = wrap_legacy(&legacy, &main);
            let report = dir.wrap(&[&"--paths", &main]);
            let plan = wrapped(&report);
            let note = &plan.notes[0];
            assert!(
                note.contains("first wrap-buddy") && note.contains(&legacy.search),
                "{note}"
            );
            let names = legacy.names.iter().flatten().count();
            // The directory of a dynamic linker other than the system's is added.
            let is_relocatable = legacy.interpreter.starts_with("..");
            let is_same =
                target.machine() == Arch::X86_64.machine() && names == 0 && !is_relocatable;
            let changed = &plan.settings_changed;
            assert!(changed.is_empty() || !is_same, "{changed:?}");
            let bytes = fs::read(sidecar_path(&main)).unwrap();
            let sidecar = Sidecar::parse(&bytes).unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            // Relative paths are normalised, with their links resolved.
            let interpreter = text(sidecar.interpreter());
            let real = |path: &str| fs::canonicalize(main.with_file_name(path)).unwrap();
            assert_eq!(real(&interpreter), real(&legacy.interpreter));
            assert!(is_relocatable || interpreter == legacy.interpreter);
            assert!(text(sidecar.search()).starts_with(&legacy.search));
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
        let legacy = Legacy {
            names: Some(vec!["libmore.so".to_owned()]),
            ..legacy(&dir, target, false)
        };
        let original = wrap_legacy(&legacy, &main);
        wrapped(&dir.wrap(&[&"--paths", &main]));
        let bytes = fs::read(sidecar_path(&main)).unwrap();
        let sidecar = Sidecar::parse(&bytes).unwrap();
        let names: Vec<&[u8]> = sidecar.needed_names().collect();
        assert_eq!(names, [&b"libmore.so"[..]]);
        restore(&[main.to_str().unwrap()]);
        assert!(fs::read(&main).unwrap() == original);
        // Also in place, if there is room.
        wrap_legacy(&legacy, &main);
        let report = dir.wrap(&[&"--paths", &main, &"--strategy", &"inplace"]);
        edited(&report);
        assert_eq!(condition(&main), Condition::InPlace);
        assert_eq!(run(target, &main).unwrap().status.code(), Some(0));
        restore(&[main.to_str().unwrap()]);
        assert!(fs::read(&main).unwrap() == original);
    }
}

fn flags_override_the_sidecar(target: Arch) {
    let dir = TestDir::new();
    let main = dir.walk_through(target, &[]);
    let (of_foo, of_bar) = (dir.path("foo/lib"), dir.path("bar/lib"));
    let gone = Legacy {
        interpreter: "/gone/ld.so".to_owned(),
        search: "/gone/lib".to_owned(),
        names: Some(vec!["libgone.so".to_owned()]),
    };
    wrap_legacy(&gone, &main);
    let wrapped_bytes = tree(&dir);
    // A missing file is an error, and a program that may work is not changed.
    let report = dir.wrap(&[&"--paths", &main]);
    reason(&report, Status::Failed);
    assert!(tree(&dir) == wrapped_bytes);
    let report = dir.wrap_for(
        target,
        &main,
        &[&"--libs", &of_bar, &of_foo, &"--needed", &"libfoo.so.1"],
    );
    let plan = wrapped(&report);
    assert_eq!(
        plan.search[..2],
        [of_bar.into_os_string(), of_foo.into_os_string()]
    );
    let names: Vec<&str> = plan.settings_changed.iter().map(|one| one.name).collect();
    assert_eq!(names, ["interpreter", "search path", "added DT_NEEDED"]);
    assert!(
        plan.notes[0].contains("its settings are not used"),
        "{:?}",
        plan.notes
    );
}

fn unknown_sidecars_are_left_alone(target: Arch) {
    let dir = TestDir::new();
    let main = dir.walk_through(target, &[]);
    let legacy = legacy(&dir, target, false);
    let original = wrap_legacy(&legacy, &main);
    let by_first = fs::read(&main).unwrap();
    let good = fs::read(sidecar_path(&main)).unwrap();
    restore(&[main.to_str().unwrap()]);
    wrapped(&wrap(&dir, target, &main, &[]));
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
    let at = entry_offset(&original);
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
        wrapped(&wrap(&dir, target, &main, &[]));
        restore(&[main.to_str().unwrap()]);
    }
}

fn bytes_that_would_give_no_program_are_not_put_back(target: Arch) {
    let dir = TestDir::new();
    let main = dir.walk_through(target, &[]);
    let legacy = legacy(&dir, target, false);
    let original = wrap_legacy(&legacy, &main);
    let by_first = fs::read(&main).unwrap();
    let sidecar = fs::read(sidecar_path(&main)).unwrap();
    // The string of the former PT_INTERP: without its NUL, with a second NUL, and not a path.
    let string = interp_string(&original);
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
    let word = word(&original);
    let far = &(1_u64 << 30).to_le_bytes()[..word];
    let (mut program, mut elsewhere) = (by_first, sidecar);
    program[E_ENTRY..][..word].copy_from_slice(far);
    elsewhere[..word].copy_from_slice(far);
    fs::write(&main, &program).unwrap();
    fs::write(sidecar_path(&main), &elsewhere).unwrap();
    assert_left_alone(&dir, target, &main, "e_entry");
}

/// The identity in this tool's sidecar does not cover the string in PT_INTERP.
fn program_with_invalid_interp_path_is_not_restored(target: Arch) {
    let dir = TestDir::new();
    let main = dir.walk_through(target, &[]);
    let string = interp_string(&fs::read(&main).unwrap());
    wrapped(&wrap(&dir, target, &main, &[]));
    let mut program = fs::read(&main).unwrap();
    program[string.start] = b'\n';
    fs::write(&main, &program).unwrap();
    assert_left_alone(&dir, target, &main, "PT_INTERP");
}
