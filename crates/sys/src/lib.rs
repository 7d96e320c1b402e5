//! Linux for the freestanding stages: system calls, the initial stack, ELF structures, and the instructions that pass control
//! between the kernel, the stub, the loader and ld.so.
//!
//! Everything that differs between architectures is in [`arch`].
#![no_std]

pub mod arch;
pub mod elf;
pub mod errno;
pub mod files;
pub mod stack;
pub mod syscall;
pub mod terminal;

// For the macros, which are used in other crates.
#[doc(hidden)]
pub use core::arch::global_asm;
#[doc(hidden)]
pub use sidecar;
