//! x86_64: `syscall`, number in rax, arguments in rdi rsi rdx r10 r8 r9; rax, rcx and r11 are lost.

pub use super::x86_64::ROW as HOST;

/// Whether the architecture has branch protection by page.
pub const HAS_BTI: bool = false;

/// This architecture has no such protection.
pub const PROT_BTI: usize = 0;

/// Log2 of the maximum random distance in bytes between a program and later mappings.
pub const GAP_BITS: u32 = 30;

/// The kernel puts the path of the executable at the top of the stack, and the top of an address space ends in ones. If these bits
/// are ones, nothing random was subtracted from it. 1 of 65,536 random addresses looks the same.
pub const STACK_AT_TOP: usize = 0x3fff_c000;

/// These bits are ones wherever a kernel puts the stack.
pub const STACK_OF_KERNEL: usize = 7 << 36;

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

/// System call numbers (arch/x86/entry/syscalls/syscall_64.tbl).
pub mod nr {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const FSTAT: usize = 5;
    pub const LSEEK: usize = 8;
    pub const MMAP: usize = 9;
    pub const MPROTECT: usize = 10;
    pub const MUNMAP: usize = 11;
    pub const PREAD64: usize = 17;
    pub const PWRITE64: usize = 18;
    pub const EXECVE: usize = 59;
    pub const FLOCK: usize = 73;
    pub const GETXATTR: usize = 191;
    pub const GETDENTS64: usize = 217;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const MKDIRAT: usize = 258;
    pub const UNLINKAT: usize = 263;
    pub const LINKAT: usize = 265;
    pub const SYMLINKAT: usize = 266;
    pub const READLINKAT: usize = 267;
    pub const FCHMODAT: usize = 268;
    pub const UTIMENSAT: usize = 280;
    pub const PRLIMIT64: usize = 302;
    pub const SYNCFS: usize = 306;
    pub const RENAMEAT2: usize = 316;
}

/// O_NOFOLLOW (asm-generic/fcntl.h).
pub const NOFOLLOW: usize = 0x2_0000;

/// O_DIRECTORY (asm-generic/fcntl.h).
pub const DIRECTORY: usize = 0x1_0000;

/// Indices of fields in struct stat, in 32-bit words (arch/x86/include/uapi/asm/stat.h).
pub mod stat {
    pub const MODE: usize = 6;
    pub const UID: usize = 7;
    pub const GID: usize = 8;
}

/// Makes a system call of up to five arguments.
///
/// # Safety
/// The arguments have to be valid for the call.
#[inline(always)]
pub unsafe fn syscall(number: usize, [a, b, c, d, e]: [usize; 5]) -> usize {
    let result;
    // SAFETY: the kernel changes rax, rcx and r11, which are declared, and memory only as the call is documented to: this function
    // passes that condition on.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
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
    // SAFETY: the kernel changes rax, rcx and r11, which are declared, and memory only as the call is documented to: this function
    // passes that condition on.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => _,
            in("rdi") a,
            lateout("rcx") _, lateout("r11") _,
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
    // SAFETY: the kernel changes rax, rcx and r11, which are declared, and memory only as the call is documented to: this function
    // passes that condition on.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _,
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
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
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
    // rdi runs from `address` to `end`, because rcx is the distance, and the direction flag is clear (System V ABI).
    unsafe {
        core::arch::asm!(
            "rep stosb",
            inout("rdi") address => _, inout("rcx") end - address => _, in("al") 0u8,
            options(nostack, preserves_flags),
        );
    }
}

/// Makes written code visible to instruction fetch. On x86, the hardware does that.
///
/// # Safety
/// None here.
#[inline(always)]
pub unsafe fn sync_code(_address: usize, _len: usize) {}

/// Starts a program or ld.so with the initial stack and rtld_fini in rdx. Other registers are unspecified (System V ABI, AMD64).
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
            "sub rcx, rsi",
            "mov rsp, rdi",
            "sub rsp, rcx",
            "and rsp, -16",
            "mov rdi, rsp",
            "rep movsb",
            "jmp rax",
            in("rsi") stack, in("rcx") end, in("rdi") top, in("rax") entry, in("rdx") fini,
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
                "lea {}, [rip + {}]", out(reg) $pointer, sym $static, options(nomem, nostack, preserves_flags),
            )
        }
    };
}

/// Defines the stub. It passes to the loader: the trailer in `[rsp]` and the initial stack above it, rtld_fini in rbp, the loader's
/// descriptor in r8d. A self-contained stub has read ebx bytes of the sidecar to below the initial stack.
#[macro_export]
macro_rules! stub {
    (relocatable: $relocatable:expr, self_contained: $self_contained:expr) => {
        $crate::global_asm!(
            ".section .image, \"ax\"",
            ".globl _start",
            "_start:",
            "mov rbp, rdx",                             // rtld_fini: rdx is an argument register
            ".if {relocatable} | {self_contained}",
            "mov rdi, rsp",
            "2: scasq",                                 // skip argc, argv, environment, auxv to AT_SECURE, which
            "cmp qword ptr [rdi], {secure}",            // always exists. No pointer is 23, and a value of 23 (a
            "jne 2b",                                   // user id) is followed by a type, which is not 0 or 1
            "cmp qword ptr [rdi + 8], 1",
            "ja 2b",
            ".endif",
            ".if {self_contained}",
            "sub rsp, {room}",                          // room for the sidecar, at the loader's FRONT_ROOM
            ".endif",
            ".if {relocatable}",
            "mov edx, [rdi + 8]",                       // set-id: a user who moves the program must not choose its
            "dec edx",                                  // loader; a buffer length of 0 makes readlink fail: EINVAL
            "and edx, 4096",
            "push {readlink}",
            "pop rax",
            "lea rdi, [rip + 7f]",                      // /proc/self/exe
            "lea rsi, [rsp - 8192]",
            "syscall",
            "test eax, eax",
            "js 8f",
            "push rsi",
            "lea rdi, [rsi + rax]",
            "2: dec rdi",                               // back to the last slash
            "cmp byte ptr [rdi], 0x2f",
            "jne 2b",
            "inc rdi",
            "lea rsi, [rip + 9f + {loader}]",
            "2: lodsb",                                 // append the loader's relative path with its NUL
            "stosb",
            "test al, al",
            "jne 2b",
            "pop rdi",
            ".else",
            ".if {self_contained}",
            "mov r9d, [rdi + 8]",                       // set-id: mmap fails at offset 1, because others may be able to write to the sidecar
            ".endif",
            "lea rdi, [rip + 9f + {loader}]",
            ".endif",
            "mov esi, {flags}",                         // do not wait for the writer of a FIFO; follow no link to a sidecar
            "push {open}",
            "pop rax",
            "syscall",
            "test eax, eax",
            ".if {self_contained}",
            "js 5f",
            ".else",
            "js 8f",
            ".endif",
            "mov r8d, eax",                             // kept for mmap and the loader
            "mov edi, eax",
            ".if {self_contained}",
            "mov rsi, rsp",
            "push {fstat}",
            "pop rax",
            "syscall",
            "mov edx, [rsi + {mode}]",
            "mov rbx, [rsi + {owner}]",                 // user and group
            "push {geteuid}",
            "pop rax",
            "syscall",
            "and edx, {by_others}",                     // owned by root or the user, and writable by the owner only?
            "jne 3f",
            "test ebx, ebx",
            "je 4f",
            "cmp eax, ebx",
            "je 4f",
            "3: lea rdi, [rip + 7f]",                   // or else: same owner and group as the program,
            "push {stat}",
            "pop rax",
            "syscall",
            "xor rbx, [rsi + {owner}]",
            "or rbx, rax",
            "mov eax, [rsi + {mode}]",
            "not eax",
            "and edx, eax",                             // and writable only by users who can write to the program?
            "or rbx, rdx",
            "push -{invalid}",
            "pop rax",
            "5: jne 8f",
            "mov edi, r8d",
            "4:",
            "mov edx, {read_len}",                      // read the sidecar too, or its front
            ".else",
            "lea rsi, [rsp - 16]",
            "push 5",                                   // also PROT_READ | PROT_EXEC below
            "pop rdx",
            ".endif",
            "mov r10d, {closing} - {lead}",
            ".ifeq {self_contained} & (1 - {relocatable})",
            "xor r9d, r9d",
            ".endif",
            ".ifeq {self_contained}",
            "mov [rsi + {lead}], r9d",                  // no stale mark if the read fails; with fstat, zeros are here already
            ".endif",
            "push {pread}",
            "pop rax",
            "syscall",
            ".if {self_contained}",
            "xchg ebx, eax",                            // bytes read, for the loader
            ".endif",
            "cmp dword ptr [rsi + {lead}], {mark}",     // a complete loader for this stub?
            ".if {self_contained}",
            "push 5",                                   // PROT_READ | PROT_EXEC
            "pop rdx",
            ".endif",
            "setne al",                                 // if not, the offset is odd and mmap fails with EINVAL
            "or r9b, al",
            "xor edi, edi",
            "mov esi, {len}",
            "push 2",                                   // MAP_PRIVATE
            "pop r10",
            "push {mmap}",
            "pop rax",
            "syscall",
            "test rax, rax",
            "jns 6f",
            "8: xchg ebx, eax",                         // print "wrap-buddy: PATH" and one of the words below
            "lea rsi, [rip + 9f + {line}]",
            "mov edx, [rip + 9f + {line_len}]",
            "push 2",                                   // stderr
            "pop rdi",
            "push {write}",
            "pop rax",
            "syscall",
            "lea rsi, [rip + 3f]",
            "push 9",
            "pop rdx",
            "cmp ebx, -{absent}",
            "je 2f",
            "add rsi, rdx",
            "mov dl, 19",
            "2: push {write}",
            "pop rax",
            "syscall",
            "push 127",
            "pop rdi",
            "mov eax, {exit}",
            "syscall",
            "3: .ascii \" missing\\n denied or damaged\\n\"",
            ".if {relocatable} | {self_contained}",
            "7: .asciz \"/proc/self/exe\"",
            ".endif",
            "6: call rax",                              // pushes the trailer's address
            "9:",
            relocatable = const $relocatable as usize,
            self_contained = const $self_contained as usize,
            room = const $crate::sidecar::loader::FRONT_ROOM,
            read_len = const $crate::sidecar::loader::FRONT_LEN,
            secure = const $crate::stack::at::SECURE,
            readlink = const 89,
            stat = const 4,
            fstat = const $crate::arch::nr::FSTAT,
            geteuid = const 107,
            mode = const 4 * $crate::arch::stat::MODE,
            owner = const 4 * $crate::arch::stat::UID,
            by_others = const 0o022,
            invalid = const 22,
            absent = const 2,
            open = const 2,
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
            lead = const if $self_contained { 4 } else { 1 },
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
            "jmp 2f",
            ".balign 8",
            ".quad {magic}",
            ".short {abi}",
            ".short {machine}",
            "2: pop rdi",                               // the trailer
            "mov rsi, rsp",                             // the initial stack
            "mov rdx, rbp",                             // rtld_fini
            "mov ecx, r8d",                             // the loader's descriptor
            "xor r8d, r8d",                             // bytes of the sidecar that were read: none,
            "cmp dword ptr [rdi + {own}], 0",
            "jne 2f",
            "add rsi, {room}",                          // unless the stub is self-contained and has put it below the stack
            "mov r8d, ebx",
            "2:",
            "lea rsp, [rsi - {below}]",
            "call {start}",
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
            "mov rdi, rsp",
            "call {start}",
            start = sym $start,
        );
    };
}
