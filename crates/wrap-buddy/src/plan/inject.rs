//! Plans the .dynamic that ld.so will see of a wrapped program: the search path and additional DT_NEEDED. The loader only applies the
//! patches.

use std::collections::HashSet;
use std::ffi::OsString;

use object::elf;
use sidecar::{DraftPatch, Value};

use crate::plan::reason::NotInjectable;
use crate::state::limits::check_headers;

use elf_file::{Dynamic, Elf, Segment};
use sys::arch::Arch;

#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Number of names to add to DT_NEEDED.
    pub needed: usize,
    /// Put them before the program's own.
    pub in_front: bool,
    /// Own names that are left out because they are added at the front.
    pub redundant: &'a HashSet<OsString>,
    /// Whether there is a search path.
    pub search: bool,
    /// Use DT_RPATH, which libraries inherit.
    pub inherited: bool,
}

/// The parts of the sidecar that depend on the program's own tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injection {
    /// Size of the copy of .dynamic, if the program's own has no room; otherwise 0.
    pub dynamic_len: u32,
    /// Size of the program's own .dynamic up to its DT_NULL.
    pub own_dynamic_len: u32,
    /// Value of DT_STRTAB; 0 if nothing is patched.
    pub strings: u64,
    /// Words to write at the start.
    pub patches: Vec<DraftPatch>,
    /// Virtual address of the value of DT_DEBUG; 0 if there is none.
    pub debug_address: u64,
    /// Whether the loader has to fill in the program's own DT_DEBUG, because ld.so will not.
    pub seed_debug: bool,
}

/// Plans the patches for `elf`, the original program.
///
/// # Errors
/// Why ld.so cannot get the settings.
pub fn inject(elf: &Elf, arch: &Arch, wanted: Wanted<'_>) -> Result<Injection, NotInjectable> {
    check_headers(elf, arch.phentsize() as u64)?;
    let mut injection = Injection::default();
    if let Some((dynamic, segment)) = elf.loaded_dynamic() {
        injection.search_path(elf, dynamic, segment, wanted)?;
    } else if wanted.search || wanted.needed > 0 {
        return Err(NotInjectable::NoDynamic);
    }
    Ok(injection)
}

impl Injection {
    fn search_path(
        &mut self,
        elf: &Elf,
        dynamic: &Dynamic,
        segment: &Segment,
        wanted: Wanted<'_>,
    ) -> Result<(), NotInjectable> {
        let word = elf.word() as u64;
        let offset_of = |index: usize| index as u64 * 2 * word;
        // A nonzero value means to the loader that ld.so has already started the program.
        let unset = dynamic.value(elf::DT_DEBUG) == Some(0);
        let debug = dynamic.position(elf::DT_DEBUG).filter(|_| unset);
        self.debug_address = debug.map_or(0, |index| segment.address + offset_of(index) + word);
        if wanted.needed == 0 && !wanted.search {
            return Ok(());
        }
        self.strings = dynamic
            .value(elf::DT_STRTAB)
            .ok_or(NotInjectable::NoStringTable)?;
        let tag = dynamic.search_tag(wanted.inherited);
        let own_search = dynamic.search_entries(tag);
        let own_needed = dynamic.entries_of(elf::DT_NEEDED).into_iter();
        let left_out: HashSet<u64> = own_needed
            .zip(&dynamic.needed)
            .filter(|(_, name)| wanted.in_front && wanted.redundant.contains(*name))
            .map(|((_, value), _)| value)
            .collect();
        let more = wanted.needed - left_out.len().min(wanted.needed)
            + usize::from(wanted.search && own_search.is_empty());

        let end = dynamic.end();
        self.own_dynamic_len = offset_of(end) as u32;
        let mut free = dynamic.free_entries();
        let load = elf.load_of(segment.address);
        let writable = load.is_some_and(|load| load.flags & elf::PF_W != 0);
        let copied = !writable || free.len() < more;
        if copied {
            self.seed_debug = writable && debug.is_some();
            free = (end..end + more).collect();
            // Plus the DT_NULL.
            self.dynamic_len = offset_of(end + more + 1) as u32;
        }
        let mut free = free.into_iter();
        let names = (0..wanted.needed).map(Value::Needed);
        let own = |value| (!left_out.contains(&value)).then_some(Value::Number(value));
        let needed = dynamic.with_needed(names, &mut free, wanted.in_front, own);
        let mut entries: Vec<(usize, u32, Value)> = needed
            .into_iter()
            .map(|(index, value)| (index, elf::DT_NEEDED, value))
            .collect();
        if wanted.search {
            let new = own_search.is_empty().then(|| free.next()).flatten();
            let indexes = own_search.into_iter().chain(new);
            entries.extend(indexes.map(|index| (index, tag, Value::Search)));
        }
        for (index, tag, value) in entries {
            self.patch(offset_of(index), Value::Number(u64::from(tag)));
            self.patch(offset_of(index) + word, value);
        }
        Ok(())
    }

    fn patch(&mut self, offset: u64, value: Value) {
        let offset = offset as u32;
        self.patches.push(DraftPatch { offset, value });
    }
}
