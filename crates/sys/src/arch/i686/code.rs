//! i686: `int 0x80`, number in eax, arguments in ebx ecx edx esi edi ebp; only eax is lost.

pub use super::i686::ROW as HOST;

/// Whether the architecture has branch protection by page.
pub const HAS_BTI: bool = false;

/// This architecture has no such protection.
pub const PROT_BTI: usize = 0;

/// Log2 of the maximum random distance in bytes between a program and later mappings: 8 bits of pages, as in the kernel.
pub const GAP_BITS: u32 = 20;

/// The kernel puts the path of the executable at the top of the stack, and the top of an address space ends in ones. If these bits
/// are ones, nothing random was subtracted from it. 1 of 512 random addresses looks the same.
pub const STACK_AT_TOP: usize = 0x3fff_c000;

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

/// System call numbers (arch/x86/entry/syscalls/syscall_32.tbl).
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
    pub const GETDENTS64: usize = 220;
    pub const GETXATTR: usize = 229;
    pub const EXIT_GROUP: usize = 252;
    pub const OPENAT: usize = 295;
    pub const MKDIRAT: usize = 296;
    pub const UNLINKAT: usize = 301;
    pub const LINKAT: usize = 303;
    pub const SYMLINKAT: usize = 304;
    pub const READLINKAT: usize = 305;
    pub const FCHMODAT: usize = 306;
    pub const UTIMENSAT: usize = 320;
    pub const PRLIMIT64: usize = 340;
    pub const SYNCFS: usize = 344;
    pub const RENAMEAT2: usize = 353;
}

/// O_NOFOLLOW (asm-generic/fcntl.h).
pub const NOFOLLOW: usize = 0x2_0000;

/// O_DIRECTORY (asm-generic/fcntl.h).
pub const DIRECTORY: usize = 0x1_0000;

/// Indices of fields in struct stat64, in 32-bit words (arch/x86/include/uapi/asm/stat.h).
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
    unsafe { syscall6(number, &[a, b, c, d, e, 0]) }
}

#[inline(never)]
unsafe fn syscall6(number: usize, arguments: &[usize; 6]) -> usize {
    let result;
    // SAFETY: `arguments` are six readable words. The kernel changes eax, and memory only as the call is documented to: the
    // condition of the functions that call this one. esi, ebx and ebp, which the compiler does not lend, are pushed and popped.
    unsafe {
        core::arch::asm!(
            "push esi",
            "push ebx",
            "push ebp",
            "mov ebx, [edi]",
            "mov ecx, [edi + 4]",
            "mov edx, [edi + 8]",
            "mov esi, [edi + 12]",
            "mov ebp, [edi + 20]",
            "mov edi, [edi + 16]",
            "int 0x80",
            "pop ebp",
            "pop ebx",
            "pop esi",
            inlateout("eax") number => result,
            inout("edi") arguments.as_ptr() => _,
            out("ecx") _, out("edx") _,
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
    // SAFETY: the kernel changes eax, which is declared, and memory only as the call is documented to: this function passes that
    // condition on. ebx, which the compiler does not lend, has its value again after the second exchange.
    unsafe {
        core::arch::asm!(
            "xchg ebx, edi",
            "int 0x80",
            "xchg ebx, edi",
            inlateout("eax") number => _,
            in("edi") a,
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
    // SAFETY: the kernel changes eax, which is declared, and memory only as the call is documented to: this function passes that
    // condition on. ebx, which the compiler does not lend, has its value again after the second exchange.
    unsafe {
        core::arch::asm!(
            "xchg ebx, edi",
            "int 0x80",
            "xchg ebx, edi",
            inlateout("eax") number => result,
            in("edi") a, in("ecx") b, in("edx") c,
        );
    }
    result
}

/// mmap2; the offset is in bytes. Unlike mmap, systemd's MemoryDenyWriteExecute= allows it.
///
/// # Safety
/// As for [`crate::syscall::mmap`].
#[inline(always)]
pub unsafe fn mmap([a, b, c, d, e, offset]: [usize; 6]) -> usize {
    // SAFETY: this function has the condition of `syscall::mmap`: nothing uses what a fixed mapping replaces.
    unsafe { syscall6(nr::MMAP2, &[a, b, c, d, e, offset >> 12]) }
}

/// pread64 or pwrite64; the offset is two words, the low one first.
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
    // edi runs from `address` to `end`, because ecx is the distance, and the direction flag is clear (System V ABI).
    unsafe {
        core::arch::asm!(
            "rep stosb",
            inout("edi") address => _, inout("ecx") end - address => _, in("al") 0u8,
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

/// Starts a program or ld.so with the initial stack and rtld_fini in edx. Other registers are unspecified (System V ABI, Intel386).
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
    // (`# Safety`). The stack pointer is lowered before the copy, so that a signal handler writes below it. esi need not
    // be kept, because no compiled code runs afterwards.
    unsafe {
        core::arch::asm!(
            "mov esi, edi",
            "sub ecx, esi",
            "mov esp, ebx",
            "sub esp, ecx",
            "and esp, -16",
            "mov edi, esp",
            "rep movsb",
            "jmp eax",
            in("edi") stack, in("ecx") end, in("ebx") top, in("eax") entry, in("edx") fini,
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
                "call 2f", "2: popl {0}", "addl ${1} - 2b, {0}", out(reg) $pointer, sym $static, options(att_syntax),
            )
        }
    };
}

/// Defines the stub. It passes to the loader: the trailer in ebp, the loader's descriptor in edi, and on the stack rtld_fini and then
/// the initial stack. A self-contained stub has read the sidecar to below that; rtld_fini is followed by the number of bytes.
#[macro_export]
macro_rules! stub {
    (relocatable: $relocatable:expr, self_contained: $self_contained:expr) => {
        $crate::global_asm!(
            ".section .image, \"ax\"",
            ".globl _start",
            "_start:",
            "jmp 4f",
            "9: pop ebp",                               // the trailer: its address is that after the call
            "push edx",                                 // rtld_fini: edx is an argument register
            ".if {relocatable} | {self_contained}",
            "lea edi, [esp + 4]",
            "2: scasd",                                 // skip argc, argv, environment, auxv to AT_SECURE, which
            "cmp dword ptr [edi], {secure}",            // always exists. No pointer is 23, and a value of 23 (a
            "jne 2b",                                   // user id) is followed by a type, which is not 0 or 1
            "cmp dword ptr [edi + 4], 1",
            "ja 2b",
            ".endif",
            ".if {self_contained}",
            "sub esp, {room}",                          // room for the sidecar, at the loader's FRONT_ROOM
            ".endif",
            ".if {relocatable}",
            "mov edx, [edi + 4]",                       // set-id: a user who moves the program must not choose its
            "dec edx",                                  // loader; a buffer length of 0 makes readlink fail: EINVAL
            "and edx, 4096",
            "lea ebx, [ebp - 20]",                      // /proc/self/exe, before the last call
            "lea ecx, [esp - 8192]",
            "push {readlink}",
            "pop eax",
            "int 0x80",
            "test eax, eax",
            "js 8f",
            "lea edi, [ecx + eax]",
            "2: dec edi",                               // back to the last slash
            "cmp byte ptr [edi], 0x2f",
            "jne 2b",
            "inc edi",
            "lea esi, [ebp + {loader}]",
            "2: lodsb",                                 // append the loader's relative path with its NUL
            "stosb",
            "test al, al",
            "jne 2b",
            "mov ebx, ecx",
            ".else",
            ".if {self_contained}",                     // set-id: fail, because other users may be able to write to the sidecar
            "cmp dword ptr [edi + 4], 0",
            "push -{invalid}",
            "pop eax",
            "jne 5f",
            ".endif",
            "lea ebx, [ebp + {loader}]",
            ".endif",
            "mov ecx, {flags}",                         // do not wait for the writer of a FIFO; follow no link to a sidecar
            "push {open}",
            "pop eax",
            "int 0x80",
            "test eax, eax",
            ".if {self_contained}",
            "js 5f",
            ".else",
            "js 8f",
            ".endif",
            "xchg ebx, eax",
            ".if {self_contained}",
            "lea ecx, [esp + 4]",
            "mov eax, {fstat}",
            "int 0x80",
            "mov edx, [ecx + {mode}]",
            "mov esi, [ecx + {user}]",
            "mov edi, [ecx + {group}]",
            "mov eax, {geteuid}",
            "int 0x80",
            "and edx, {by_others}",                     // owned by root or the user, and writable by the owner only?
            "jne 3f",
            "test esi, esi",
            "je 7f",
            "cmp eax, esi",
            "je 7f",
            "3: push ebx",
            "lea ebx, [ebp - 20]",                      // or else: same owner and group as the program,
            "mov eax, {stat}",
            "int 0x80",
            "pop ebx",
            "xor esi, [ecx + {user}]",
            "xor edi, [ecx + {group}]",
            "or esi, edi",
            "or esi, eax",
            "mov eax, [ecx + {mode}]",
            "not eax",
            "and edx, eax",                             // and writable only by users who can write to the program?
            "or esi, edx",
            "push -{invalid}",
            "pop eax",
            "5: jne 8f",
            "7:",
            "mov edx, {read_len}",                      // read the sidecar too, or its front
            ".else",
            "lea ecx, [esp - 64]",
            "push 5",                                   // also PROT_READ | PROT_EXEC below
            "pop edx",
            ".endif",
            "mov esi, {closing} - {lead}",
            "xor edi, edi",                             // the offset's high word
            ".ifeq {self_contained}",
            "mov [ecx + {lead}], edi",                  // no stale mark if the read fails; with fstat, zeros are here already
            ".endif",
            "mov eax, {pread}",
            "int 0x80",
            ".if {self_contained}",
            "push eax",                                 // bytes read, for the loader
            ".endif",
            "mov edi, ebx",                             // the descriptor, kept for the loader
            "xor eax, eax",
            "cmp dword ptr [ecx + {lead}], {mark}",     // a complete loader for this stub?
            "sete al",                                  // if not, the length is 0 and mmap fails with EINVAL
            "shl eax, {len_bits}",
            "xchg ecx, eax",
            "xor ebx, ebx",                             // anywhere
            "push 2",                                   // MAP_PRIVATE
            "pop esi",
            "push ebp",
            "xor ebp, ebp",                             // offset
            ".if {self_contained}",
            "push 5",                                   // PROT_READ | PROT_EXEC
            "pop edx",
            ".endif",
            "mov eax, {mmap}",
            "int 0x80",
            "pop ebp",
            "cmp eax, -4096",
            "jbe 6f",
            "8: xchg edi, eax",                         // print "wrap-buddy: PATH" and one of the words below
            "lea ecx, [ebp + {line}]",
            "mov edx, [ebp + {line_len}]",
            "push 2",                                   // stderr
            "pop ebx",
            "push {write}",
            "pop eax",
            "int 0x80",
            "lea ecx, [ebp - {words}]",
            "push 9",
            "pop edx",
            "cmp edi, -{absent}",
            "je 2f",
            "add ecx, edx",
            "mov dl, 19",
            "2: push {write}",
            "pop eax",
            "int 0x80",
            "push 127",
            "pop ebx",
            "mov eax, {exit}",
            "int 0x80",
            "6:",
            ".if {self_contained}",
            "push dword ptr [esp + {room} + 4]",
            ".endif",
            "jmp eax",
            ".ascii \" missing\\n denied or damaged\\n\"",
            ".if {relocatable} | {self_contained}",
            ".asciz \"/proc/self/exe\"",
            ".endif",
            "4: call 9b",
            relocatable = const $relocatable as usize,
            self_contained = const $self_contained as usize,
            room = const $crate::sidecar::loader::FRONT_ROOM,
            read_len = const $crate::sidecar::loader::FRONT_LEN,
            invalid = const 22,
            absent = const 2,
            words = const if $relocatable || $self_contained { 48 } else { 33 },
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
            len_bits = const {
                let len = $crate::sidecar::loader::IMAGE_LEN;
                assert!(len.is_power_of_two());
                len.ilog2()
            },
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
            "2: pop edx",                               // rtld_fini
            "mov ebx, esp",                             // the initial stack
            "xor eax, eax",                             // bytes of the sidecar that were read: none,
            "cmp dword ptr [ebp + {own}], 0",
            "jne 2f",
            "mov eax, [ebx]",                           // unless the stub is self-contained and has put it below the stack
            "add ebx, {room} + 8",
            "2:",
            "lea esp, [ebx - {below} - 12]",            // aligns the stack to 16 bytes at the call
            "push eax",
            "push edi",                                 // the loader's descriptor
            "push edx",
            "push ebx",
            "push ebp",                                 // the trailer
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
            "mov eax, esp",
            "and esp, -16",
            "sub esp, 12",                              // aligns the stack to 16 bytes at the call
            "push eax",
            "call {start}",
            start = sym $start,
        );
    };
}
