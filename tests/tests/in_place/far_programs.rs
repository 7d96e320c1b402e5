//! Programs without room for a long search path. Links replace it if they have the same effect.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use e2e::{Build, Edited, Root, Variant, Wrap, Wrapped, matrix, source, store_path, toolchain};

use super::{ALL_NEEDED, foo, links_of, long_directory, other};

matrix!(all: links_to_needed_libraries);
// With musl, a path of a library must not be longer than 511 bytes, so a stub does not help either.
matrix!(glibc:
    set_id_program_does_not_rely_on_origin, no_link_to_library_that_uses_origin, no_link_to_library_that_will_use_origin,
);

const PROGRAM: &str = "/app/program";

const SAYS: &str = "foo 40, bar 42\n";

/// A program that needs `libfoo.so` and `libbar.so`, whose directories have paths of 2500 bytes.
struct Far {
    root: Root,
    built: PathBuf,
    /// The directories of `libfoo.so` and `libbar.so`.
    dirs: [String; 2],
}

impl Far {
    /// `also` may link `libbar.so` to more libraries.
    fn new(variant: Variant, also: impl Fn(Build) -> Build) -> Far {
        let outer = Build::library(variant, source("lib/bar.c"), "libbar.so");
        let needs = [foo(variant), also(outer).build()];
        let build = Build::program(variant, source("walkthrough.c"))
            .flag("-Wl,--allow-shlib-undefined")
            .link(&needs[0])
            .link(&needs[1]);
        let (built, root) = (build.build(), Root::new(variant));
        root.install(&built, PROGRAM);
        let dirs = needs.each_ref().map(|library| {
            let base = store_path(&toolchain::file_name(library));
            long_directory(&root, &base, 2500, &[library])
        });
        Far { root, built, dirs }
    }

    fn wrap(&self, strategy: &str) -> Wrap<'_> {
        let wrap = self.root.wrap(PROGRAM).libs(self.dirs.clone());
        wrap.args(["--strategy", strategy])
    }

    #[track_caller]
    fn says(&self, program: &str) {
        let output = self.root.command(program).user(1000).output().success();
        assert_eq!(output.stdout, SAYS, "{output}");
    }

    /// Asserts that no links are made, that the reason contains `words`, and that a stub works.
    #[track_caller]
    fn takes_a_stub<'f>(&'f self, words: &[&str], wrap: impl Fn(&'static str) -> Wrap<'f>) {
        let report = wrap("inplace").report().exits_with(1);
        report.file(PROGRAM).is("failed", words);
        let built = fs::read(&self.built).expect("built before");
        assert!(self.root.read(PROGRAM) == built, "it was changed");
        let report = wrap("auto").report().success();
        report.file(PROGRAM).is("wrapped", &[]);
        Wrapped::read(&self.root, PROGRAM, built).check();
        assert!(!self.root.path(&links_of(PROGRAM)).exists());
        self.says(PROGRAM);
    }
}

fn links_to_needed_libraries(variant: Variant) {
    let far = Far::new(variant, |build| build);
    far.wrap("inplace").run();
    let original = fs::read(&far.built).expect("built above");
    let edited = Edited::read(&far.root, PROGRAM, original);
    let links = links_of(PROGRAM);
    edited.searches("RUNPATH", &["$ORIGIN/.program.wrapbuddy.d", &links]);
    for (name, dir) in ["libfoo.so", "libbar.so"].iter().zip(&far.dirs) {
        let link = far.root.path(&format!("{links}/{name}"));
        let target = fs::read_link(link).expect("a symbolic link");
        assert_eq!(target, Path::new(&format!("{dir}/{name}")));
    }
    far.says(PROGRAM);
    symlink(PROGRAM, far.root.path("/link")).expect("a link");
    far.says("/link");
    far.root.install(&far.root.path(PROGRAM), "/srv/copy");
    far.says("/srv/copy");
    fs::rename(far.root.path("/app"), far.root.path("/moved")).expect("rename");
    far.says("/moved/program");
}

/// ld.so ignores $ORIGIN in a program with more rights than its user.
fn set_id_program_does_not_rely_on_origin(variant: Variant) {
    let far = Far::new(variant, |build| build);
    let set_id = fs::Permissions::from_mode(0o4755);
    fs::set_permissions(far.root.path(PROGRAM), set_id).expect("chmod");
    far.takes_a_stub(&["no room", "set-id"], |strategy| far.wrap(strategy));
}

/// `libbar.so` finds its needs relative to itself, and not if it is opened through a link.
fn no_link_to_library_that_uses_origin(variant: Variant) {
    let beside = other(variant, "libbeside.so");
    let far = Far::new(variant, |build| {
        let flags = [ALL_NEEDED, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/own"];
        build.flags(flags).link(&beside)
    });
    let own = format!("{}/own/libbeside.so", far.dirs[1]);
    far.root.install(&beside, &own);
    let words = ["libbar.so finds its libraries relative to itself"];
    far.takes_a_stub(&words, |strategy| far.wrap(strategy));
}

/// The same if `libbar.so` gets such a search path in the same run.
fn no_link_to_library_that_will_use_origin(variant: Variant) {
    let needs = [other(variant, "libdeep1.so"), other(variant, "libdeep2.so")];
    let far = Far::new(variant, |build| {
        let build = build.flag(ALL_NEEDED);
        needs.iter().fold(build, Build::link)
    });
    let deep = needs.each_ref().map(|library| {
        let base = store_path(&toolchain::file_name(library));
        long_directory(&far.root, &base, 2500, &[library])
    });
    let words = ["libbar.so finds its libraries relative to itself"];
    far.takes_a_stub(&words, |strategy| {
        let wrap = far.wrap(strategy).libs(deep.clone());
        wrap.and([far.dirs[1].clone()])
    });
}
