//! `--search`: how programs find their libraries, and what they load in which order.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use e2e::{Build, Edited, Libc, Output, Root, Variant, Wrap, matrix, source};
use sidecar::Sidecar;

matrix!(glibc:
    frozen_searches_for_nothing, symbols_are_bound_as_before, exempt_libraries_are_searched_for, a_library_that_is_gone,
    relocatable, what_is_opened_later, in_place,
);
matrix!(systems: inherited);
matrix!([x86_64_musl_pie x86_64_musl_exec]: (musl_searches_as_ever));

const PROGRAM: &str = "/app/program";
const FROZEN: [&str; 2] = ["--search", "frozen"];

/// A program that needs `libbar.so`, which needs `libfoo.so`, each in a directory of its own.
struct Chain {
    root: Root,
    built: PathBuf,
    bar: String,
    foo: String,
}

fn foo(variant: Variant, value: u8) -> PathBuf {
    Build::library(variant, source("lib/foo.c"), "libfoo.so")
        .flag(format!("-DVALUE={value}"))
        .build()
}

/// `libbar.so`, which needs `libfoo.so`.
fn bar(variant: Variant, needed: &Path) -> Build {
    Build::library(variant, source("lib/bar.c"), "libbar.so").link(needed)
}

impl Chain {
    fn new(variant: Variant) -> Chain {
        Chain::with(variant, &[])
    }

    /// The program needs `more` libraries, behind `libbar.so`.
    fn with(variant: Variant, more: &[PathBuf]) -> Chain {
        let root = Root::new(variant);
        let inner = foo(variant, 40);
        let outer = bar(variant, &inner).build();
        let build = Build::program(variant, source("indirect.c"))
            .flags(["-Wl,--allow-shlib-undefined,--no-as-needed"])
            .link(&outer);
        let built = more.iter().fold(build, Build::link).build();
        root.install(&built, PROGRAM);
        let inner = root.package("foo", &[inner]);
        let outer = root.package("bar", &[outer]);
        Chain {
            root,
            built,
            bar: outer,
            foo: inner,
        }
    }

    fn wrap(&self, args: &[&str]) -> Wrap<'_> {
        let libs = [self.bar.as_str(), &self.foo];
        self.root
            .wrap(PROGRAM)
            .libs(libs)
            .args(args.iter().copied())
    }

    fn run(&self, env: &[(&str, &str)]) -> Output {
        let command = self.root.command(PROGRAM);
        env.iter()
            .fold(command, |command, (name, value)| command.env(name, *value))
            .output()
    }

    #[track_caller]
    fn says(&self, env: &[(&str, &str)], says: &str) {
        let output = self.run(env).success();
        assert_eq!(output.stdout, says, "{output}");
    }

    /// The names in its sidecar.
    fn needed(&self) -> Vec<String> {
        let sidecar = self.root.read(&e2e::check::sidecar_of(PROGRAM));
        let sidecar = Sidecar::parse(&sidecar).expect("a sidecar");
        let names = sidecar.needed_names();
        names
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }
}

/// Names that ld.so has searched for, as it says itself.
fn searched_for(output: &Output) -> BTreeSet<String> {
    let lines = output
        .stderr
        .lines()
        .filter(|line| line.contains("searching"));
    let names = lines.filter_map(|line| line.split_once("find library=")?.1.split(' ').next());
    names.map(str::to_owned).collect()
}

fn frozen_searches_for_nothing(variant: Variant) {
    let chain = Chain::new(variant);
    let debug = [("LD_DEBUG", "libs")];
    chain.wrap(&["--needed", "libfoo.so"]).run();
    let names = searched_for(&chain.run(&debug).success());
    assert!(
        names.contains("libbar.so") && names.contains("libc.so.6"),
        "{names:?}"
    );

    chain.wrap(&FROZEN).run();
    let needed = chain.needed();
    let libc = &chain.root.library_dirs()[0];
    let paths = [
        format!("{}/libbar.so", chain.bar),
        format!("{libc}/libc.so.6"),
        format!("{}/libfoo.so", chain.foo),
    ];
    assert_eq!(needed, paths);
    let output = chain.run(&debug).success();
    assert_eq!(searched_for(&output), BTreeSet::new(), "{output}");
    assert_eq!(output.stdout, "42\n");
    // The same again changes nothing.
    let report = chain.wrap(&FROZEN).report().success();
    report.file(PROGRAM).is("skipped", &["already wrapped"]);
}

/// Two libraries have a `foo`: the one that is nearer to the program counts, and it has to go on being that.
fn symbols_are_bound_as_before(variant: Variant) {
    let nearer = Build::library(variant, source("lib/foo.c"), "libnearer.so")
        .flag("-DVALUE=1")
        .build();
    let chain = Chain::with(variant, std::slice::from_ref(&nearer));
    let dir = chain.root.package("nearer", &[nearer]);
    let bindings = |search| {
        let args = ["--search", search, "--libs", &dir];
        chain.wrap(&args).run();
        let output = chain.run(&[("LD_DEBUG", "bindings")]).success();
        assert_eq!(output.stdout, "3\n", "{search}: {output}");
        let lines = output.stderr.lines();
        let lines = lines.filter_map(|line| Some(line.split_once("binding file ")?.1.to_owned()));
        lines.collect::<BTreeSet<String>>()
    };
    let (searched, frozen) = (bindings("runpath"), bindings("frozen"));
    assert!(
        searched.iter().any(|line| line.contains("`foo'")),
        "{searched:?}"
    );
    assert_eq!(searched, frozen);
}

fn exempt_libraries_are_searched_for(variant: Variant) {
    let chain = Chain::new(variant);
    let other = chain.root.package("other", &[foo(variant, 1)]);
    let preloaded = format!("{other}/libfoo.so");
    let (path, preload) = (
        [("LD_LIBRARY_PATH", other.as_str())],
        [("LD_PRELOAD", preloaded.as_str())],
    );
    chain.wrap(&FROZEN).run();
    chain.says(&[], "42\n");
    chain.says(&path, "42\n");
    chain.says(&preload, "3\n");

    chain
        .wrap(&["--search", "frozen", "--frozen-except", "libfoo.*"])
        .run();
    assert!(
        chain.needed().contains(&"libfoo.so".to_owned()),
        "{:?}",
        chain.needed()
    );
    chain.says(&[], "42\n");
    chain.says(&path, "3\n");

    // The C library as a whole, or not at all.
    chain
        .wrap(&["--search", "frozen", "--frozen-except", "libm.so.6"])
        .run();
    let needed = chain.needed();
    assert!(needed.contains(&"libc.so.6".to_owned()), "{needed:?}");
    chain.says(&[], "42\n");
}

fn a_library_that_is_gone(variant: Variant) {
    let chain = Chain::new(variant);
    chain.wrap(&FROZEN).run();
    let path = format!("{}/libfoo.so", chain.foo);
    let moved = chain.root.package("moved", &[foo(variant, 40)]);
    fs::remove_file(chain.root.path(&path)).expect("it was there");
    let output = chain.run(&[]).exits_with(127);
    assert!(output.stderr.contains(&path), "{output}");

    let status = chain.root.wrap_buddy().args(["status", "/app"]).output();
    assert!(
        status.stdout.contains(&format!("{path} is gone")),
        "{status}"
    );

    let wrap = chain.root.wrap(PROGRAM).libs([chain.bar.as_str(), &moved]);
    wrap.args(FROZEN).run();
    chain.says(&[], "42\n");
}

/// Paths go by the program's own place.
fn relocatable(variant: Variant) {
    let Chain {
        root,
        built,
        bar,
        foo: inner,
    } = Chain::new(variant);
    root.install(&built, "/srv/tree/bin/program");
    for (directory, name) in [(bar, "libbar.so"), (inner, "libfoo.so")] {
        let library = root.path(&format!("{directory}/{name}"));
        root.install(&library, &format!("/srv/tree/lib/{name}"));
    }
    let wrap = root.wrap("/srv/tree/bin/program").libs(["/srv/tree/lib"]);
    wrap.args(FROZEN).args(["--relocatable"]).run();
    // Dynamic linker and loader stay where they are, as far away as before.
    fs::rename(root.path("/srv/tree"), root.path("/srv/moved")).expect("rename");
    let command = root.command("/srv/moved/bin/program");
    let output = command.env("LD_DEBUG", "libs").output().success();
    assert_eq!(output.stdout, "42\n");
    assert_eq!(searched_for(&output), BTreeSet::new(), "{output}");
}

/// What only dlopen asks for is found by the search path.
fn what_is_opened_later(variant: Variant) {
    let root = Root::new(variant);
    let plugin = foo(variant, 40);
    let bar = bar(variant, &plugin).flag("-Wl,-rpath,$ORIGIN").build();
    let built = Build::program(variant, source("open.c"))
        .flag("-ldl")
        .build();
    root.install(&built, PROGRAM);
    let dir = root.package("plugins", &[plugin, bar]);
    let wrap = root.wrap(PROGRAM).args(["--runtime-dependencies", &dir]);
    wrap.args(FROZEN).run();
    let output = root.command(PROGRAM).output().success();
    assert_eq!(output.stdout, "42\n");
}

/// Where slots and room allow: GNU ld leaves enough for a few.
fn in_place(variant: Variant) {
    let chain = Chain::new(variant);
    let report = chain
        .wrap(&["--search", "frozen", "--strategy", "inplace"])
        .report();
    report.success().file(PROGRAM).is("edited", &[]);
    let original = fs::read(&chain.built).expect("built above");
    let edited = Edited::read(&chain.root, PROGRAM, original);
    let needed = edited.dynamic("NEEDED");
    assert_eq!(needed[0], format!("{}/libbar.so", chain.bar), "{needed:?}");
    assert_eq!(needed.len(), 5, "{needed:?}");
    let output = chain.run(&[("LD_DEBUG", "libs")]).success();
    assert_eq!(
        (output.stdout.as_str(), searched_for(&output)),
        ("42\n", BTreeSet::new())
    );
    let restore = chain.root.wrap_buddy().args(["restore", "/app"]).output();
    restore.success();
    assert!(chain.root.read(PROGRAM) == fs::read(&chain.built).expect("built above"));
}

/// A plugin without a search path of its own finds what it needs by the program's, if that is inherited.
fn inherited(variant: Variant) {
    let root = Root::new(variant);
    let inner = foo(variant, 40);
    let plugin = bar(variant, &inner).build();
    let flags = ["-ldl", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/none"];
    let built = Build::program(variant, source("open.c"))
        .flags(flags)
        .build();
    root.install(&built, PROGRAM);
    let dir = root.package("plugins", &[inner, plugin]);
    for (search, finds) in [("runpath", variant.libc == Libc::Musl), ("rpath", true)] {
        let wrap = root.wrap(PROGRAM).args(["--runtime-dependencies", &dir]);
        wrap.args(["--search", search]).run();
        let output = root.command(PROGRAM).output();
        assert_eq!(output.stdout == "42\n", finds, "{search}: {output}");
    }
}

/// It knows a library by the name it was asked for, and would load each twice.
fn musl_searches_as_ever(variant: Variant) {
    let chain = Chain::new(variant);
    chain.wrap(&FROZEN).run();
    let needed = chain.needed();
    assert!(needed.iter().all(|name| !name.contains('/')), "{needed:?}");
    chain.says(&[], "42\n");
}
