//! armv7 (32-bit ARM from ARMv7-A on, EABI with floating-point arguments in VFP registers): its properties. `code.rs` runs on it.

use sidecar::machine;

use super::{Abi, Arch, Disassembler};

pub const ROW: Arch = Arch {
    name: "armv7",
    triple: "armv7-unknown-linux-gnueabihf",
    machine: machine::ARM,
    class: 1,
    // EF_ARM_EABIMASK and EF_ARM_ABI_FLOAT_SOFT: version 5, which the kernel of aarch64 requires, and not soft float. A file need not
    // have EF_ARM_ABI_FLOAT_HARD (glibc sysdeps/unix/sysv/linux/arm/ldsodefs.h, VALID_FLOAT_ABI).
    abi: Abi {
        mask: 0xff00_0200,
        value: 0x0500_0000,
    },
    entry_bit: 1,
    // add r12, pc, #1; bx r12.
    entry_switch: &[0x01, 0xc0, 0x8f, 0xe2, 0x1c, 0xff, 0x2f, 0xe1],
    start_len: 0,
    entry_align: 4,
    max_load_align: 65536,
    lib_tokens: &["lib", "lib/arm-linux-gnueabihf"],
    // Of 32-bit kernels; that of aarch64 passes v8l.
    platform: Some("v7l"),
    // FLAG_ARM_LIBHF | FLAG_ELF_LIBC6; the second is that of a library without either floating-point flag.
    cache_flags: &[0x0903, 0x0003],
    hwcaps: &[],
    // The ABI requires vfp.
    legacy_hwcaps: &[("neon", &["neon"]), ("vfp", &[])],
    disassembler: Disassembler::A32,
    runs_on: &["aarch64"],
    branch_protection: None,
    known_interpreters: &["/lib/ld-linux-armhf.so.3", "/lib/ld-musl-armhf.so.1"],
    // Thumb code is a third smaller. The build script checks that no absolute address is used.
    codegen: &[
        "-Crelocation-model=pic",
        "-Ctarget-feature=+thumb-mode",
        "-Cforce-unwind-tables=no",
    ],
    // R_ARM_REL32, THM_CALL, THM_JUMP24, THM_MOVW_PREL_NC, THM_JUMP19, THM_JUMP11, THM_JUMP8.
    distances: &[3, 10, 30, 49, 51, 102, 103],
    // R_ARM_NONE.
    hints: &[0],
};
