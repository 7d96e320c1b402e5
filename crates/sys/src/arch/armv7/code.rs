//! armv7: `svc #0`, number in r7, arguments in r0 to r5; only r0 is lost. All code is Thumb.

pub use super::armv7::ROW as HOST;

/// Whether the architecture has branch protection by page.
pub const HAS_BTI: bool = false;

/// This architecture has no such protection.
pub const PROT_BTI: usize = 0;

/// Log2 of the maximum random distance in bytes between a program and later mappings: 8 bits of pages, as in the kernel.
pub const GAP_BITS: u32 = 20;

/// The kernel puts the path of the executable at the top of the stack: below 0xbf00_0000 or other multiples of 16 MiB, and below 0xffff_0000
/// with a kernel of aarch64. If these bits are ones, nothing random was subtracted from it. 1 of 256 random addresses looks the same.
pub const STACK_AT_TOP: usize = 0x00fe_c000;

/// No such bits are known.
pub const STACK_OF_KERNEL: usize = 0;

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

/// System call numbers (arch/arm/tools/syscall.tbl).
pub mod nr {
    pub const READ: usize = 3;
    pub const WRITE: usize = 4;
    pub const CLOSE: usize = 6;
    pub const EXECVE: usize = 11;
    pub const LSEEK: usize = 19;
    pub const MUNMAP: usize = 91;
    pub const MPROTECT: usize = 125;
    pub const FLOCK: usize = 143;
    pub const PREAD64: usize = 180;
    pub const PWRITE64: usize = 181;
    pub const MMAP2: usize = 192;
    pub const FSTAT: usize = 197;
    pub const GETDENTS64: usize = 217;
    pub const GETXATTR: usize = 229;
    pub const EXIT_GROUP: usize = 248;
    pub const OPENAT: usize = 322;
    pub const MKDIRAT: usize = 323;
    pub const UNLINKAT: usize = 328;
    pub const LINKAT: usize = 330;
    pub const SYMLINKAT: usize = 331;
    pub const READLINKAT: usize = 332;
    pub const FCHMODAT: usize = 333;
    pub const UTIMENSAT: usize = 348;
    pub const PRLIMIT64: usize = 369;
    pub const SYNCFS: usize = 373;
    pub const RENAMEAT2: usize = 382;
    /// arch/arm/include/uapi/asm/unistd.h.
    pub const CACHEFLUSH: usize = 0x0f_0002;
}

/// O_NOFOLLOW (arch/arm/include/uapi/asm/fcntl.h).
pub const NOFOLLOW: usize = 0x8000;

/// O_DIRECTORY (arch/arm/include/uapi/asm/fcntl.h).
pub const DIRECTORY: usize = 0x4000;

/// Indices of fields in struct stat64, in 32-bit words (arch/arm/include/uapi/asm/stat.h).
pub mod stat {
    pub const MODE: usize = 4;
    pub const UID: usize = 6;
    pub const GID: usize = 7;
}

/// Makes a system call of up to five arguments.
///
/// # Safety
/// The arguments have to be valid for the call.
#[inline(always)]
pub unsafe fn syscall(number: usize, [a, b, c, d, e]: [usize; 5]) -> usize {
    // SAFETY: this function has the condition of `syscall6`, and passes it on.
    unsafe { syscall6(number, [a, b, c, d, e], 0) }
}

/// Makes a system call of one argument and ignores the result.
///
/// # Safety
/// The argument has to be valid for the call.
#[inline(always)]
pub unsafe fn syscall1(number: usize, a: usize) {
    // SAFETY: the kernel changes r0, which is declared, and memory only as the call is documented to: this function passes that
    // condition on. r7, which the compiler does not lend, has its value again afterwards.
    unsafe {
        core::arch::asm!(
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc #0",
            "mov r7, {saved}",
            saved = out(reg) _, number = in(reg) number,
            inlateout("r0") a => _,
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
    // SAFETY: the kernel changes r0, which is declared, and memory only as the call is documented to: this function passes that
    // condition on. r7, which the compiler does not lend, has its value again afterwards.
    unsafe {
        core::arch::asm!(
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc #0",
            "mov r7, {saved}",
            saved = out(reg) _, number = in(reg) number,
            inlateout("r0") a => result,
            in("r1") b, in("r2") c,
            options(nostack),
        );
    }
    result
}

#[inline(always)]
unsafe fn syscall6(number: usize, [a, b, c, d, e]: [usize; 5], f: usize) -> usize {
    let result;
    // SAFETY: as in `syscall3`; the callers pass the condition on.
    unsafe {
        core::arch::asm!(
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc #0",
            "mov r7, {saved}",
            saved = out(reg) _, number = in(reg) number,
            inlateout("r0") a => result,
            in("r1") b, in("r2") c, in("r3") d, in("r4") e, in("r5") f,
            options(nostack),
        );
    }
    result
}

/// mmap2; the offset is in bytes.
///
/// # Safety
/// As for [`crate::syscall::mmap`].
#[inline(always)]
pub unsafe fn mmap([a, b, c, d, e, offset]: [usize; 6]) -> usize {
    // SAFETY: this function has the condition of `syscall::mmap`: nothing uses what a fixed mapping replaces.
    unsafe { syscall6(nr::MMAP2, [a, b, c, d, e], offset >> 12) }
}

/// pread64 or pwrite64; the offset is two words, the low one first, and the first of their registers has an even number (EABI).
///
/// # Safety
/// As for [`crate::syscall::read_at`] or [`crate::syscall::write_at`].
#[inline(always)]
pub unsafe fn at_offset(number: usize, [a, b, c]: [usize; 3], offset: usize) -> usize {
    // SAFETY: this function has the condition of these calls, and passes it on.
    unsafe { syscall6(number, [a, b, c, 0, offset], 0) }
}

/// Writes zeros up to `end`, a multiple of 8, faster than byte by byte.
///
/// # Safety
/// The bytes from `address` to `end` have to be writable.
#[inline(always)]
pub unsafe fn zero(address: usize, end: usize) {
    // SAFETY: everything from `address` to `end` is writable (`# Safety`), and nothing else is written:
    // the address stops at `end`, a multiple of 4, after bytes up to the next such multiple.
    unsafe {
        core::arch::asm!(
            "2: tst {at}, #3",
            "beq 4f",
            "strb {zero}, [{at}], #1",
            "b 2b",
            "3: str {zero}, [{at}], #4",
            "4: cmp {at}, {end}",
            "bne 3b",
            at = inout(reg) address => _, end = in(reg) end, zero = in(reg) 0,
            options(nostack),
        );
    }
}

/// Makes written code visible to instruction fetch. Only the kernel may maintain the caches (arch/arm/kernel/traps.c, arm_syscall).
///
/// # Safety
/// The range has to be mapped.
#[inline(always)]
pub unsafe fn sync_code(address: usize, len: usize) {
    // SAFETY: the call changes no memory. The third argument are flags, of which there are none.
    unsafe { syscall3(nr::CACHEFLUSH, address, address + len, 0) };
}

/// Starts a program or ld.so with the initial stack, and rtld_fini in r0. r4 is 0, as the kernel leaves it: ld.so of glibc 2.36 reads a word at
/// a distance of r4 from its GOT (sysdeps/arm/dl-machine.h, RTLD_START). Other registers are unspecified. Bit 0 of `entry` selects the
/// instruction set.
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
            "adds r3, r3, r1",
            "subs r3, r3, r2",
            "bic r3, r3, #15",
            "mov sp, r3",
            "2: ldr r5, [r1], #4",
            "str r5, [r3], #4",
            "cmp r1, r2",
            "bne 2b",
            "movs r4, #0",
            "bx r12",
            in("r1") stack, in("r2") end, in("r3") top, in("r12") entry, in("r0") fini,
            options(noreturn),
        );
    }
}

/// Stores the address of a static in a pointer, independent of the image's position. The static follows the code at a distance that
/// 16 bits can have.
#[macro_export]
macro_rules! address {
    ($pointer:ident, $static:path) => {
        // SAFETY: the instructions compute an address; they neither read nor write memory that Rust knows of.
        unsafe {
            core::arch::asm!(
                "movw {0}, :lower16:({1} - (2f + 4))", "2: add {0}, pc",
                out(reg) $pointer, sym $static, options(nomem, nostack, preserves_flags),
            )
        }
    };
}

/// Defines the stub. It passes to the loader: the trailer's address plus 1 in lr, the initial stack in sp, rtld_fini in r8, the
/// loader's descriptor in r4. A self-contained stub has read r9 bytes of the sidecar to below the initial stack.
#[macro_export]
macro_rules! stub {
    (relocatable: $relocatable:expr, self_contained: $self_contained:expr) => {
        $crate::global_asm!(
            ".syntax unified",
            ".thumb",
            ".section .image, \"ax\"",
            ".globl _start",
            ".thumb_func",
            "_start:",
            "b.n 7f",
            "9: mov r8, r0",                            // rtld_fini: r0 is an argument register
            ".if {relocatable} | {self_contained}",
            "mov r1, sp",
            "2: adds r1, #4",                           // skip argc, argv, environment, auxv to AT_SECURE, which
            "ldr r2, [r1]",                             // always exists. No pointer is 23, and a value of 23 (a
            "ldr r3, [r1, #4]",                         // user id) is followed by a type, which is not 0 or 1
            "cmp r2, #{secure}",
            "bne 2b",
            "cmp r3, #1",
            "bhi 2b",
            ".endif",
            ".if {self_contained}",
            "sub.w sp, sp, #{room}",                    // room for the sidecar, at the loader's FRONT_ROOM
            ".endif",
            ".if {relocatable}",
            "movs r2, #1",                              // set-id: a user who moves the program must not choose its
            "subs r2, r2, r3",                          // loader; a buffer length of 0 makes readlink fail: EINVAL
            "lsls r2, r2, #12",
            "sub.w r0, lr, #{path}",                    // /proc/self/exe
            "sub.w r1, sp, #8192",
            "movs r7, #{readlink}",
            "svc #0",
            "cmp r0, #0",
            "bmi 8f",
            "adds r0, r0, r1",
            "2: subs r0, #1",                           // back to the last slash
            "ldrb r2, [r0]",
            "cmp r2, #0x2f",
            "bne 2b",
            "add.w r3, lr, #{loader} - 1",
            "2: ldrb r2, [r3], #1",                     // append the loader's relative path with its NUL
            "strb r2, [r0, #1]!",
            "cmp r2, #0",
            "bne 2b",
            "mov r0, r1",
            ".else",
            "add.w r0, lr, #{loader} - 1",
            ".endif",
            "mov.w r1, #{flags}",                       // do not wait for the writer of a FIFO; follow no link to a sidecar
            "movs r7, #{open}",
            "svc #0",
            "movs r6, r0",                              // kept for mmap and the loader
            "bmi 8f",
            ".if {self_contained}",
            "mov r1, sp",
            "movs r7, #{fstat}",
            "svc #0",
            "ldr r5, [sp, #{mode}]",
            "ldr r2, [sp, #{user}]",
            "ldr r4, [sp, #{group}]",
            "movs r7, #{geteuid}",
            "svc #0",
            "movs r1, #{by_others}",                    // owned by root or the user, and writable by the owner only?
            "ands r5, r1",
            "bne 4f",
            "cbz r2, 3f",
            "cmp r2, r0",
            "beq 3f",
            "4: sub.w r0, lr, #{path}",                 // or else: same owner and group as the program,
            "mov r1, sp",
            "movs r7, #{stat}",
            "svc #0",
            "ldr r1, [sp, #{mode}]",
            "bics r5, r1",                              // and writable only by users who can write to the program?
            "orrs r5, r0",
            "ldr r1, [sp, #{user}]",
            "eors r1, r2",
            "orrs r5, r1",
            "ldr r1, [sp, #{group}]",
            "eors r1, r4",
            "orrs r5, r1",
            "3:",
            ".ifeq {relocatable}",
            "orrs r5, r3",                              // set-id: fail, because other users may be able to write to the sidecar
            ".endif",
            "movs r0, #1",                              // not the number of an error that has words of its own
            "cmp r5, #0",
            "bne 8f",
            ".endif",
            "mov r0, r6",
            ".if {self_contained}",
            "mov r1, sp",
            "mov.w r2, #{read_len}",                    // read the sidecar too, or its front
            "movs r5, #0",                              // the offset's high word; its low one is in r4
            ".else",
            "sub.w r1, sp, #16",
            "movs r5, #0",                              // the offset's high word; its low one is in r4
            "str r5, [r1, #{lead}]",                    // no stale mark if the read fails; with fstat, zeros are here already
            "movs r2, #5",                              // also PROT_READ | PROT_EXEC below
            ".endif",
            "movw r4, #{closing} - {lead}",
            "movs r7, #{pread}",
            "svc #0",                                   // r0 is less than a page, which mmap rounds down to 0
            ".if {self_contained}",
            "mov r9, r0",                               // bytes read, for the loader
            "movs r2, #5",                              // PROT_READ | PROT_EXEC
            ".endif",
            "ldr r1, [r1, #{lead}]",
            "cmp.w r1, #{mark}",                        // a complete loader for this stub?
            "bne 8f",
            "mov.w r1, #{len}",
            "movs r3, #2",                              // MAP_PRIVATE
            "mov r4, r6",
            "movs r7, #{mmap}",
            "svc #0",
            "cmn.w r0, #4096",
            "bcc 6f",
            "8: adds r5, r0, #{absent}",                // print "wrap-buddy: PATH" and one of the words below
            "add.w r1, lr, #{line} - 1",
            "ldr.w r2, [lr, #{line_len} - 1]",
            "movs r0, #2",                              // stderr
            "movs r7, #{write}",
            "svc #0",
            "sub.w r1, lr, #{words}",
            "movs r2, #9",
            "cbz r5, 2f",
            "adds r1, #9",
            "movs r2, #19",
            "2: movs r0, #2",
            "svc #0",
            "movs r0, #127",
            "movs r7, #{exit}",
            "svc #0",
            ".ascii \" missing\\n denied or damaged\\n\"",
            ".if {relocatable} | {self_contained}",
            ".asciz \"/proc/self/exe\"",
            ".endif",
            ".balign 2",
            "6: mov pc, r0",                            // the loader is Thumb code too
            "7: bl 9b",                                 // leaves the trailer's address plus 1 in lr
            relocatable = const $relocatable as usize,
            self_contained = const $self_contained as usize,
            room = const $crate::sidecar::loader::FRONT_ROOM,
            read_len = const $crate::sidecar::loader::FRONT_LEN,
            absent = const 2,
            words = const if $relocatable || $self_contained { 51 } else { 35 },
            path = const 23,
            secure = const $crate::stack::at::SECURE,
            readlink = const 85,
            stat = const 195,
            fstat = const $crate::arch::nr::FSTAT,
            geteuid = const 201,
            mode = const 4 * $crate::arch::stat::MODE,
            user = const 4 * $crate::arch::stat::UID,
            group = const 4 * $crate::arch::stat::GID,
            by_others = const 0o022,
            open = const 5,
            pread = const $crate::arch::nr::PREAD64,
            mmap = const $crate::arch::nr::MMAP2,
            write = const $crate::arch::nr::WRITE,
            exit = const $crate::arch::nr::EXIT_GROUP,
            flags = const {
                use $crate::syscall::open_flags::{NOFOLLOW, NONBLOCK};
                if $self_contained { NONBLOCK | NOFOLLOW } else { NONBLOCK }
            },
            closing = const $crate::sidecar::loader::CLOSING_OFFSET,
            len = const $crate::sidecar::loader::IMAGE_LEN,
            lead = const if $self_contained { 4 } else { 0 },
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
            ".syntax unified",
            ".thumb",
            ".section .header, \"ax\"",
            ".globl _start",
            ".thumb_func",
            "_start:",
            "b.n 2f",
            ".balign 8",
            ".quad {magic}",
            ".short {abi}",
            ".short {machine}",
            "2: sub.w r0, lr, #1",                      // the trailer
            "mov r1, sp",                               // the initial stack
            "mov r2, r8",                               // rtld_fini
            "mov r3, r4",                               // the loader's descriptor
            "movs r5, #0",                              // bytes of the sidecar that were read: none,
            "ldr r6, [r0, #{own}]",
            "cbnz r6, 2f",
            "add.w r1, r1, #{room}",                    // unless the stub is self-contained and has put it below the stack
            "mov r5, r9",
            "2: sub.w r6, r1, #{below}",
            "subs r6, #8",                              // keeps the stack aligned
            "mov sp, r6",
            "str r5, [sp]",                             // the fifth argument
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
            ".syntax unified",
            ".thumb",
            ".section .header, \"ax\"",
            ".globl _start",
            ".thumb_func",
            "_start:",
            "mov r0, sp",
            "bl {start}",
            start = sym $start,
        );
    };
}
