//! The stub: what stands over the entry point of a wrapped program. It maps the loader and jumps to it; when it cannot,
//! it prints `wrap-buddy: PATH ERRNO` and exits with 127.
//!
//! It is instructions only, because every byte of it is a byte of someone's program: see `sys`'s `arch`.
#![no_std]
#![no_main]

sys::stub!(relocatable: cfg!(feature = "relocatable"), self_contained: cfg!(feature = "self-contained"));

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
