//! Manual pages: what clap_mangen makes of the command line's definition, with examples, exit status, files, environment, diagnostics.

use std::io;

use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// An entry of a section: its term, its description, and the commands on whose pages it is; none means all.
type Entry = (&'static str, &'static str, &'static [&'static str]);

/// `wrap-buddy` is the page of the tool itself, which also describes wrapping.
const WRAPPING: &[&str] = &["wrap-buddy", "wrap"];
const WRITING: &[&str] = &["wrap-buddy", "wrap", "restore"];
const SETTINGS: &[&str] = &["wrap-buddy", "wrap", "watch", "check"];

const EXIT_STATUS: &[Entry] = &[
    (
        "0",
        "Every program was wrapped, or skipped with a reason.",
        WRAPPING,
    ),
    (
        "0",
        "Every file is restored, or was not wrapped.",
        &["restore"],
    ),
    ("0", "No wrapped file needs attention.", &["status"]),
    ("0", "Every file was read.", &["show"]),
    ("0", "The bundle is complete.", &["bundle"]),
    ("0", "Every file will start.", &["check"]),
    (
        "0",
        "SIGTERM or SIGINT ended the watch; or, with --once, all files were processed.",
        &["watch"],
    ),
    (
        "1",
        "An error: a missing library, a file that cannot be written, a named file that is for another machine or was changed since it was \
         wrapped, an --interpreter that fits no file.",
        WRAPPING,
    ),
    (
        "1",
        "An error: a file that cannot be written, or whose edits another tool has changed.",
        &["restore"],
    ),
    (
        "1",
        "A wrapped file needs attention: its sidecar, its loader or a library is missing or damaged.",
        &["status"],
    ),
    ("1", "A file could not be read.", &["show"]),
    (
        "1",
        "The bundle cannot be made, or would not work. Nothing was written.",
        &["bundle"],
    ),
    (
        "1",
        "A file will not start, or is not a program.",
        &["check"],
    ),
    (
        "1",
        "Nothing can be watched; or, with --once, a file failed, a named directory does not exist, or a file stays open for writing.",
        &["watch"],
    ),
    (
        "2",
        "The command line is invalid, or a file with settings.",
        &[],
    ),
    (
        "126, 127",
        "The program cannot be started; or it does not exist. Otherwise, the exit status is that of the program.",
        &["run"],
    ),
    (
        "129, 130, 143",
        "SIGHUP, SIGINT or SIGTERM ended the run between two files. The same command continues there.",
        WRITING,
    ),
    (
        "129, 130, 143",
        "SIGHUP, SIGINT or SIGTERM ended the run. Nothing was made.",
        &["bundle"],
    ),
];

const FILES: &[Entry] = &[
    (
        "OUTPUT/.wrap-buddy-bundle.json",
        "The list of the files of a bundle, with the reason for each. A directory with this file is a bundle.",
        &["bundle"],
    ),
    (
        ".NAME.wrapbuddy",
        "The sidecar of the file NAME, in the same directory: its original bytes, and the settings of its start.",
        &[],
    ),
    (
        ".NAME.wrapbuddy.d",
        "Symbolic links to the libraries that the library NAME needs, if its search path has no room in the file.",
        &[],
    ),
    (
        "PREFIX/lib/wrap-buddy",
        "The loaders, if the tool is PREFIX/bin/wrap-buddy.",
        &["wrap-buddy", "wrap", "watch", "check"],
    ),
    (
        "$XDG_DATA_HOME/wrap-buddy, /usr/local/lib/wrap-buddy",
        "The loaders of tools without such a directory: of users, and of root.",
        &["wrap-buddy", "wrap", "watch", "check"],
    ),
    (
        "wrap-buddy.toml",
        "Defaults for flags, of the tree with the wrapped path. The nearest one in its directory or above counts.",
        &["wrap-buddy", "wrap", "check"],
    ),
    (
        "$XDG_CONFIG_HOME/wrap-buddy/wrap-buddy.toml, /etc/wrap-buddy.toml",
        "Defaults for flags, of the user and of the system.",
        SETTINGS,
    ),
    (
        "$XDG_CACHE_HOME/wrap-buddy/run",
        "The wrapped copies of programs. You can remove them.",
        &["run"],
    ),
    (
        "$XDG_CONFIG_HOME/wrap-buddy/watch.toml",
        "More presets.",
        &["watch"],
    ),
];

const ENVIRONMENT: &[Entry] = &[
    (
        "HOME, XDG_DATA_HOME",
        "The directory of a user's loaders is in $XDG_DATA_HOME, or else in ~/.local/share.",
        &["wrap-buddy", "wrap", "watch", "check"],
    ),
    (
        "HOME, XDG_CACHE_HOME, TMPDIR",
        "The directory of wrapped copies is in $XDG_CACHE_HOME, or else in ~/.cache. If another user can change that, it is in $TMPDIR.",
        &["run"],
    ),
    (
        "XDG_CONFIG_HOME",
        "The directory of watch.toml is in it, or else in ~/.config. Paths of presets may name any variable.",
        &["watch"],
    ),
    (
        "XDG_CONFIG_HOME",
        "The directory of the user's wrap-buddy.toml is in it, or else in ~/.config.",
        &["wrap-buddy", "wrap", "check"],
    ),
    (
        "WRAP_BUDDY_LIBS, WRAP_BUDDY_INTERPRETER",
        "Values of --libs and --interpreter, separated by colons, if these are not given. Variables win over wrap-buddy.toml.",
        SETTINGS,
    ),
    (
        "WRAP_BUDDY_RUNTIME_DEPENDENCIES, WRAP_BUDDY_IGNORE_MISSING",
        "Values of --runtime-dependencies and --ignore-missing, likewise.",
        &["wrap-buddy", "wrap", "watch"],
    ),
    (
        "WRAP_BUDDY_FIND_IN",
        "Values of check --find-in, also for the proposals of wrapping, likewise.",
        &["wrap-buddy", "wrap", "check"],
    ),
    (
        "SOURCE_DATE_EPOCH",
        "The time of modification, in seconds since 1970, of files that the tool makes, and the latest one of copied files.",
        &["bundle"],
    ),
    (
        "NOTIFY_SOCKET",
        "systemd is notified when all existing files are wrapped.",
        &["watch"],
    ),
    (
        "LD_LIBRARY_PATH, LD_PRELOAD",
        "As in ld.so(8), unless --root is given.",
        &["check"],
    ),
    (
        "PATH",
        "Names without a slash are looked up in it.",
        &["bundle", "check", "run", "show", "status"],
    ),
    (
        "NO_COLOR, CLICOLOR_FORCE",
        "Whether --color auto uses colors.",
        &[],
    ),
    (
        "WRAP_BUDDY_DEBUG",
        "If it is 1 when a wrapped program starts, the loader prints the program's load bias and the entry point of ld.so.",
        WRAPPING,
    ),
];

const DIAGNOSTICS: &[Entry] = &[
    (
        "error: PATH: REASON",
        "This file failed; the others were processed. The line is on standard error, also with --quiet.",
        &["wrap-buddy", "wrap", "restore", "watch"],
    ),
    (
        "warning: PATH: REASON",
        "The file was processed, but may not work as you expect.",
        &["wrap-buddy", "wrap", "restore", "watch"],
    ),
    (
        "error: REASON",
        "The command did nothing, or ended here. The line is on standard error.",
        &[],
    ),
    (
        "error: REASON, below the name of a file",
        "The file will not start for this reason. A line that begins with next: has a command that removes the reasons. These lines are on \
         standard output.",
        &["check"],
    ),
    (
        "wrap-buddy: PATH: REASON",
        "A line of a wrapped program that cannot start; its exit status is 127. wrap-buddy check names the cause.",
        WRAPPING,
    ),
];

/// The manual page `page` of `command`, which is one of `all`.
///
/// # Errors
/// None: it writes to memory.
pub fn page(page: &str, command: &Command, all: &[(String, Command)]) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut parts = vec![title(page).render()];
    parts.push(rendered(|out| man.render_name_section(out))?);
    parts.push(synopsis(command).render());
    parts.push(rendered(|out| man.render_description_section(out))?);
    let options = rendered(|out| man.render_options_section(out))?;
    // Its groups have headings of their own, one of which is FILES.
    let options = options.replace(".SH ", ".SS ");
    parts.push(options.replace(".SS OPTIONS", ".SH OPTIONS"));
    if command.has_subcommands() {
        parts.push(rendered(|out| man.render_subcommands_section(out))?);
    }
    parts.push(examples(command).render());
    for (heading, entries) in [
        ("EXIT STATUS", EXIT_STATUS),
        ("FILES", FILES),
        ("ENVIRONMENT", ENVIRONMENT),
        ("DIAGNOSTICS", DIAGNOSTICS),
    ] {
        parts.push(section(heading, entries, command.get_name()).render());
    }
    parts.push(see_also(page, all).render());
    // Each part begins with the same definition. mandoc warns of breaks next to an empty line.
    let definition = Roff::new().render();
    let text = parts.concat().replace(&definition, "");
    let text = text.replace("\n.br\n\n.br\n", "\n.sp\n");
    Ok((definition + &text).into_bytes())
}

fn rendered(render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<String> {
    let mut out = Vec::new();
    render(&mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// No words are divided at the end of a line, so that options can be copied.
fn title(page: &str) -> Roff {
    let source = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let mut roff = Roff::new();
    // roff omits an empty argument, and the others would move up.
    roff.control("TH", [page, "1", "\"\"", source]);
    roff.control("nh", []);
    roff.control("ad", ["l"]);
    roff
}

/// The usage of the command, with each option and its values instead of `[OPTIONS]`.
fn synopsis(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    let usage = command.get_overridden_usage().map(ToString::to_string);
    for (index, form) in usage.unwrap_or_default().lines().enumerate() {
        if index > 0 {
            roff.control("br", []);
        }
        let mut line = Vec::new();
        for word in form.split_whitespace() {
            match word {
                "[OPTIONS]" if index == 0 => line.extend(options(command, form)),
                _ => line.extend(word_of_usage(word)),
            }
            line.push(roman(" "));
        }
        roff.text(line);
    }
    roff
}

/// Values are in upper case.
fn word_of_usage(word: &str) -> Vec<Inline> {
    let is_value = |part: &str| part.starts_with(|char: char| char.is_ascii_uppercase());
    let inner = word.trim_matches(['[', ']']);
    let (name, rest) = inner.split_at(inner.find("...").unwrap_or(inner.len()));
    let styled = match is_value(name) {
        true => italic(name),
        false => bold(name),
    };
    let before = if word.starts_with('[') { "[" } else { "" };
    let after = if word.ends_with(']') { "]" } else { "" };
    vec![roman(before), styled, roman(format!("{rest}{after}"))]
}

/// The visible options that `form` does not have.
fn options(command: &Command, form: &str) -> Vec<Inline> {
    let shown = |option: &&Arg| {
        let long = option.get_long().unwrap_or_default();
        !option.is_positional() && !option.is_hide_set() && !form.contains(&format!("--{long} "))
    };
    let mut line = Vec::new();
    for option in command.get_arguments().filter(shown) {
        let short = option.get_short().map(|short| format!("-{short}"));
        let long = option.get_long().map(|long| format!("--{long}"));
        let names: Vec<String> = short.into_iter().chain(long).collect();
        line.extend([roman("["), bold(names.join("|"))]);
        let range = option.get_num_args().unwrap_or_default();
        if range.takes_values() {
            line.extend([roman(" "), value(option)]);
        }
        let is_repeated = range.max_values() > 1
            || matches!(option.get_action(), ArgAction::Count | ArgAction::Append);
        line.extend([roman(if is_repeated { "...]" } else { "]" }), roman(" ")]);
    }
    line.pop();
    line
}

/// The choices, or the name of the value.
fn value(option: &Arg) -> Inline {
    // Presets may have other names than those that are known here.
    let is_open = matches!(option.get_action(), ArgAction::Append);
    let choices = option.get_possible_values();
    let choices: Vec<&str> = choices.iter().map(PossibleValue::get_name).collect();
    match choices.is_empty() || is_open {
        true => italic(option.get_value_names().unwrap_or_default().join(" ")),
        false => bold(choices.join("|")),
    }
}

/// The examples of the help text.
fn examples(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    let help = command.get_after_help().map(ToString::to_string);
    let help = help.unwrap_or_default();
    for line in help.lines().filter(|line| line.starts_with("  ")) {
        let (example, effect) = line.trim().split_once("   ").unwrap_or((line.trim(), ""));
        roff.control("TP", []);
        roff.text([bold(example)]);
        roff.text([roman(effect.trim())]);
    }
    roff
}

fn section(heading: &str, entries: &[Entry], command: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (term, description, commands) in entries {
        if commands.is_empty() || commands.contains(&command) {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*description)]);
        }
    }
    roff
}

fn see_also(page: &str, all: &[(String, Command)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let pages = all.iter().map(|(name, _)| (name.as_str(), "1"));
    let others = [
        ("elf", "5"),
        ("ldd", "1"),
        ("ld.so", "8"),
        ("patchelf", "1"),
    ];
    let mut line = Vec::new();
    for (name, number) in pages.chain(others).filter(|(name, _)| *name != page) {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(name), roman(format!("({number})"))]);
    }
    roff.text(line);
    roff
}
