//! Applies the sidecar's patches to an image of the program, as the loader does, and reads its .dynamic as ld.so does. The loader
//! makes the program headers itself; end-to-end tests check these.

use std::fs;
use std::path::Path;

use e2e::offsets::{E_TYPE, OF_32, OF_64, Offsets};
use e2e::toolchain;
use object::elf;
use sidecar::{EditKind, Flags, Sidecar};

use crate::fixture::*;

/// Addresses of the parts: far apart, and both below 4 GiB.
const BIAS: u64 = 0x5000_0000;
const SIDECAR: u64 = 0x7000_0000;

const PT_LOAD: u64 = elf::PT_LOAD as u64;
const PT_DYNAMIC: u64 = elf::PT_DYNAMIC as u64;
const DT_NEEDED: u64 = elf::DT_NEEDED as u64;
const DT_STRTAB: u64 = elf::DT_STRTAB as u64;
const DT_RPATH: u64 = elf::DT_RPATH as u64;
const DT_DEBUG: u64 = elf::DT_DEBUG as u64;
const DT_RUNPATH: u64 = elf::DT_RUNPATH as u64;

/// The memory of a process in which the loader has done its work.
struct Process {
    wide: bool,
    bias: u64,
    /// Start address and bytes.
    memory: Vec<(u64, Vec<u8>)>,
    interpreter: String,
    /// The address and length of the .dynamic that ld.so is given.
    dynamic: (u64, u64),
    debug_address: u64,
    flags: Flags,
}

struct Header {
    kind: u64,
    offset: u64,
    address: u64,
    file_len: u64,
}

/// The result of ld.so.
struct Seen {
    interpreter: String,
    needed: Vec<String>,
    runpath: Option<String>,
    rpath: Option<String>,
    /// Whether .dynamic is the program's own.
    own: bool,
}

impl Process {
    fn start(program: &Path, sidecar: &Path) -> Self {
        let mut file = fs::read(program).unwrap();
        let bytes = fs::read(sidecar).unwrap();
        let sidecar = Sidecar::parse(&bytes).unwrap();
        let header = *sidecar.header();
        for edit in sidecar.edits().map(Result::unwrap) {
            let place = edit.offset as usize..edit.offset as usize + edit.original.len();
            file[place].copy_from_slice(edit.original);
            assert!(edit.kind != EditKind::Slot || edit.offset == header.slot_offset);
        }
        let wide = header.class == 2;
        let position_independent = file[E_TYPE] == elf::ET_DYN as u8;
        let mut process = Self {
            wide,
            bias: if position_independent { BIAS } else { 0 },
            memory: vec![(0, file.clone())],
            interpreter: String::from_utf8(sidecar.interpreter().to_vec()).unwrap(),
            dynamic: (0, 0),
            debug_address: header.debug_address,
            flags: header.flags,
        };
        let offsets = Offsets::of(&file);
        let (phoff, count) = (process.word(offsets.e_phoff as u64), file[offsets.e_phnum]);
        let loads = process.table(phoff, u64::from(count));
        let mut memory = vec![(SIDECAR, bytes.clone())];
        for load in loads.iter().filter(|load| load.kind == PT_LOAD) {
            let (start, end) = (load.offset as usize, (load.offset + load.file_len) as usize);
            memory.push((process.bias + load.address, file[start..end].to_vec()));
        }
        process.memory = memory;
        let own = loads
            .iter()
            .find(|header| header.kind == PT_DYNAMIC)
            .unwrap();
        let own = (process.bias + own.address, own.file_len);
        process.dynamic = match header.dynamic.len {
            0 => own,
            len => {
                let place = SIDECAR + u64::from(header.dynamic.at);
                for at in (0..u64::from(header.own_dynamic_len)).step_by(4) {
                    let word =
                        u32::from_le_bytes(*process.bytes_at(own.0 + at).first_chunk().unwrap());
                    process.store(place + at, word.into(), 4);
                }
                (place, len.into())
            }
        };
        let word = if wide { 8 } else { 4 };
        for patch in sidecar.patches() {
            let added = if patch.points_to_sidecar == 1 {
                SIDECAR.wrapping_sub(process.bias)
            } else {
                0
            };
            let place = process.dynamic.0 + u64::from(patch.offset);
            process.store(place, patch.value.wrapping_add(added), word);
        }
        process
    }

    fn bytes_at(&self, address: u64) -> &[u8] {
        let mut memory = self.memory.iter();
        let found = memory.find_map(|(start, bytes)| {
            let into = usize::try_from(address.checked_sub(*start)?).ok()?;
            bytes.get(into..).filter(|rest| !rest.is_empty())
        });
        found.unwrap_or_else(|| panic!("nothing is at {address:#x}"))
    }

    fn word(&self, address: u64) -> u64 {
        let bytes = self.bytes_at(address);
        match self.wide {
            true => u64::from_le_bytes(*bytes.first_chunk().unwrap()),
            false => u32::from_le_bytes(*bytes.first_chunk().unwrap()).into(),
        }
    }

    fn store(&mut self, address: u64, value: u64, len: usize) {
        let mut memory = self.memory.iter_mut();
        let place = memory.find_map(|(start, bytes)| {
            let into = usize::try_from(address.checked_sub(*start)?).ok()?;
            bytes.get_mut(into..into + len)
        });
        place.unwrap().copy_from_slice(&value.to_le_bytes()[..len]);
    }

    fn string(&self, address: u64) -> String {
        let bytes = self.bytes_at(address);
        let end = bytes.iter().position(|&byte| byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }

    /// `count` program headers at `start`.
    fn table(&self, start: u64, count: u64) -> Vec<Header> {
        let offsets = if self.wide { &OF_64 } else { &OF_32 };
        let headers = (0..count).map(|n| {
            let at = start + n * offsets.phdr_len as u64;
            let kind = u32::from_le_bytes(*self.bytes_at(at).first_chunk().unwrap());
            Header {
                kind: kind.into(),
                offset: self.word(at + offsets.p_offset as u64),
                address: self.word(at + offsets.p_vaddr as u64),
                file_len: self.word(at + offsets.p_filesz as u64),
            }
        });
        headers.collect()
    }

    /// An address as ld.so computes it, which wraps around in 32 bits.
    fn relocated(&self, address: u64) -> u64 {
        let sum = self.bias.wrapping_add(address);
        if self.wide { sum } else { sum & 0xffff_ffff }
    }

    fn look(&self) -> Seen {
        let (start, len) = self.dynamic;
        let word = if self.wide { 8 } else { 4 };
        let entries: Vec<(u64, u64)> = (0..len / (2 * word))
            .map(|n| start + n * 2 * word)
            .map(|at| (self.word(at), self.word(at + word)))
            .take_while(|&(tag, _)| tag != 0)
            .collect();
        assert!(
            (entries.len() as u64) < len / (2 * word),
            "DT_NULL is missing"
        );
        let values = |tag| {
            let entries = entries.iter().filter(move |(own, _)| *own == tag);
            entries.map(|(_, value)| *value)
        };
        let strings = values(DT_STRTAB).next().unwrap();
        let strings_of = |tag| {
            let offsets = values(tag).map(move |offset| strings.wrapping_add(offset));
            offsets.map(|address| self.string(self.relocated(address)))
        };
        let own = !(SIDECAR..SIDECAR + 0x10_0000).contains(&start);
        // The program's own DT_DEBUG, whichever .dynamic ld.so reads.
        let has_debug = self.debug_address != 0;
        let seeded = self.flags.contains(Flags::SEED_DEBUG);
        assert_eq!(seeded, has_debug && !own);
        if has_debug {
            let place = self.bias + self.debug_address;
            let entry = (self.word(place - word), self.word(place));
            assert_eq!(entry, (DT_DEBUG, 0));
        }
        let mut runpath: Vec<String> = strings_of(DT_RUNPATH).collect();
        let mut rpath: Vec<String> = strings_of(DT_RPATH).collect();
        assert!(runpath.len() <= 1 && rpath.len() <= 1);
        Seen {
            interpreter: self.interpreter.clone(),
            needed: strings_of(DT_NEEDED).collect(),
            runpath: runpath.pop(),
            rpath: rpath.pop(),
            own,
        }
    }
}

/// Wraps the walk-through, linked with `arguments`, and reads it as ld.so does.
fn seen(target: Arch, arguments: &[&str], needed: &[&str]) -> Seen {
    let dir = TestDir::new();
    let main = dir.walk_through(target, arguments);
    let (of_foo, of_bar) = (dir.path("foo/lib"), dir.path("bar/lib"));
    for name in needed {
        let soname = format!("-Wl,-soname,{name}");
        dir.compile(
            target,
            &format!("bar/lib/{name}"),
            "int x;",
            &["-shared", "-fPIC", &soname],
        );
    }
    let interpreter = format!("--interpreter={}", target.interpreter());
    let extra: Vec<String> = needed
        .iter()
        .map(|name| format!("--needed={name}"))
        .collect();
    let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> =
        vec![&"--paths", &main, &"--libs", &of_bar, &of_foo];
    all.push(&interpreter);
    all.extend(extra.iter().map(|one| one as &dyn AsRef<std::ffi::OsStr>));
    let report = dir.wrap(&all);
    let plan = wrapped(&report);
    let seen = Process::start(&main, &plan.sidecar_path).look();
    assert_eq!(seen.interpreter, target.interpreter(), "{}", target.name());
    for library in ["libfoo.so.1", "libbar.so.1", "libc.so.6"]
        .iter()
        .chain(needed)
    {
        let count = seen.needed.iter().filter(|name| name == library).count();
        assert_eq!(count, 1, "{library} in {:?}", seen.needed);
    }
    let path = [of_bar, of_foo]
        .map(|directory| directory.display().to_string())
        .join(":");
    let injected = seen.runpath.as_ref().or(seen.rpath.as_ref()).unwrap();
    assert!(
        injected.contains(&path),
        "{injected} does not contain {path}"
    );
    seen
}

#[test]
fn spare_entries_take_the_search_path() {
    for target in Arch::ALL {
        for link in ["-pie", "-no-pie"] {
            let seen = seen(target, &[link], &[]);
            assert!(seen.own, "{} {link}", target.name());
        }
    }
}

#[test]
fn without_room_there_is_a_copy() {
    let many: Vec<String> = (0..12).map(|n| format!("libextra{n}.so")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for target in Arch::ALL {
        let crowded = seen(target, &["-no-pie"], &many);
        assert!(!crowded.own, "{}", target.name());
        assert!(crowded.needed[crowded.needed.len() - many.len()..] == many);
    }
    // lld leaves no spare DT_NULL, and makes .dynamic read-only on request.
    for arguments in [&["-no-pie"][..], &["-pie", "-Wl,-z,rodynamic"]] {
        let lld = toolchain::lld();
        let linked: Vec<&str> = lld
            .iter()
            .map(String::as_str)
            .chain(arguments.iter().copied())
            .collect();
        assert!(!seen(Arch::X86_64, &linked, &[]).own, "{arguments:?}");
    }
}

#[test]
fn counts_of_relocations_make_room() {
    // Without a spare DT_NULL, ld.so can do without DT_RELACOUNT.
    let [linker, directory] = &toolchain::lld();
    assert!(seen(Arch::X86_64, &[linker, directory, "-pie"], &[]).own);
}

#[test]
fn an_existing_search_path_is_replaced() {
    for target in Arch::ALL {
        let new = ["-Wl,--enable-new-dtags,-rpath,/usr"];
        let seen_new = seen(target, &new, &[]);
        assert!(seen_new.runpath.unwrap().starts_with("/usr:"));
        let old = ["-Wl,--disable-new-dtags,-rpath,/usr"];
        let seen_old = seen(target, &old, &[]);
        assert!(seen_old.rpath.unwrap().starts_with("/usr:") && seen_old.runpath.is_none());
        assert!(seen_old.own);
    }
}
