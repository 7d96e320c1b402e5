//! What `check` proposes for programs that wrapping would leave unable to start.

use anyhow::Result;

use super::check::{CheckOptions, Checked, check};
use super::wrap::wrap;
use crate::plan::options::WrapOptions;
use crate::report::{Page, Reporter};

/// Most missing libraries, and most commands, to list: the question has to stay on one screen with them.
const MOST_LISTED: usize = 8;

/// The result of `check` and a page that describes it, if wrapping as `options` say would leave programs that do not start, and `check`
/// has commands that help.
pub fn propose(
    options: &WrapOptions,
    options_of_check: &CheckOptions,
) -> Result<Option<(Checked, Page)>> {
    let rehearse = |options: WrapOptions| {
        let options = WrapOptions {
            dry_run: true,
            ..options
        };
        let reporter = Reporter::new(options.output);
        wrap(&options, stages::all(), stages::MISSING, &reporter)
    };
    let report = rehearse(options.clone())?;
    let lacking = report.files.iter().filter(|file| file.lacks_dependencies());
    let count = lacking.count();
    if count == 0 {
        return Ok(None);
    }
    let checked = check(
        options_of_check,
        stages::all(),
        &Reporter::new(options.output),
    )?;
    let commands = checked.commands();
    for command in &commands {
        // `check` does not know flags such as --relocatable.
        if rehearse(command.options(options)?)?.failed() {
            return Ok(None);
        }
    }
    if commands.is_empty() {
        return Ok(None);
    }
    let missing = report.missing(true);
    let names = missing.iter().map(|one| one.soname.display().to_string());
    let missing = match missing.len() {
        0 => String::new(),
        _ => format!("; missing: {}", shortened(names.collect()).join(", ")),
    };
    let files = if count == 1 { "file" } else { "files" };
    let mut page = Page::default();
    page.line(format!("{count} {files} would not start{missing}"));
    let lines = commands.iter().map(|one| format!("$ {}", one.written()));
    for line in shortened(lines.collect()) {
        page.line(line);
    }
    Ok(Some((checked, page)))
}

fn shortened(mut all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(MOST_LISTED);
    if more > 0 {
        all.truncate(MOST_LISTED);
        all.push(format!("and {more} more (`wrap-buddy check` lists all)"));
    }
    all
}
