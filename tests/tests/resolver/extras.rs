//! Libraries that are loaded without a DT_NEEDED: LD_PRELOAD, ld.so.preload, DT_FILTER, DT_AUXILIARY.

use std::os::unix::fs::symlink;
use std::path::Path;

use e2e::{Build, Libc, Root, Variant, matrix, source};
use ldso::Interpreter;
use ldso::{Cause, Dependent, Linker, ProbeCache, Processor, Surroundings, Tree, preload_list};

use crate::ld_so::{Listed, difference};

matrix!(systems: preloads, search_path_entries_that_are_not_directories, a_loop_on_one_of_several_search_paths);
matrix!(glibc: filtees);

/// A root with the dynamic linker. Compares its result for `/app/program` with LD_PRELOAD with that of the tool.
struct Case {
    variant: Variant,
    root: Root,
}

impl Case {
    fn new(variant: Variant) -> Case {
        let root = Root::new(variant);
        root.install(&variant.dynamic_linker(), &variant.fhs_interpreter());
        if let Some(libc) = variant.arch.find_library("libc.so.6") {
            root.install(&libc, "/opt/libc/libc.so.6");
        }
        Case { variant, root }
    }

    /// Builds a library and installs it in `directory`.
    fn library(&self, name: &str, directory: &str, flags: &[&str]) {
        let build = Build::library(self.variant, source("lib/foo.c"), name);
        let built = build.flags(flags.iter().copied()).build();
        self.root.install(&built, &format!("{directory}/{name}"));
    }

    fn program(&self, flags: &[&str]) {
        let build = Build::program(self.variant, source("hello.c"));
        let built = build.flags(flags.iter().copied()).build();
        self.root.install(&built, "/app/program");
    }

    /// The libraries that both report, each with its cause (from the tool), the missing ones, and ld.so's own output.
    #[track_caller]
    fn agreed(&self, preload: &str) -> (Vec<(String, Cause)>, Vec<String>, String) {
        let root = ldso::Root::at(&self.root.path("/")).expect("a directory");
        let path = self.variant.fhs_interpreter();
        let interpreter = Interpreter::open_in(&root, Path::new(&path)).expect("its ld.so");
        let mut command = self.root.command(&path);
        if !preload.is_empty() {
            command = command.env("LD_PRELOAD", preload);
        }
        let command = match self.variant.libc {
            Libc::Glibc => command
                .env("LD_TRACE_LOADED_OBJECTS", "1")
                .env("LD_LIBRARY_PATH", "/opt/libc"),
            Libc::Musl => command.arg("--list"),
        };
        let output = command.arg("/app/program").output();
        let says = Listed::parse(&output, &interpreter);
        let surroundings = Surroundings {
            library_path: vec!["/opt/libc".into()],
            preload: preload_list(preload.as_bytes()),
            processor: Processor::Own,
            ..Surroundings::default()
        };
        let probe_cache = ProbeCache::new(root.clone(), Vec::new());
        let program = Path::new("/app/program");
        let model = Listed::modelled(&interpreter, &probe_cache, &surroundings, program);
        if let Some(difference) = difference(&interpreter, program, &says, &model) {
            panic!("{difference}\n{output}");
        }
        let linker = Linker::new(&interpreter, &probe_cache, &surroundings).expect("a known one");
        let on_host = root.on_host(program);
        let mut file = elf_file::Source::open(&on_host).expect("the program");
        let elf = elf_file::Elf::read(&mut file).expect("the program");
        let tree = Tree::of(
            &linker,
            Dependent {
                path: program,
                elf: &elf,
            },
            None,
        );
        let nodes = tree.nodes.into_iter();
        let nodes = nodes.map(|node| (node.found.path.display().to_string(), node.cause));
        let gone = tree.optional.iter();
        let gone = gone.map(|one| one.name.display().to_string());
        (nodes.collect(), gone.collect(), output.stderr)
    }
}

/// A search path with a file, a loop of symbolic links and a name of 300 bytes; and a loop at the library's own path.
fn search_path_entries_that_are_not_directories(variant: Variant) {
    let long = format!("/opt/{}", "d".repeat(300));
    let names = ["/opt/file", "/opt/loop", &*long, "/opt/closed", "/opt/one"];
    for odd in names {
        for tag in ["--enable-new-dtags", "--disable-new-dtags"] {
            let case = Case::new(variant);
            case.root.write("/opt/file", "no directory\n");
            symlink("loop", case.root.mkdir("/opt").join("loop")).expect("a symbolic link");
            case.root.mkdir("/opt/one");
            symlink("libown.so", case.root.path("/opt/one/libown.so")).expect("a symbolic link");
            case.library("libown.so", "/opt/own", &[]);
            case.library("libown.so", "/opt/default", &[]);
            let path = format!("-Wl,{tag},-rpath,{odd}:/opt/own:/opt/default");
            let library = case.root.path("/opt/own/libown.so");
            case.program(&["-Wl,--no-as-needed", &path, &library.display().to_string()]);
            let (nodes, _, said) = case.agreed("");
            let found = nodes.iter().any(|(path, _)| path == "/opt/own/libown.so");
            // A loop ends glibc's list, and musl's search.
            let is_musl = variant.libc == Libc::Musl;
            let ends = odd == "/opt/one" || (is_musl && odd == "/opt/loop");
            assert_eq!(found, !ends, "{odd} {tag}: {said}");
        }
    }
}

/// A loop of symbolic links at the library's own path, on the DT_RPATH of a library and on that of the program that loads it. It
/// ends its own search path, but not the others.
fn a_loop_on_one_of_several_search_paths(variant: Variant) {
    for [of_library, of_program, expected] in [
        ["/opt/loop:/opt/b", "/opt/own:/opt/b", "/opt/own"],
        ["/opt/loop:/opt/b", "/opt/loop:/opt/b", "/opt/libc"],
        ["/opt/none", "/opt/loop:/opt/b", "/opt/libc"],
        ["/opt/b", "/opt/loop", "/opt/b"],
    ] {
        let case = Case::new(variant);
        case.root.mkdir("/opt/loop");
        symlink("libown.so", case.root.path("/opt/loop/libown.so")).expect("a symbolic link");
        for place in ["/opt/own", "/opt/b"] {
            case.library("libown.so", place, &[]);
        }
        // LD_LIBRARY_PATH comes after these.
        if variant.libc == Libc::Glibc {
            case.library("libown.so", "/opt/libc", &[]);
        }
        let path = |path: &str| format!("-Wl,--no-as-needed,--disable-new-dtags,-rpath,{path}");
        let file = |path: &str| case.root.path(path).display().to_string();
        let inner = file("/opt/own/libown.so");
        case.library("libouter.so", "/opt/outer", &[&path(of_library), &inner]);
        let outer = file("/opt/outer/libouter.so");
        let allow = "-Wl,--allow-shlib-undefined";
        case.program(&[allow, &path(&format!("{of_program}:/opt/outer")), &outer]);
        let (nodes, _, said) = case.agreed("");
        let expected = format!("{expected}/libown.so");
        let found = nodes.iter().any(|(path, _)| *path == expected);
        // musl gives up.
        let is_musl = variant.libc == Libc::Musl;
        let ends = is_musl && of_library != "/opt/b";
        assert_eq!(found, !ends, "{of_library} {of_program}: {nodes:?} {said}");
    }
}

fn preloads(variant: Variant) {
    let case = Case::new(variant);
    case.program(&["-Wl,-rpath,/opt/own"]);
    case.library("libown.so", "/opt/own", &[]);
    case.library("libfar.so", "/opt/far", &[]);
    case.library("libnear.so", "/opt/libc", &[]);
    // Only glibc's ld.so uses the program's own search path here.
    let (found, gone, says) = case.agreed("/opt/far/libfar.so libown.so:libnone.so");
    let preloaded = |path: &str, from: &str| (path.to_owned(), Cause::Preload(from.into()));
    match variant.libc {
        Libc::Glibc => {
            assert_eq!(found[0], preloaded("/opt/far/libfar.so", "LD_PRELOAD"));
            assert_eq!(found[1], preloaded("/opt/own/libown.so", "LD_PRELOAD"));
            assert_eq!(gone, ["libnone.so"]);
            assert!(
                says.contains("'libnone.so' from LD_PRELOAD cannot be preloaded"),
                "{says}"
            );
        }
        Libc::Musl => {
            assert_eq!(found, [preloaded("/opt/far/libfar.so", "LD_PRELOAD")]);
            assert_eq!(gone, ["libown.so", "libnone.so"]);
        }
    }

    let list = "/etc/ld.so.preload";
    let text = "# libfar.so\n libnear.so:/opt/far/libfar.so # libown.so\n/none/lib.so\n";
    case.root.write(list, text);
    let (found, gone, says) = case.agreed("libown.so");
    match variant.libc {
        Libc::Glibc => {
            let expected = [
                preloaded("/opt/own/libown.so", "LD_PRELOAD"),
                preloaded("/opt/libc/libnear.so", list),
                preloaded("/opt/far/libfar.so", list),
            ];
            assert_eq!(found[..3], expected);
            assert_eq!(gone, ["/none/lib.so"]);
            assert!(
                says.contains("from /etc/ld.so.preload cannot be preloaded"),
                "{says}"
            );
        }
        Libc::Musl => assert_eq!((found.len(), gone), (0, vec!["libown.so".to_owned()])),
    }
}

fn filtees(variant: Variant) {
    let case = Case::new(variant);
    let needs = |name: &str| format!("-Wl,--no-as-needed,-L/,-l:{name}");
    case.library("libdeep.so", "/opt/a", &[]);
    let deep = case.root.path("/opt/a").display().to_string();
    let flags = [&*needs("libdeep.so"), &format!("-L{deep}")];
    case.library("libfiltee.so", "/opt/a", &flags);
    let own = "-Wl,-rpath,/opt/a";
    let filter = ["-Wl,-f,libnone.so", "-Wl,-f,libfiltee.so", own];
    case.library("libfilter.so", "/opt/b", &filter);
    let b = format!("-L{}", case.root.path("/opt/b").display());
    let needed = needs("libfilter.so");
    let link = [
        "-Wl,--unresolved-symbols=ignore-all",
        &*b,
        "-Wl,-rpath,/opt/b",
    ];
    case.program(&[&link[..], &[&needed]].concat());

    let (found, gone, _) = case.agreed("");
    let filtee = ("/opt/a/libfiltee.so".to_owned(), Cause::Filtee);
    assert!(found.contains(&filtee), "{found:?}");
    assert_eq!(gone, ["libnone.so"]);

    // The filtee of a standard filter has to exist.
    case.library("libfilter.so", "/opt/b", &["-Wl,-F,libnone.so", own]);
    let (_, gone, _) = case.agreed("");
    assert_eq!(gone, [""; 0]);
}
