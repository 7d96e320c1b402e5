//! The whole text output. `INSTA_UPDATE=always cargo nextest run -p wrap-buddy snapshots` records the current output.

use insta::assert_snapshot;
use std::fs;
use std::path::PathBuf;
use wrap_buddy::commands::Command as Parsed;
use wrap_buddy::commands::show::show;
use wrap_buddy::commands::status::status;
use wrap_buddy::plan::outcome::Report;
use wrap_buddy::report::{Output, Reporter};

use crate::fixture::*;

/// A program with fixed code at the entry point, and with room for any stub.
const MAIN: &str = r#"
__asm__(".globl _start\n_start:\n  xor %ebp, %ebp\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call go\n  hlt\n  .space 1024, 0x90\n");
int foo(void), bar(void);
void go(void) { foo(); bar(); for (;;); }
"#;

/// `app/main` and `app/libplug.so` need a search path, `app/lacking` lacks two libraries, `app/cut` is truncated.
struct Tree {
    dir: TestDir,
    app: PathBuf,
}

impl Tree {
    fn new() -> Self {
        let dir = TestDir::new();
        dir.walk_through(Arch::X86_64, &[]);
        let arguments = [
            "-nostartfiles",
            "foo/lib/libfoo.so.1",
            "bar/lib/libbar.so.1",
        ];
        dir.compile(Arch::X86_64, "app/main", MAIN, &arguments);
        let source = "int bar(void); int plug(void) { return bar(); }";
        let arguments = ["-shared", "-fPIC", "bar/lib/libbar.so.1"];
        dir.compile(Arch::X86_64, "app/libplug.so", source, &arguments);
        for name in ["one", "two"] {
            let soname = format!("-Wl,-soname,lib{name}.so");
            let library = format!("gone/lib{name}.so");
            dir.compile(Arch::X86_64, &library, "int gone;", &["-shared", &soname]);
        }
        let source = "int main(void) { return 0; }";
        let arguments = ["-Wl,--no-as-needed", "gone/libone.so", "gone/libtwo.so"];
        dir.compile(Arch::X86_64, "app/lacking", source, &arguments);
        fs::remove_dir_all(dir.path("gone")).unwrap();
        dir.write("app/cut", b"\x7fELF\x02\x01\x01");
        let app = dir.path("app");
        Self { dir, app }
    }

    fn report(&self, more: &[&str]) -> Report {
        self.dir.wrap_with_libs(Arch::X86_64, &self.app, more)
    }

    fn wrap(&self, more: &[&str]) -> String {
        self.printed(&self.report(more), Output::default())
    }

    fn command(&self, words: &[&str]) -> Parsed {
        let all = ["wrap-buddy"].into_iter().chain(words.iter().copied());
        let paths = [self.app.to_str().unwrap()];
        parsed(all.chain(paths))
    }

    fn restore(&self, words: &[&str]) -> String {
        let Parsed::Restore(restore) = self.command(words) else {
            panic!("another command");
        };
        let report =
            wrap_buddy::commands::restore::restore(&restore, &stages(), &Reporter::default());
        self.printed(&report.unwrap(), Output::default())
    }

    fn status(&self) -> String {
        let Parsed::Status(look) = self.command(&["status"]) else {
            panic!("another command");
        };
        let files = status(&look, &stages(), &Reporter::default()).unwrap();
        let mut out = Vec::new();
        wrap_buddy::commands::status::write(&files, look.output, &mut out).unwrap();
        self.settled(&plain(out))
    }

    fn show(&self) -> String {
        let Parsed::Show(look) = self.command(&["show"]) else {
            panic!("another command");
        };
        let mut views = show(&look, &stages(), &Reporter::default()).unwrap();
        views.retain(|view| view.path.ends_with("main"));
        // Both continue with random bytes: the dummy stub, and the filler of the program.
        views[0].stub_code.truncate(6);
        views[0].entry_code.truncate(6);
        views[0].edits.retain(|edit| edit.kind != "slot");
        let mut out = Vec::new();
        wrap_buddy::commands::show::human::write(&views, look.output, &mut out).unwrap();
        self.settled(&plain(out))
    }

    /// Standard output, then standard error.
    fn printed(&self, report: &Report, output: Output) -> String {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        wrap_buddy::commands::wrap::human::write(report, output, &mut out, &mut errors).unwrap();
        let text = format!("{}--- standard error\n{}", plain(out), plain(errors));
        self.settled(&text)
    }

    /// Without the parts that differ between runs or linkers.
    fn settled(&self, text: &str) -> String {
        let text = text.replace(self.dir.root.to_str().unwrap(), "YARD");
        let lines = text.lines().map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let words = words.iter().enumerate().map(|(index, word)| {
                let next = words.get(index + 1).copied().unwrap_or_default();
                let counted = next.starts_with("bytes") && word.parse::<u64>().is_ok();
                let is_hex = |word: &str| word.chars().all(|digit| digit.is_ascii_hexdigit());
                match word.strip_prefix("0x") {
                    Some(digits) => {
                        let end = digits.find(|digit: char| !digit.is_ascii_hexdigit());
                        format!(
                            "0x{}",
                            &digits[end.unwrap_or(digits.len())..].replacen("", "…", 1)
                        )
                    }
                    None if counted => "N".to_owned(),
                    // Addresses of code, bytes, and identities.
                    None if word.len() >= 3
                        && is_hex(word)
                        && word.contains(|c: char| c.is_ascii_digit()) =>
                    {
                        "…".to_owned()
                    }
                    None => (*word).to_owned(),
                }
            });
            let line = words.collect::<Vec<_>>().join(" ");
            // The removed text had a width.
            let indent = line.len() - line.trim_start().len();
            let words: Vec<&str> = line.split_whitespace().collect();
            match line.contains('…') {
                true => format!("{}{}", &line[..indent], words.join(" ")),
                false => line,
            }
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    }
}

#[test]
fn a_dry_run() {
    let tree = Tree::new();
    let report = tree.report(&["--dry-run"]);
    for (name, verbose, detailed) in [
        ("dry_run", false, false),
        ("dry_run_verbose", true, false),
        ("dry_run_detailed", true, true),
    ] {
        let output = Output {
            verbose,
            detailed,
            ..Output::default()
        };
        assert_snapshot!(name, tree.printed(&report, output));
    }
}

#[test]
fn wrapping_and_what_comes_after() {
    let tree = Tree::new();
    assert_snapshot!("wrap", tree.wrap(&[]));
    assert_snapshot!("wrap_again", tree.wrap(&[]));
    assert_snapshot!("status", tree.status());
    assert_snapshot!("show", tree.show());
    let dry = tree.restore(&["restore", "--dry-run"]);
    assert_snapshot!("restore_dry_run", dry);
    assert_snapshot!("restore", tree.restore(&["restore"]));
    assert_snapshot!("restore_again", tree.restore(&["restore"]));
}

/// The binary writes colours to terminals, or if you force it.
#[test]
fn colours_are_for_terminals() {
    let tree = Tree::new();
    let run = |variables: &[(&str, &str)]| -> Vec<u8> {
        let mut command = assert_cmd::Command::cargo_bin("wrap-buddy").unwrap();
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        command.envs(variables.iter().copied());
        let output = command
            .arg("--paths")
            .arg(&tree.app)
            .arg("--dry-run")
            .output()
            .unwrap();
        [output.stdout, output.stderr].concat()
    };
    assert!(!run(&[]).contains(&0x1b));
    assert!(run(&[("CLICOLOR_FORCE", "1")]).contains(&0x1b));
    assert!(!run(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains(&0x1b));
}
