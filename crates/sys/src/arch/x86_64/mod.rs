//! x86_64 (AMD64): its properties. `code.rs` runs on it.

use sidecar::machine;

use super::{Abi, Arch, Disassembler};

pub const ROW: Arch = Arch {
    name: "x86_64",
    triple: "x86_64-unknown-linux-gnu",
    machine: machine::X86_64,
    class: 2,
    abi: Abi::ONLY,
    entry_bit: 0,
    entry_switch: &[],
    start_len: 0,
    entry_align: 16,
    max_load_align: 4096,
    lib_tokens: &["lib64", "lib/x86_64-linux-gnu", "lib"],
    platform: Some("x86_64"),
    cache_flags: &[0x0303],
    hwcaps: &[
        (
            "x86-64-v4",
            &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
        ),
        (
            "x86-64-v3",
            &["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"],
        ),
        (
            "x86-64-v2",
            &[
                "cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2",
            ],
        ),
    ],
    legacy_hwcaps: &[
        (
            "avx512_1",
            &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
        ),
        ("x86_64", &[]),
    ],
    disassembler: Disassembler::X86(64),
    runs_on: &[],
    branch_protection: None,
    known_interpreters: &["/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"],
    codegen: &["-Crelocation-model=pic"],
    // R_X86_64_PC32, R_X86_64_PLT32.
    distances: &[2, 4],
    hints: &[],
};
