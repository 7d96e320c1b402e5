//! Symbol versions: those that a file requires of each library (DT_VERNEED), and those that it defines (DT_VERDEF).
//!
//! As in ld.so, the last record is the one without a next: the counts in DT_VERNEEDNUM, DT_VERDEFNUM and `vn_cnt` may be wrong or
//! missing (glibc elf/dl-version.c, _dl_check_map_versions and match_symbol).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result, ensure};
use object::elf::{self, Verdaux, Verdef, Vernaux, Verneed};
use object::{LittleEndian, Pod};

use super::{LE, Source, pod_of};

/// Maximum number of versions of a file.
const MAX_VERSIONS: usize = 16 << 10;

/// Maximum length of a version name or a soname.
const MAX_NAME: u64 = 4096;

/// The versions that a file requires of one library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Required {
    /// The library's name, as in DT_NEEDED.
    pub library: OsString,
    /// The version names, for example `GLIBC_2.34`.
    pub versions: Vec<OsString>,
}

/// Reads a DT_VERNEED table. `strings` maps an offset in DT_STRTAB to the string's file offset and the end of its mapping.
pub(super) fn required(
    source: &mut Source,
    table: u64,
    strings: impl Fn(u64) -> Option<(u64, u64)>,
) -> Result<Vec<Required>> {
    let mut left = MAX_VERSIONS;
    let mut found = Vec::new();
    let mut at = table;
    loop {
        take_one(&mut left)?;
        let need: Verneed<LittleEndian> = record(source, at)?;
        let mut versions = Vec::new();
        let mut aux_at = step(at, need.vn_aux.get(LE))?;
        loop {
            take_one(&mut left)?;
            let aux: Vernaux<LittleEndian> = record(source, aux_at)?;
            if aux.vna_flags.get(LE) & elf::VER_FLG_WEAK == 0 {
                versions.push(name(source, &strings, aux.vna_name.get(LE))?);
            }
            match aux.vna_next.get(LE) {
                0 => break,
                next => aux_at = step(aux_at, next)?,
            }
        }
        found.push(Required {
            library: name(source, &strings, need.vn_file.get(LE))?,
            versions,
        });
        match need.vn_next.get(LE) {
            0 => break,
            next => at = step(at, next)?,
        }
    }
    Ok(found)
}

/// Reads the names in a DT_VERDEF table, without that of the file itself.
pub(super) fn defined(
    source: &mut Source,
    table: u64,
    strings: impl Fn(u64) -> Option<(u64, u64)>,
) -> Result<Vec<OsString>> {
    let mut left = MAX_VERSIONS;
    let mut found = Vec::new();
    let mut at = table;
    loop {
        take_one(&mut left)?;
        let definition: Verdef<LittleEndian> = record(source, at)?;
        if definition.vd_flags.get(LE) & elf::VER_FLG_BASE == 0 {
            // The first name is that of the version, the others are its parents.
            let aux_at = step(at, definition.vd_aux.get(LE))?;
            let aux: Verdaux<LittleEndian> = record(source, aux_at)?;
            found.push(name(source, &strings, aux.vda_name.get(LE))?);
        }
        match definition.vd_next.get(LE) {
            0 => break,
            next => at = step(at, next)?,
        }
    }
    Ok(found)
}

fn name(
    source: &mut Source,
    strings: impl Fn(u64) -> Option<(u64, u64)>,
    offset: u32,
) -> Result<OsString> {
    let (at, end) = strings(u64::from(offset)).context("a name is outside the file")?;
    Ok(OsString::from_vec(source.string(at, end, MAX_NAME)?))
}

/// Reads a structure of one of the tables.
fn record<T: Pod>(source: &mut Source, at: u64) -> Result<T> {
    let mut bytes = [0; size_of::<Verdef<LittleEndian>>()];
    let bytes = &mut bytes[..size_of::<T>()];
    source.read_into(at, bytes)?;
    Ok(*pod_of(bytes)?.0)
}

fn step(at: u64, by: u32) -> Result<u64> {
    at.checked_add(u64::from(by)).context("it wraps around")
}

fn take_one(left: &mut usize) -> Result<()> {
    ensure!(*left > 0, "more than {MAX_VERSIONS} of them");
    *left -= 1;
    Ok(())
}
