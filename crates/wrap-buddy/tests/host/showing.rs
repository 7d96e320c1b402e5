//! `show`: the changes of a file in each state, and its code, compared with another disassembler.

use e2e::offsets::{E_ENTRY, EI_CLASS};
use elf_file::Kind;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use sys::arch;
use wrap_buddy::commands::Command as Parsed;
use wrap_buddy::commands::show::code::disassemble_stub;
use wrap_buddy::commands::show::show;
use wrap_buddy::commands::show::view::{EditState, SidecarKind, View};
use wrap_buddy::commands::status::Condition;
use wrap_buddy::report::Reporter;

use crate::fixture::*;

e2e::architectures!(the_stub_is_shown_at_its_own_address);

fn views(path: &Path) -> Vec<View> {
    let all = ["wrap-buddy", "show", path.to_str().unwrap()];
    match parsed(all) {
        Parsed::Show(look) => show(&look, &stages(), &Reporter::default()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn view(path: &Path) -> View {
    let mut views = views(path);
    assert_eq!(views.len(), 1, "{views:#?}");
    views.remove(0)
}

fn human(view: &View) -> String {
    let mut out = Vec::new();
    let views = std::slice::from_ref(view);
    wrap_buddy::commands::show::human::write(
        views,
        wrap_buddy::report::Output::default(),
        &mut out,
    )
    .unwrap();
    plain(out)
}

fn walk_through(dir: &TestDir, target: Arch, strategy: &str) -> std::path::PathBuf {
    let main = dir.walk_through(target, &[]);
    dir.wrap_with_libs(target, &main, &["--strategy", strategy]);
    main
}

#[test]
fn a_wrapped_program() {
    for target in Arch::ALL {
        let dir = TestDir::new();
        let original = dir.walk_through(target, &[]);
        let before = fs::read(&original).unwrap();
        let untouched = view(&original);
        assert_eq!(untouched.state, Condition::Original);
        assert!(untouched.sidecar.is_none() && untouched.edits.is_empty());

        let main = walk_through(&dir, target, "stub");
        let view = view(&main);
        assert_eq!(view.state, Condition::Wrapped);
        let file = view.original.as_ref().unwrap();
        assert_eq!(
            (file.machine.as_str(), file.kind),
            (target.name(), Kind::Program)
        );
        assert_eq!(file.file_len, before.len() as u64);
        assert_eq!(file.needed[..2], ["libfoo.so.1", "libbar.so.1"]);
        let given = view.given.as_ref().unwrap();
        assert_eq!(given.interpreter.as_deref(), Some(target.interpreter()));
        let path = given.search_path.as_ref().unwrap();
        let libs = ["foo/lib", "bar/lib"].map(|name| dir.path(name).display().to_string());
        assert!(path.directories.starts_with(&libs), "{path:?}");

        // The code at the original entry point is the same with a stub over it.
        let first = |view: &View| view.entry_code[..4].to_vec();
        assert_eq!(first(&view), first(&untouched));
        assert_eq!(view.entry_code[0].address, target.code_address(file.entry));
        let trailer = view.trailer.as_ref().unwrap();
        let sidecar = view.sidecar.as_ref().unwrap();
        assert_eq!(sidecar.id.as_deref(), Some(trailer.id.as_str()));
        assert_eq!(sidecar.way, SidecarKind::Stub);
        let stub = sidecar.stub.as_ref().unwrap();
        assert_eq!(trailer.offset, stub.slot.offset + STUB_LEN as u64);
        assert!(!stub.patches.is_empty());
        assert!(!view.stub_code.is_empty());
        let loader = view.loader.as_ref().unwrap();
        assert!(loader.problem.as_ref().unwrap().contains("does not exist"));
        dir.write(&loader.path, loader_image(target.machine()));
        assert_eq!(self::view(&main).loader.unwrap().problem, None);

        // The bytes before and after each edit are those of the files.
        let now = fs::read(&main).unwrap();
        for edit in &view.edits {
            let side = |file: &[u8]| -> String {
                let bytes = &file[edit.offset as usize..][..edit.before.len() / 2];
                bytes.iter().map(|byte| format!("{byte:02x}")).collect()
            };
            assert_eq!((&edit.before, &edit.after), (&side(&before), &side(&now)));
            assert_eq!(edit.state, EditState::Made, "{edit:?}");
        }
        let text = human(&view);
        for fact in [
            "main: wrapped",
            "PT_INTERP → PT_NULL",
            "libfoo.so.1 libbar.so.1",
            &trailer.id,
            target.interpreter(),
            trailer.loader.as_ref().unwrap(),
            "original entry",
            &view.entry_code[0].text,
        ] {
            assert!(text.contains(fact), "{fact} is not in\n{text}");
        }
    }
}

#[test]
fn a_program_edited_in_place() {
    let dir = TestDir::new();
    let main = walk_through(&dir, Arch::X86_64, "inplace");
    let view = view(&main);
    assert_eq!(view.state, Condition::InPlace);
    assert_eq!(view.sidecar.as_ref().unwrap().way, SidecarKind::InPlace);
    assert!(view.stub_code.is_empty() && !view.entry_code.is_empty());
    assert_eq!(view.original.as_ref().unwrap().search_path, None);
    let given = view.given.as_ref().unwrap().search_path.as_ref().unwrap();
    assert_eq!(given.tag, "DT_RUNPATH");
    let meanings: Vec<&str> = view
        .edits
        .iter()
        .map(|edit| edit.meaning.as_str())
        .collect();
    let runpath = meanings
        .iter()
        .find(|text| text.contains("DT_NULL → DT_RUNPATH 0x"));
    assert!(runpath.is_some(), "{meanings:#?}");
}

#[test]
fn files_that_are_half_done_changed_or_without_their_sidecar() {
    let dir = TestDir::new();
    let main = walk_through(&dir, Arch::X86_64, "stub");
    let whole = view(&main);
    let slot = whole.edits.iter().find(|edit| edit.kind == "slot").unwrap();
    let interp = whole
        .edits
        .iter()
        .find(|edit| edit.kind == "interp")
        .unwrap();

    let file = fs::File::options().write(true).open(&main).unwrap();
    file.write_all_at(&[3, 0, 0, 0], interp.offset).unwrap();
    let half = view(&main);
    assert_eq!(half.state, Condition::HalfDone);
    let state = |kind: &str| {
        half.edits
            .iter()
            .find(|edit| edit.kind == kind)
            .unwrap()
            .state
    };
    assert_eq!(
        [state("slot"), state("interp")],
        [EditState::Made, EditState::NotMade]
    );
    assert!(human(&half).contains("PT_NULL; not made"));
    file.write_all_at(&[0; 4], interp.offset).unwrap();

    let sidecar = main.with_file_name(".main.wrapbuddy");
    let elsewhere = dir.path("elsewhere");
    fs::rename(&sidecar, &elsewhere).unwrap();
    let orphan = view(&main);
    assert_eq!(orphan.state, Condition::Orphan);
    assert_eq!(orphan.stub_code, whole.stub_code);
    assert_eq!(
        orphan.trailer.as_ref().unwrap().offset,
        slot.offset + STUB_LEN as u64
    );
    assert!(orphan.sidecar.is_none() && orphan.advice.is_some());
    assert!(human(&orphan).contains("\n  stub\n"));

    // A program that was replaced, with the sidecar of the old version.
    let other = dir.compile(
        Arch::X86_64,
        "app/main",
        "int main(void) { return 3; }",
        &[],
    );
    fs::rename(&elsewhere, &sidecar).unwrap();
    let stale = view(&other);
    assert_eq!(stale.state, Condition::Stale);
    assert!(stale.sidecar.as_ref().unwrap().of_another_file);
    assert!(human(&stale).contains("of another file") && !stale.entry_code.is_empty());
}

#[test]
fn a_loader_in_the_sidecar_is_shown() {
    let dir = TestDir::new();
    let main = dir.compile(
        Arch::X86_64,
        "app/main",
        "int main(void) { return 0; }",
        &[],
    );
    dir.wrap(&[&"--paths", &main, &"--self-contained"]);
    let view = view(&main);
    assert!(!view.edits.is_empty());
    for edit in &view.edits {
        assert_eq!(edit.state, EditState::Made, "{edit:?}");
    }
    let loader = view.loader.as_ref().unwrap();
    assert!(
        loader.self_contained && loader.problem.is_none(),
        "{loader:?}"
    );
    assert_eq!(loader.len, Some(8192));
    assert_eq!(view.trailer.as_ref().unwrap().loader, None);
    let text = human(&view);
    assert!(
        text.contains("loader       in the sidecar, 8192 bytes"),
        "{text}"
    );
}

#[test]
fn changed_files_of_a_directory_are_shown() {
    let dir = TestDir::new();
    walk_through(&dir, Arch::X86_64, "stub");
    dir.write("app/script", "#!/bin/sh\n");
    assert_eq!(views(&dir.root).len(), 1);
    let script = view(&dir.path("app/script"));
    assert_eq!(script.state, Condition::Original);
    assert!(human(&script).contains("not an ELF file"));
    let none = view(&dir.path("none"));
    assert!(none.failed() && human(&none).contains("does not exist"));
}

/// Every instruction of every stub, compared with binutils.
#[test]
fn stubs_are_read_as_by_objdump() {
    let dir = TestDir::new();
    for stage in stages::all() {
        let arch = arch::all()
            .iter()
            .find(|arch| arch.name == stage.name)
            .unwrap();
        for code in stage.stubs() {
            let file = dir.write("code", code);
            let found = disassemble_stub(arch, arch.entry_bit, code);
            let mut strings = found.iter().filter(|one| one.text.starts_with('"'));
            let end = strings.next().unwrap().address;
            // A relocatable stub looks next to the program, and a self-contained one compares its owner with the sidecar's.
            let has_path = strings.any(|one| one.text == "\"/proc/self/exe\"");
            assert_eq!(has_path, code != stage.stub);
            let last = &found.last().unwrap().text;
            // On riscv64, it has no name: jal to ra.
            let is_call = ["call", "bl"].iter().any(|one| last.starts_with(one))
                || last.starts_with(".insn 4") && last.ends_with("0ef");
            assert!(is_call, "{last}");
            let mut expected = objdump(stage.name, &file);
            expected.retain(|(at, _)| *at < end);
            let instructions = found.iter().filter(|one| one.address < end);
            let found: Vec<(u64, String)> = instructions
                .map(|one| (one.address, comparable(stage.name, &one.text)))
                .collect();
            assert!(found.len() > 30, "{}", stage.name);
            assert_eq!(found, expected, "{}", stage.name);
        }
    }
}

/// Addresses and texts of the instructions in `file`.
fn objdump(arch: &str, file: &Path) -> Vec<(u64, String)> {
    let known = Arch::ALL.into_iter().find(|known| known.name() == arch);
    let known = known.unwrap();
    let options: &[&str] = match known {
        Arch::Aarch64 => &["-maarch64"],
        Arch::I686 => &["-mi386", "-Mintel"],
        Arch::Riscv64 => &["-mriscv:rv64"],
        Arch::Armv7 => &["-marm", "-Mforce-thumb"],
        Arch::X86_64 => &["-mi386:x86-64", "-Mintel"],
    };
    let output = Command::new(known.compiler().binutil("objdump"))
        .args(["-D", "-z", "-bbinary", "--no-show-raw-insn"])
        .args(options)
        .arg(file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| line.trim_start().split_once(":\t"));
    lines
        .filter_map(|(at, text)| {
            let at = u64::from_str_radix(at, 16).ok()?;
            Some((at, comparable(arch, text)))
        })
        .collect()
}

/// On aarch64, everything is compared, except the base of numbers and the second names of conditions. On x86, the two omit
/// different operands, so only the mnemonic is compared, on armv7 without its width, but with the target of a branch. On riscv64, only
/// the addresses are.
fn comparable(arch: &str, text: &str) -> String {
    if arch == "riscv64" {
        return String::new();
    }
    if arch == "armv7" {
        let text = text.split('@').next().unwrap_or_default();
        let mut words = text.split_whitespace();
        let mnemonic = words.next().unwrap_or_default();
        let target = words.last().filter(|last| last.starts_with("0x"));
        return match mnemonic.trim_end_matches(".n").trim_end_matches(".w") {
            "bcc" => format!("blo {target:?}"),
            "movw" => "mov".to_owned(),
            name if name.starts_with('b') || name.starts_with("cb") => {
                format!("{name} {target:?}")
            }
            name => name.to_owned(),
        };
    }
    if arch != "aarch64" {
        let mnemonic = text.split_whitespace().next().unwrap_or_default();
        return match mnemonic {
            "je" => "jz".to_owned(),
            "jne" => "jnz".to_owned(),
            "scas" if arch == "i686" => "scasd".to_owned(),
            "scas" => "scasq".to_owned(),
            "lods" | "stos" => format!("{mnemonic}b"),
            other => other.to_owned(),
        };
    }
    let text = text.split("//").next().unwrap_or_default();
    let text = text
        .replace(['#', ','], " ")
        .replace('[', " [ ")
        .replace(']', " ] ");
    let words = text.split_whitespace().map(|word| {
        let (sign, digits) = match word.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", word),
        };
        let number = match digits.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => digits.parse().ok(),
        };
        match (number, word) {
            (Some(number), _) => format!("{sign}{number:#x}"),
            (None, "b.cc") => "b.lo".to_owned(),
            (None, "b.cs") => "b.hs".to_owned(),
            (None, word) => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// lld begins a segment on the page of memory after the one on which the previous segment ends, and on the same page of the file: the bytes
/// after one segment are those of the next.
fn the_stub_is_shown_at_its_own_address(target: Arch) {
    let at_entry = "void _start(void) {} __asm__(\".skip 2000, 0x90\");";
    let at_end = "__asm__(\".skip 2000, 0x90\"); void _start(void) {}";
    for (source, moved) in [(at_entry, false), (at_end, true)] {
        let dir = TestDir::new();
        let mut flags = Linker::Lld.flags();
        flags.extend(["-nostartfiles", "-fno-toplevel-reorder"].map(String::from));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let main = dir.compile(target, "app/main", source, &flags);
        let before = fs::read(&main).unwrap();
        dir.wrap_for(target, &main, &[&"--libs", &dir.root]);
        let now = fs::read(&main).unwrap();
        let entry = |file: &[u8]| match file[EI_CLASS] {
            1 => u32::from_le_bytes(*file[E_ENTRY..].first_chunk().unwrap()).into(),
            _ => u64::from_le_bytes(*file[E_ENTRY..].first_chunk().unwrap()),
        };
        assert_eq!(entry(&before) != entry(&now), moved);
        let view = view(&main);
        let slot = view.sidecar.unwrap().stub.unwrap().slot;
        assert_ne!(slot.address, slot.offset, "a segment like any other");
        assert_eq!(slot.address, target.code_address(entry(&now)));
        assert_eq!(view.stub_code[0].address, slot.address);
    }
}
