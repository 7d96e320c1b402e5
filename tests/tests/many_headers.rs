//! Programs with as many program headers as the loader has room for, and with one more.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e::offsets::Offsets;
use e2e::{Build, Root, Variant, matrix, source};

matrix!(all: as_many_as_fit, one_more_than_fits, one_more_in_a_derived_program);

const PROGRAM: &str = "/app/program";

const PT_NOTE: u8 = 4;
const PT_PHDR: u8 = 6;

/// The maximum number of headers that the loader has room for.
fn most(variant: Variant) -> usize {
    if variant.arch.is_64() { 71 } else { 126 }
}

/// A root with a program that has that many headers: the table is moved to free space, and empty notes are added.
fn root(variant: Variant, headers: usize) -> Root {
    let root = Root::new(variant);
    let program = Build::program(variant, source("many_headers.c")).build();
    let mut file = fs::read(program).expect("what was built");
    let mark = b"room for program headers";
    let room = file.windows(mark.len()).position(|bytes| bytes == mark);
    let room = room.expect("the array of the program");
    let offsets = Offsets::of(&file);
    let [from, count] = [offsets.e_phoff, offsets.e_phnum].map(|at| usize::from(file[at]));
    let end = from + count * offsets.phdr_len;
    file.copy_within(from..end, room);
    for index in 0..headers + 1 {
        let header = &mut file[room + index * offsets.phdr_len..][..offsets.phdr_len];
        if index >= count || header[0] == PT_PHDR {
            header.fill(0);
            header[0] = PT_NOTE;
        }
    }
    let offset = u32::try_from(room).expect("a small file");
    file[offsets.e_phoff..][..4].copy_from_slice(&offset.to_le_bytes());
    file[offsets.e_phnum] = headers.try_into().expect("few headers");
    root.write(PROGRAM, file);
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(root.path(PROGRAM), executable).expect("chmod a file just made");
    root
}

fn as_many_as_fit(variant: Variant) {
    let root = root(variant, most(variant));
    root.wrap(PROGRAM).run();
    let output = root.command(PROGRAM).output().success();
    assert_eq!(output.stdout, "many headers\n");
}

fn one_more_than_fits(variant: Variant) {
    let most = most(variant);
    let root = root(variant, most + 1);
    let report = root.wrap(PROGRAM).report().exits_with(1);
    let says = format!(
        "it has {} program headers, but the loader has room for {most}",
        most + 1
    );
    report.file(PROGRAM).is("failed", &[&says]);
}

fn one_more_in_a_derived_program(variant: Variant) {
    const DERIVED: &str = "/app/derived";
    let most = most(variant);
    let root = root(variant, most);
    root.wrap(PROGRAM).run();
    let mut file = root.read(PROGRAM);
    let count = Offsets::of(&file).e_phnum;
    file[count] += 1;
    root.install(&root.path(PROGRAM), DERIVED);
    fs::write(root.path(DERIVED), file).expect("write over a copy");
    let output = root.command(DERIVED).output().exits_with(127);
    let says = format!("wrap-buddy: {DERIVED}: too many program headers\n");
    assert_eq!(output.stderr, says);
    let check = root.wrap_buddy().args(["check", DERIVED]);
    let check = check.output().exits_with(1);
    let says = format!("it has {} program headers", most + 1);
    assert!(check.stdout.contains(&says), "{check}");
}
