//! The embedded images are reproducible, fit their budgets, and depend only on themselves.

use std::path::{Path, PathBuf};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use object::LittleEndian;
use object::read::elf::FileHeader;
use sidecar::LINE_START;
use sys::arch::{self, Arch, Disassembler};

#[allow(dead_code, reason = "some of it is the build script's only")]
#[path = "../build/compile.rs"]
mod compile;
#[path = "../build/image.rs"]
mod image;
#[allow(dead_code, reason = "some of it is the build script's only")]
#[path = "../build/toolchain.rs"]
mod toolchain;

use compile::{Compiler, Part};

/// Maximum length in bytes of each of [`compile::STUBS`], without paths.
const STUBS: [usize; 4] = [192, 288, 332, 388];

/// Maximum length in bytes of the code of a launcher.
const LAUNCHER: usize = 1360;

/// Maximum length in bytes of an unpacker.
const UNPACKER: usize = 52 << 10;

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sources")
}

fn named(name: &str) -> &'static Arch {
    let mut rows = arch::all().iter();
    rows.find(|arch| arch.name == name)
        .expect("every stage has a row")
}

/// A directory below the target directory, so that `core` is built only once.
fn scratch() -> tempfile::TempDir {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("build");
    std::fs::create_dir_all(&target).expect("the target directory can be written");
    tempfile::tempdir_in(target).expect("a directory can be made")
}

#[test]
fn every_architecture_has_a_stage() {
    let names: Vec<_> = stages::all().iter().map(|stage| stage.name).collect();
    let rows: Vec<_> = arch::all().iter().map(|arch| arch.name).collect();
    assert_eq!(names, rows, "missing: {:?}", stages::MISSING);
}

#[test]
fn images_are_reproducible() {
    for stage in stages::all() {
        let out = scratch();
        let images =
            compile::stage(named(stage.name), &sources(), out.path()).expect("it built before");
        assert!(images.stub == stage.stub, "{}: stub", stage.name);
        let stubs = [
            &images.relocatable_stub,
            &images.self_contained_stub,
            &images.relocatable_self_contained_stub,
        ];
        assert!(stubs[..] == stage.stubs()[1..], "{}: stubs", stage.name);
        assert!(images.loader == stage.loader, "{}: loader", stage.name);
        assert!(
            images.launcher == stage.launcher,
            "{}: launcher",
            stage.name
        );
        assert!(
            images.unpacker == stage.unpacker,
            "{}: unpacker",
            stage.name
        );
    }
}

#[test]
fn stages_fit_their_budgets() {
    for stage in stages::all() {
        for (stub, limit) in stage.stubs().iter().zip(STUBS) {
            let len = stub.len() + LINE_START.len();
            assert!(len <= limit, "{}: {len} of {limit}", stage.name);
        }
        let len = stage.launcher.len();
        assert!(len <= LAUNCHER, "{}: {len} of {LAUNCHER}", stage.name);
        let len = stage.unpacker.len();
        assert!(len <= UNPACKER, "{}: {len} of {UNPACKER}", stage.name);
        assert_eq!(stage.loader.len(), sidecar::loader::IMAGE_LEN);
        assert_eq!(sidecar::loader::check(stage.loader, stage.machine), Ok(()));
    }
}

/// A runnable file has its header there.
#[test]
fn unpackers_end_with_their_section_headers() {
    for stage in stages::all() {
        let end = match named(stage.name).class {
            2 => sections_end::<object::elf::FileHeader64<LittleEndian>>(stage.unpacker),
            _ => sections_end::<object::elf::FileHeader32<LittleEndian>>(stage.unpacker),
        };
        assert_eq!(end, stage.unpacker.len() as u64, "{}", stage.name);
    }
}

fn sections_end<H: FileHeader<Endian = LittleEndian>>(file: &[u8]) -> u64 {
    let header = H::parse(file).expect("an ELF file");
    let size =
        u64::from(header.e_shnum(LittleEndian)) * u64::from(header.e_shentsize(LittleEndian));
    header.e_shoff(LittleEndian).into() + size
}

#[test]
fn invalid_images_are_detected() {
    // The relocation tables of two architectures differ. With the wrong table, the check would accept everything.
    let out = scratch();
    let arch = named("x86_64");
    let sources = sources();
    let compiler = Compiler::new(arch, &sources, out.path()).expect("it built before");
    compiler.link(Part::Loader).expect("it built before");
    let elf = std::fs::read(out.path().join("loader_bin.elf")).expect("it was linked");
    assert!(image::read(&elf, arch).is_ok());
    let error = image::read(&elf, named("aarch64"))
        .err()
        .expect("refused")
        .to_string();
    assert!(error.contains("needs an address"), "{error}");
}

/// Checks every instruction of the x86 images, function by function: jumps and calls stay inside, and no memory operand has an
/// absolute address.
#[test]
fn x86_code_refers_only_to_itself() {
    for arch in arch::all() {
        let Disassembler::X86(bits) = arch.disassembler else {
            continue;
        };
        let name = arch.name;
        let (out, sources) = (scratch(), sources());
        let compiler = Compiler::new(arch, &sources, out.path()).expect("it built before");
        let stubs = compile::STUBS.iter().map(Part::Stub);
        for part in stubs.chain([Part::Loader, Part::Launcher]) {
            let linked = compiler.link(part).expect("it built before");
            let end = linked.image.len() as u64;
            let mut functions = linked.functions;
            if part == Part::Stub(&compile::STUBS[0]) {
                let words = linked
                    .image
                    .windows(8)
                    .position(|bytes| bytes == b" missing");
                functions = vec![(0, words.expect("the strings of a stub") as u64)];
            }
            let mut seen = 0;
            for (start, len) in functions.into_iter().filter(|(_, len)| *len != 0) {
                let code = &linked.image[start as usize..(start + len) as usize];
                for instruction in Decoder::with_ip(bits, code, start, DecoderOptions::NONE) {
                    assert!(!instruction.is_invalid(), "{name} {:#x}", instruction.ip());
                    stays_inside(&instruction, end);
                    seen += 1;
                }
            }
            assert!(
                seen > 40 || matches!(part, Part::Stub(_)),
                "{name}: {seen} instructions"
            );
        }
    }
}

fn stays_inside(instruction: &Instruction, end: u64) {
    let at = instruction.ip();
    match instruction.flow_control() {
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch | FlowControl::Call => {
            assert!(
                instruction.near_branch_target() <= end,
                "{at:#x} leaves the image"
            );
        }
        _ => {}
    }
    if (0..instruction.op_count()).any(|op| instruction.op_kind(op) == OpKind::Memory) {
        if instruction.is_ip_rel_memory_operand() {
            // The stub refers to the trailer after it.
            let target = instruction.ip_rel_memory_address();
            assert!(target <= end + 64, "{at:#x} refers to {target:#x}");
        } else {
            let absolute = instruction.memory_base() == Register::None
                && instruction.memory_index() == Register::None;
            assert!(!absolute, "{at:#x} names an absolute address");
        }
    }
}
