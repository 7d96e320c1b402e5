//! aarch64: `svc #0`, number in x8, arguments in x0 to x5; only x0 is lost.

pub use super::aarch64::ROW as HOST;
pub use super::asm_generic::{nr, stat};

use crate::elf::{GNU_PROPERTY_AARCH64_FEATURE_1_AND, GNU_PROPERTY_AARCH64_FEATURE_1_BTI};

/// Whether the architecture has branch protection by page.
pub const HAS_BTI: bool = true;

/// Indirect branches may only go to marked instructions (arch/arm64/include/uapi/asm/mman.h).
pub const PROT_BTI: usize = 0x10;

/// Log2 of the maximum random distance in bytes between a program and later mappings.
pub const GAP_BITS: u32 = 30;

/// The kernel puts the path of the executable at the top of the stack, and the top of an address space ends in ones. If these bits
/// are ones, nothing random was subtracted from it. 1 of 65,536 random addresses looks the same.
pub const STACK_AT_TOP: usize = 0x3fff_c000;

/// These bits are ones wherever a kernel puts the stack.
pub const STACK_OF_KERNEL: usize = 7 << 36;

/// The protections that mprotect accepts: PROT_BTI only if the processor has it (arch/arm64/include/uapi/asm/hwcap.h).
#[inline(always)]
pub fn protections(hwcap2: usize) -> usize {
    const HWCAP2_BTI: usize = 1 << 17;
    if hwcap2 & HWCAP2_BTI != 0 {
        7 | PROT_BTI
    } else {
        7
    }
}

/// The number of bytes of a property note that [`has_landing_pads`] reads.
pub const PROPERTY_LEN: usize = 28;

/// Whether an object promises landing pads, by its PT_GNU_PROPERTY: namesz, descsz, type, "GNU\0", then properties: type, size, data.
/// Properties are in ascending order, and this is the lowest on this architecture.
///
/// # Safety
/// [`PROPERTY_LEN`] bytes at `note` can be read.
#[inline(always)]
pub unsafe fn has_landing_pads(note: *const u32) -> bool {
    // SAFETY: both words are among the PROPERTY_LEN bytes at `note` (`# Safety`), and need no alignment.
    unsafe {
        note.add(4).read_unaligned() == GNU_PROPERTY_AARCH64_FEATURE_1_AND
            && note.add(6).read_unaligned() & GNU_PROPERTY_AARCH64_FEATURE_1_BTI != 0
    }
}

/// O_NOFOLLOW (arch/arm64/include/uapi/asm/fcntl.h).
pub const NOFOLLOW: usize = 0x8000;

/// O_DIRECTORY (arch/arm64/include/uapi/asm/fcntl.h).
pub const DIRECTORY: usize = 0x4000;

/// Makes a system call of up to five arguments.
///
/// # Safety
/// The arguments have to be valid for the call.
#[inline(always)]
pub unsafe fn syscall(number: usize, [a, b, c, d, e]: [usize; 5]) -> usize {
    let result;
    // SAFETY: the kernel changes x0, which is declared, and memory only as the call is documented to: this function passes that
    // condition on.
    unsafe {
        core::arch::asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
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
    // SAFETY: the kernel changes x0, which is declared, and memory only as the call is documented to: this function passes that
    // condition on.
    unsafe {
        core::arch::asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => _,
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
    // SAFETY: the kernel changes x0, which is declared, and memory only as the call is documented to: this function passes that
    // condition on.
    unsafe {
        core::arch::asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c,
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
            "svc #0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
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
            "2: tst {at}, #7",
            "b.eq 4f",
            "strb wzr, [{at}], #1",
            "b 2b",
            "3: str xzr, [{at}], #8",
            "4: cmp {at}, {end}",
            "b.ne 3b",
            at = inout(reg) address => _, end = in(reg) end,
            options(nostack),
        );
    }
}

/// Makes written code visible to instruction fetch: cleans the data cache to the point of unification, then invalidates the
/// instruction cache (Arm ARM, "Ordering and completion of data and instruction cache instructions"). Works word by word, the
/// shortest possible cache line, because a slot is short, and code that reads the line sizes would be longer.
///
/// # Safety
/// The range has to be mapped and readable, and its start a multiple of 4.
#[inline(always)]
pub unsafe fn sync_code(address: usize, len: usize) {
    // SAFETY: cache maintenance by address changes no memory; Linux allows it to user space.
    unsafe {
        core::arch::asm!(
            "2: dc cvau, {cursor}",
            "add {cursor}, {cursor}, #4",
            "cmp {cursor}, {end}",
            "b.lo 2b",
            "dsb ish",
            "2: sub {cursor}, {cursor}, #4",
            "ic ivau, {cursor}",
            "cmp {cursor}, {address}",
            "b.hi 2b",
            "dsb ish",
            "isb",
            cursor = inout(reg) address => _, address = in(reg) address, end = in(reg) address + len,
            options(nostack),
        );
    }
}

/// Starts a program or ld.so with the initial stack and rtld_fini in x0. Other registers are unspecified (AAPCS64; glibc
/// sysdeps/aarch64/start.S).
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
    // A `bti c` landing pad accepts a branch by x16.
    unsafe {
        core::arch::asm!(
            "add x3, x3, x1",
            "sub x3, x3, x2",
            "and sp, x3, #-16",
            "mov x3, sp",
            "2: ldr x4, [x1], #8",
            "str x4, [x3], #8",
            "cmp x1, x2",
            "b.ne 2b",
            "br x16",
            in("x1") stack, in("x2") end, in("x3") top, in("x16") entry, in("x0") fini,
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
                "adr {}, {}", out(reg) $pointer, sym $static, options(nomem, nostack, preserves_flags),
            )
        }
    };
}

/// Defines the stub. It passes to the loader: the trailer in x30, the initial stack in sp, rtld_fini in x20, the loader's
/// descriptor in w4. A self-contained stub has read w21 bytes of the sidecar to below the initial stack.
#[macro_export]
macro_rules! stub {
    (relocatable: $relocatable:expr, self_contained: $self_contained:expr) => {
        $crate::global_asm!(
            ".section .image, \"ax\"",
            ".globl _start",
            "_start:",
            "mov x20, x0",                              // rtld_fini: x0 is an argument register
            ".if {relocatable} | {self_contained}",
            "add x1, sp, #8",
            "2: ldp x2, x3, [x1], #8",                  // skip argv, environment, auxv to AT_SECURE, which
            "cmp x2, #{secure}",                        // always exists. No pointer is 23, and a value of 23 (a
            "ccmp x3, #1, #2, eq",                      // user id) is followed by a type, which is not 0 or 1
            "b.hi 2b",
            ".endif",
            ".if {self_contained}",
            "sub sp, sp, #{room}",                      // room for the sidecar, at the loader's FRONT_ROOM
            ".endif",
            ".if {relocatable}",
            "eor w3, w3, #1",                           // set-id: a user who moves the program must not choose its
            "lsl w3, w3, #12",                          // loader; a buffer length of 0 makes readlink fail: EINVAL
            "adr x1, 7f",                               // /proc/self/exe
            "sub x2, sp, #8192",
            "mov w8, #{readlinkat}",
            "svc #0",
            "tbnz w0, #31, 8f",
            "add x0, x2, x0",
            "2: ldrb w5, [x0, #-1]!",                   // back to the last slash
            "cmp w5, #0x2f",
            "b.ne 2b",
            "mov x1, x2",
            "adr x7, 9f + {loader}",
            "2: ldrb w2, [x7], #1",                     // append the loader's relative path with its NUL,
            "strb w2, [x0, #1]!",                       // so w2 ends as 0: O_RDONLY
            "cbnz w2, 2b",
            ".else",
            "adr x1, 9f + {loader}",
            ".endif",
            ".ifeq {relocatable} & (1 - {self_contained})",
            "mov w2, #{flags}",                         // do not wait for the writer of a FIFO; follow no link to a sidecar
            ".endif",
            "mov w8, #{openat}",                        // the path is absolute, so x0 may be any directory
            "svc #0",
            "tbnz w0, #31, 8f",
            "mov w4, w0",                               // kept for mmap and the loader
            ".if {self_contained}",
            "mov x1, sp",
            "mov w8, #{fstat}",
            "svc #0",
            "ldp x7, x9, [x1, #{mode}]",                // mode; user and group
            "mov w8, #{geteuid}",
            "svc #0",
            "mov w5, #{by_others}",
            "and w7, w7, w5",
            "cmp w9, #0",                               // owned by root or the user, and writable by the owner only?
            "ccmp w9, w0, #4, ne",
            "ccmp w7, #0, #0, eq",
            "b.eq 3f",
            "adr x1, 7f",                               // or else: same owner and group as the program,
            "mov x2, sp",
            "mov w8, #{newfstatat}",                    // w3, the flags, is set above and harmless
            "svc #0",
            "ldp x5, x6, [x2, #{mode}]",
            "bic w7, w7, w5",                           // and writable only by users who can write to the program?
            "eor x9, x9, x6",
            "orr x7, x7, x9",
            "orr x7, x7, x0",
            "mov x1, x2",
            "3: mov w0, w4",
            ".ifeq {relocatable}",
            "orr x7, x7, x3",                           // set-id: fail, because other users may be able to write to the sidecar
            ".endif",
            "mov w2, #{read_len}",                      // read the sidecar too, or its front
            "mov w3, #{closing} - 4",
            "mov w8, #{pread}",
            "svc #0",                                   // x0 is less than a page, which mmap rounds down to 0
            "mov w21, w0",                              // bytes read, for the loader
            "ldr w5, [x1, #4]",
            "mov w2, #5",                               // PROT_READ | PROT_EXEC
            ".else",
            ".ifeq {relocatable}",                      // otherwise x1 is the path, whose bytes are not the mark
            "sub x1, sp, #16",
            "str xzr, [x1]",                            // no stale mark if the read fails; with fstat, zeros are here already
            ".endif",
            "mov w2, #5",                               // also PROT_READ | PROT_EXEC below
            "mov w3, #{closing} - 1",
            "mov w8, #{pread}",
            "svc #0",                                   // x0 is 5, which mmap rounds down to 0
            "ldur w5, [x1, #1]",
            ".endif",
            "cmp w5, #{mark} >> 12, lsl #12",           // a complete loader for this stub?
            ".if {self_contained}",
            "ccmp x7, #0, #0, eq",
            ".endif",
            "cset w5, ne",                              // if not, the offset is odd and mmap fails with EINVAL
            "mov w1, #{len}",
            "mov w3, #2",                               // MAP_PRIVATE
            "mov w8, #{mmap}",
            "svc #0",
            "tbz x0, #63, 6f",
            "8: cmn w0, #{absent}",                     // print "wrap-buddy: PATH" and one of the words below; a system
            "adr x1, 9f + {line}",                      // call keeps the flags
            "ldr w2, 9f + {line_len}",
            "mov w0, #2",                               // stderr
            "mov w8, #{write}",
            "svc #0",
            "adr x1, 3f",
            "mov w2, #9",
            "b.eq 2f",
            "add x1, x1, #9",
            "mov w2, #19",
            "2: mov w0, #2",
            "svc #0",
            "mov w0, #127",
            "mov w8, #{exit}",
            "svc #0",
            "3: .ascii \" missing\\n denied or damaged\\n\"",
            ".if {relocatable} | {self_contained}",
            "7: .asciz \"/proc/self/exe\"",
            ".endif",
            ".balign 4",
            "6: blr x0",                                // leaves the trailer's address in x30
            "9:",
            relocatable = const $relocatable as usize,
            self_contained = const $self_contained as usize,
            room = const $crate::sidecar::loader::FRONT_ROOM,
            read_len = const $crate::sidecar::loader::FRONT_LEN,
            secure = const $crate::stack::at::SECURE,
            absent = const 2,
            readlinkat = const $crate::arch::nr::READLINKAT,
            newfstatat = const 79,
            fstat = const $crate::arch::nr::FSTAT,
            geteuid = const 175,
            mode = const 4 * $crate::arch::stat::MODE,
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
            ".globl _start",
            "_start:",
            "b 2f",
            ".balign 8",
            ".quad {magic}",
            ".short {abi}",
            ".short {machine}",
            "2: mov x0, x30",                           // the trailer
            "mov x1, sp",                               // the initial stack
            "mov x2, x20",                              // rtld_fini
            "mov w3, w4",                               // the loader's descriptor
            "mov w4, wzr",                              // bytes of the sidecar that were read: none,
            "ldr w5, [x0, #{own}]",
            "cbnz w5, 2f",
            "add x1, x1, #{room}",                      // unless the stub is self-contained and has put it below the stack
            "mov w4, w21",
            "2:",
            "sub sp, x1, #{below} >> 12, lsl #12",
            "sub sp, sp, #{below} & 0xfff",
            "bl {start}",
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
            "mov x0, sp",
            "bl {start}",
            start = sym $start,
        );
    };
}
