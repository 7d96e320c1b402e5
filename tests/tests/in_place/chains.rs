//! Chains of needed libraries, each in a package of its own.

use std::fs;
use std::path::PathBuf;

use e2e::{Build, Edited, Root, Variant, Wrapped, assert_fails_unwrapped, matrix, source};

use super::{calling, foo};

matrix!(all: in_one_run_with_the_program, in_a_run_of_their_own);

/// A program that needs `libbaz.so`, which needs `libbar.so`, which needs `libfoo.so`.
struct Chain {
    root: Root,
    program: PathBuf,
    /// The libraries as they were built, and their directories in the store; each needs the next.
    libraries: [(PathBuf, String); 3],
}

const PROGRAM: &str = "/app/program";

impl Chain {
    fn new(variant: Variant) -> Chain {
        let root = Root::new(variant);
        let inner = foo(variant);
        let middle = calling(variant, "bar", "foo").link(&inner).build();
        let outer = calling(variant, "baz", "bar").link(&middle).build();
        let program = Build::program(variant, source("indirect.c"))
            .flags(["-Dbar=baz", "-Wl,--allow-shlib-undefined"])
            .link(&outer)
            .build();
        root.install(&program, PROGRAM);
        assert_fails_unwrapped(root.command(PROGRAM));
        let libraries =
            [("baz", outer), ("bar", middle), ("foo", inner)].map(|(package, built)| {
                let directory = root.package(package, &[&built]);
                (built, directory)
            });
        Chain {
            root,
            program,
            libraries,
        }
    }

    fn directories(&self) -> Vec<String> {
        let libraries = self.libraries.iter();
        libraries.map(|(_, directory)| directory.clone()).collect()
    }

    /// The directory of a library.
    fn path(&self, index: usize) -> String {
        let (built, directory) = &self.libraries[index];
        format!("{directory}/{}", e2e::toolchain::file_name(built))
    }

    /// Each library finds the next one by an edit, and the program needs only the first one.
    #[track_caller]
    fn check(&self) {
        for (index, (built, _)) in self.libraries.iter().enumerate() {
            let path = self.path(index);
            match self.libraries.get(index + 1) {
                Some((_, next)) => {
                    let original = fs::read(built).expect("built above");
                    let edited = Edited::read(&self.root, &path, original);
                    edited.searches("RUNPATH", &[next]);
                }
                None => assert_eq!(self.root.read(&path), fs::read(built).expect("built above")),
            }
        }
        let original = fs::read(&self.program).expect("built above");
        let wrapped = Wrapped::read(&self.root, PROGRAM, original);
        wrapped.check();
        let sidecar = sidecar::Sidecar::parse(&wrapped.sidecar).expect("checked above");
        assert_eq!(sidecar.needed_names().count(), 0, "nothing is added");
        let search = String::from_utf8_lossy(sidecar.search());
        let of = |index: usize| search.contains(&self.libraries[index].1);
        assert_eq!([of(0), of(1), of(2)], [true, false, false], "{search}");
        let output = self.root.command(PROGRAM).output().success();
        assert_eq!(output.stdout, "44\n", "{output}");
    }
}

fn in_one_run_with_the_program(variant: Variant) {
    let chain = Chain::new(variant);
    let directories = chain.directories();
    let wrap = chain.root.wrap(PROGRAM).and(directories.clone());
    let wrap = wrap.libs(directories).args(["--search-minimal"]);
    let report = wrap.report().success();
    assert_eq!([report.count("wrapped"), report.count("edited")], [1, 2]);
    assert_eq!(report.file(PROGRAM).needed(), [""; 0]);
    chain.check();
}

/// The libraries are edited first. They then also find their needs for a program that was wrapped before that.
fn in_a_run_of_their_own(variant: Variant) {
    let chain = Chain::new(variant);
    let [first, rest @ ..] = &chain.directories()[..] else {
        unreachable!("three libraries");
    };
    let wrap = chain.root.wrap(PROGRAM).libs([first]);
    wrap.args(["--ignore-missing", "libbar.so", "libfoo.so"])
        .run();
    let output = chain.root.command(PROGRAM).output().exits_with(127);
    assert!(output.stderr.contains("libbar.so"), "{output}");

    let wrap = chain.root.wrap(first).and(rest).libs(rest);
    let report = wrap.report().success();
    assert_eq!([report.count("edited"), report.count("skipped")], [2, 1]);
    chain.check();

    // A program that is wrapped later takes that into account.
    chain.root.install(&chain.program, PROGRAM);
    let wrap = chain.root.wrap(PROGRAM).libs(chain.directories());
    let report = wrap.args(["--search-minimal"]).report().success();
    assert_eq!(report.file(PROGRAM).needed(), [""; 0]);
    chain.check();
}
