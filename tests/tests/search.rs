//! `--search`: how programs find their libraries, and in which order these are loaded.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use e2e::check::{dynamic_tags, segments, word};
use e2e::{Build, Edited, Libc, Output, Root, Variant, Wrap, matrix, source};
use object::elf;
use sidecar::Sidecar;

matrix!(glibc:
    frozen_program_searches_for_no_library, frozen_library_is_not_needed_by_name_too, symbols_are_bound_as_before, exempt_libraries_are_searched_for, libraries_of_drivers_are_searched_for,
    library_that_may_move_is_needed_by_name, a_library_that_is_gone,
    relocatable, library_opened_later_is_found, in_place, wrong_count_of_required_versions_is_ignored, filtees, a_filtee_of_a_library_below_the_paths,
);
matrix!(systems: inherited, directories_that_nothing_is_needed_from);
matrix!([x86_64_musl_pie x86_64_musl_exec]: (musl_search_is_not_frozen));

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

    /// The program needs `more` libraries, after `libbar.so`.
    fn with(variant: Variant, more: &[PathBuf]) -> Chain {
        Chain::of(variant, "indirect.c", more)
    }

    fn of(variant: Variant, program: &str, more: &[PathBuf]) -> Chain {
        let root = Root::new(variant);
        let inner = foo(variant, 40);
        let outer = bar(variant, &inner).build();
        let build = Build::program(variant, source(program))
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

/// The names that ld.so has searched for, as it reports itself.
fn searched_for(output: &Output) -> BTreeSet<String> {
    let lines = output
        .stderr
        .lines()
        .filter(|line| line.contains("searching"));
    let names = lines.filter_map(|line| line.split_once("find library=")?.1.split(' ').next());
    names.map(str::to_owned).collect()
}

fn frozen_program_searches_for_no_library(variant: Variant) {
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
    // A second run changes nothing.
    let report = chain.wrap(&FROZEN).report().success();
    report.file(PROGRAM).is("skipped", &["already wrapped"]);
}

/// A library whose symbol versions are looked up by name, such as libc, keeps its name.
fn frozen_library_is_not_needed_by_name_too(variant: Variant) {
    let chain = Chain::of(variant, "asked_for.c", &[]);
    let libc = format!("{}/libc.so.6", chain.root.library_dirs()[0]);
    let (outer, inner) = (&chain.bar, &chain.foo);
    let frozen = format!("{outer}/libbar.so {libc} {inner}/libfoo.so libc.so.6");
    // Here the program has to need libfoo.so, because libbar.so does not find it.
    let searched = "libbar.so libc.so.6 libfoo.so";
    for (search, expected) in [("runpath", searched), ("frozen", &frozen)] {
        chain.wrap(&["--search", search]).run();
        let output = chain.run(&[]).success();
        let names = output.stdout.lines();
        let names: Vec<&str> = names.filter(|name| !name.starts_with("ld-linux")).collect();
        assert_eq!(names.join(" "), expected, "{search}");
    }
}

/// Two libraries define `foo`. The one nearer to the program counts, before and after wrapping.
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

    // All libraries of the C library are frozen, or none.
    chain
        .wrap(&["--search", "frozen", "--frozen-except", "libm.so.6"])
        .run();
    let needed = chain.needed();
    assert!(needed.contains(&"libc.so.6".to_owned()), "{needed:?}");
    chain.says(&[], "42\n");
}

/// The driver may be in any directory of the machine on which the program runs.
fn libraries_of_drivers_are_searched_for(variant: Variant) {
    let chain = Chain::new(variant);
    let drivers = "/run/opengl-driver/lib";
    let library = format!("{drivers}/libfoo.so");
    chain.root.install(&foo(variant, 1), &library);
    let wrap = chain.root.wrap(PROGRAM).libs([chain.bar.as_str(), drivers]);
    wrap.args(FROZEN).run();
    let needed = chain.needed();
    assert!(needed.contains(&"libfoo.so".to_owned()), "{needed:?}");
    assert!(
        needed.contains(&format!("{}/libbar.so", chain.bar)),
        "{needed:?}"
    );
    chain.says(&[], "3\n");
}

/// `libbar.so` finds `libfoo.so`, but that may move.
fn library_that_may_move_is_needed_by_name(variant: Variant) {
    let chain = Chain::new(variant);
    let (vendor, inner) = ("/opt/vendor", foo(variant, 40));
    let outer = bar(variant, &inner).flag(format!("-Wl,-rpath,{vendor}"));
    let library = format!("{vendor}/libfoo.so");
    chain.root.install(&inner, &library);
    chain
        .root
        .install(&outer.build(), &format!("{}/libbar.so", chain.bar));
    let warning = "frozen libraries are neither in a store nor in a directory that you named";
    for (libs, warned) in [
        (vec![&*chain.bar], true),
        (vec![&*chain.bar, vendor], false),
    ] {
        let output = chain.root.wrap(PROGRAM).libs(libs).args(FROZEN).run();
        let mut lines = output.stderr.lines();
        let line = lines.find(|line| line.contains(warning));
        assert_eq!(
            line.is_some_and(|line| line.contains(&library)),
            warned,
            "{output}"
        );
        assert_eq!(line.is_some(), warned, "{output}");
        chain.says(&[], "42\n");
    }
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

    let check = chain.root.wrap_buddy().args(["check", "/app"]).output();
    assert!(check.stdout.contains(&path), "{check}");
    assert_eq!(check.status, Some(1), "{check}");

    let wrap = chain.root.wrap(PROGRAM).libs([chain.bar.as_str(), &moved]);
    wrap.args(FROZEN).run();
    chain.says(&[], "42\n");
}

/// Paths are relative to the program's own directory.
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
    wrap.args(FROZEN)
        .args(["--relocatable", "--allow-outside"])
        .run();
    // Dynamic linker and loader stay at the same relative path.
    fs::rename(root.path("/srv/tree"), root.path("/srv/moved")).expect("rename");
    let command = root.command("/srv/moved/bin/program");
    let output = command.env("LD_DEBUG", "libs").output().success();
    assert_eq!(output.stdout, "42\n");
    assert_eq!(searched_for(&output), BTreeSet::new(), "{output}");
}

/// The search path finds libraries that only dlopen asks for.
fn library_opened_later_is_found(variant: Variant) {
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

/// A program that opens a library by its name finds it in each directory of `--libs` with libraries for it. These directories
/// follow those with the libraries that it needs.
fn directories_that_nothing_is_needed_from(variant: Variant) {
    let root = Root::new(variant);
    let inner = foo(variant, 40);
    let plugin = bar(variant, &inner).flag("-Wl,-rpath,$ORIGIN").build();
    let build = Build::program(variant, source("open.c")).flag("-ldl");
    let built = build.flag("-Wl,--no-as-needed").link(&inner).build();
    root.install(&built, PROGRAM);
    let plugins = root.package("plugins", &[&plugin, &inner]);
    let needed = root.package("foo", &[&inner]);
    root.mkdir("/opt/empty");
    let other = match variant.arch {
        e2e::Arch::I686 => e2e::Arch::X86_64,
        _ => e2e::Arch::I686,
    };
    let other = Variant::new(other, Libc::Glibc, e2e::Kind::Pie);
    let others = root.package("others", &[foo(other, 1)]);

    let libs = ["/opt/empty", &others, &needed, &plugins];
    let search = |args: &[&str]| -> Vec<String> {
        let wrap = root.wrap(PROGRAM).libs(libs);
        wrap.args(args.iter().copied()).run();
        let sidecar = root.read(&e2e::check::sidecar_of(PROGRAM));
        let sidecar = Sidecar::parse(&sidecar).expect("a sidecar");
        let text = String::from_utf8_lossy(sidecar.search()).into_owned();
        text.split(':').map(str::to_owned).collect()
    };
    for mode in ["runpath", "rpath", "frozen"] {
        let path = search(&["--search", mode]);
        let at = |directory: &str| path.iter().position(|one| one == directory);
        assert!(
            at(&needed) < at(&plugins) && at(&needed).is_some(),
            "{path:?}"
        );
        assert_eq!((at("/opt/empty"), at(&others)), (None, None), "{path:?}");
        let output = root.command(PROGRAM).output().success();
        assert_eq!(output.stdout, "42\n", "{mode}");
    }

    let path = search(&["--search-minimal"]);
    assert!(
        path.contains(&needed) && !path.contains(&plugins),
        "{path:?}"
    );
    root.command(PROGRAM).output().exits_with(1);

    // In place, if it fits.
    let restore = root.wrap_buddy().args(["restore", PROGRAM]).output();
    restore.success();
    let wrap = || root.wrap(PROGRAM).args(["--strategy", "inplace"]);
    wrap().libs(libs).run();
    let output = root.command(PROGRAM).output().success();
    assert_eq!(output.stdout, "42\n");

    let long: Vec<String> = (0..200)
        .map(|number| root.package(&format!("{number}-{}", "x".repeat(60)), &[&plugin]))
        .collect();
    let report = wrap().libs(long).libs(libs).report().success();
    let note = "has no room for the directories of --libs that resolve nothing";
    assert!(report.output.stdout.contains(note), "{}", report.output);
    root.command(PROGRAM).output().exits_with(1);
}

/// A program that needs `libbar.so`, whose own `bar` is 1. `tag` makes `libimpl.so` its filtee, whose `bar` is 42 because of
/// `libfoo.so`. Only DT_FILTER or DT_AUXILIARY names `libimpl.so`.
struct Filter {
    root: Root,
    filter: PathBuf,
    filtee: PathBuf,
    /// Directories with the filter, its filtee, and the library that the filtee needs.
    libs: [String; 3],
}

impl Filter {
    fn new(variant: Variant, tag: &str) -> Filter {
        let inner = foo(variant, 40);
        let build = Build::library(variant, source("lib/bar.c"), "libimpl.so");
        let filtee = build.link(&inner).build();
        let build = Build::library(variant, source("lib/foo.c"), "libbar.so");
        let flag = format!("-Wl,{tag},libimpl.so");
        let filter = build.flags(["-Dfoo=bar", "-DVALUE=1", &flag]).build();
        let root = Root::new(variant);
        let packages = [("bar", &filter), ("impl", &filtee), ("foo", &inner)];
        let libs = packages.map(|(name, library)| root.package(name, &[library]));
        let filter = Filter {
            root,
            filter,
            filtee,
            libs,
        };
        filter.install(variant, &[]);
        filter
    }

    /// The program needs `more` libraries, after `libbar.so`.
    fn install(&self, variant: Variant, more: &[&Path]) {
        let build = Build::program(variant, source("indirect.c"))
            .flags(["-Wl,--allow-shlib-undefined,--no-as-needed"])
            .link(&self.filter);
        let built = more.iter().fold(build, |build, one| build.link(one));
        self.root.install(&built.build(), PROGRAM);
    }

    /// Wraps the program with the libraries in `libs`, and asserts its output.
    #[track_caller]
    fn prints(&self, libs: &[String], args: &[&str], says: &str) -> Output {
        let wrap = self.root.wrap(PROGRAM).libs(libs.to_vec());
        wrap.args(args.iter().copied()).run();
        let command = self.root.command(PROGRAM).env("LD_DEBUG", "libs");
        let output = command.output().success();
        assert_eq!(output.stdout, says, "{args:?}: {output}");
        output
    }
}

/// A filtee is found like a needed library, and comes before its filter.
fn filtees(variant: Variant) {
    for tag in ["-F", "-f"] {
        let case = Filter::new(variant, tag);
        for search in ["runpath", "rpath"] {
            case.prints(&case.libs, &["--search", search], "42\n");
        }
        let output = case.prints(&case.libs, &FROZEN, "42\n");
        assert_eq!(searched_for(&output), BTreeSet::new(), "{output}");
        // The program needs the filtee itself, after the filter.
        case.install(variant, &[&case.filtee]);
        for search in ["runpath", "frozen"] {
            case.prints(&case.libs, &["--search", search], "42\n");
        }
    }

    let auxiliary = Filter::new(variant, "-f");
    let only_filter = &auxiliary.libs[..1];
    for search in ["runpath", "rpath", "frozen"] {
        auxiliary.prints(only_filter, &["--search", search], "1\n");
    }
    let standard = Filter::new(variant, "-F");
    let wrap = standard.root.wrap(PROGRAM).libs([&*standard.libs[0]]);
    let report = wrap.report();
    report
        .file(PROGRAM)
        .is("failed", &["libraries are missing"]);
    let text = &report.output.stdout;
    assert!(
        text.contains("libimpl.so") && text.contains("libbar.so"),
        "{text}"
    );
    // The proposed command finds it too.
    let check = standard.root.wrap_buddy().args(["check", PROGRAM]).output();
    let next = check
        .stdout
        .lines()
        .find(|line| line.contains("next: wrap-buddy"));
    let proposed = next.is_some_and(|next| next.contains(&standard.libs[1]));
    assert!(proposed, "{check}");
}

/// A library that is edited in place finds its filtee by its own search path, if the filtee exists.
fn a_filtee_of_a_library_below_the_paths(variant: Variant) {
    for (tag, libs, says) in [
        ("-F", 1..3, "42\n"),
        ("-f", 1..3, "42\n"),
        ("-f", 3..3, "1\n"),
    ] {
        let case = Filter::new(variant, tag);
        let library = "/app/libbar.so";
        case.root.install(&case.filter, library);
        let libs = case.libs[libs].to_vec();
        let wrap = case.root.wrap("/app").libs(libs.clone());
        let report = wrap.libs(["/app"]).report().success();
        let expected = match libs.is_empty() {
            true => "skipped",
            false => "edited",
        };
        report.file(library).is(expected, &[]);
        let output = case.root.command(PROGRAM).output().success();
        assert_eq!(output.stdout, says, "{tag} {libs:?}: {output}");
    }
}

/// ld.so reads the required versions until a record has no next, and ignores DT_VERNEEDNUM. It looks up each library there among
/// the names by which libraries were loaded. If there is none, it ends with a failed assertion.
fn wrong_count_of_required_versions_is_ignored(variant: Variant) {
    // One edit makes an entry that ld.so ignores, the other sets the count to zero.
    for edit in [(elf::DT_SYMINSZ, 0_u8), (elf::DT_VERNEEDNUM, 0)] {
        let chain = Chain::new(variant);
        let libraries = [(&chain.bar, "libbar.so"), (&chain.foo, "libfoo.so")];
        let libraries = libraries.map(|(directory, name)| format!("{directory}/{name}"));
        for file in libraries.iter().map(String::as_str).chain([PROGRAM]) {
            let mut bytes = chain.root.read(file);
            let tags = dynamic_tags(&bytes);
            let is_count = |tag: &u64| *tag == u64::from(elf::DT_VERNEEDNUM);
            let Some(index) = tags.iter().position(is_count) else {
                continue;
            };
            let word = word(&bytes);
            let mut all = segments(&bytes).into_iter();
            let dynamic = all.find(|one| one.kind == elf::PT_DYNAMIC);
            let at = dynamic.expect("it has one").file.start + index * 2 * word;
            let (tag, value) = edit;
            bytes[at..at + 4].copy_from_slice(&tag.to_le_bytes());
            bytes[at + word] = value;
            chain.root.write(file, bytes);
        }
        for search in ["runpath", "frozen"] {
            chain.wrap(&["--search", search]).run();
            chain.says(&[], "42\n");
        }
    }
}

/// If there is enough room: GNU ld leaves enough for a few.
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

/// A plugin without a search path of its own uses the program's, if that is inherited.
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

/// musl knows a library by the name that was asked for, and would load each twice.
fn musl_search_is_not_frozen(variant: Variant) {
    let chain = Chain::new(variant);
    chain.wrap(&FROZEN).run();
    let needed = chain.needed();
    assert!(needed.iter().all(|name| !name.contains('/')), "{needed:?}");
    chain.says(&[], "42\n");
}
