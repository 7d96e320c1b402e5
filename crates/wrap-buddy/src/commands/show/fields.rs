use object::elf;
use sidecar::{EditKind, Flags, InPlace, Legacy, Sidecar};

use super::meaning;
use super::view::{
    Original, PatchView, SearchPath, SidecarKind, SidecarView, SlotView, StubSidecar,
};
use crate::commands::status::IN_PLACE_FORMAT;
use crate::system::hex::hex;
use elf_file::{Elf, Kind};

/// Invalid UTF-8 is replaced by replacement characters.
pub(super) fn lossy(text: impl AsRef<std::ffi::OsStr>) -> String {
    text.as_ref().to_string_lossy().into_owned()
}

/// The file's own fields; see [`Kind::of`] for `lost_interp`.
pub(super) fn original(elf: &Elf, lost_interp: bool) -> Original {
    let entry = elf
        .offset_of(elf.entry_address())
        .filter(|_| elf.entry != 0);
    let end = elf.load_of(elf.entry_address()).map(|load| load.file_end());
    Original {
        machine: elf.target().to_string(),
        class: if elf.class == elf::ELFCLASS64 { 64 } else { 32 },
        kind: Kind::of(elf, lost_interp),
        position_independent: elf.kind == elf::ET_DYN,
        file_len: elf.file_len,
        entry: elf.entry,
        entry_offset: entry,
        room_at_entry: entry.and_then(|entry| end?.checked_sub(entry)),
        interpreter: elf.interp.as_ref().map(|interp| lossy(&interp.path)),
        soname: elf.soname().map(lossy),
        needed: elf.needed().iter().map(lossy).collect(),
        search_path: search_path(elf),
        spare_entries: elf.dynamic.as_ref().map(|dynamic| dynamic.spare as u64),
    }
}

/// DT_RUNPATH, or else DT_RPATH.
pub(super) fn search_path(elf: &Elf) -> Option<SearchPath> {
    let dynamic = elf.dynamic.as_ref()?;
    let path = lossy(dynamic.search_path()?);
    Some(SearchPath {
        tag: if dynamic.is_inherited() {
            "DT_RPATH"
        } else {
            "DT_RUNPATH"
        },
        directories: path.split(':').map(str::to_owned).collect(),
    })
}

/// The fields of the sidecar `bytes`; the caller sets its path.
pub(super) fn sidecar_view(bytes: &[u8], elf: &Elf) -> SidecarView {
    let mut view = SidecarView {
        path: String::new(),
        len: bytes.len() as u64,
        way: SidecarKind::Unknown,
        format: None,
        tool: None,
        id: None,
        of_another_file: false,
        stub: None,
    };
    if let Ok(sidecar) = Sidecar::parse(bytes) {
        let header = sidecar.header();
        view.way = SidecarKind::Stub;
        view.format = Some(sidecar.abi().into());
        view.tool = Some(header.tool.to_string());
        view.id = Some(hex(&header.id));
        view.stub = Some(stub_sidecar(&sidecar, elf));
    } else if let Ok(record) = InPlace::parse(bytes) {
        view.way = SidecarKind::InPlace;
        view.format = Some(IN_PLACE_FORMAT);
        view.tool = Some(record.tool.to_string());
        view.id = Some(hex(&record.id));
    } else if Legacy::parse(bytes, elf.class).is_ok() {
        view.way = SidecarKind::FirstWrapBuddy;
    }
    view
}

fn stub_sidecar(sidecar: &Sidecar<'_>, elf: &Elf) -> StubSidecar {
    let header = sidecar.header();
    let known = [
        (Flags::RELOCATABLE, "relocatable"),
        (Flags::RPATH, "rpath"),
        (Flags::SEED_DEBUG, "seed-debug"),
    ];
    let flags = known
        .into_iter()
        .filter(|(flag, _)| header.flags.contains(*flag));
    StubSidecar {
        entry: header.entry,
        slot: SlotView {
            address: header.slot_address,
            offset: header.slot_offset,
            len: u64::from(header.slot.len),
            stub_len: u64::from(header.stub_len),
            protection: header.slot_protection,
        },
        flags: flags.map(|(_, name)| name).collect(),
        debug_address: header.debug_address,
        dynamic_len: header.dynamic.len,
        patches: sidecar
            .patches()
            .map(|patch| PatchView {
                offset: patch.offset,
                value: patch.value,
                points_to_sidecar: patch.points_to_sidecar != 0,
                meaning: meaning::of_patch(&patch, elf.word()),
            })
            .collect(),
    }
}

/// The name of a kind of edit in JSON.
pub fn kind_name(kind: EditKind) -> &'static str {
    match kind {
        EditKind::Slot => "slot",
        EditKind::Entry => "entry",
        EditKind::Interp => "interp",
        EditKind::Text => "text",
        EditKind::Dynamic => "dynamic",
        EditKind::Segment => "segment",
        EditKind::Section => "section",
    }
}
