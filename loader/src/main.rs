//! `loader.bin`: the header, the entry, and the library.
#![no_std]
#![no_main]

sys::loader!(loader::start);

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    sys::syscall::exit(127)
}
