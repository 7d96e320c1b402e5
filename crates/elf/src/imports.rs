//! Functions that a file imports: the undefined symbols of its dynamic symbol table.

use std::ops::Range;

use object::elf::{self, FileHeader32, FileHeader64, HashHeader};
use object::read::elf::{FileHeader, Sym};
use object::{LittleEndian, pod};

use super::{Elf, LE, Source, pod_of, sections};
use crate::bytes::positions;

/// Number of bytes of a symbol or string table that are read at a time.
const CHUNK: u64 = 1 << 20;

/// Those of `names` that `elf` imports. Empty if its tables are damaged.
pub fn imports<'n>(elf: &Elf, source: &mut Source, names: &[&'n str]) -> Vec<&'n str> {
    let found = match elf.class {
        elf::ELFCLASS32 => of_class::<FileHeader32<LittleEndian>>(elf, source, names),
        _ => of_class::<FileHeader64<LittleEndian>>(elf, source, names),
    };
    found.unwrap_or_default()
}

fn of_class<'n, H: FileHeader<Endian = LittleEndian>>(
    elf: &Elf,
    source: &mut Source,
    names: &[&'n str],
) -> Option<Vec<&'n str>> {
    let dynamic = elf.dynamic.as_ref()?;
    let strings = elf.offset_of(dynamic.value(elf::DT_STRTAB)?)?;
    let strings_len = dynamic.value(elf::DT_STRSZ)?;
    // Most files import none of them. Their string table shows that, without a look at the symbols.
    let ends = places_of(source, strings, strings_len, names)?;
    if ends.is_empty() {
        return Some(Vec::new());
    }
    let mut found = Vec::new();
    each_symbol::<H>(elf, source, |symbol| {
        let name = u64::from(symbol.st_name(LE));
        let named = ends.iter().filter(|(at, _)| *at == name);
        if symbol.st_shndx(LE) == elf::SHN_UNDEF {
            found.extend(named.map(|(_, name)| *name));
        }
    })?;
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// Whether the name of a dynamic symbol begins in `range` of the string table. `None` if the symbols cannot be read.
pub(crate) fn names_symbols(elf: &Elf, source: &mut Source, range: &Range<u64>) -> Option<bool> {
    match elf.class {
        elf::ELFCLASS32 => names_of_class::<FileHeader32<LittleEndian>>(elf, source, range),
        _ => names_of_class::<FileHeader64<LittleEndian>>(elf, source, range),
    }
}

fn names_of_class<H: FileHeader<Endian = LittleEndian>>(
    elf: &Elf,
    source: &mut Source,
    range: &Range<u64>,
) -> Option<bool> {
    let mut any = false;
    each_symbol::<H>(elf, source, |symbol| {
        any |= range.contains(&u64::from(symbol.st_name(LE)));
    })?;
    Some(any)
}

/// Calls `look` for each dynamic symbol. `None` if they cannot be read.
fn each_symbol<H: FileHeader<Endian = LittleEndian>>(
    elf: &Elf,
    source: &mut Source,
    mut look: impl FnMut(&H::Sym),
) -> Option<()> {
    let dynamic = elf.dynamic.as_ref()?;
    let table = elf.offset_of(dynamic.value(elf::DT_SYMTAB)?)?;
    let entry_len = size_of::<H::Sym>() as u64;
    let end = table.checked_add(entry_len.checked_mul(count::<H>(elf, source)?)?)?;
    for at in (table..end).step_by((CHUNK / entry_len * entry_len) as usize) {
        let bytes = source
            .read(at, (end - at).min(CHUNK / entry_len * entry_len))
            .ok()?;
        pod::slice_from_all_bytes::<H::Sym>(&bytes)
            .ok()?
            .iter()
            .for_each(&mut look);
    }
    Some(())
}

/// The offset of each of `names` in the string table at `offset`. Linkers store a string that ends another one only once.
fn places_of<'n>(
    source: &mut Source,
    offset: u64,
    len: u64,
    names: &[&'n str],
) -> Option<Vec<(u64, &'n str)>> {
    let longest = names.iter().map(|name| name.len() as u64).max()?;
    let mut places = Vec::new();
    let mut at = 0;
    while at < len {
        // Also reads the beginning of a name that ends in this chunk.
        let from = at.saturating_sub(longest);
        let until = len.min(at + CHUNK);
        let chunk = source.read(offset + from, until - from).ok()?;
        let ends = positions(&chunk, 0).filter(|end| from + *end as u64 >= at);
        for end in ends {
            let text = &chunk[..end];
            let is_it = |name: &&str| {
                // Comparing one byte is inlined; comparing more is a call.
                text.last() == name.as_bytes().last() && text.ends_with(name.as_bytes())
            };
            let found = names.iter().filter(|name| is_it(name));
            places.extend(found.map(|name| (from + (end - name.len()) as u64, *name)));
        }
        at = until;
    }
    Some(places)
}

/// The number of symbols. No entry of .dynamic has it. DT_GNU_HASH has only the index of the first defined symbol; imports with an
/// address come after it (psABI, "Function Addresses").
fn count<H: FileHeader<Endian = LittleEndian>>(elf: &Elf, source: &mut Source) -> Option<u64> {
    let dynamic = elf.dynamic.as_ref()?;
    let hash = dynamic.value(elf::DT_HASH);
    if let Some(offset) = hash.and_then(|address| elf.offset_of(address)) {
        let header = size_of::<HashHeader<LittleEndian>>() as u64;
        let bytes = source.read(offset, header).ok()?;
        let (header, _) = pod_of::<HashHeader<LittleEndian>>(&bytes).ok()?;
        return Some(header.chain_count.get(LE).into());
    }
    let entry_len = size_of::<H::Sym>() as u64;
    let table = sections(elf, source).ok().and_then(|sections| {
        let mut sections = sections.into_iter();
        sections.find(|section| section.kind == elf::SHT_DYNSYM)
    });
    if let Some(table) = table {
        return Some(table.len / entry_len);
    }
    // Linkers put the strings after the symbols. Other data between the two is unlikely to match one of the names.
    let (strings, symbols) = (elf::DT_STRTAB, elf::DT_SYMTAB);
    let len = dynamic
        .value(strings)?
        .checked_sub(dynamic.value(symbols)?)?;
    Some(len / entry_len)
}
