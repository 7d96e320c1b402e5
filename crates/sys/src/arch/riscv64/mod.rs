//! riscv64 (64-bit RISC-V with double-precision arguments, lp64d): its properties. `code.rs` runs on it.

use sidecar::machine;

use super::{Abi, Arch, Disassembler};

pub const ROW: Arch = Arch {
    name: "riscv64",
    triple: "riscv64gc-unknown-linux-gnu",
    machine: machine::RISCV,
    class: 2,
    // EF_RISCV_FLOAT_ABI, EF_RISCV_FLOAT_ABI_DOUBLE (glibc sysdeps/riscv/dl-machine.h, elf_machine_matches_host).
    abi: Abi { mask: 6, value: 4 },
    // 44 bytes in glibc 2.36, with load_gp (glibc sysdeps/riscv/start.S).
    entry_bit: 0,
    entry_switch: &[],
    start_len: 64,
    // With compressed instructions, which every distribution has.
    entry_align: 2,
    max_load_align: 4096,
    lib_tokens: &["lib64/lp64d", "lib/riscv64-linux-gnu", "lib"],
    // The kernel passes no AT_PLATFORM (arch/riscv/include/asm/elf.h).
    platform: None,
    // FLAG_RISCV_FLOAT_ABI_DOUBLE | FLAG_ELF_LIBC6.
    cache_flags: &[0x1003],
    hwcaps: &[],
    legacy_hwcaps: &[],
    disassembler: Disassembler::RiscV,
    runs_on: &[],
    branch_protection: None,
    known_interpreters: &[
        "/lib/ld-linux-riscv64-lp64d.so.1",
        "/lib/ld-musl-riscv64.so.1",
    ],
    // The medium code model is relative to pc. Relaxation makes a call of eight bytes one of four or two.
    codegen: &[
        "-Crelocation-model=pic",
        "-Ccode-model=medium",
        "-Ctarget-feature=+relax",
    ],
    // R_RISCV_BRANCH, JAL, CALL, CALL_PLT, PCREL_HI20, PCREL_LO12_I, RVC_BRANCH, RVC_JUMP.
    distances: &[16, 17, 18, 19, 23, 24, 44, 45],
    // R_RISCV_RELAX.
    hints: &[51],
};
