//! The dynamic section: DT_NEEDED, search paths, and unused entries.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result, anyhow, ensure};
use object::elf;
use object::read::elf::{Dyn, FileHeader};
use object::{LittleEndian, pod};

use super::versions::{self, Required};
use super::{LE, Segment, Source, offset_of, string_range};

/// Maximum length of .dynamic in bytes.
const MAX_DYNAMIC: u64 = 1 << 20;

/// Maximum number of DT_NEEDED.
const MAX_NEEDED: usize = 4096;

/// Maximum length of a soname, which is a file name or a path.
const MAX_SONAME: u64 = 4096;

/// Maximum length of a search path.
const MAX_SEARCH_PATH: u64 = 64 << 10;

/// A library that ld.so looks up symbols in before the library that names it (DT_FILTER, DT_AUXILIARY).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtee {
    /// The name in the dynamic entry.
    pub name: OsString,
    /// Whether it is a DT_AUXILIARY, which may be missing.
    pub is_auxiliary: bool,
}

/// The contents of PT_DYNAMIC.
#[derive(Clone, Debug, Default)]
pub struct Dynamic {
    /// The number of entries, including the DT_NULL at the end.
    pub entries: usize,
    /// The number of unused entries after that DT_NULL.
    pub spare: usize,
    /// DT_NEEDED, in order.
    pub needed: Vec<OsString>,
    /// DT_FILTER and DT_AUXILIARY, in order.
    pub filtees: Vec<Filtee>,
    /// DT_SONAME.
    pub soname: Option<OsString>,
    /// DT_RPATH.
    pub rpath: Option<OsString>,
    /// DT_RUNPATH.
    pub runpath: Option<OsString>,
    /// Whether DT_FLAGS_1 has DF_1_PIE.
    pub pie: bool,
    /// Whether DT_FLAGS_1 has DF_1_NODEFLIB: ld.so does not search its default directories.
    pub no_default_directories: bool,
    /// Whether code has relocations: DT_TEXTREL, or DF_TEXTREL in DT_FLAGS.
    pub text_relocations: bool,
    /// The symbol versions that the file requires of others.
    pub requires: Vec<Required>,
    /// The symbol versions that the file defines.
    pub defines: Vec<OsString>,
    tags: Vec<(u64, u64)>,
}

/// All entries of PT_DYNAMIC, including those after the first DT_NULL.
fn tags<H: FileHeader<Endian = LittleEndian>>(
    source: &mut Source,
    segments: &[Segment],
) -> Result<Option<Vec<(u64, u64)>>> {
    let Some(segment) = segments
        .iter()
        .find(|segment| segment.kind == elf::PT_DYNAMIC)
    else {
        return Ok(None);
    };
    ensure!(
        segment.file_len <= MAX_DYNAMIC,
        "{} bytes are too many",
        segment.file_len
    );
    let entry_len = size_of::<H::Dyn>() as u64;
    let bytes = source.read(segment.offset, segment.file_len / entry_len * entry_len)?;
    let table =
        pod::slice_from_all_bytes::<H::Dyn>(&bytes).map_err(|()| anyhow!("it is cut short"))?;
    let tags = table
        .iter()
        .map(|entry| (entry.d_tag(LE).into(), entry.d_val(LE).into()));
    Ok(Some(tags.collect()))
}

/// Whether DT_FLAGS_1 has DF_1_PIE.
pub(super) fn is_pie<H: FileHeader<Endian = LittleEndian>>(
    source: &mut Source,
    segments: &[Segment],
) -> Result<bool> {
    let tags = tags::<H>(source, segments)?.unwrap_or_default();
    let mut tags = tags
        .iter()
        .take_while(|(tag, _)| *tag != u64::from(elf::DT_NULL));
    let flags_1 = tags.find(|(tag, _)| *tag == u64::from(elf::DT_FLAGS_1));
    Ok(flags_1.is_some_and(|(_, flags)| flags & u64::from(elf::DF_1_PIE) != 0))
}

/// The version of libc that a file with DT_RELR has to require.
pub const RELR_VERSION: &str = "GLIBC_ABI_DT_RELR";

impl Dynamic {
    /// Whether the file has DT_RELR and requires versions of libc, but not [`RELR_VERSION`]. glibc 2.36 and later refuses such a
    /// file (elf/dl-version.c, _dl_check_map_versions).
    pub fn lacks_relr_version(&self) -> bool {
        let mut of_libc = self.requires.iter().filter(|one| {
            let name = one.library.as_encoded_bytes();
            name.starts_with(b"libc.so.")
        });
        self.value(super::space::DT_RELR).is_some()
            && of_libc.clone().next().is_some()
            && !of_libc.any(|one| one.versions.iter().any(|version| version == RELR_VERSION))
    }

    pub(super) fn read<H: FileHeader<Endian = LittleEndian>>(
        source: &mut Source,
        segments: &[Segment],
    ) -> Result<Option<Self>> {
        let Some(tags) = tags::<H>(source, segments)? else {
            return Ok(None);
        };
        // An empty PT_DYNAMIC belongs to a separate debug file, even without section headers.
        let Some(end) = tags
            .iter()
            .position(|&(tag, _)| tag == u64::from(elf::DT_NULL))
        else {
            ensure!(tags.is_empty(), "no DT_NULL ends it");
            return Ok(None);
        };
        let null = |&&(tag, _): &&(u64, u64)| tag == u64::from(elf::DT_NULL);
        let mut dynamic = Self {
            entries: end + 1,
            spare: tags[end + 1..].iter().take_while(null).count(),
            tags: tags[..end].to_vec(),
            ..Self::default()
        };
        let addresses = match size_of::<H::Dyn>() {
            16 => u64::MAX,
            _ => u64::from(u32::MAX),
        };
        dynamic.decode(source, segments, addresses)?;
        Ok(Some(dynamic))
    }

    /// `addresses` is the highest possible address.
    fn decode(&mut self, source: &mut Source, segments: &[Segment], addresses: u64) -> Result<()> {
        let flags = self.value(elf::DT_FLAGS).unwrap_or(0);
        let flags_1 = self.value(elf::DT_FLAGS_1).unwrap_or(0);
        self.pie = flags_1 & u64::from(elf::DF_1_PIE) != 0;
        self.no_default_directories = flags_1 & u64::from(elf::DF_1_NODEFLIB) != 0;
        self.text_relocations =
            self.value(elf::DT_TEXTREL).is_some() || flags & u64::from(elf::DF_TEXTREL) != 0;

        let Some(strings) = self.value(elf::DT_STRTAB) else {
            ensure!(
                self.value(elf::DT_NEEDED).is_none(),
                "it has a DT_NEEDED but no DT_STRTAB"
            );
            return Ok(());
        };
        // Wraps around, as in ld.so: the string may be before the table.
        let string_address = |offset: u64| strings.wrapping_add(offset) & addresses;
        let mut string = |offset: u64, max: u64| -> Result<OsString> {
            let (at, end) = string_range(segments, string_address(offset))
                .ok_or_else(|| anyhow!("a string is outside the file"))?;
            Ok(OsString::from_vec(source.string(at, end, max)?))
        };
        for &(tag, value) in &self.tags {
            let Ok(tag) = u32::try_from(tag) else {
                continue;
            };
            match tag {
                elf::DT_NEEDED => {
                    ensure!(self.needed.len() < MAX_NEEDED, "too many DT_NEEDED");
                    self.needed
                        .push(string(value, MAX_SONAME).context("DT_NEEDED")?);
                }
                elf::DT_FILTER | elf::DT_AUXILIARY => {
                    ensure!(self.filtees.len() < MAX_NEEDED, "too many DT_FILTER");
                    self.filtees.push(Filtee {
                        name: string(value, MAX_SONAME).context("DT_FILTER")?,
                        is_auxiliary: tag == elf::DT_AUXILIARY,
                    });
                }
                elf::DT_SONAME => {
                    self.soname = Some(string(value, MAX_SONAME).context("DT_SONAME")?);
                }
                elf::DT_RPATH => {
                    self.rpath = Some(string(value, MAX_SEARCH_PATH).context("DT_RPATH")?);
                }
                elf::DT_RUNPATH => {
                    self.runpath = Some(string(value, MAX_SEARCH_PATH).context("DT_RUNPATH")?);
                }
                _ => {}
            }
        }
        let table = |tag: u32| offset_of(segments, self.value(tag)?);
        let (requires, defines) = (table(elf::DT_VERNEED), table(elf::DT_VERDEF));
        let strings = |offset: u64| string_range(segments, string_address(offset));
        if let Some(offset) = requires {
            self.requires = versions::required(source, offset, strings)
                .context("the required symbol versions")?;
        }
        if let Some(offset) = defines {
            self.defines = versions::defined(source, offset, strings)
                .context("the defined symbol versions")?;
        }
        Ok(())
    }

    /// The value of the first entry with this tag.
    pub fn value(&self, tag: u32) -> Option<u64> {
        let found = self.tags.iter().find(|&&(own, _)| own == u64::from(tag));
        found.map(|&(_, value)| value)
    }

    /// The index of the first entry with this tag.
    pub fn position(&self, tag: u32) -> Option<usize> {
        self.tags.iter().position(|&(own, _)| own == u64::from(tag))
    }

    /// The tags and values of all entries before the DT_NULL.
    pub fn tags(&self) -> &[(u64, u64)] {
        &self.tags
    }

    /// The indices of the entries that may be overwritten, unused ones first. ld.so does not need the hints DT_RELACOUNT and
    /// DT_RELCOUNT.
    pub fn free_entries(&self) -> Vec<usize> {
        let expendable = [elf::DT_RELACOUNT, elf::DT_RELCOUNT].map(u64::from);
        let tags = self.tags.iter().enumerate();
        let hints = tags.filter(|(_, (tag, _))| expendable.contains(tag));
        let spare = self.end()..self.end() + self.spare;
        spare.chain(hints.map(|(index, _)| index)).collect()
    }

    /// The index of the DT_NULL at the end.
    pub fn end(&self) -> usize {
        self.entries - 1
    }

    /// The index of the search path that ld.so uses: DT_RUNPATH, or else DT_RPATH.
    pub fn search_entry(&self) -> Option<usize> {
        self.position(elf::DT_RUNPATH)
            .or_else(|| self.position(elf::DT_RPATH))
    }

    /// The indices of the entries that become a search path with this `tag`. A DT_RUNPATH has to be replaced by a DT_RPATH, because
    /// ld.so ignores DT_RPATH if there are both.
    pub fn search_entries(&self, tag: u32) -> Vec<usize> {
        let all = [elf::DT_RPATH, elf::DT_RUNPATH];
        match tag {
            elf::DT_RPATH => all
                .into_iter()
                .flat_map(|tag| self.positions(tag))
                .collect(),
            _ => self.search_entry().into_iter().collect(),
        }
    }

    fn positions(&self, tag: u32) -> impl Iterator<Item = usize> {
        self.entries_of(tag).into_iter().map(|(index, _)| index)
    }

    /// The indices and values of the entries with this tag.
    pub fn entries_of(&self, tag: u32) -> Vec<(usize, u64)> {
        let tags = self.tags.iter().enumerate();
        let with_tag = tags.filter(|(_, (own, _))| *own == u64::from(tag));
        with_tag
            .map(|(index, &(_, value))| (index, value))
            .collect()
    }

    /// The indices of the entries that become DT_NEEDED, and their new values. Each `new` one takes one of the `free` entries. With
    /// `in_front`, the new ones take the first entries and the file's own follow, because ld.so loads them in that order. `own`
    /// maps the value of an existing entry to its new value, or to `None` to drop it; then there have to be as many new ones.
    pub fn with_needed<T>(
        &self,
        new: impl Iterator<Item = T>,
        free: &mut impl Iterator<Item = usize>,
        in_front: bool,
        own: impl Fn(u64) -> Option<T>,
    ) -> Vec<(usize, T)> {
        let mut places: Vec<usize> = Vec::new();
        let mut values: Vec<T> = new.collect();
        if in_front {
            let entries = self.entries_of(elf::DT_NEEDED);
            places.extend(entries.iter().map(|(index, _)| index));
            values.extend(entries.iter().filter_map(|(_, value)| own(*value)));
        }
        places.extend(free.take(values.len().saturating_sub(places.len())));
        places.sort_unstable();
        places.into_iter().zip(values).collect()
    }

    /// The tag for a new search path: DT_RPATH if libraries have to inherit it, or if the file has one already.
    pub fn search_tag(&self, inherited: bool) -> u32 {
        match inherited || self.is_inherited() {
            true => elf::DT_RPATH,
            false => elf::DT_RUNPATH,
        }
    }

    /// The search path that ld.so uses for the file: DT_RUNPATH, or else DT_RPATH.
    pub fn search_path(&self) -> Option<&OsString> {
        self.runpath.as_ref().or(self.rpath.as_ref())
    }

    /// Whether libraries without a DT_RUNPATH inherit the search path.
    pub fn is_inherited(&self) -> bool {
        self.rpath.is_some() && self.runpath.is_none()
    }
}
