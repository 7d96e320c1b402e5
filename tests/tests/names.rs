//! Libraries that libc opens to look up users and hosts: services of nsswitch.conf, and libidn2.so.0. ld.so searches for them on
//! behalf of libc, so only a DT_RPATH of the program applies.

use e2e::{Build, Output, Root, Variant, matrix, source};

matrix!(architectures: users_of_a_service, international_names);

const PROGRAM: &str = "/app/program";

/// A look-up by the program.
struct Question {
    /// The program's argument.
    flag: &'static str,
    /// The library that libc opens, and how it is built.
    soname: &'static str,
    library: &'static str,
    map: Option<&'static str>,
    /// The output without the library, and with it.
    says: [&'static str; 2],
}

fn users_of_a_service(variant: Variant) {
    let question = Question {
        flag: "-DUSER",
        soname: "libnss_wrapped.so.2",
        library: "lib/nss_wrapped.c",
        map: None,
        says: ["no such user\n", "user 4242\n"],
    };
    question.is_answered(variant);
}

fn international_names(variant: Variant) {
    let question = Question {
        flag: "-DIDN",
        soname: "libidn2.so.0",
        library: "lib/idn2.c",
        map: Some("lib/idn2.map"),
        says: ["no encoding\n", "10.1.2.3\n"],
    };
    question.is_answered(variant);
}

impl Question {
    #[track_caller]
    fn is_answered(&self, variant: Variant) {
        let needed = ["--needed", self.soname];
        for way in [&[][..], &["--search", "frozen"], &["--strategy", "inplace"]] {
            self.assert(self.ask(variant, way), false);
            self.assert(self.ask(variant, &[way, &needed].concat()), true);
        }
        let rpath = &["--search", "rpath"][..];
        self.assert(self.ask(variant, rpath), true);
        self.assert(
            self.ask(variant, &[rpath, &["--search-minimal"]].concat()),
            false,
        );
    }

    /// Wraps a program with the library in `--libs`, and starts it.
    fn ask(&self, variant: Variant, flags: &[&str]) -> Output {
        let root = Root::new(variant);
        let program = Build::program(variant, source("names.c")).flag(self.flag);
        root.install(&program.build(), PROGRAM);
        let library = Build::library(variant, source(self.library), self.soname);
        let map = self.map.map(source).into_iter();
        let map = map.map(|map| format!("-Wl,--version-script={}", map.display()));
        let directory = root.package("names", &[library.flags(map).build()]);
        root.write("/etc/nsswitch.conf", "passwd: wrapped\nhosts: files\n");
        root.write("/etc/hosts", "10.1.2.3 xn--bcher-kva.example\n");
        // The locale decides the encoding of international names.
        root.bind("/usr/lib/locale/C.utf8".as_ref(), "/locale/C.utf8");
        let wrap = root.wrap(PROGRAM).libs([&directory]);
        wrap.args(flags.iter().copied()).run();
        let run = root.command(PROGRAM).env("LOCPATH", "/locale");
        run.output()
    }

    #[track_caller]
    fn assert(&self, output: Output, is_found: bool) {
        assert_eq!(output.stdout, self.says[usize::from(is_found)], "{output}");
    }
}
