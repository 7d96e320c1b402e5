//! Executables that a wrapped program makes out of itself: they have its stub and its sidecar, and other program headers.

use std::fs;
use std::path::PathBuf;

use e2e::{Build, Root, Variant, Wrap, assert_fails_unwrapped, matrix, source, toolchain};

matrix!(all: finds_its_payload, finds_its_payload_self_contained, finds_its_payload_where_dynamic_is_a_copy);
matrix!([x86_64_glibc_pie x86_64_glibc_exec i686_glibc_pie i686_glibc_exec aarch64_glibc_pie aarch64_glibc_exec]:
    (finds_its_payload_edited_in_place));

const PROGRAM: &str = "/app/program";
const DERIVED: &str = "/app/derived";

fn finds_its_payload(variant: Variant) {
    Bench::new(variant, &[]).derives(|wrap| wrap, 2);
}

fn finds_its_payload_self_contained(variant: Variant) {
    Bench::new(variant, &[]).derives(|wrap| wrap.args(["--self-contained"]), 2);
}

fn finds_its_payload_where_dynamic_is_a_copy(variant: Variant) {
    // lld leaves no entry of .dynamic to spare, and `--needed` wants some.
    let bench = Bench::new(variant, &toolchain::lld());
    let needed = ["libx1.so", "libx2.so", "libx3.so"];
    let libraries = needed.map(|name| Build::library(variant, source("lib/foo.c"), name).build());
    let libs = bench.root.package("more", &libraries.each_ref());
    bench.derives(|wrap| wrap.libs([libs]).args(["--needed"]).args(needed), 2);
}

fn finds_its_payload_edited_in_place(variant: Variant) {
    // PT_INTERP is still there: no header is to spare.
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

    /// Wraps the program, lets it make another one, which has to find this many payloads, and that one a third.
    #[track_caller]
    fn derives<'r>(&'r self, with: impl FnOnce(Wrap<'r>) -> Wrap<'r>, payloads: usize) {
        with(self.root.wrap(PROGRAM).libs([self.libs.clone()])).run();
        let says = format!("value 40, thread 7\ninterpreter {}\n", self.interpreter);
        let output = self.root.command(PROGRAM).output().success();
        assert_eq!(output.stdout, says, "{output}");

        let output = self.root.command(PROGRAM).args([DERIVED, "one"]).output();
        let found = [
            "payload in the last segment: one\n",
            "payload in a segment of its own: one\n",
        ];
        let says = says + &found[..payloads].concat();
        assert_eq!(output.success().stdout, says);
        assert_ne!(
            self.root.read(DERIVED),
            fs::read(&self.built).expect("built")
        );
        // Of itself, and elsewhere under another name.
        let copy = self.root.install(&self.root.path(DERIVED), "/srv/copy");
        for path in [DERIVED, &copy] {
            let output = self.root.command(path).output().success();
            assert_eq!(output.stdout, says, "{output}");
        }
    }
}
