//! aarch64 (64-bit ARM): its properties. `code.rs` runs on it.

use sidecar::machine;

use super::{Abi, Arch, BranchProtection, Disassembler};

pub const ROW: Arch = Arch {
    name: "aarch64",
    triple: "aarch64-unknown-linux-gnu",
    machine: machine::AARCH64,
    class: 2,
    abi: Abi::ONLY,
    entry_bit: 0,
    entry_switch: &[],
    start_len: 0,
    entry_align: 4,
    max_load_align: 65536,
    lib_tokens: &["lib64", "lib/aarch64-linux-gnu", "lib"],
    platform: Some("aarch64"),
    cache_flags: &[0x0a03],
    hwcaps: &[],
    legacy_hwcaps: &[("atomics", &["atomics"])],
    disassembler: Disassembler::A64,
    runs_on: &[],
    // GNU_PROPERTY_AARCH64_FEATURE_1_AND, its BTI bit, PROT_BTI.
    branch_protection: Some(BranchProtection {
        property: 0xc000_0000,
        bit: 1,
        protection: 0x10,
    }),
    known_interpreters: &["/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"],
    // The tiny code model uses adr. adrp would require a stub at the start of a page.
    codegen: &["-Crelocation-model=pic", "-Ccode-model=tiny"],
    // R_AARCH64_PREL32, LD_PREL_LO19, ADR_PREL_LO21, TSTBR14, CONDBR19, JUMP26, CALL26.
    distances: &[261, 273, 274, 279, 280, 282, 283],
    hints: &[],
};
