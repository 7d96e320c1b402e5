//! riscv64: `ecall`, number in a7, arguments in a0 to a5; only a0 is lost.

pub use super::asm_generic::stat;
pub use super::riscv64::ROW as HOST;

/// Whether the architecture has branch protection by page.
pub const HAS_BTI: bool = false;

/// This architecture has no such protection.
pub const PROT_BTI: usize = 0;

/// Log2 of the maximum random distance in bytes between a program and later mappings.
pub const GAP_BITS: u32 = 30;

/// The kernel puts the path of the executable at the top of the stack, and the top of an address space ends in ones. If these bits
/// are ones, nothing random was subtracted from it. 1 of 65,536 random addresses looks the same.
pub const STACK_AT_TOP: usize = 0x3fff_c000;

/// These bits are ones wherever a kernel puts the stack, also with the smallest address space (Sv39).
pub const STACK_OF_KERNEL: usize = 3 << 36;

/// The protections that mprotect accepts.
#[inline(always)]
pub fn protections(_hwcap2: usize) -> usize {
    7
}

/// The number of bytes of a property note that [`has_landing_pads`] reads.
pub const PROPERTY_LEN: usize = 0;

/// Whether an object promises landing pads. This architecture does not protect branches by page.
///
/// # Safety
/// None here.
#[inline(always)]
pub unsafe fn has_landing_pads(_note: *const u32) -> bool {
    false
}

/// System call numbers.
pub mod nr {
    pub use crate::arch::asm_generic::nr::*;

    /// arch/riscv/include/uapi/asm/unistd.h.
    pub const FLUSH_ICACHE: usize = 259;
}

/// O_NOFOLLOW (asm-generic/fcntl.h).
pub const NOFOLLOW: usize = 0x2_0000;

/// O_DIRECTORY (asm-generic/fcntl.h).
pub const DIRECTORY: usize = 0x1_0000;

/// Makes a system call of up to five arguments.
///
/// # Safety
/// The arguments have to be valid for the call.
#[inline(always)]
pub unsafe fn syscall(number: usize, [a, b, c, d, e]: [usize; 5]) -> usize {
    let result;
    // SAFETY: the kernel changes a0, which is declared, and memory only as the call is documented to: this function passes that
    // condition on.
    unsafe {
        core::arch::asm!(
            "ecall",
            in("a7") number,
            inlateout("a0") a => result,
            in("a1") b, in("a2") c, in("a3") d, in("a4") e,
            options(nostack),
        );
    }
    result
}

/// Makes a system call of one argument and ignores the result.
///
/// # Safety
/// The argument has to be valid for the call.
#[inline(always)]
pub unsafe fn syscall1(number: usize, a: usize) {
    // SAFETY: the kernel changes a0, which is declared, and memory only as the call is documented to: this function passes that
    // condition on.
    unsafe {
        core::arch::asm!(
            "ecall",
            in("a7") number,
            inlateout("a0") a => _,
            options(nostack),
        );
    }
}

/// Makes a system call of up to three arguments.
///
/// # Safety
/// The arguments have to be valid for the call.
#[inline(always)]
pub unsafe fn syscall3(number: usize, a: usize, b: usize, c: usize) -> usize {
    let result;
    // SAFETY: the kernel changes a0, which is declared, and memory only as the call is documented to: this function passes that
    // condition on.
    unsafe {
        core::arch::asm!(
            "ecall",
            in("a7") number,
            inlateout("a0") a => result,
            in("a1") b, in("a2") c,
            options(nostack),
        );
    }
    result
}

#[inline(always)]
unsafe fn syscall6(number: usize, [a, b, c, d, e]: [usize; 5], f: usize) -> usize {
    let result;
    // SAFETY: as in `syscall`; `mmap`, the only caller, passes the condition on.
    unsafe {
        core::arch::asm!(
            "ecall",
            in("a7") number,
            inlateout("a0") a => result,
            in("a1") b, in("a2") c, in("a3") d, in("a4") e, in("a5") f,
            options(nostack),
        );
    }
    result
}

/// mmap; the offset is in bytes.
///
/// # Safety
/// As for [`crate::syscall::mmap`].
#[inline(always)]
pub unsafe fn mmap([a, b, c, d, e, f]: [usize; 6]) -> usize {
    // SAFETY: this function has the condition of `syscall::mmap`: nothing uses what a fixed mapping replaces.
    unsafe { syscall6(nr::MMAP, [a, b, c, d, e], f) }
}

/// pread64 or pwrite64.
///
/// # Safety
/// As for [`crate::syscall::read_at`] or [`crate::syscall::write_at`].
#[inline(always)]
pub unsafe fn at_offset(number: usize, [a, b, c]: [usize; 3], offset: usize) -> usize {
    // SAFETY: this function has the condition of these calls, and passes it on.
    unsafe { syscall(number, [a, b, c, offset, 0]) }
}

/// Writes zeros up to `end`, a multiple of 8, faster than byte by byte.
///
/// # Safety
/// The bytes from `address` to `end` have to be writable.
#[inline(always)]
pub unsafe fn zero(address: usize, end: usize) {
    // SAFETY: everything from `address` to `end` is writable (`# Safety`), and nothing else is written:
    // the address stops at `end`, a multiple of 8, after bytes up to the next such multiple.
    unsafe {
        core::arch::asm!(
            "2: andi {low}, {at}, 7",
            "beqz {low}, 4f",
            "sb zero, 0({at})",
            "addi {at}, {at}, 1",
            "j 2b",
            "3: sd zero, 0({at})",
            "addi {at}, {at}, 8",
            "4: bne {at}, {end}, 3b",
            at = inout(reg) address => _, end = in(reg) end, low = out(reg) _,
            options(nostack),
        );
    }
}

/// Makes written code visible to instruction fetch. `fence.i` does so only for the hart that executes it, and the kernel may move
/// the thread to another one before it executes the code. So this asks the kernel, which also knows the harts that the thread
/// moves to (arch/riscv/kernel/sys_riscv.c).
///
/// # Safety
/// None here.
#[inline(always)]
pub unsafe fn sync_code(address: usize, len: usize) {
    /// Only for this thread, the only one.
    const LOCAL: usize = 1;
    // SAFETY: the call changes no memory. A kernel that does not have it maintains the caches itself, as QEMU does.
    unsafe { syscall3(nr::FLUSH_ICACHE, address, address + len, LOCAL) };
}

/// Starts a program or ld.so with the initial stack and rtld_fini in a0. Other registers are unspecified (glibc
/// sysdeps/riscv/start.S).
///
/// First moves argc, argv, environment and auxv, which lie from `stack` to `end`, down so that they end at `top`. The data between
/// `top` and `stack` stays for as long as the program runs.
///
/// # Safety
/// `entry` has to be code that expects to be started with `stack`. This image and the data below `top` must not be needed any more.
#[inline(always)]
pub unsafe fn enter(
    stack: *mut usize,
    end: *mut usize,
    top: *mut u8,
    entry: usize,
    fini: usize,
) -> ! {
    // SAFETY: `stack` to `end` is the initial stack, readable, and what it is copied to is below `top`, where nothing is needed any more
    // (`# Safety`). The stack pointer is lowered before the copy, so that a signal handler writes below it.
    unsafe {
        core::arch::asm!(
            "add a3, a3, a1",
            "sub a3, a3, a2",
            "andi a3, a3, -16",
            "mv sp, a3",
            "2: ld a5, 0(a1)",
            "sd a5, 0(a3)",
            "addi a1, a1, 8",
            "addi a3, a3, 8",
            "bne a1, a2, 2b",
            "jr a4",
            in("a1") stack, in("a2") end, in("a3") top, in("a4") entry, in("a0") fini,
            options(noreturn),
        );
    }
}

/// Stores the address of a static in a pointer, independent of the image's position.
#[macro_export]
macro_rules! address {
    ($pointer:ident, $static:path) => {
        // SAFETY: the instructions compute an address; they neither read nor write memory that Rust knows of.
        unsafe {
            core::arch::asm!(
                "lla {}, {}", out(reg) $pointer, sym $static, options(nomem, nostack, preserves_flags),
            )
        }
    };
}

/// Defines the stub. It passes to the loader: the trailer in ra, the initial stack in sp, rtld_fini in s0, the loader's descriptor
/// in s1. A self-contained stub has read s2 bytes of the sidecar to below the initial stack.
#[macro_export]
macro_rules! stub {
    (relocatable: $relocatable:expr, self_contained: $self_contained:expr) => {
        $crate::global_asm!(
            ".section .image, \"ax\"",
            ".option push",
            ".option norelax",                          // all distances are known, and the trailer follows directly
            ".globl _start",
            "_start:",
            "j 7f",
            "9: mv s0, a0",                             // rtld_fini: a0 is an argument register
            ".if {relocatable} | {self_contained}",
            "mv a1, sp",
            "2: addi a1, a1, 8",                        // skip argv, environment, auxv to AT_SECURE, which
            "ld a2, 0(a1)",                             // always exists. No pointer is 23, and a value of 23 (a
            "ld a3, 8(a1)",                             // user id) is followed by a type, which is not 0 or 1
            "addi a2, a2, -{secure}",
            "bnez a2, 2b",
            "srli a4, a3, 1",
            "bnez a4, 2b",
            ".endif",
            ".if {self_contained}",
            "addi sp, sp, -{room}",                     // room for the sidecar, at the loader's FRONT_ROOM
            ".endif",
            ".if {relocatable}",
            "xori a3, a3, 1",                           // set-id: a user who moves the program must not choose its
            "slli a3, a3, 12",                          // loader; a buffer length of 0 makes readlink fail: EINVAL
            "addi a1, ra, -22",                         // /proc/self/exe, before the last jump
            "c.lui a2, 0xffffe",                        // 8192 bytes below the stack
            "add a2, a2, sp",
            "li a7, {readlinkat}",
            "ecall",
            "bltz a0, 8f",
            "mv a1, a2",
            "add a0, a0, a2",
            "li a4, 0x2f",
            "2: addi a0, a0, -1",                       // back to the last slash
            "lbu a5, 0(a0)",
            "bne a5, a4, 2b",
            "addi a5, ra, {loader}",
            "2: lbu a2, 0(a5)",                         // append the loader's relative path with its NUL,
            "addi a5, a5, 1",                           // so a2 ends as 0: O_RDONLY
            "addi a0, a0, 1",
            "sb a2, 0(a0)",
            "bnez a2, 2b",
            ".else",
            "addi a1, ra, {loader}",
            ".endif",
            ".ifeq {relocatable} & (1 - {self_contained})",
            "li a2, {flags} >> 11",                     // do not wait for the writer of a FIFO; follow no link to a sidecar
            "slli a2, a2, 11",
            ".endif",
            "li a7, {openat}",                          // the path is absolute, so a0 may be any directory
            "ecall",
            "bltz a0, 8f",
            "mv s1, a0",                                // kept for mmap and the loader
            ".if {self_contained}",
            "mv a1, sp",
            "addi a7, a7, {fstat} - {openat}",
            "ecall",
            "ld a4, {mode}(a1)",                        // mode and number of links
            "lwu a2, {user}(a1)",
            "ld a5, {user}(a1)",                        // user and group
            "li a7, {geteuid}",
            "ecall",
            "andi a4, a4, {by_others}",
            "beqz a2, 2f",                              // owned by root or the user, and writable by the owner only?
            "bne a2, a0, 4f",
            "2: beqz a4, 3f",
            "4: mv a2, sp",
            "addi a1, ra, -22",                         // or else: same owner and group as the program,
            "li a7, {newfstatat}",                      // a3, the flags, is set above and harmless
            "ecall",
            "ld a1, {mode}(a2)",
            "ld a2, {user}(a2)",
            "not a1, a1",
            "and a4, a4, a1",                           // and writable only by users who can write to the program?
            "xor a5, a5, a2",
            "or a4, a4, a5",
            "or a4, a4, a0",
            "mv a1, sp",
            "3: mv a0, s1",
            ".ifeq {relocatable}",
            "or a4, a4, a3",                            // set-id: fail, because other users may be able to write to the sidecar
            ".endif",
            "li a2, {read_len}",                        // read the sidecar too, or its front
            "c.lui a3, {len} >> 12",
            "addi a3, a3, {closing} - {len} - 4",
            "li a7, {pread}",
            "ecall",                                    // a0 is less than a page, which mmap rounds down to 0
            "mv s2, a0",                                // bytes read, for the loader
            "lw a5, 4(a1)",
            "li a2, 5",                                 // PROT_READ | PROT_EXEC
            ".else",
            ".ifeq {relocatable}",                      // otherwise a1 is the path, whose bytes are not the mark
            "addi a1, sp, -16",
            "sd zero, 0(a1)",                           // no stale mark if the read fails; with fstat, zeros are here already
            ".endif",
            "li a2, 5",                                 // also PROT_READ | PROT_EXEC below
            "c.lui a3, {len} >> 12",
            "addi a3, a3, {closing} - {len}",
            "addi a7, a7, {pread} - {openat}",
            "ecall",                                    // a0 is 4, which mmap rounds down to 0
            "lw a5, 0(a1)",
            ".endif",
            "lui a1, {mark} >> 12",                     // a complete loader for this stub?
            "xor a5, a5, a1",
            ".if {self_contained}",
            "or a5, a5, a4",
            ".endif",
            "snez a5, a5",                              // if not, the offset is odd and mmap fails with EINVAL
            "mv a4, s1",
            "c.lui a1, {len} >> 12",
            "li a3, 2",                                 // MAP_PRIVATE
            "li a7, {mmap}",
            "ecall",
            "bgez a0, 6f",
            "8: mv s1, a0",                             // print "wrap-buddy: PATH" and one of the words below
            "addi a1, ra, {line}",
            "lhu a2, {line_len}(ra)",                   // less than 64 KiB, and not always at a multiple of four
            "li a0, 2",                                 // stderr
            "li a7, {write}",
            "ecall",
            "addi a1, ra, -{words}",
            "li a2, 9",
            "addi s1, s1, {absent}",
            "beqz s1, 2f",
            "addi a1, a1, 9",
            "li a2, 19",
            "2: li a0, 2",
            "ecall",
            "li a0, 127",
            "addi a7, a7, {exit} - {write}",
            "ecall",
            ".ascii \" missing\\n denied or damaged\\n\"",
            ".if {relocatable} | {self_contained}",
            ".asciz \"/proc/self/exe\"",
            ".endif",
            ".balign 2",
            "6: jr a0",
            "7: jal ra, 9b",                            // leaves the trailer's address in ra
            ".option pop",
            relocatable = const $relocatable as usize,
            self_contained = const $self_contained as usize,
            room = const $crate::sidecar::loader::FRONT_ROOM,
            read_len = const $crate::sidecar::loader::FRONT_LEN,
            secure = const $crate::stack::at::SECURE,
            absent = const 2,
            words = const if $relocatable || $self_contained { 50 } else { 34 },
            readlinkat = const $crate::arch::nr::READLINKAT,
            newfstatat = const 79,
            fstat = const $crate::arch::nr::FSTAT,
            geteuid = const 175,
            mode = const 4 * $crate::arch::stat::MODE,
            user = const 4 * $crate::arch::stat::UID,
            by_others = const 0o022,
            openat = const $crate::arch::nr::OPENAT,
            pread = const $crate::arch::nr::PREAD64,
            mmap = const $crate::arch::nr::MMAP,
            write = const $crate::arch::nr::WRITE,
            exit = const $crate::arch::nr::EXIT_GROUP,
            flags = const {
                use $crate::syscall::open_flags::{NOFOLLOW, NONBLOCK};
                if $self_contained { NONBLOCK | NOFOLLOW } else { NONBLOCK }
            },
            closing = const $crate::sidecar::loader::CLOSING_OFFSET,
            len = const $crate::sidecar::loader::IMAGE_LEN,
            mark = const $crate::sidecar::loader::closing_mark($crate::arch::MACHINE),
            line_len = const $crate::sidecar::LINE_LEN_OFFSET,
            line = const $crate::sidecar::LINE_OFFSET,
            loader = const $crate::sidecar::LOADER_OFFSET,
        );
    };
}

/// Defines the start of the loader image: the branch, the header, and the call of `$start`, an
/// `extern "C" fn(trailer, stack, fini, fd, read) -> !`, with the values that the stub passes.
#[macro_export]
macro_rules! loader {
    ($start:path) => {
        $crate::global_asm!(
            ".section .header, \"ax\"",
            ".option push",
            ".option norelax",
            ".globl _start",
            "_start:",
            "j 2f",
            ".balign 8",
            ".quad {magic}",
            ".short {abi}",
            ".short {machine}",
            "2: mv a0, ra",                             // the trailer
            "mv a1, sp",                                // the initial stack
            "mv a2, s0",                                // rtld_fini
            "mv a3, s1",                                // the loader's descriptor
            "li a4, 0",                                 // bytes of the sidecar that were read: none,
            "lhu a5, {own}(a0)",
            "bnez a5, 2f",
            "addi a1, a1, 2047",                        // unless the stub is self-contained and has put it below the stack
            "addi a1, a1, {room} - 2047",
            "mv a4, s2",
            "2: li a5, {below}",
            "sub sp, a1, a5",
            "call {start}",
            ".option pop",
            magic = const u64::from_le_bytes($crate::sidecar::loader::MAGIC),
            abi = const $crate::sidecar::loader::ABI,
            machine = const $crate::arch::MACHINE,
            own = const $crate::sidecar::SIDECAR_LEN_OFFSET,
            room = const $crate::sidecar::loader::FRONT_ROOM,
            below = const $crate::sidecar::loader::BELOW,
            start = sym $start,
        );
    };
}

/// Defines the start of a launcher: the call of `$start`, an `extern "C" fn(stack) -> !`, with the initial stack.
#[macro_export]
macro_rules! launcher {
    ($start:path) => {
        $crate::global_asm!(
            ".section .header, \"ax\"",
            ".globl _start",
            "_start:",
            "mv a0, sp",
            "call {start}",
            start = sym $start,
        );
    };
}
