//! Prepares what ld.so will see of a wrapped program: program headers with the PT_INTERP the file no longer has, and a
//! .dynamic with the search path and the extra DT_NEEDED. The loader only applies the patches.

use std::collections::HashSet;
use std::ffi::OsString;
use std::ops::Range;

use object::elf;
use sidecar::{DraftPatch, Place, Value};

use crate::arch::Arch;
use crate::inspect::{Dynamic, Elf, Segment};

/// What is to be injected.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Bytes of the interpreter's path, its NUL included.
    pub interpreter_len: usize,
    /// How many names are added to DT_NEEDED.
    pub needed: usize,
    /// Whether they go in front of the program's own.
    pub in_front: bool,
    /// Those of its own that are left out then.
    pub implied: &'a HashSet<OsString>,
    /// Whether there is a search path.
    pub search: bool,
    /// Whether libraries inherit it: it is a DT_RPATH then.
    pub inherited: bool,
}

/// The parts of the sidecar that are made from the program's own tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injection {
    /// Program headers for ld.so.
    pub headers: Vec<u8>,
    /// How many they are.
    pub headers_count: u32,
    /// A copy of .dynamic, where the program's own has no room.
    pub dynamic: Vec<u8>,
    /// Words to write when the program starts.
    pub patches: Vec<DraftPatch>,
    /// Virtual address of DT_DEBUG's value, 0 without one.
    pub debug_address: u64,
    /// Whether ld.so will not fill in the program's own DT_DEBUG.
    pub seed_debug: bool,
}

/// Where the fields of a program header are.
struct Layout {
    word: usize,
    flags: usize,
    address: usize,
    file_len: usize,
    memory_len: usize,
}

const LAYOUT_32: Layout = Layout {
    word: 4,
    flags: 24,
    address: 8,
    file_len: 16,
    memory_len: 20,
};

const LAYOUT_64: Layout = Layout {
    word: 8,
    flags: 4,
    address: 16,
    file_len: 32,
    memory_len: 40,
};

/// Prepares `elf`, the original program, for what is `wanted`.
///
/// # Errors
/// When ld.so cannot be told.
pub fn inject(elf: &Elf, arch: &Arch, wanted: Wanted<'_>) -> Result<Injection, String> {
    let layout = if arch.class == 2 {
        &LAYOUT_64
    } else {
        &LAYOUT_32
    };
    let mut injection = Injection::default();
    if let Some((dynamic, segment)) = elf.loaded_dynamic() {
        injection.search_path(elf, dynamic, segment, layout.word, wanted)?;
    } else if wanted.search || wanted.needed > 0 {
        return Err("it has no .dynamic that is loaded: ld.so cannot be told where to look".into());
    }
    injection.program_headers(elf, arch, layout, wanted.interpreter_len);
    Ok(injection)
}

impl Injection {
    fn search_path(
        &mut self,
        elf: &Elf,
        dynamic: &Dynamic,
        segment: &Segment,
        word: usize,
        wanted: Wanted<'_>,
    ) -> Result<(), String> {
        let entry_len = 2 * word as u64;
        let entry_at = |index: usize| segment.address + index as u64 * entry_len;
        // The loader takes a value for the mark of an ld.so that has started the program already.
        let unset = dynamic.value(elf::DT_DEBUG) == Some(0);
        let debug = dynamic.position(elf::DT_DEBUG).filter(|_| unset);
        self.debug_address = debug.map_or(0, |index| entry_at(index) + word as u64);
        if wanted.needed == 0 && !wanted.search {
            return Ok(());
        }
        let strings = dynamic
            .value(elf::DT_STRTAB)
            .ok_or("it has no DT_STRTAB: ld.so cannot be told where to look")?;
        let tag = dynamic.search_tag(wanted.inherited);
        let own_search = dynamic.search_entries(tag);
        let own_needed = dynamic.entries_of(elf::DT_NEEDED).into_iter();
        let left_out: HashSet<u64> = own_needed
            .zip(&dynamic.needed)
            .filter(|(_, name)| wanted.in_front && wanted.implied.contains(*name))
            .map(|((_, value), _)| value)
            .collect();
        let more = wanted.needed - left_out.len().min(wanted.needed)
            + usize::from(wanted.search && own_search.is_empty());

        let end = dynamic.end();
        let mut free = dynamic.free_entries();
        let writable = elf
            .loads()
            .any(|load| load.flags & elf::PF_W != 0 && load.contains(segment.address));
        let copied = !writable || free.len() < more;
        if copied {
            self.seed_debug = writable && debug.is_some();
            free = (end..end + more).collect();
            self.dynamic = copy(dynamic, word, more);
        }
        let place = |index: usize| match copied {
            true => Place::Dynamic(index as u64 * entry_len),
            false => Place::Program(entry_at(index)),
        };
        let mut free = free.into_iter();
        let names = (0..wanted.needed).map(|name| Value::Needed(name, strings));
        let own = |value| (!left_out.contains(&value)).then_some(Value::Number(value));
        let needed = dynamic.with_needed(names, &mut free, wanted.in_front, own);
        let mut entries: Vec<(usize, u32, Value)> = needed
            .into_iter()
            .map(|(index, value)| (index, elf::DT_NEEDED, value))
            .collect();
        if wanted.search {
            let new = own_search.is_empty().then(|| free.next()).flatten();
            let places = own_search.into_iter().chain(new);
            entries.extend(places.map(|index| (index, tag, Value::Search(strings))));
        }
        for (index, tag, value) in entries {
            self.patch(place(index), Value::Number(u64::from(tag)));
            self.patch(after(place(index), word), value);
        }
        Ok(())
    }

    /// PT_PHDR comes first, because ld.so takes the load bias from it before it looks at any other (glibc elf/rtld.c,
    /// rtld_setup_main_map; musl ldso/dynlink.c).
    fn program_headers(&mut self, elf: &Elf, arch: &Arch, layout: &Layout, interpreter_len: usize) {
        let entry_len = arch.phentsize();
        let kept: Vec<&[u8]> = elf
            .program_headers
            .chunks_exact(entry_len)
            .zip(&elf.segments)
            .filter(|(_, segment)| {
                ![elf::PT_PHDR, elf::PT_INTERP, elf::PT_NULL].contains(&segment.kind)
            })
            .map(|(bytes, _)| bytes)
            .collect();
        let count = kept.len() + 2;
        for (kind, len, value) in [
            (elf::PT_PHDR, count * entry_len, Value::Headers),
            (elf::PT_INTERP, interpreter_len, Value::Interpreter),
        ] {
            let at = self.headers.len();
            self.headers.resize(at + entry_len, 0);
            self.headers[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            let flags = at + layout.flags;
            self.headers[flags..flags + 4].copy_from_slice(&elf::PF_R.to_le_bytes());
            self.describe(layout, at, len, value);
        }
        for bytes in kept {
            let at = self.headers.len();
            self.headers.extend_from_slice(bytes);
            let is_dynamic = bytes.starts_with(&elf::PT_DYNAMIC.to_le_bytes());
            if is_dynamic && !self.dynamic.is_empty() {
                self.describe(layout, at, self.dynamic.len(), Value::Dynamic);
            }
        }
        self.headers_count = count as u32;
    }

    /// Lets the program header at `at` describe `len` bytes of the sidecar.
    fn describe(&mut self, layout: &Layout, at: usize, len: usize, value: Value) {
        for field in [layout.file_len, layout.memory_len] {
            let place: Range<usize> = at + field..at + field + layout.word;
            self.headers[place].copy_from_slice(&(len as u64).to_le_bytes()[..layout.word]);
        }
        self.patch(Place::Headers((at + layout.address) as u64), value);
    }

    fn patch(&mut self, place: Place, value: Value) {
        self.patches.push(DraftPatch { place, value });
    }
}

/// The entries of .dynamic up to DT_NULL, with `more` of those and the one that ends them.
fn copy(dynamic: &Dynamic, word: usize, more: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, value) in dynamic.tags() {
        bytes.extend_from_slice(&tag.to_le_bytes()[..word]);
        bytes.extend_from_slice(&value.to_le_bytes()[..word]);
    }
    bytes.resize(bytes.len() + (more + 1) * 2 * word, 0);
    bytes
}

/// The place that many bytes further on.
fn after(place: Place, bytes: usize) -> Place {
    let bytes = bytes as u64;
    match place {
        Place::Program(at) => Place::Program(at + bytes),
        Place::Headers(at) => Place::Headers(at + bytes),
        Place::Dynamic(at) => Place::Dynamic(at + bytes),
    }
}
