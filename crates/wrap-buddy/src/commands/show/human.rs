use std::io;

use anstream::stream::RawStream;

use super::code::Instruction;
use super::view::{
    EditState, EditView, Given, Original, SearchPath, SidecarKind, StubSidecar, TrailerView, View,
};
use crate::commands::status::NOTHING_DONE;
use crate::report::Output;
use crate::report::style::{Style, shown};
use crate::report::{Page, styled};
use elf_file::Kind;

/// Bytes per row of an edit.
const ROW: usize = 16;

/// Width of the column of instructions, in characters.
const COLUMN: usize = 44;

pub fn write(views: &[View], output: Output, out: &mut impl RawStream) -> io::Result<()> {
    let mut page = Page::default();
    if views.is_empty() && !output.quiet {
        page.line(NOTHING_DONE);
    }
    for view in views {
        if !page.is_empty() {
            page.line("");
        }
        write_view(&mut page, view, output.verbose);
    }
    page.write_to(out)
}

fn write_view(out: &mut Page, view: &View, verbose: bool) {
    let state = styled(view.state.words(), Style::Good);
    out.line(format!("{}: {state}", shown(&view.path)));
    if let Some(advice) = &view.advice {
        out.labelled("note", advice);
    }
    if let Some(original) = &view.original {
        write_original(out, original);
    }
    if let Some(sidecar) = &view.sidecar {
        let way = match sidecar.way {
            SidecarKind::Stub => "of a stub",
            SidecarKind::InPlace => "of edits in place",
            SidecarKind::FirstWrapBuddy => "of the first wrap-buddy",
            SidecarKind::Unknown => "in an unknown format",
        };
        let by = match (&sidecar.format, &sidecar.tool) {
            (Some(format), Some(tool)) => format!(", format {format}, by wrap-buddy {tool}"),
            _ => String::new(),
        };
        let other = if sidecar.of_another_file {
            ", of another file"
        } else {
            ""
        };
        let (path, len) = (shown(&sidecar.path), sidecar.len);
        out.labelled("sidecar", format!("{path}, {len} bytes, {way}{by}{other}"));
        if let Some(id) = &sidecar.id {
            out.labelled("id", id);
        }
        if let Some(stub) = &sidecar.stub {
            write_stub(out, stub);
        }
    }
    if let Some(loader) = &view.loader {
        let len = loader
            .len
            .map_or_else(String::new, |len| format!(", {len} bytes"));
        let fits = match &loader.problem {
            None => format!(", ABI {}, intact", loader.abi),
            Some(problem) if view.advice.as_ref() == Some(problem) => "; see the note".to_owned(),
            Some(problem) => format!("; {problem}"),
        };
        let place = match loader.self_contained {
            true => "in the sidecar",
            false => &loader.path,
        };
        out.labelled("loader", format!("{place}{len}{fits}"));
    }
    if let Some(given) = &view.given {
        write_given(out, given);
    }
    if let Some(stub) = view
        .sidecar
        .as_ref()
        .and_then(|sidecar| sidecar.stub.as_ref())
    {
        write_patches(out, stub);
    }
    if !view.edits.is_empty() {
        out.line("");
        out.line("  edits");
        for edit in &view.edits {
            write_edit(out, edit);
        }
    }
    write_code(out, view, verbose)
}

fn write_original(out: &mut Page, original: &Original) {
    let kind = match (original.kind, original.position_independent) {
        (Kind::Program, true) => "position-independent program",
        (Kind::Program, false) => "program with fixed addresses",
        (kind, _) => &kind.to_string(),
    };
    let Original {
        machine,
        class,
        file_len,
        ..
    } = original;
    out.labelled(
        "file",
        format!("ELF{class} {machine}, {kind}, {file_len} bytes"),
    );
    if let (Some(offset), Some(room)) = (original.entry_offset, original.room_at_entry) {
        let entry = original.entry;
        out.labelled(
            "entry point",
            format!(
                "{entry:#x} at file offset {offset:#x}, {room} bytes up to the end of its segment"
            ),
        );
    }
    if let Some(interpreter) = &original.interpreter {
        out.labelled("asks for", interpreter);
    }
    if let Some(soname) = &original.soname {
        out.labelled("soname", soname);
    }
    if !original.needed.is_empty() {
        out.labelled("needs", original.needed.join(" "));
    }
    if let Some(path) = &original.search_path {
        out.labelled("own path", search(path));
    }
    if let Some(spare) = original.spare_entries {
        out.labelled("room", format!("{spare} spare entries in .dynamic"));
    }
}

fn write_stub(out: &mut Page, stub: &StubSidecar) {
    let slot = &stub.slot;
    let rights = [(1, 'r'), (2, 'w'), (4, 'x')];
    let mut rights: String = rights
        .iter()
        .map(|&(bit, name)| {
            if slot.protection & bit != 0 {
                name
            } else {
                '-'
            }
        })
        .collect();
    if slot.protection & 0x10 != 0 {
        rights.push_str(" bti");
    }
    let (address, offset, len, code) = (slot.address, slot.offset, slot.len, slot.stub_len);
    out.labelled(
        "slot",
        format!(
            "{address:#x} at file offset {offset:#x}, {len} bytes, {code} of them code, {rights}"
        ),
    );
    if !stub.flags.is_empty() {
        out.labelled("flags", stub.flags.join(" "));
    }
    let dynamic = match stub.dynamic_len {
        0 => "the program's own .dynamic".to_owned(),
        len => format!("a copy of .dynamic, {len} bytes"),
    };
    out.labelled("for ld.so", dynamic)
}

fn write_given(out: &mut Page, given: &Given) {
    if let Some(interpreter) = &given.interpreter {
        out.labelled("interpreter", interpreter);
    }
    if let Some(path) = &given.search_path {
        out.labelled("search path", search(path));
    }
    for name in &given.needed {
        out.labelled("added", name);
    }
    for link in &given.links {
        let target = link.target.as_deref().unwrap_or("(is not there)");
        out.labelled("link", format!("{} → {target}", link.path));
    }
}

fn search(path: &SearchPath) -> String {
    format!("{} ({})", path.directories.join(":"), path.tag)
}

fn write_patches(out: &mut Page, stub: &StubSidecar) {
    if stub.patches.is_empty() {
        return;
    }
    out.line("");
    out.line("  written to .dynamic in memory before ld.so runs");
    for patch in &stub.patches {
        let place = format!("+{:#x}", patch.offset);
        let value = match patch.points_to_sidecar {
            true => format!("{:#x} + the sidecar's distance", patch.value),
            false => format!("{:#x}", patch.value),
        };
        out.line(format!("    {place:<14} = {value:<44} {}", patch.meaning));
    }
}

fn write_edit(out: &mut Page, edit: &EditView) {
    let state = match edit.state {
        EditState::Made => "",
        EditState::NotMade => "; not made",
        EditState::Other => "; other bytes are there now",
    };
    let (offset, len) = (edit.offset, edit.before.len() / 2);
    out.line(format!(
        "    {offset:#x}, {len} bytes: {}{state}",
        edit.meaning
    ));
    let rows = |text: &str| -> Vec<String> {
        let bytes = text.as_bytes().chunks(2 * ROW);
        bytes.map(in_words).collect()
    };
    let (before, after) = (rows(&edit.before), rows(&edit.after));
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        let at = offset + (index * ROW) as u64;
        match before == after {
            true => out.line(format!("      {at:>8x}  {before:<35}")),
            false => out.line(format!("      {at:>8x}  {before:<35}  → {after}")),
        }
    }
}

/// Groups hexadecimal digits by four bytes.
fn in_words(digits: &[u8]) -> String {
    let words = digits.chunks(8).map(String::from_utf8_lossy);
    words.collect::<Vec<_>>().join(" ")
}

/// A line of a column and the address it belongs to.
struct Cell {
    address: u64,
    text: String,
}

fn write_code(out: &mut Page, view: &View, verbose: bool) {
    let cells = |code: &[Instruction]| -> Vec<Cell> {
        let cells = code.iter().map(|one| Cell {
            address: one.address,
            text: match verbose {
                true => format!("{:<20} {}", one.bytes, one.text),
                false => one.text.clone(),
            },
        });
        cells.collect()
    };
    let entry = cells(&view.entry_code);
    let mut stub = cells(&view.stub_code);
    let ends = view.stub_code.last();
    let ends = ends.map(|last| last.address.wrapping_add(last.bytes.len() as u64 / 2));
    if let (Some(at), Some(trailer)) = (ends, &view.trailer) {
        stub.extend(trailer_cells(at, trailer));
    }
    if stub.is_empty() {
        if !entry.is_empty() {
            out.line("");
            out.line("  code at the entry point");
        }
        for cell in &entry {
            out.line(format!("    {}", column(cell)));
        }
        return;
    }
    if entry.is_empty() {
        out.line("");
        out.line("  stub");
        for cell in &stub {
            out.line(format!("    {}", column(cell)));
        }
        return;
    }
    let width = COLUMN + if verbose { 21 } else { 0 };
    out.line("");
    out.line(format!("    {:<width$} stub", "original entry"));
    for (one, other) in side_by_side(&entry, &stub) {
        let one = one.map(column).unwrap_or_default();
        let other = other.map(column).unwrap_or_default();
        let row = format!("    {one:<width$} {other}");
        out.line(row.trim_end());
    }
}

fn column(cell: &Cell) -> String {
    format!("{:>6x}  {}", cell.address, cell.text)
}

/// The lines for the trailer after the code.
fn trailer_cells(at: u64, trailer: &TrailerView) -> Vec<Cell> {
    let line_at = at + sidecar::LINE_OFFSET as u64;
    let loader_at = at + sidecar::LOADER_OFFSET as u64;
    let start = String::from_utf8_lossy(sidecar::LINE_START);
    let cell = |address, text| Cell { address, text };
    let first = trailer.loader.as_ref().unwrap_or(&trailer.sidecar);
    let mut cells = vec![
        cell(at, format!("id {}", trailer.id)),
        cell(at + sidecar::LINE_LEN_OFFSET as u64, "lengths".to_owned()),
        cell(line_at, format!("\"{start}{first}\"")),
    ];
    if trailer.loader.is_some() {
        cells.push(cell(
            loader_at + first.len() as u64 + 1,
            format!("\"{}\"", trailer.sidecar),
        ));
    }
    if let Some(len) = trailer.record_len {
        let record_at = loader_at + first.len() as u64 + 1 + trailer.sidecar.len() as u64 + 1;
        cells.push(cell(record_at, format!("settings, {len} bytes")));
    }
    cells
}

/// Rows of both columns: aligned by address if they start at the same address, else one after the other.
fn side_by_side<'c>(
    one: &'c [Cell],
    other: &'c [Cell],
) -> Vec<(Option<&'c Cell>, Option<&'c Cell>)> {
    let start = |cells: &[Cell]| cells.first().map(|cell| cell.address);
    if start(one) != start(other) {
        let rows = one.len().max(other.len());
        return (0..rows)
            .map(|row| (one.get(row), other.get(row)))
            .collect();
    }
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut rows = Vec::new();
    loop {
        let next = match (one.peek(), other.peek()) {
            (None, None) => return rows,
            (Some(one), None) => one.address,
            (None, Some(other)) => other.address,
            (Some(one), Some(other)) => one.address.min(other.address),
        };
        let left = one.next_if(|cell| cell.address <= next);
        let right = other.next_if(|cell| cell.address <= next);
        rows.push((left, right));
    }
}
