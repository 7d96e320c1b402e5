//! Disassembly. Addresses are those in the file, without the load bias.

use iced_x86::{Decoder, DecoderError, DecoderOptions, Formatter, IntelFormatter};
use serde::Serialize;
use yaxpeax_arch::{Decoder as _, U8Reader};
use yaxpeax_arm::armv7;
use yaxpeax_arm::armv8::a64;

use crate::system::hex::hex;
use sys::arch::{Arch, Disassembler};

/// Longest instruction of all supported architectures, in bytes.
pub const LONGEST: u64 = 15;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Instruction {
    /// Virtual address in the file.
    pub address: u64,
    /// Its bytes, in hexadecimal.
    pub bytes: String,
    /// Assembly text: Intel syntax on x86. On riscv64, the length and the encoded instruction.
    pub text: String,
}

/// The instructions that begin in the first `len` bytes of `code`, which is at `address`. Pass up to [`LONGEST`] bytes more, or the last
/// instruction may be incomplete and is left out. For Thumb, `address` has the [`Arch::entry_bit`].
pub fn disassemble(arch: &Arch, address: u64, code: &[u8], len: usize) -> Vec<Instruction> {
    let divide = |address, is_long, text| divide(address, code, len, is_long, text);
    match arch.disassembler {
        Disassembler::A64 => divide(address, always_long, a64_text),
        Disassembler::A32 => match address & arch.entry_bit {
            0 => divide(address, always_long, a32_text),
            bit => divide(address - bit, is_long_thumb, thumb_text),
        },
        Disassembler::RiscV => divide(address, is_long_riscv, riscv_text),
        Disassembler::X86(bits) => x86(bits, address, code, len),
    }
}

/// The strings between the instructions of a stub: the ends of its error lines, and in most stubs a path.
const STRINGS: [&[u8]; 3] = [b" missing\n", b" denied or damaged\n", b"/proc/self/exe\0"];

/// Disassembles a stub, and shows its strings as such.
pub fn disassemble_stub(arch: &Arch, address: u64, code: &[u8]) -> Vec<Instruction> {
    let mut at = arch.stub_start(address).len();
    let mut found = disassemble(arch, address, code, at);
    let address = address | arch.entry_bit;
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
            address: (address & !arch.entry_bit).wrapping_add(at as u64),
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
        Disassembler::A32 | Disassembler::RiscV => 2,
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

/// Instructions of two or four bytes. `is_long` decides by the first two; `text` reads an instruction at its address.
fn divide(
    address: u64,
    code: &[u8],
    len: usize,
    is_long: fn(u16) -> bool,
    text: fn(&[u8], u64) -> Option<String>,
) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < len {
        let Some(&[low, high]) = code.get(at..at + 2).and_then(|first| first.first_chunk()) else {
            break;
        };
        let own = if is_long(u16::from_le_bytes([low, high])) {
            4
        } else {
            2
        };
        let Some(bytes) = code.get(at..at + own) else {
            break;
        };
        let place = address.wrapping_add(at as u64);
        found.push(Instruction {
            address: place,
            bytes: hex(bytes),
            text: text(bytes, place).unwrap_or_else(|| "(bad)".to_owned()),
        });
        at += own;
    }
    found
}

fn always_long(_first: u16) -> bool {
    true
}

/// The lowest bits of an instruction are its length (The RISC-V Instruction Set Manual, "Expanded Instruction-Length Encoding").
fn is_long_riscv(first: u16) -> bool {
    first & 3 == 3
}

fn riscv_text(bytes: &[u8], _at: u64) -> Option<String> {
    let encoded = bytes
        .iter()
        .rfold(0, |high, &byte| high << 8 | u32::from(byte));
    Some(format!(".insn {}, {encoded:#x}", bytes.len()))
}

/// The highest five bits of an instruction are its length (Arm Architecture Reference Manual ARMv7-A, "Thumb instruction set encoding").
fn is_long_thumb(first: u16) -> bool {
    first >= 0b11101 << 11
}

fn a64_text(bytes: &[u8], at: u64) -> Option<String> {
    let decoder = a64::InstDecoder::default();
    let instruction = decoder.decode(&mut U8Reader::new(bytes)).ok()?;
    let text = instruction.to_string();
    let distance = instruction.operands.iter().find_map(|one| match one {
        a64::Operand::PCOffset(distance) => Some(*distance),
        _ => None,
    });
    // ADRP counts from the page of the instruction.
    let from = match instruction.opcode {
        a64::Opcode::ADRP => at & !0xfff,
        _ => at,
    };
    Some(with_target(
        text,
        distance.map(|distance| from.wrapping_add_signed(distance)),
    ))
}

fn a32_text(bytes: &[u8], at: u64) -> Option<String> {
    let decoder = armv7::InstDecoder::armv7();
    let instruction = decoder.decode(&mut U8Reader::new(bytes)).ok()?;
    let target = instruction.operands.iter().find_map(|one| match one {
        // In words, from the instruction itself.
        armv7::Operand::BranchOffset(words) => Some(from_in_32(at, *words, 2)),
        // In half-words, from pc: blx to Thumb code.
        armv7::Operand::BranchThumbOffset(halves) => {
            Some(from_in_32(at.wrapping_add(8), *halves, 1))
        }
        _ => None,
    });
    Some(with_target(instruction.to_string(), target))
}

fn thumb_text(bytes: &[u8], at: u64) -> Option<String> {
    let decoder = armv7::InstDecoder::armv7_thumb();
    let instruction = decoder.decode(&mut U8Reader::new(bytes)).ok()?;
    let pc = at.wrapping_add(4);
    // The decoder counts from the next instruction for those of two bytes with a condition.
    let is_conditional =
        instruction.opcode != armv7::Opcode::B || instruction.condition != armv7::ConditionCode::AL;
    let from = match instruction.opcode {
        armv7::Opcode::BLX => pc & !3,
        _ if bytes.len() == 2 && is_conditional => pc.wrapping_sub(2),
        _ => pc,
    };
    let target = instruction.operands.iter().find_map(|one| match one {
        armv7::Operand::BranchThumbOffset(halves) => Some(from_in_32(from, *halves, 1)),
        _ => None,
    });
    Some(with_target(instruction.to_string(), target))
}

/// An address of 32 bits, so many units of 2^`scale` bytes from another one.
fn from_in_32(address: u64, units: i32, scale: u32) -> u64 {
    u64::from((address as u32).wrapping_add_signed(units << scale))
}

/// Replaces a PC-relative distance by the address. The distance is the last operand of every instruction.
fn with_target(text: String, target: Option<u64>) -> String {
    match (target, text.find('$')) {
        (Some(target), Some(place)) => format!("{}{target:#x}", &text[..place]),
        _ => text,
    }
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
        // ARM: bl, beq, blx.
        let words = [0xebff_fffe_u32, 0x0a00_0001, 0xfa00_0001];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let expected = ["1000 bl 0x1000", "1004 beq 0x1010", "1008 blx 0x1014"];
        assert_eq!(texts(machine::ARM, 1, 0x1000, &code, 12), expected);
        // Thumb: b.n, bne.n, cbz, bl, beq.w, b.w.
        let halves = [
            0xe041_u16, 0xd108, 0xb10d, 0xf7ff, 0xffbc, 0xf000, 0x8001, 0xf000, 0xb801,
        ];
        let code: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let expected = [
            "1000 b 0x1086",
            "1002 bne 0x1016",
            "1004 cbz r5, 0x100a",
            "1006 bl.w 0xf82",
            "100a beq.w 0x1010",
            "100e b.w 0x1014",
        ];
        assert_eq!(texts(machine::ARM, 1, 0x1001, &code, 18), expected);
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
        // b.n, cmp.w: 0xf5b1 begins an instruction of four bytes.
        let code = [0x41, 0xe0, 0xb1, 0xf5, 0x0a, 0x1f];
        assert_eq!(texts(machine::ARM, 1, 0x11, &code, 3).len(), 2);
        assert_eq!(texts(machine::ARM, 1, 0x11, &code[..4], 4).len(), 1);
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
