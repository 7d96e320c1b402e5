//! Linux for the freestanding stages: system calls, the initial stack, ELF structures, and the instructions between
//! the kernel, the stub, the loader and ld.so.
//!
//! Everything that differs between architectures is in `arch`, one file each, the same names in the same order.
#![no_std]

#[cfg_attr(target_arch = "x86_64", path = "arch/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "arch/aarch64.rs")]
#[cfg_attr(target_arch = "x86", path = "arch/i686.rs")]
pub mod arch;
pub mod elf;
pub mod errno;
pub mod stack;
pub mod syscall;

// For the macros, wherever they are used.
#[doc(hidden)]
pub use core::arch::global_asm;
#[doc(hidden)]
pub use sidecar;
