//! i686 (32-bit x86): its properties. `code.rs` runs on it.

use sidecar::machine;

use super::{Abi, Arch, Disassembler};

pub const ROW: Arch = Arch {
    name: "i686",
    triple: "i686-unknown-linux-gnu",
    machine: machine::I686,
    class: 1,
    abi: Abi::ONLY,
    entry_bit: 0,
    entry_switch: &[],
    start_len: 0,
    entry_align: 16,
    max_load_align: 4096,
    lib_tokens: &["lib", "lib/i386-linux-gnu"],
    platform: Some("i686"),
    // The second is "of unknown libc", the flags of a library that needs no other (glibc sysdeps/generic/dl-cache.h,
    // _dl_cache_check_flags; other architectures have stricter checks).
    cache_flags: &[0x0003, 0x0001],
    hwcaps: &[],
    legacy_hwcaps: &[("sse2", &["sse2"])],
    disassembler: Disassembler::X86(32),
    runs_on: &["x86_64"],
    branch_protection: None,
    known_interpreters: &["/lib/ld-linux.so.2", "/lib/ld-musl-i386.so.1"],
    // Without pic, no GOT pointer is set up. The build script checks that no absolute address is used.
    codegen: &["-Crelocation-model=static"],
    // R_386_PC32, R_386_PLT32.
    distances: &[2, 4],
    hints: &[],
};
