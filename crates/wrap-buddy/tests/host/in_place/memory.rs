//! A file in memory, as kernel and ld.so map it: PT_LOAD segments in whole pages.

use std::collections::BTreeMap;

use elf_file::{Elf, Segment};
use object::elf;

/// More memory than any file of these tests needs.
const MOST: u64 = 1 << 26;

/// Pages by start address.
pub struct Memory {
    page: u64,
    pages: BTreeMap<u64, Page>,
}

struct Page {
    /// The offset in the file; `None` for a page of zeros.
    offset: Option<u64>,
    readable: bool,
    writable: bool,
    bytes: Vec<u8>,
}

impl Memory {
    /// Maps the file with these headers and bytes, later segments over earlier ones. `None` if no machine with pages of that size
    /// would load it.
    pub fn of(elf: &Elf, bytes: &[u8], page: u64) -> Option<Self> {
        let fits = |load: &Segment| {
            let aligned = load.align >= page && load.align.is_power_of_two();
            // ld.so refuses segments out of order, and no machine has that much memory.
            let possible = load.address < MOST && load.memory_len < MOST;
            let holds = possible && load.file_len <= load.memory_len;
            aligned && holds && load.address % load.align == load.offset % load.align
        };
        if !elf.loads().all(fits) {
            return None;
        }
        let mut memory = Self {
            page,
            pages: BTreeMap::new(),
        };
        for load in elf.loads() {
            memory.map(load, bytes);
        }
        Some(memory)
    }

    fn map(&mut self, load: &Segment, bytes: &[u8]) {
        let page = self.page;
        let has = |flag| load.flags & flag != 0;
        let (readable, writable) = (has(elf::PF_R), has(elf::PF_W));
        let start = load.address / page * page;
        let file_end = load.address + load.file_len;
        let end = (load.address + load.memory_len).next_multiple_of(page);
        for address in (start..end).step_by(page as usize) {
            let mut content = vec![0; page as usize];
            // A segment without bytes in the file is not mapped from it.
            let from_file = load.file_len > 0 && address < file_end;
            let offset = from_file.then(|| load.offset - load.address % page + (address - start));
            if let Some(offset) = offset {
                // After the end of the file, the last page is zero.
                let there = bytes.get(offset as usize..).unwrap_or_default();
                let len = there.len().min(page as usize);
                content[..len].copy_from_slice(&there[..len]);
            }
            // The zero part of a segment begins within a page, and the rest of that page is cleared.
            if load.memory_len > load.file_len && (address..address + page).contains(&file_end) {
                content[(file_end - address) as usize..].fill(0);
            }
            let mapped = Page {
                offset,
                readable,
                writable,
                bytes: content,
            };
            self.pages.insert(address, mapped);
        }
    }

    /// The string at `address`, if all of it is readable.
    pub fn string(&self, address: u64) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        for at in address.. {
            let page = self.pages.get(&(at / self.page * self.page))?;
            match page.bytes[(at % self.page) as usize] {
                _ if !page.readable => return None,
                0 => break,
                byte => text.push(byte),
            }
        }
        Some(text)
    }

    /// Whether the byte at `address` is writable. musl's ld.so gives unused writable bytes to malloc.
    pub fn is_writable(&self, address: u64) -> bool {
        let page = self.pages.get(&(address / self.page * self.page));
        page.is_some_and(|page| page.writable)
    }

    /// The file offsets of the bytes that differ from `other`, a mapping of the same pages. The error is an address whose byte is
    /// not from the file, or from another offset.
    pub fn differences(&self, other: &Memory) -> Result<Vec<u64>, u64> {
        assert!(self.pages.keys().eq(other.pages.keys()), "other pages");
        let mut offsets = Vec::new();
        for ((&address, page), there) in self.pages.iter().zip(other.pages.values()) {
            if page.bytes == there.bytes {
                continue;
            }
            for (index, (own, others)) in (0..).zip(page.bytes.iter().zip(&there.bytes)) {
                match page.offset {
                    _ if own == others => {}
                    Some(offset) if page.offset == there.offset => offsets.push(offset + index),
                    _ => return Err(address + index),
                }
            }
        }
        Ok(offsets)
    }
}
