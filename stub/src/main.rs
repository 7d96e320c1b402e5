//! The stub: the code over the entry point of a wrapped program. It maps the loader and jumps to it. If it cannot, it prints
//! `wrap-buddy: PATH missing`, or `denied or damaged` for other errors, and exits with 127.
//!
//! It consists of instructions only, because each of its bytes replaces one of the program: see `arch` in `sys`.
#![no_std]
#![no_main]

sys::stub!(relocatable: cfg!(feature = "relocatable"), self_contained: cfg!(feature = "self-contained"));

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
