//! The report of `bundle` for people.

use std::io::{self, Stdout, stderr};

use super::BundleOptions;
use super::json::{Bundle, File};
use crate::report::{Page, Style, styled};
use crate::system::shell::quoted;
use std::path::Path;

/// Writes the report: the bundle to standard output, warnings to standard error.
///
/// # Errors
/// As `write(2)`.
pub fn write(bundle: &Bundle, options: &BundleOptions, out: &mut Stdout) -> io::Result<()> {
    if options.print.quiet {
        return Ok(());
    }
    let mut page = Page::default();
    if options.list || options.print.verbose {
        for file in &bundle.files {
            page.line(line(file));
        }
    }
    let done = match (bundle.dry_run, bundle.added) {
        (true, false) => "would be made",
        (true, true) => "would be extended",
        (false, false) => "made",
        (false, true) => "extended",
    };
    let summary = &bundle.summary;
    let files = match summary.files {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    page.line(format!(
        "{}: {done}: {files}, {}",
        styled(&bundle.output, Style::Bold),
        size(summary.bytes)
    ));
    for program in &bundle.programs {
        page.labelled("program", quoted([Path::new(&bundle.output).join(program)]));
    }
    if !bundle.left_to_host.is_empty() {
        page.labelled("of the host", bundle.left_to_host.join(", "));
    }
    if !bundle.missing.is_empty() {
        page.labelled("missing", bundle.missing.join(", "));
    }
    page.write_to(out)?;
    let mut page = Page::default();
    for note in &bundle.notes {
        page.line(format!("{}: {note}", styled("warning", Style::Warning)));
    }
    page.write_to(&mut stderr())
}

/// A file with its size and the reason.
fn line(file: &File) -> String {
    let role = file.role.phrase();
    let by = file.needed_by.as_ref().map(|by| format!(" for {by}"));
    let rule = file.rule.as_ref().map(|rule| format!(", {rule}"));
    let (by, rule) = (by.unwrap_or_default(), rule.unwrap_or_default());
    match &file.target {
        Some(target) => format!("{} -> {target}  {role}{by}", file.path),
        None => format!(
            "{}  {}  {role}{by}{rule}, from {}{}",
            file.path,
            size(file.size),
            file.source,
            package(file)
        ),
    }
}

/// The package of the source, with its licences.
fn package(file: &File) -> String {
    let Some(package) = &file.package else {
        return String::new();
    };
    match file.licences.is_empty() {
        true => format!(", of {package}"),
        false => format!(", of {package} ({})", file.licences.join("; ")),
    }
}

/// A size with a unit.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        for (bytes, expected) in [
            (12, "12 bytes"),
            (1536, "1.5 KiB"),
            (64 << 20, "64.0 MiB"),
            (3 << 40, "3.0 TiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
