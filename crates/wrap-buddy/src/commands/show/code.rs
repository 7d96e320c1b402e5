//! Disassembly. Addresses are those in the file, without the load bias.

use iced_x86::{Decoder, DecoderError, DecoderOptions, Formatter, IntelFormatter};
use schemars::JsonSchema;
use serde::Serialize;
use yaxpeax_arch::{Decoder as _, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Opcode, Operand};

use crate::system::hex::hex;
use sys::arch::{Arch, Disassembler};

/// Longest instruction of all supported architectures, in bytes.
pub const LONGEST: u64 = 15;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Instruction {
    /// Virtual address in the file.
    pub address: u64,
    /// Its bytes, in hexadecimal.
    pub bytes: String,
    /// Assembly text: Intel syntax on x86. On riscv64, the length and the encoded instruction.
    pub text: String,
}

/// The instructions that begin in the first `len` bytes of `code`, which is at `address`. Pass up to [`LONGEST`] bytes more, or the last
/// instruction may be incomplete and is left out.
pub fn disassemble(arch: &Arch, address: u64, code: &[u8], len: usize) -> Vec<Instruction> {
    match arch.disassembler {
        Disassembler::A64 => a64(address, code.get(..len).unwrap_or(code)),
        Disassembler::RiscV => riscv(address, code, len),
        Disassembler::X86(bits) => x86(bits, address, code, len),
    }
}

/// The strings between the instructions of a stub: the ends of its error lines, and in most stubs a path.
const STRINGS: [&[u8]; 3] = [b" missing\n", b" denied or damaged\n", b"/proc/self/exe\0"];

/// Disassembles a stub, and shows its strings as such.
pub fn disassemble_stub(arch: &Arch, address: u64, code: &[u8]) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut at = 0;
    for string in STRINGS {
        let rest = &code[at..];
        let Some(len) = rest.windows(string.len()).position(|bytes| bytes == string) else {
            continue;
        };
        found.extend(disassemble(
            arch,
            address.wrapping_add(at as u64),
            rest,
            len,
        ));
        at += len;
        found.push(Instruction {
            address: address.wrapping_add(at as u64),
            bytes: hex(string),
            text: format!(
                "\"{}\"",
                string.strip_suffix(b"\0").unwrap_or(string).escape_ascii()
            ),
        });
        at += string.len();
    }
    at = at.next_multiple_of(match arch.disassembler {
        Disassembler::A64 => 4,
        Disassembler::RiscV => 2,
        Disassembler::X86(_) => 1,
    });
    let rest = code.get(at..).unwrap_or_default();
    found.extend(disassemble(
        arch,
        address.wrapping_add(at as u64),
        rest,
        rest.len(),
    ));
    found
}

fn x86(bits: u32, address: u64, code: &[u8], len: usize) -> Vec<Instruction> {
    let mut decoder = Decoder::with_ip(bits, code, address, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    options.set_space_after_operand_separator(true);
    let mut found = Vec::new();
    while decoder.can_decode() && decoder.position() < len {
        let start = decoder.position();
        let instruction = decoder.decode();
        if decoder.last_error() == DecoderError::NoMoreBytes {
            break;
        }
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        found.push(Instruction {
            address: instruction.ip(),
            bytes: hex(&code[start..decoder.position()]),
            text,
        });
    }
    found
}

fn a64(address: u64, code: &[u8]) -> Vec<Instruction> {
    let decoder = InstDecoder::default();
    let read = |(index, word): (usize, &[u8])| {
        let at = address.wrapping_add(4 * index as u64);
        Instruction {
            address: at,
            bytes: hex(word),
            text: match decoder.decode(&mut U8Reader::new(word)) {
                Ok(instruction) => with_target(&instruction, at),
                Err(_) => "(bad)".to_owned(),
            },
        }
    };
    code.chunks_exact(4).enumerate().map(read).collect()
}

/// Divides code into instructions: the lowest bits of one are its length (The RISC-V Instruction Set Manual, "Expanded
/// Instruction-Length Encoding").
fn riscv(address: u64, code: &[u8], len: usize) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < len {
        let own = match code.get(at) {
            Some(first) if first & 3 == 3 => 4,
            _ => 2,
        };
        let Some(bytes) = code.get(at..at + own) else {
            break;
        };
        let encoded = bytes
            .iter()
            .rfold(0, |high, &byte| high << 8 | u32::from(byte));
        found.push(Instruction {
            address: address.wrapping_add(at as u64),
            bytes: hex(bytes),
            text: format!(".insn {own}, {encoded:#x}"),
        });
        at += own;
    }
    found
}

/// Replaces a PC-relative distance by the address.
fn with_target(instruction: &yaxpeax_arm::armv8::a64::Instruction, at: u64) -> String {
    let text = instruction.to_string();
    let mut operands = instruction.operands.iter();
    let distance = operands.find_map(|operand| match operand {
        Operand::PCOffset(distance) => Some(*distance),
        _ => None,
    });
    let (Some(distance), Some(place)) = (distance, text.find('$')) else {
        return text;
    };
    // ADRP counts from the page of the instruction.
    let from = match instruction.opcode {
        Opcode::ADRP => at & !0xfff,
        _ => at,
    };
    let target = from.wrapping_add_signed(distance);
    // The distance is the last operand of every instruction.
    format!("{}{target:#x}", &text[..place])
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidecar::machine;
    use sys::arch;

    fn texts(machine: u16, class: u8, address: u64, code: &[u8], len: usize) -> Vec<String> {
        let mut rows = arch::all().iter();
        let arch = rows.find(|row| (row.machine, row.class) == (machine, class));
        let arch = arch.unwrap();
        let found = disassemble(arch, address, code, len).into_iter();
        found
            .map(|one| format!("{:x} {}", one.address, one.text))
            .collect()
    }

    #[test]
    fn targets_are_addresses() {
        // jmp, lea, call.
        let code = [
            0xeb, 0x0e, 0x48, 0x8d, 0x3d, 0x10, 0, 0, 0, 0xe8, 0xf2, 0xff, 0xff, 0xff,
        ];
        let expected = [
            "1000 jmp 0x1010",
            "1002 lea rdi, [0x1019]",
            "1009 call 0x1000",
        ];
        assert_eq!(texts(machine::X86_64, 2, 0x1000, &code, 14), expected);
        let words = [0x1000_06a1_u32, 0xb000_00e3, 0x97ff_fff3, 0xd65f_03c0];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let expected = [
            "1008 adr x1, 0x10dc",
            "100c adrp x3, 0x1e000",
            "1010 bl 0xfdc",
            "1014 ret",
        ];
        assert_eq!(texts(machine::AARCH64, 2, 0x1008, &code, 16), expected);
    }

    #[test]
    fn an_instruction_is_whole_or_left_out() {
        let code = [0x31, 0xed, 0x49, 0x89, 0xd1];
        let expected = ["10 xor ebp, ebp", "12 mov r9, rdx"];
        assert_eq!(texts(machine::X86_64, 2, 0x10, &code, 3), expected);
        assert_eq!(
            texts(machine::X86_64, 2, 0x10, &code[..3], 3),
            expected[..1]
        );
        assert_eq!(texts(machine::AARCH64, 2, 0, &[0, 0], 2), [""; 0]);
        // j, mv, jal.
        let code = [0x45, 0xa0, 0x2a, 0x84, 0xef, 0xf0, 0x3f, 0xf6];
        let expected = [
            "10 .insn 2, 0xa045",
            "12 .insn 2, 0x842a",
            "14 .insn 4, 0xf63ff0ef",
        ];
        assert_eq!(texts(machine::RISCV, 2, 0x10, &code, 5), expected);
        assert_eq!(texts(machine::RISCV, 2, 0x10, &code[..7], 7), expected[..2]);
    }

    #[test]
    fn any_bytes_have_a_reading() {
        let mut random = fastrand_like(0x9e37_79b9_7f4a_7c15);
        let code: Vec<u8> = (0..400_000).map(|_| random() as u8).collect();
        for arch in arch::all() {
            let found = disassemble(arch, u64::MAX - 1000, &code[..500], 500);
            assert!(!found.is_empty());
            let found = disassemble(arch, 0, &code, code.len());
            let bytes: usize = found.iter().map(|one| one.bytes.len() / 2).sum();
            assert!(bytes + 15 > code.len(), "{}: {bytes}", arch.name);
        }
    }

    fn fastrand_like(mut state: u64) -> impl FnMut() -> u64 {
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 24
        }
    }
}
