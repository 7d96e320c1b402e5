//! Executables that a wrapped program makes from itself: they have its stub and sidecar, but other program headers.

use std::fs;
use std::path::PathBuf;

use e2e::{Build, Root, Variant, Wrap, assert_fails_unwrapped, matrix, source, toolchain};

matrix!(all: finds_its_payload, finds_its_payload_self_contained, finds_its_payload_where_dynamic_is_a_copy);
matrix!(all: finds_its_libraries_by_another_string_table, with_another_dynamic_is_to_be_wrapped);
matrix!(glibc: finds_its_payload_edited_in_place);

const PROGRAM: &str = "/app/program";
const DERIVED: &str = "/app/derived";

fn finds_its_payload(variant: Variant) {
    let bench = Bench::new(variant, &[]);
    bench.derives(|wrap| wrap, 2);
    bench.is_left_as_it_is();
}

fn finds_its_payload_self_contained(variant: Variant) {
    Bench::new(variant, &[]).derives(|wrap| wrap.args(["--self-contained"]), 2);
}

fn finds_its_payload_where_dynamic_is_a_copy(variant: Variant) {
    let (bench, libs) = where_dynamic_is_a_copy(variant);
    bench.derives(|wrap| wrap.libs([libs]).args(["--needed"]).args(MORE), 2);
}

const MORE: [&str; 3] = ["libx1.so", "libx2.so", "libx3.so"];

/// Returns also the directory with [`MORE`].
fn where_dynamic_is_a_copy(variant: Variant) -> (Bench, String) {
    // lld leaves no spare entry in .dynamic, and `--needed` requires some.
    let bench = Bench::new(variant, &toolchain::lld());
    let libraries = MORE.map(|name| Build::library(variant, source("lib/foo.c"), name).build());
    let libs = bench.root.package("more", &libraries.each_ref());
    (bench, libs)
}

/// The loader writes offsets from DT_STRTAB to strings in the sidecar into .dynamic.
fn finds_its_libraries_by_another_string_table(variant: Variant) {
    let bench = Bench::new(variant, &[]);
    bench.wraps(|wrap| wrap);
    bench.runs(&[DERIVED, "one", "strings"], 2);
    let (bench, libs) = where_dynamic_is_a_copy(variant);
    bench.wraps(|wrap| wrap.libs([libs]).args(["--needed"]).args(MORE));
    bench.runs(&[DERIVED, "one", "strings"], 2);
}

/// The loader writes to the entries that were unused when the program was wrapped.
fn with_another_dynamic_is_to_be_wrapped(variant: Variant) {
    let bench = Bench::new(variant, &[]);
    bench.wraps(|wrap| wrap);
    let run = bench.root.command(PROGRAM).args([DERIVED, "one", "entry"]);
    let output = run.output().exits_with(127);
    let says = format!("wrap-buddy: {DERIVED}: changed .dynamic; wrap the program again\n");
    assert_eq!(output.stderr, says);
    let check = bench.root.wrap_buddy().args(["check", DERIVED]);
    let check = check.output().exits_with(1);
    assert!(
        check.stdout.contains("its .dynamic has other entries"),
        "{check}"
    );

    bench.root.wrap(DERIVED).libs([bench.libs.clone()]).run();
    // Without an emulator, the report is that nothing runs a program for aarch64.
    let check = bench.root.wrap_buddy().args(["check", DERIVED]).output();
    assert!(!check.stdout.contains(".dynamic"), "{check}");
    bench.says(DERIVED, &[], 1);
    bench
        .root
        .wrap_buddy()
        .args(["restore", DERIVED])
        .output()
        .success();
}

fn finds_its_payload_edited_in_place(variant: Variant) {
    // PT_INTERP is still there, because there is no spare header.
    Bench::new(variant, &[]).derives(|wrap| wrap.args(["--strategy", "inplace"]), 1);
}

struct Bench {
    root: Root,
    built: PathBuf,
    libs: String,
    interpreter: String,
}

impl Bench {
    fn new(variant: Variant, flags: &[String]) -> Bench {
        let library = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
        let build = Build::program(variant, source("derive.c")).link(&library);
        let built = build.flags(flags.iter().cloned()).build();
        let root = Root::new(variant);
        let libs = root.package("foo", &[&library]);
        root.install(&built, PROGRAM);
        assert_fails_unwrapped(root.command(PROGRAM));
        Bench {
            interpreter: root.interpreter(variant.arch, variant.libc),
            root,
            built,
            libs,
        }
    }

    /// Wraps the program and runs it to make another one, which has to find this many payloads.
    #[track_caller]
    fn derives<'r>(&'r self, with: impl FnOnce(Wrap<'r>) -> Wrap<'r>, payloads: usize) {
        self.wraps(with);
        self.runs(&[DERIVED, "one"], payloads);
    }

    #[track_caller]
    fn wraps<'r>(&'r self, with: impl FnOnce(Wrap<'r>) -> Wrap<'r>) {
        with(self.root.wrap(PROGRAM).libs([self.libs.clone()])).run();
        self.says(PROGRAM, &[], 0);
    }

    /// The new program has another segment where PT_INTERP was. It starts, but cannot be changed or restored. The sidecar decides
    /// which libraries it loads.
    #[track_caller]
    fn is_left_as_it_is(&self) {
        let before = self.root.read(DERIVED);
        let check = self.root.wrap_buddy().args(["check", DERIVED]).output();
        let says = "its sidecar is /app/.program.wrapbuddy";
        assert!(check.stdout.contains(says), "{check}");
        // Without an emulator, the report is that nothing runs a program for aarch64.
        assert!(!check.stdout.contains("PT_INTERP"), "{check}");
        let says = "with another segment in place of PT_INTERP";
        let wrap = ["--paths", DERIVED, "--libs", &self.libs];
        let wrap = self.root.wrap_buddy().args(wrap).output();
        assert!(wrap.stdout.contains(says), "{wrap}");
        let restore = self.root.wrap_buddy().args(["restore", DERIVED]).output();
        assert!(restore.exits_with(1).stderr.contains(says));
        assert_eq!(self.root.read(DERIVED), before);

        let show = self.root.wrap_buddy().args(["show", DERIVED]).output();
        assert!(!show.success().stdout.contains("static"));
        let library = format!("{}/libfoo.so", self.libs);
        fs::remove_file(self.root.path(&library)).expect("it was loaded");
        let check = self.root.wrap_buddy().args(["check", DERIVED]).output();
        let check = check.exits_with(1);
        assert!(check.stdout.contains("libfoo.so is not found"), "{check}");
    }

    /// Runs the wrapped program to make another one, and starts that and a copy of it.
    #[track_caller]
    fn runs(&self, args: &[&str], payloads: usize) {
        self.says(PROGRAM, args, payloads);
        assert_ne!(
            self.root.read(DERIVED),
            fs::read(&self.built).expect("built")
        );
        // Made from itself, and at another path under another name.
        let copy = self.root.install(&self.root.path(DERIVED), "/srv/copy");
        for path in [DERIVED, &copy] {
            self.says(path, &[], payloads);
        }
    }

    #[track_caller]
    fn says(&self, path: &str, args: &[&str], payloads: usize) {
        let says = format!("value 40, thread 7\ninterpreter {}\n", self.interpreter);
        let found = [
            "payload in the last segment: one\n",
            "payload in a segment of its own: one\n",
        ];
        let run = self.root.command(path).args(args.iter().copied());
        let output = run.output().success();
        let says = says + &found[..payloads].concat();
        assert_eq!(output.stdout, says, "{output}");
    }
}
