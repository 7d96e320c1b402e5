//! i686: `int 0x80`, number in eax, arguments in ebx ecx edx esi edi ebp; only eax is lost.

pub use super::i686::ROW as HOST;

/// Whether processors of this architecture can protect branches by page.
pub const HAS_BTI: bool = false;

/// Only marked places may be branched to: not here.
pub const PROT_BTI: usize = 0;

/// Bits of the largest distance, in bytes, that is kept at random between a program and what is mapped later: the 8 that the kernel varies mappings by, of pages.
pub const GAP_BITS: u32 = 20;

/// The protections mprotect knows here.
#[inline(always)]
pub fn protections(_hwcap2: usize) -> usize {
    7
}

/// System call numbers (arch/x86/entry/syscalls/syscall_32.tbl).
pub mod nr {
    pub const WRITE: usize = 4;
    pub const CLOSE: usize = 6;
    pub const LSEEK: usize = 19;
    pub const MPROTECT: usize = 125;
    pub const PREAD64: usize = 180;
    pub const PWRITE64: usize = 181;
    pub const MMAP2: usize = 192;
    pub const FSTAT: usize = 197;
    pub const GETXATTR: usize = 229;
    pub const EXIT_GROUP: usize = 252;
    pub const OPENAT: usize = 295;
    pub const READLINKAT: usize = 305;
    pub const PRLIMIT64: usize = 340;
}

/// Where struct stat64 has what is asked for, in words of 32 bits (arch/x86/include/uapi/asm/stat.h).
pub mod stat {
    pub const MODE: usize = 4;
    pub const UID: usize = 6;
    pub const GID: usize = 7;
}

/// Makes a system call of up to five arguments.
///
/// # Safety
/// As the call demands of its arguments.
#[inline(always)]
pub unsafe fn syscall(number: usize, [a, b, c, d, e]: [usize; 5]) -> usize {
    // SAFETY: the caller vouches for the call.
    unsafe { syscall6(number, &[a, b, c, d, e, 0]) }
}

#[inline(never)]
unsafe fn syscall6(number: usize, arguments: &[usize; 6]) -> usize {
    let result;
    // SAFETY: as for `syscall`. esi, ebx and ebp are the compiler's own: they are saved and given back.
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

/// Makes a system call of one argument, whatever comes of it.
///
/// # Safety
/// As the call demands of its argument.
#[inline(always)]
pub unsafe fn syscall1(number: usize, a: usize) {
    // SAFETY: the caller vouches for the call. ebx is the compiler's own: it is lent and given back.
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
/// As the call demands of its arguments.
#[inline(always)]
pub unsafe fn syscall3(number: usize, a: usize, b: usize, c: usize) -> usize {
    let result;
    // SAFETY: the caller vouches for the call. ebx is the compiler's own: it is lent and given back.
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

/// mmap2, which systemd's filter for MemoryDenyWriteExecute= lets through, unlike mmap; the offset is in bytes.
///
/// # Safety
/// As for [`crate::syscall::mmap`].
#[inline(always)]
pub unsafe fn mmap([a, b, c, d, e, offset]: [usize; 6]) -> usize {
    // SAFETY: the caller vouches for the range.
    unsafe { syscall6(nr::MMAP2, &[a, b, c, d, e, offset >> 12]) }
}

/// pwrite64; the offset is two words, low first.
///
/// # Safety
/// `len` bytes at `buffer` may be read.
#[inline(always)]
pub unsafe fn pwrite(fd: usize, buffer: *const u8, len: usize, offset: usize) -> usize {
    // SAFETY: the caller vouches for the buffer.
    unsafe { syscall(nr::PWRITE64, [fd, buffer as usize, len, offset, 0]) }
}

/// Writes zeros up to `end`, a multiple of 8, and not byte by byte.
///
/// # Safety
/// What lies from `address` to `end` may be written.
#[inline(always)]
pub unsafe fn zero(address: usize, end: usize) {
    // SAFETY: the caller vouches for the range.
    unsafe {
        core::arch::asm!(
            "rep stosb",
            inout("edi") address => _, inout("ecx") end - address => _, in("al") 0u8,
            options(nostack, preserves_flags),
        );
    }
}

/// Makes written code visible to instruction fetch: the hardware does.
///
/// # Safety
/// None here.
#[inline(always)]
pub unsafe fn sync_code(_address: usize, _len: usize) {}

/// Starts a program or ld.so: the initial stack, rtld_fini in edx, everything else unspecified (System V ABI, Intel386).
///
/// argc, argv, environment and auxv, which begin at `stack` and end at `end`, are moved down first, to end at `room`: what lies
/// between that and `stack` stays for as long as the program runs.
///
/// # Safety
/// `entry` is code that expects to be started with `stack`, and nothing of this image, or of what is below `room`, is needed any
/// more.
#[inline(always)]
pub unsafe fn enter(
    stack: *mut usize,
    end: *mut usize,
    room: *mut u8,
    entry: usize,
    fini: usize,
) -> ! {
    // SAFETY: the caller vouches for both; no memory below what is copied is used. esi is the compiler's own, and needed no more.
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
            in("edi") stack, in("ecx") end, in("ebx") room, in("eax") entry, in("edx") fini,
            options(noreturn),
        );
    }
}

/// Stores the address of a static in a pointer, whatever the image was linked for.
#[macro_export]
macro_rules! address {
    ($pointer:ident, $static:path) => {
        // SAFETY: an address is computed, nothing else.
        unsafe {
            core::arch::asm!(
                "call 2f", "2: popl {0}", "addl ${1} - 2b, {0}", out(reg) $pointer, sym $static, options(att_syntax),
            )
        }
    };
}

/// Defines the stub. It passes to the loader: ebp the trailer; edi the loader's descriptor; on the stack rtld_fini, then the
/// initial stack. A self-contained one has read the sidecar below that; the number of bytes lies between rtld_fini and those.
#[macro_export]
macro_rules! stub {
    (relocatable: $relocatable:expr, self_contained: $self_contained:expr) => {
        $crate::global_asm!(
            ".section .image, \"ax\"",
            ".globl _start",
            "_start:",
            "jmp 4f",
            "9: pop ebp",                               // the trailer: a call in front of it tells where it is
            "push edx",                                 // rtld_fini: edx is an argument register
            ".if {relocatable} | {self_contained}",
            "lea edi, [esp + 4]",
            "2: scasd",                                 // over argc, argv, environment, auxv: the kernel always gives
            "cmp dword ptr [edi], {secure}",            // AT_SECURE; a pointer is not its number, and a value like
            "jne 2b",                                   // it, such as a user id, stands in front of another type
            "cmp dword ptr [edi + 4], 1",
            "ja 2b",
            ".endif",
            ".if {self_contained}",
            "sub esp, {room}",                          // where the sidecar goes; the loader knows
            ".endif",
            ".if {relocatable}",
            "mov edx, [edi + 4]",                       // who may choose the directory may not choose the loader:
            "dec edx",                                  // no room for an answer, if set, is EINVAL
            "and edx, 4096",
            "lea ebx, [ebp - 20]",                      // /proc/self/exe, in front of the last call
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
            "2: lodsb",                                 // the loader's relative path behind it, NUL included
            "stosb",
            "test al, al",
            "jne 2b",
            "mov ebx, ecx",
            ".else",
            ".if {self_contained}",                     // nor may who may write beside a program do what it may do
            "cmp dword ptr [edi + 4], 0",
            "push -{invalid}",
            "pop eax",
            "jne 5f",
            ".endif",
            "lea ebx, [ebp + {loader}]",
            ".endif",
            "mov ecx, {nonblock}",                      // O_RDONLY; a FIFO must not hold the program up
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
            "and edx, {by_others}",                     // root's, or of who runs it, and nobody else may write to it?
            "jne 3f",
            "test esi, esi",
            "je 7f",
            "cmp eax, esi",
            "je 7f",
            "3: push ebx",
            "lea ebx, [ebp - 20]",                      // else of the program's owner and group,
            "mov eax, {stat}",
            "int 0x80",
            "pop ebx",
            "xor esi, [ecx + {user}]",
            "xor edi, [ecx + {group}]",
            "or esi, edi",
            "or esi, eax",
            "mov eax, [ecx + {mode}]",
            "not eax",
            "and edx, eax",                             // and nobody may write to it who may not write to that
            "or esi, edx",
            "push -{invalid}",
            "pop eax",
            "5: jne 8f",
            "7:",
            "mov edx, {read_len}",                      // the sidecar too, or its front
            ".else",
            "lea ecx, [esp - 64]",
            "push 5",                                   // also PROT_READ | PROT_EXEC below
            "pop edx",
            ".endif",
            "mov esi, {closing} - {lead}",
            "xor edi, edi",                             // the offset's high word
            ".ifeq {self_contained}",
            "mov [ecx + {lead}], edi",                  // a read that fails must not leave a mark; fstat leaves zeros there
            ".endif",
            "mov eax, {pread}",
            "int 0x80",
            ".if {self_contained}",
            "push eax",                                 // bytes read: stays for the loader
            ".endif",
            "mov edi, ebx",                             // the descriptor: stays for the loader
            "xor eax, eax",
            "cmp dword ptr [ecx + {lead}], {mark}",     // whole, and a loader for this stub?
            "sete al",                                  // if not, no byte is asked for and mmap says EINVAL
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
            "8: neg eax",                               // wrap-buddy: PATH ERRNO
            "xchg edi, eax",
            "lea ecx, [ebp + {line}]",
            "mov edx, [ebp + {line_len}]",
            "push 2",                                   // stderr
            "pop ebx",
            "push {write}",
            "pop eax",
            "int 0x80",
            "xchg eax, edi",
            "mov ecx, esp",
            "push 10",
            "pop esi",
            "dec ecx",
            "mov byte ptr [ecx], 10",
            "2: cdq",
            "div esi",
            "add dl, 0x30",
            "dec ecx",
            "mov [ecx], dl",
            "test eax, eax",
            "jnz 2b",
            "dec ecx",
            "mov byte ptr [ecx], 0x20",
            "mov edx, esp",
            "sub edx, ecx",
            "mov al, {write}",                          // a push would overwrite the digits; the loop left 0
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
            ".if {relocatable} | {self_contained}",
            ".asciz \"/proc/self/exe\"",
            ".endif",
            "4: call 9b",
            relocatable = const $relocatable as usize,
            self_contained = const $self_contained as usize,
            room = const $crate::sidecar::loader::FRONT_ROOM,
            read_len = const $crate::sidecar::loader::FRONT_LEN,
            invalid = const 22,
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
            nonblock = const $crate::syscall::open_flags::NONBLOCK,
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
/// `extern "C" fn(trailer, stack, fini, fd, read) -> !`, with what the stub left.
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
            "xor eax, eax",                             // nothing of the sidecar was read
            "cmp dword ptr [ebp + {own}], 0",
            "jne 2f",
            "mov eax, [ebx]",                           // but for what a self-contained stub has put below the stack
            "add ebx, {room} + 8",
            "2:",
            "lea esp, [ebx - {below} - 12]",            // the stack is 16-byte aligned where a function is called
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
