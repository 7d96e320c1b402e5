//! A tree for each diagnosis of `check`, with exactly that fault.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use e2e::check::{segments, sidecar_of};
use e2e::legacy::Legacy;
use e2e::sample::SAYS;
use e2e::{Arch, Build, Kind, Libc, Root, Sample, Variant, corpus, source, toolchain};
use sidecar::{EditKind, Sidecar};
use wrap_buddy::commands::check::diagnosis::Diagnosis;

/// The expected effect of the proposed command.
pub enum Ending {
    /// The test types the command, and then the program prints this.
    Prints(&'static str),
    /// No command can help.
    NoCommand,
}

/// A tree, and the arguments of `check`.
pub struct Case {
    pub root: Root,
    pub path: String,
    pub arguments: Vec<String>,
    /// The user who starts the program.
    pub user: u32,
    pub ending: Ending,
}

const PROGRAM: &str = "/app/program";

fn case(root: Root, path: &str, ending: Ending) -> Option<Case> {
    Some(Case {
        root,
        path: path.to_owned(),
        arguments: Vec::new(),
        user: 0,
        ending,
    })
}

fn repaired(sample: Sample) -> Option<Case> {
    case(sample.root, PROGRAM, Ending::Prints(SAYS))
}

fn unrepaired(sample: Sample) -> Option<Case> {
    case(sample.root, PROGRAM, Ending::NoCommand)
}

impl Case {
    fn with(mut self, arguments: &[&str]) -> Option<Case> {
        self.arguments = arguments.iter().map(|one| (*one).to_owned()).collect();
        Some(self)
    }
}

/// A variant whose files ld.so passes over.
fn other_machine(variant: Variant) -> Variant {
    Variant::new(variant.arch.other(variant.libc), Libc::Glibc, Kind::Pie)
}

/// The program finds everything but its library: its dynamic linker and libc are at their usual paths.
pub fn at_home(variant: Variant, flags: &[&str]) -> Sample {
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let sample = Sample::with_flags(variant, PROGRAM, &flags);
    install_system(&sample.root, variant);
    sample
}

/// Installs the dynamic linker and libc of `variant` at their usual paths.
pub fn install_system(root: &Root, variant: Variant) {
    let linker = fs::read(root.lookup(&root.interpreter(variant.arch, variant.libc)));
    root.write(&variant.fhs_interpreter(), linker.expect("its linker"));
    make_executable(root, &variant.fhs_interpreter());
    if variant.libc == Libc::Glibc {
        let libc = variant.arch.glibc();
        root.install(
            &libc,
            &format!("{}/libc.so.6", variant.default_library_dir()),
        );
    }
}

fn make_executable(root: &Root, path: &str) {
    fs::set_permissions(root.path(path), fs::Permissions::from_mode(0o755)).expect("chmod");
}

fn change(root: &Root, path: &str, by: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = root.read(path);
    by(&mut bytes);
    root.write(path, bytes);
}

/// A static program for another machine.
pub fn foreign_program() -> PathBuf {
    static_program(Variant::new(Arch::Aarch64, Libc::Glibc, Kind::Exec))
}

/// Debian's linker cannot make a static-pie from a C program.
pub fn static_program(variant: Variant) -> PathBuf {
    let fixed = Variant {
        kind: Kind::Exec,
        ..variant
    };
    Build::program(fixed, source("hello.c"))
        .flag("-static")
        .build()
}

/// The tree for `diagnosis`, if programs of `variant` can have it. Those that need a mount are elsewhere.
pub fn of(diagnosis: Diagnosis, variant: Variant) -> Option<Case> {
    let is_musl = variant.libc == Libc::Musl;
    let is_host = variant.arch == Arch::host();
    match diagnosis {
        Diagnosis::Unopenable => case(Root::new(variant), "/app/none", Ending::NoCommand),
        Diagnosis::Malformed => {
            let sample = Sample::unwrapped(variant);
            // e_phentsize.
            let at = if variant.arch.is_64() { 0x36 } else { 0x2a };
            change(&sample.root, PROGRAM, |bytes| bytes[at] = 7);
            unrepaired(sample)
        }
        Diagnosis::SidecarGone => {
            let sample = Sample::new(variant);
            fs::remove_file(sample.root.path(&sidecar_of(PROGRAM))).expect("remove the sidecar");
            unrepaired(sample)
        }
        Diagnosis::SidecarOfAnother => {
            let sample = Sample::new(variant);
            // p_filesz of the former PT_INTERP.
            let at = if variant.arch.is_64() { 0x20 } else { 0x10 };
            change(&sample.root, PROGRAM, |bytes| {
                let all = segments(bytes);
                let mut nulls = all
                    .iter()
                    .filter(|one| one.kind == 0 && !one.file.is_empty());
                bytes[nulls.next().expect("a PT_NULL").header_at + at] ^= 1;
            });
            unrepaired(sample)
        }
        Diagnosis::SidecarUnknown => {
            let sample = Sample::new(variant);
            change(&sample.root, &sidecar_of(PROGRAM), |bytes| bytes[7] = b'9');
            unrepaired(sample)
        }
        Diagnosis::SidecarElsewhere => {
            let sample = Sample::new(variant);
            let path = |path: &str| sample.root.path(path);
            fs::copy(path(PROGRAM), path("/app/copy")).expect("copy");
            case(sample.root, "/app/copy", Ending::NoCommand)
        }
        Diagnosis::StubUnderPreloader => {
            let sample = Sample::new(variant);
            sample.root.write("/app/program-preloader", "");
            case(sample.root, PROGRAM, Ending::NoCommand)
        }
        Diagnosis::SidecarUntrusted => {
            let sample = Sample::new(variant);
            let anybody = fs::Permissions::from_mode(0o666);
            fs::set_permissions(sample.root.path(&sidecar_of(PROGRAM)), anybody).expect("chmod");
            unrepaired(sample)
        }
        Diagnosis::RunStopped => {
            let sample = Sample::new(variant);
            let bytes = sample.root.read(&sidecar_of(PROGRAM));
            let sidecar = Sidecar::parse(&bytes).expect("its sidecar");
            let mut edits = sidecar.edits().flatten();
            let interp = edits.find(|edit| edit.kind == EditKind::Interp);
            let interp = interp.expect("PT_INTERP is changed last");
            change(&sample.root, PROGRAM, |bytes| {
                let at = interp.offset as usize;
                bytes[at..at + interp.original.len()].copy_from_slice(interp.original);
            });
            repaired(sample)
        }
        Diagnosis::LoaderGone => {
            let sample = Sample::new(variant);
            fs::remove_file(sample.root.path(&sample.loader())).expect("remove the loader");
            repaired(sample)
        }
        Diagnosis::LoaderUnfit => {
            let sample = Sample::new(variant);
            let other = stages::for_machine(other_machine(variant).arch.machine());
            sample
                .root
                .write(&sample.loader(), other.expect("a loader").loader);
            repaired(sample)
        }
        Diagnosis::LoaderRefused => {
            let sample = Sample::unwrapped(variant);
            let wrapping = sample.wrapping().without_loader_dir();
            wrapping.args(["--self-contained"]).run();
            let set_id = fs::Permissions::from_mode(0o4755);
            fs::set_permissions(sample.root.path(PROGRAM), set_id).expect("chmod");
            // Root gets only rights that it has.
            let user = 1000;
            let start = sample.command().user(user).output();
            start.refuses(&[&sidecar_of(PROGRAM), " denied or damaged"]);
            let case = repaired(sample)?;
            Some(Case { user, ..case })
        }
        Diagnosis::Unguarded => {
            let sample = Sample::new(variant);
            fs::set_permissions(
                sample.root.path(PROGRAM),
                fs::Permissions::from_mode(0o4755),
            )
            .expect("chmod");
            let open = fs::Permissions::from_mode(0o777);
            fs::set_permissions(sample.root.path(&sample.library_dir), open).expect("chmod");
            unrepaired(sample)
        }
        Diagnosis::OutOfReach => {
            let sample = Sample::new(variant);
            let closed = fs::Permissions::from_mode(0o700);
            fs::set_permissions(sample.root.path(&sample.library_dir), closed).expect("chmod");
            let user = 1000;
            sample.command().user(user).output().exits_with(127);
            let case = repaired(sample)?;
            Some(Case { user, ..case })
        }
        Diagnosis::LinkerGone => repaired(Sample::unwrapped(variant)),
        Diagnosis::LinkerOfOtherMachine => {
            let sample = Sample::unwrapped(variant);
            let other = other_machine(variant).arch;
            let foreign = other.find_library(other.ld_so()).expect("a cross libc");
            sample.root.install(&foreign, &variant.fhs_interpreter());
            repaired(sample)
        }
        // musl is available only for the host.
        Diagnosis::LinkerOfOtherLibc if is_host => {
            let libc = if is_musl { Libc::Glibc } else { Libc::Musl };
            let other = Variant { libc, ..variant };
            let path = other.fhs_interpreter();
            let flag = format!("-Wl,--dynamic-linker={path}");
            let sample = Sample::with_flags(variant, PROGRAM, &[flag]);
            sample.root.install(&other.dynamic_linker(), &path);
            repaired(sample)
        }
        Diagnosis::LinkerUnusable => {
            let sample = Sample::unwrapped(variant);
            sample
                .root
                .write(&variant.fhs_interpreter(), "no linker at all\n");
            repaired(sample)
        }
        // The interpreter of a script has to be a program that the kernel starts without an emulator.
        Diagnosis::ScriptProgramGone if is_host => {
            let root = Root::new(variant);
            root.write("/app/script", "#!/none/bin/tool -x\n");
            make_executable(&root, "/app/script");
            root.install(&static_program(variant), "/usr/bin/tool");
            case(root, "/app/script", Ending::Prints("hello\n"))
        }
        Diagnosis::ScriptCommandGone if is_host => {
            let root = Root::new(variant);
            root.write("/app/script", "#!/usr/bin/env tool\n");
            root.install(&static_program(variant), "/usr/bin/env");
            case(root, "/app/script", Ending::NoCommand)
        }
        Diagnosis::LibraryMissing => repaired(at_home(variant, &[])),
        Diagnosis::LibraryPassedOver => {
            let sample = at_home(variant, &["-Wl,-rpath,/app/lib"]);
            if is_musl {
                // It stops at a file of the other class, even when wrapped, because the program's directory comes first.
                return None;
            }
            let foreign = Build::library(other_machine(variant), source("lib/foo.c"), "libfoo.so");
            sample.root.install(&foreign.build(), "/app/lib/libfoo.so");
            repaired(sample)
        }
        Diagnosis::PreloadMissing if !is_musl => {
            let sample = Sample::new(variant);
            sample
                .root
                .write("/etc/ld.so.preload", "# for all\nlibnone.so\n");
            unrepaired(sample)
        }
        Diagnosis::AuxiliaryMissing if !is_musl => {
            let root = Root::new(variant);
            install_system(&root, variant);
            let library = Build::library(variant, source("lib/foo.c"), "libfoo.so");
            let library = library.flag("-Wl,-f,libnone.so").build();
            let program = Build::program(variant, source("sample.c")).link(&library);
            root.install(&program.build(), PROGRAM);
            let default = variant.default_library_dir();
            root.install(&library, &format!("{default}/libfoo.so"));
            case(root, PROGRAM, Ending::NoCommand)?.with(&["-v"])
        }
        // This machine's ldconfig knows only its own libraries.
        Diagnosis::LibraryUncached if !is_musl && variant.arch.is_native() => {
            let sample = at_home(variant, &[]);
            let library = sample
                .root
                .lookup(&format!("{}/libfoo.so", sample.library_dir));
            sample.root.install(&library, "/opt/foo/libfoo.so");
            sample
                .root
                .write("/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n");
            sample
                .root
                .write("/etc/ld.so.conf.d/foo.conf", "/opt/foo\n");
            repaired(sample)
        }
        Diagnosis::LibraryOfOtherLibc if is_host && !is_musl => {
            let sample = at_home(variant, &["-Wl,-rpath,/app/lib"]);
            let musl = Variant {
                libc: Libc::Musl,
                ..variant
            };
            let foreign = Build::library(musl, source("lib/foo.c"), "libfoo.so").build();
            sample.root.install(&foreign, "/app/lib/libfoo.so");
            unrepaired(sample)
        }
        Diagnosis::LibraryOfOtherMachine if is_musl => {
            let sample = at_home(variant, &["-Wl,-rpath,/app/lib"]);
            let foreign = Variant::new(Arch::Aarch64, Libc::Glibc, Kind::Pie);
            let foreign = Build::library(foreign, source("lib/foo.c"), "libfoo.so");
            sample.root.install(&foreign.build(), "/app/lib/libfoo.so");
            unrepaired(sample)
        }
        Diagnosis::VersionMissing if !is_musl => {
            let root = Root::new(variant);
            install_system(&root, variant);
            let library = |script: &str| {
                let script = format!("-Wl,--version-script={}", source(script).display());
                let build = Build::library(variant, source("lib/foo.c"), "libfoo.so");
                build.flag(script).build()
            };
            let (old, new) = (library("lib/old.map"), library("lib/new.map"));
            let program = Build::program(variant, source("sample.c")).link(&new);
            root.install(&program.build(), PROGRAM);
            let default = variant.default_library_dir();
            root.install(&old, &format!("{default}/libfoo.so"));
            root.package("new", &[&new]);
            case(root, PROGRAM, Ending::Prints(SAYS))
        }
        Diagnosis::OpenedRequired => {
            let root = Root::new(variant);
            install_system(&root, variant);
            let library = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
            let program = Build::program(variant, source("opened.c")).build();
            root.install(&program, PROGRAM);
            root.package("foo", &[&library]);
            case(root, PROGRAM, Ending::Prints("opened 40\n"))
        }
        Diagnosis::OpenedRecommended | Diagnosis::OpenedSuggested => {
            let told = of(Diagnosis::OpenedRequired, variant)?;
            let library = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
            let default = variant.default_library_dir();
            let place = format!("{default}/libfoo.so");
            told.root.install(&library, &place);
            case(told.root, PROGRAM, Ending::NoCommand)
        }
        Diagnosis::ForOtherMachine => {
            let root = Root::new(variant);
            root.install(&foreign_program(), "/app/tree/bin/program");
            case(root, "/bin/program", Ending::NoCommand)?.with(&["--root", "/app/tree"])
        }
        Diagnosis::Packed => {
            let root = Root::new(variant);
            root.install(&static_program(variant), PROGRAM);
            // The kernel ignores the padding of e_ident.
            change(&root, PROGRAM, |bytes| {
                bytes[9..13].copy_from_slice(b"UPX!");
            });
            case(root, PROGRAM, Ending::NoCommand)
        }
        Diagnosis::CarriesProgram => {
            let root = Root::new(variant);
            root.install(&static_program(variant), PROGRAM);
            change(&root, PROGRAM, |bytes| {
                bytes[8..11].copy_from_slice(b"AI\x02");
            });
            case(root, PROGRAM, Ending::NoCommand)
        }
        // Tested for every architecture in `libraries`.
        Diagnosis::LoadedByProgram if is_host && !is_musl => {
            let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
            let bar = Build::library(variant, source("lib/bar.c"), "libbar.so").link(&inner);
            let sample = at_home(variant, &["-Wl,-rpath,/opt/foo"]);
            let root = sample.root;
            root.install(&root.path(PROGRAM), "/app/bin/program");
            root.install(&inner, "/opt/foo/libfoo.so");
            root.install(&bar.build(), "/app/lib/libbar.so");
            case(root, "/app/lib/libbar.so", Ending::NoCommand)
        }
        Diagnosis::NotPermitted => {
            let sample = Sample::new(variant);
            let mode = fs::Permissions::from_mode(0o644);
            fs::set_permissions(sample.root.path(PROGRAM), mode).expect("chmod");
            repaired(sample)
        }
        Diagnosis::RelrWithoutVersion if is_host && !is_musl => {
            // An older flag of lld writes DT_RELR without the version.
            let [linker, directory] = &toolchain::lld();
            let sample = at_home(
                variant,
                &[
                    linker,
                    directory,
                    "-Wl,--pack-dyn-relocs=relr",
                    "-Wl,-rpath,/opt/foo",
                ],
            );
            let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
            sample.root.install(&inner, "/opt/foo/libfoo.so");
            let refused = sample.command().output();
            assert!(
                refused.stderr.contains("DT_RELR without GLIBC_ABI_DT_RELR"),
                "{refused}"
            );
            unrepaired(sample)
        }
        Diagnosis::SegmentAlignment => {
            let flag = "-Wl,-z,max-page-size=0x200000".to_owned();
            let sample = Sample::with_flags(variant, PROGRAM, &[flag]);
            // The kernel of this machine is not affected.
            repaired(sample)?.with(&["-v"])
        }
        Diagnosis::StaleCache => {
            let sample = Sample::unwrapped(variant);
            let file = sample.root.path(PROGRAM);
            for words in [
                &["--set-rpath", "/gone/lib"][..],
                &["--build-resolution-cache"],
            ] {
                corpus::patchelf("patchelf-0.19", words, &file);
            }
            sample.wrapping().run();
            unrepaired(sample)
        }
        Diagnosis::UsualRules => {
            unrepaired(Sample::unwrapped(variant))?.with(&["--find-in", "/app"])
        }
        Diagnosis::FirstWrapBuddy => {
            let sample = Sample::unwrapped(variant);
            Legacy::of(&sample, false).wrap(&sample);
            unrepaired(sample)
        }
        Diagnosis::NotExecutable => {
            let root = Root::new(variant);
            root.write("/app/notes.txt", "nothing to start\n");
            case(root, "/app/notes.txt", Ending::NoCommand)
        }
        Diagnosis::NotLoadable => {
            let root = Root::new(variant);
            let object = Build::program(variant, source("hello.c")).flag("-c");
            root.install(&object.build(), "/app/hello.o");
            case(root, "/app/hello.o", Ending::NoCommand)
        }
        Diagnosis::LinkerOfOtherLibc
        | Diagnosis::LoadedByProgram
        | Diagnosis::RelrWithoutVersion
        | Diagnosis::ScriptProgramGone
        | Diagnosis::ScriptCommandGone
        | Diagnosis::LibraryUncached
        | Diagnosis::PreloadMissing
        | Diagnosis::AuxiliaryMissing
        | Diagnosis::LibraryOfOtherLibc
        | Diagnosis::LibraryOfOtherMachine
        | Diagnosis::VersionMissing => None,
        Diagnosis::NoEmulator
        | Diagnosis::EmulatorGone
        | Diagnosis::Emulated
        | Diagnosis::NoExec => None,
    }
}
