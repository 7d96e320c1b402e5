//! Generates manual pages and completions from the command line's definition.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Command, CommandFactory};
use clap_complete::{Generator, Shell};
use clap_complete_nushell::Nushell;

use super::args::CommandLine;
use super::manual;
use crate::commands::generate::Generated;

/// The files below PREFIX/share, under the names that man and the shells look for.
pub fn files() -> Result<Vec<Generated>> {
    let mut files = Vec::new();
    let mut all = CommandLine::command();
    all.build();
    let name = all.get_name().to_owned();
    let pages = pages(&all);
    for (page, command) in &pages {
        let content = manual::page(page, command, &pages)?;
        files.push((PathBuf::from(format!("man/man1/{page}.1")), content));
    }
    let shells: [(String, &dyn Fn() -> Vec<u8>); 4] = [
        (format!("bash-completion/completions/{name}"), &|| {
            bash(&name)
        }),
        (format!("zsh/site-functions/_{name}"), &|| zsh(&name)),
        (format!("fish/vendor_completions.d/{name}.fish"), &|| fish()),
        (format!("nushell/vendor/autoload/{name}.nu"), &|| {
            completions(Nushell)
        }),
    ];
    files.extend(
        shells
            .into_iter()
            .map(|(path, content)| (path.into(), content())),
    );
    Ok(files)
}

/// Each visible command with the name of its manual page.
fn pages(all: &Command) -> Vec<(String, Command)> {
    let name = all.get_name();
    let mut pages = vec![(name.to_owned(), all.clone())];
    for command in all
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
    {
        let page = format!("{name}-{}", command.get_name());
        pages.push((page, command.clone()));
    }
    pages
}

/// Works around clap_complete 4.6: if the program's name has a dash, its script sets one label for a subcommand and looks for another.
fn bash(name: &str) -> Vec<u8> {
    let script = String::from_utf8_lossy(&completions(Shell::Bash)).into_owned();
    let found = format!("{}__subcmd__", name.replace('-', "__"));
    let taken = format!("{}__subcmd__", name.replace('-', "__subcmd__"));
    script.replace(&taken, &found).into_bytes()
}

/// Works around clap_complete 4.6: its script completes commands but no files as the first word.
fn zsh(name: &str) -> Vec<u8> {
    let script = String::from_utf8_lossy(&completions(Shell::Zsh)).into_owned();
    let commands = format!("    _describe -t commands '{name} commands' commands \"$@\"\n");
    script
        .replacen(&commands, &format!("{commands}    _files\n"), 1)
        .replacen(
            "case $line[1] in\n",
            "case $line[1] in\n            (*/*) _files ;;\n",
            1,
        )
        .into_bytes()
}

/// Works around clap_complete 4.6: its script gives up if a flag before the command still lacks a value, which is the case while you
/// complete that value.
fn fish() -> Vec<u8> {
    let script = String::from_utf8_lossy(&completions(Shell::Fish)).into_owned();
    let refused = "    or return\n";
    let script = script.replacen(refused, "    or return 0\n", 1);
    // Without this line it completes commands but no files as the first word.
    let files = "complete -c wrap-buddy -n __fish_wrap_buddy_needs_command -F\n";
    (script + files).into_bytes()
}

fn completions(shell: impl Generator) -> Vec<u8> {
    let all = CommandLine::command();
    let name = all.get_name().to_owned();
    // clap_complete would offer hidden commands.
    let shown = all.get_subcommands().filter(|one| !one.is_hide_set());
    let mut command = Command::new(env!("CARGO_PKG_NAME"))
        .about(all.get_about().cloned().unwrap_or_default())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .args(all.get_arguments().filter(|one| !one.is_positional()))
        .subcommands(shown);
    let mut content = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut content);
    content
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::Write;
    use std::process::{Command as Process, Stdio};

    use clap::ArgAction;

    use super::*;

    fn by_path() -> BTreeMap<String, String> {
        let files = files().unwrap().into_iter();
        let files = files.map(|(path, content)| {
            let path = path.to_str().unwrap().to_owned();
            (path, String::from_utf8(content).unwrap())
        });
        files.collect()
    }

    fn commands() -> Vec<(String, Command)> {
        let mut all = CommandLine::command();
        all.build();
        pages(&all)
    }

    /// Every visible option.
    fn flags(command: &Command) -> Vec<String> {
        let options = command
            .get_arguments()
            .filter(|option| !option.is_hide_set());
        options
            .filter_map(|option| option.get_long().map(str::to_owned))
            .collect()
    }

    /// Runs `program` with `input`; `None` if it is not installed.
    fn fed(program: &str, arguments: &[&str], input: &str) -> Option<(bool, String)> {
        let Ok(program) = which::which(program) else {
            eprintln!("skipped: there is no {program}");
            return None;
        };
        let mut child = Process::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8_lossy(&output.stdout);
        Some((
            output.status.success() && errors.is_empty(),
            format!("{text}{errors}"),
        ))
    }

    #[test]
    fn every_command_has_a_page_with_every_flag() {
        let files = by_path();
        let commands = commands();
        for expected in [
            "wrap-buddy",
            "wrap-buddy-restore",
            "wrap-buddy-status",
            "wrap-buddy-show",
            "wrap-buddy-watch",
        ] {
            assert!(
                commands.iter().any(|(page, _)| page == expected),
                "{expected}"
            );
        }
        for (page, command) in commands {
            // The source of a page escapes dashes.
            let text = files[&format!("man/man1/{page}.1")].replace("\\-", "-");
            let flags = flags(&command);
            assert!(flags.len() > 3, "{page}");
            for flag in flags {
                assert!(
                    text.contains(&format!("--{flag}")),
                    "{page} does not have --{flag}"
                );
            }
        }
    }

    #[test]
    fn pages_render_without_a_warning() {
        for (path, content) in by_path() {
            if !path.starts_with("man/") {
                continue;
            }
            let arguments = ["-man", "-Tutf8", "-ww", "-rLL=100n", "-P-cbou"];
            let Some((clean, text)) = fed("groff", &arguments, &content) else {
                return;
            };
            assert!(clean, "{path}: {text}");
            let headings = text
                .lines()
                .filter(|line| line.starts_with(char::is_uppercase));
            let headings: Vec<&str> = headings.filter(|line| !line.contains('(')).collect();
            let mut rest = headings.iter();
            for expected in [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "EXAMPLES",
                "EXIT STATUS",
                "FILES",
                "ENVIRONMENT",
                "DIAGNOSTICS",
                "SEE ALSO",
            ] {
                let found = rest.any(|heading| *heading == expected);
                assert!(found, "{path} has no {expected} after {headings:?}");
            }
        }
    }

    /// mandoc has other rules than groff, and is on other systems.
    #[test]
    fn mandoc_has_no_complaint() {
        for (path, content) in by_path() {
            if path.starts_with("man/") {
                let arguments = ["-T", "lint", "-W", "warning"];
                let Some((_, text)) = fed("mandoc", &arguments, &content) else {
                    return;
                };
                // A date would have to change with the version.
                let mut complaints = text.lines().filter(|line| !line.contains("missing date"));
                assert_eq!(complaints.next(), None, "{path}");
            }
        }
    }

    #[test]
    fn synopsis_has_every_option_with_its_values() {
        let files = by_path();
        for (page, command) in commands() {
            let text = files[&format!("man/man1/{page}.1")].replace("\\-", "-");
            let (_, synopsis) = text.split_once("SYNOPSIS").unwrap();
            let (synopsis, _) = synopsis.split_once(".SH").unwrap();
            let plain = ["\\fB", "\\fI", "\\fR"];
            let synopsis = plain
                .iter()
                .fold(synopsis.to_owned(), |text, font| text.replace(font, ""));
            for option in command.get_arguments() {
                let Some(long) = option.get_long().filter(|_| !option.is_hide_set()) else {
                    continue;
                };
                let takes = option
                    .get_num_args()
                    .is_some_and(|range| range.takes_values());
                let value = option.get_value_names().filter(|_| takes);
                let choices = option.get_possible_values();
                let value = match (choices.first(), option.get_action()) {
                    (Some(choice), ArgAction::Set) => format!(" {}", choice.get_name()),
                    _ => value.map_or(String::new(), |names| format!(" {}", names[0])),
                };
                let shown = format!("--{long}{value}");
                assert!(synopsis.contains(&shown), "{page}: {shown} in {synopsis}");
            }
        }
    }

    #[test]
    fn every_page_has_the_exit_statuses_and_an_example() {
        for (path, text) in by_path() {
            if !path.starts_with("man/") {
                continue;
            }
            let (_, examples) = text.split_once(".SH EXAMPLES").unwrap();
            let (examples, rest) = examples.split_once(".SH \"EXIT STATUS\"").unwrap();
            assert!(examples.contains("\\fBwrap\\-buddy "), "{path}: {examples}");
            let (statuses, _) = rest.split_once(".SH FILES").unwrap();
            // The others are those of the program.
            let all: &[&str] = match path.ends_with("-run.1") {
                true => &["2", "126, 127"],
                false => &["0", "1", "2"],
            };
            for status in all {
                let found = statuses.matches(&format!("\\fB{status}\\fR\n")).count();
                assert_eq!(found, 1, "{path}: {status} in {statuses}");
            }
        }
    }

    #[test]
    fn shells_take_the_completions() {
        let files = by_path();
        for (shell, arguments, path) in [
            (
                "bash",
                &["-n"][..],
                "bash-completion/completions/wrap-buddy",
            ),
            ("zsh", &["-n"], "zsh/site-functions/_wrap-buddy"),
            (
                "fish",
                &["--no-execute"],
                "fish/vendor_completions.d/wrap-buddy.fish",
            ),
        ] {
            if let Some((clean, text)) = fed(shell, arguments, &files[path]) {
                assert!(clean, "{shell}: {text}");
            }
        }
    }

    #[test]
    fn completions_know_every_flag() {
        let files = by_path();
        for path in files.keys().filter(|path| !path.starts_with("man/")) {
            let text = &files[path];
            for (page, command) in commands() {
                for flag in flags(&command) {
                    // fish writes `-l paths`.
                    let known =
                        text.contains(&format!("--{flag}")) || text.contains(&format!("-l {flag}"));
                    assert!(known, "{path} does not have --{flag} of {page}");
                }
            }
            assert!(!text.contains("generate"), "{path} has a hidden command");
        }
    }

    /// Types into an interactive bash, on a terminal that `script` provides.
    #[test]
    fn bash_completes_commands_flags_and_files() {
        let directory = tempfile::tempdir().unwrap();
        let completions = &by_path()["bash-completion/completions/wrap-buddy"];
        // ^T prints the completed line.
        let shown = r#"printf "\nshown<%s>\n" "$READLINE_LINE"; READLINE_LINE=; READLINE_POINT=0"#;
        let startup = format!(
            "{completions}\nPS1=\nbind -x '\"\\C-t\":{shown}'\nbind 'set bell-style none'\n"
        );
        let path = directory.path().join("startup");
        fs::write(&path, startup).unwrap();
        let cases = [
            ("sh", "show "),
            ("--runtime-d", "--runtime-dependencies "),
            ("restore --dry", "restore --dry-run "),
            ("--format json-", "--format json-lines "),
            ("watch --preset vscode-s", "watch --preset vscode-server "),
            ("--libs /usr/loca", "--libs /usr/local/"),
            ("check /usr/loca", "check /usr/local/"),
            ("/usr/loca", "/usr/local/"),
        ];
        let typed = cases.map(|(words, _)| format!("wrap-buddy {words}\t\x14"));
        let typed = format!("{}exit\n", typed.concat());
        let bash = format!("bash --noprofile --rcfile {} -i", path.display());
        let Some((_, text)) = fed("script", &["-qec", &bash, "/dev/null"], &typed) else {
            return;
        };
        let shown = text.split("shown<wrap-buddy ").skip(1);
        let shown: Vec<&str> = shown.filter_map(|rest| rest.split('>').next()).collect();
        assert_eq!(shown, cases.map(|(_, completed)| completed), "{text}");
    }

    #[test]
    fn fish_completes_commands_and_flags() {
        let script = &by_path()["fish/vendor_completions.d/wrap-buddy.fish"];
        for (line, expected) in [
            ("sh", "show"),
            ("--runtime-d", "--runtime-dependencies"),
            ("restore --dry", "--dry-run"),
            ("check --find", "--find-in"),
            ("--format json-", "json-lines"),
            ("watch --preset vscode-s", "vscode-server"),
            ("/usr/loca", "/usr/local/"),
            ("check /usr/loca", "/usr/local/"),
            ("--libs /usr/loca", "/usr/local/"),
        ] {
            let asked = format!("{script}\ncomplete -C 'wrap-buddy {line}'\n");
            if let Some((clean, text)) = fed("fish", &["--no-config"], &asked) {
                assert!(clean, "{line}: {text}");
                let printed = text.lines().map(|line| line.split('\t').next().unwrap());
                assert_eq!(printed.collect::<Vec<_>>(), [expected], "{line}");
            }
        }
    }

    /// Completes at a TAB on a terminal: zsh's completion works nowhere else.
    #[test]
    fn zsh_completes_commands_and_flags() {
        let directory = tempfile::tempdir().unwrap();
        let script = &by_path()["zsh/site-functions/_wrap-buddy"];
        fs::write(directory.path().join("_wrap-buddy"), script).unwrap();
        let asked = format!(
            r#"zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PROMPT= RPROMPT= fpath=({} \$fpath)"
zpty -w shell 'autoload -Uz compinit; compinit -u -D'
zpty -w shell 'shown() {{ print -r -- "shown<$BUFFER>"; BUFFER= }}; zle -N shown; bindkey "^X" shown; print rea""dy'
zpty -r -m shell seen '*ready*'
for line in sh --runtime-d 'restore --dry' 'check --find' '--format json-' 'watch --preset vscode-s' /usr/loca 'check /usr/loca' '--libs=/usr/loca'; do
    zpty -n -w shell "wrap-buddy $line"$'\t\C-x'
    zpty -r -m shell seen '*shown<*>*'
    print -r -- "${{${{seen##*shown<}}%%>*}}"
done
zpty -d shell
"#,
            directory.path().display()
        );
        if let Some((clean, text)) = fed("zsh", &["-f"], &asked) {
            assert!(clean, "{text}");
            // zsh removes the `=` when a blank follows.
            let expected = [
                "wrap-buddy show",
                "wrap-buddy --runtime-dependencies=",
                "wrap-buddy restore --dry-run",
                "wrap-buddy check --find-in=",
                "wrap-buddy --format json-lines",
                "wrap-buddy watch --preset vscode-server",
                "wrap-buddy /usr/local/",
                "wrap-buddy check /usr/local/",
                "wrap-buddy --libs=/usr/local/",
            ];
            let printed: Vec<&str> = text.lines().map(str::trim_end).collect();
            assert_eq!(printed, expected);
        }
    }
}
