//! The contents of a wrapped program and of its sidecar.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use e2e::check::segments;
use e2e::offsets::E_ENTRY;
use sidecar::{EditKind, Flags, Sidecar, Trailer};
use wrap_buddy::plan::slot::SlotPosition;

use crate::fixture::*;

/// Wraps the walk-through for `target`. Asserts that only the planned bytes have changed and can be restored.
fn wraps_exactly(target: Arch, arguments: &[&str]) {
    let dir = TestDir::new();
    let main = dir.walk_through(target, arguments);
    let before = fs::read(&main).unwrap();
    let (of_foo, of_bar) = (dir.path("foo/lib"), dir.path("bar/lib"));
    let report = dir.wrap_for(
        target,
        &main,
        &[&"--libs", &of_foo, &of_bar, &dir.path("app")],
    );
    let plan = wrapped(&report);
    let after = fs::read(&main).unwrap();
    assert_eq!(after.len(), before.len());

    let bytes = fs::read(dir.path("app/.main.wrapbuddy")).unwrap();
    let sidecar = Sidecar::parse(&bytes).unwrap();
    assert_eq!(sidecar.header().machine, target.machine());
    assert_eq!(sidecar.interpreter(), target.interpreter().as_bytes());
    let (search, own) = (
        sidecar.search(),
        plan.search.join(std::ffi::OsStr::new(":")),
    );
    assert_eq!(search, own.as_bytes());
    let expected = format!("{}:{}", of_foo.display(), of_bar.display());
    assert!(search.starts_with(expected.as_bytes()), "{search:?}");

    let mut restored = after.clone();
    let mut kinds = Vec::new();
    for edit in sidecar.edits() {
        let edit = edit.unwrap();
        let place = edit.offset as usize..edit.offset as usize + edit.original.len();
        restored[place].copy_from_slice(edit.original);
        kinds.push(edit.kind);
    }
    assert!(
        restored == before,
        "putting the originals back does not give the original"
    );
    let moved = match stub(plan).slot.position {
        SlotPosition::Entry => &[][..],
        _ => &[EditKind::Entry],
    };
    assert_eq!(
        kinds,
        [&[EditKind::Slot], moved, &[EditKind::Interp]].concat()
    );
    // A function in DT_PREINIT_ARRAY follows `_start`.
    assert_eq!(moved.is_empty(), target != Arch::Riscv64);

    let slot = stub(plan).slot.offset as usize;
    assert_eq!(after[slot..][..STUB_LEN], [0xcc; STUB_LEN]);
    let trailer = Trailer::parse(&after[slot + STUB_LEN..]).unwrap();
    assert_eq!(trailer.id, sidecar.header().id);
    assert_eq!(
        trailer.sidecar,
        dir.path("app/.main.wrapbuddy").as_os_str().as_bytes()
    );
    let loader = Path::new(std::ffi::OsStr::from_bytes(trailer.loader));
    assert_eq!(loader.parent().unwrap(), dir.path("loaders"));
    let interp = plan.edits.last().unwrap();
    let mut headers = segments(&after).into_iter();
    assert!(headers.any(|one| one.header_at as u64 == interp.offset));
    assert_eq!(
        (&interp.before[..], &interp.after[..]),
        (&[3, 0, 0, 0][..], &[0; 4][..])
    );
}

e2e::architectures!(wraps_programs_exactly);

fn wraps_programs_exactly(target: Arch) {
    wraps_exactly(target, &["-pie", "-fPIE", "-O2"]);
    wraps_exactly(target, &["-no-pie"]);
}

#[test]
fn the_same_input_gives_the_same_output() {
    let dir = TestDir::new();
    let main = dir.compile(Arch::X86_64, "a/main", "int main(void) { return 0; }", &[]);
    let original = fs::read(&main).unwrap();
    let mut results = Vec::new();
    for _ in 0..2 {
        fs::write(&main, &original).unwrap();
        wrapped(&dir.wrap(&[&"--paths", &main]));
        results.push(snapshot(&dir.path("a")));
    }
    assert!(results[0] == results[1]);
}

/// A program so small that nothing fits after its entry point.
fn tiny(dir: &TestDir, target: Arch, arguments: &[&str]) -> std::path::PathBuf {
    let mut all = vec!["-nostartfiles", "-nostdlib", "-O2", "-Wl,--build-id=none"];
    all.extend_from_slice(arguments);
    let interpreter = format!("-Wl,--dynamic-linker={}", target.interpreter());
    all.extend([
        "-Wl,-z,separate-code",
        "-fno-asynchronous-unwind-tables",
        &interpreter,
    ]);
    let source = "char before[] = \"x\"; void _start(void) { for (;;) before[0]++; }";
    dir.compile(target, "tiny", source, &all)
}

#[test]
fn without_room_the_entry_moves_into_the_padding_after_the_segment() {
    for target in Arch::ALL {
        let dir = TestDir::new();
        let program = tiny(&dir, target, &["-pie"]);
        let before = fs::read(&program).unwrap();
        let report = dir.wrap_for(target, &program, &[]);
        let plan = wrapped(&report);
        assert_eq!(
            stub(plan).slot.position,
            SlotPosition::SegmentEnd,
            "{}",
            target.name()
        );
        let align = match target {
            Arch::Aarch64 => 4,
            Arch::Riscv64 => 2,
            Arch::Armv7 => 4,
            _ => 16,
        };
        assert_eq!(stub(plan).slot.address % align, 0);

        let after = fs::read(&program).unwrap();
        let entry_len = if target.is_64() { 8 } else { 4 };
        // On ARM, bit 0 is set for Thumb code.
        let entry = stub(plan).slot.address | stub(plan).entry & plan.arch.entry_bit;
        assert_eq!(
            after[E_ENTRY..][..entry_len],
            entry.to_le_bytes()[..entry_len]
        );
        let bytes = fs::read(&plan.sidecar_path).unwrap();
        let sidecar = Sidecar::parse(&bytes).unwrap();
        assert_eq!(sidecar.header().entry, stub(plan).entry);
        assert_eq!(sidecar.header().slot_address, stub(plan).slot.address);
        let mut restored = after;
        for edit in sidecar.edits().map(Result::unwrap) {
            restored[edit.offset as usize..][..edit.original.len()].copy_from_slice(edit.original);
        }
        assert!(restored == before, "{}", target.name());
        let again = dir.wrap_for(target, &program, &[]);
        assert_eq!(
            *reason(&again, wrap_buddy::plan::outcome::Status::Skipped),
            SkipReason::Wrapped.into()
        );
    }
}

#[test]
fn a_relocatable_program_knows_only_relative_paths() {
    let dir = TestDir::new();
    let main = dir.walk_through(Arch::X86_64, &[]);
    let interpreter = dir.path("glibc/lib/ld-linux-x86-64.so.2");
    fs::create_dir_all(interpreter.parent().unwrap()).unwrap();
    fs::copy(Arch::X86_64.interpreter(), &interpreter).unwrap();
    fs::copy(Arch::X86_64.glibc(), dir.path("glibc/lib/libc.so.6")).unwrap();
    let loaders = dir.path("lib/wrap-buddy");
    let report = dir.wrap(&[
        &"--paths",
        &main,
        &"--libs",
        &dir.path("foo/lib"),
        &dir.path("bar/lib"),
        &"--interpreter",
        &interpreter,
        &"--relocatable",
        &"--loader-dir-path",
        &loaders,
    ]);
    let plan = wrapped(&report);
    let search = [
        "$ORIGIN/../foo/lib",
        "$ORIGIN/../bar/lib",
        "$ORIGIN/../glibc/lib",
    ];
    assert_eq!(plan.search, search);
    assert_eq!(
        stub(plan).interpreter,
        Path::new("../glibc/lib/ld-linux-x86-64.so.2")
    );
    let bytes = fs::read(&plan.sidecar_path).unwrap();
    let sidecar = Sidecar::parse(&bytes).unwrap();
    assert!(sidecar.header().flags.contains(Flags::RELOCATABLE));
    assert_ne!(sidecar.header().interpreter_room.at, 0);
    let after = fs::read(&main).unwrap();
    let trailer = &after[stub(plan).slot.offset as usize + RELOCATABLE_STUB_LEN..];
    let trailer = Trailer::parse(trailer).unwrap();
    assert_eq!(trailer.loader, b"../lib/wrap-buddy/loader.bin");
    assert_eq!(trailer.sidecar, b".main.wrapbuddy");
}

#[test]
fn the_stub_avoids_code_that_is_relocated() {
    let dir = TestDir::new();
    let source = "int there; void _start(void) { asm(\".rept 100\\n .long there\\n .endr\"); }";
    let arguments = ["-nostartfiles", "-O2", "-fno-pic", "-pie", "-Wl,-z,notext"];
    let program = dir.compile(Arch::I686, "main", source, &arguments);
    let interpreter = format!("--interpreter={}", Arch::I686.interpreter());
    let report = dir.wrap(&[&"--paths", &program, &interpreter]);
    let plan = wrapped(&report);
    assert!(stub(plan).room_at_entry > stub(plan).slot.len);
    assert_eq!(stub(plan).slot.position, SlotPosition::SegmentEnd);
}

#[test]
fn a_file_name_too_long_for_a_sidecar_gets_a_short_one() {
    let dir = TestDir::new();
    let name = "n".repeat(250);
    let main = dir.compile(Arch::X86_64, "main", "int main(void) { return 0; }", &[]);
    let long = dir.path(&name);
    fs::rename(main, &long).unwrap();
    let report = dir.wrap(&[&"--paths", &long]);
    let plan = wrapped(&report);
    assert_eq!(plan.sidecar_path.file_name().unwrap().len(), 1 + 32 + 10);
    let bytes = fs::read(&plan.sidecar_path).unwrap();
    assert_eq!(Sidecar::parse(&bytes).unwrap().header().id, plan.id);
    let again = dir.wrap(&[&"--paths", &long]);
    assert_eq!(
        *reason(&again, wrap_buddy::plan::outcome::Status::Skipped),
        SkipReason::Wrapped.into()
    );
}

#[test]
fn the_rpath_of_a_program_stays_inherited() {
    let dir = TestDir::new();
    let tags = [
        "-Wl,--disable-new-dtags",
        "-Wl,-rpath,$ORIGIN/../foo/lib:/none/at/all",
    ];
    let main = dir.walk_through(Arch::X86_64, &tags);
    let report = dir.wrap(&[
        &"--paths",
        &main,
        &"--libs",
        &dir.path("bar/lib"),
        &dir.path("foo/lib"),
    ]);
    let plan = wrapped(&report);
    // foo is found by the program's own search path, so the user's directory for it is not needed.
    let of_bar = dir.path("bar/lib").into_os_string();
    assert_eq!(plan.search, ["$ORIGIN/../foo/lib".into(), of_bar]);
    let bytes = fs::read(&plan.sidecar_path).unwrap();
    assert!(
        Sidecar::parse(&bytes)
            .unwrap()
            .header()
            .flags
            .contains(Flags::RPATH)
    );
}
