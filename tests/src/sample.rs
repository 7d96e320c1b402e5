//! The program that most tests use, with a library of its own.

use std::fs;
use std::path::PathBuf;

use crate::arch::{Arch, Kind, Libc, Variant};
use crate::check::{Wrapped, assert_fails_unwrapped};
use crate::edited::Edited;
use crate::kernel::Kernel;
use crate::output::Output;
use crate::root::Root;
use crate::run::Run;
use crate::skipped;
use crate::toolchain::{Build, source};
use crate::wrap::Wrap;

/// `fixtures/sample.c` in a root, linked to `libfoo.so` in a package of its own. It prints [`SAYS`], or what its first argument
/// asks for.
pub struct Sample {
    pub root: Root,
    /// The program's path inside the root.
    pub program: String,
    /// The directory with `libfoo.so`.
    pub library_dir: String,
    /// The unwrapped program on this machine.
    pub built: PathBuf,
    variant: Variant,
}

/// The output of the sample.
pub const SAYS: &str = "value 42\n";

impl Sample {
    /// At `/app/program`, not wrapped yet.
    pub fn unwrapped(variant: Variant) -> Sample {
        Sample::unwrapped_at(variant, "/app/program")
    }

    /// The same with padding after its code, which the linker for armv7 does not make by itself.
    pub fn with_room(variant: Variant) -> Sample {
        let separate = "-Wl,-z,separate-code".to_owned();
        Sample::with_flags(variant, "/app/program", &[separate])
    }

    /// At `program`, not wrapped yet. Asserts that it cannot run.
    pub fn unwrapped_at(variant: Variant, program: &str) -> Sample {
        Sample::with_flags(variant, program, &[])
    }

    /// Like [`Sample::unwrapped_at`], with more compiler flags.
    pub fn with_flags(variant: Variant, program: &str, flags: &[String]) -> Sample {
        let library = Build::library(variant, source("lib/foo.c"), "libfoo.so").build();
        let build = Build::program(variant, source("sample.c")).link(&library);
        let built = build.flags(flags.iter().cloned()).build();
        let root = Root::new(variant);
        let library_dir = root.package("foo", &[&library]);
        root.install(&built, program);
        let program = program.to_string();
        assert_fails_unwrapped(root.command(&program));
        Sample {
            root,
            program,
            library_dir,
            built,
            variant,
        }
    }

    /// At `/app/program`, wrapped.
    pub fn new(variant: Variant) -> Sample {
        let sample = Sample::unwrapped(variant);
        sample.wrap();
        sample
    }

    /// At `program`, not wrapped. It starts: its dynamic linker and libraries are at the usual paths.
    pub fn installed_at(variant: Variant, program: &str) -> Sample {
        let sample = Sample::unwrapped_at(variant, program);
        let root = &sample.root;
        root.install(
            &root.lookup(&sample.interpreter()),
            &variant.fhs_interpreter(),
        );
        let directory = variant.default_library_dir();
        if variant.libc == Libc::Glibc {
            let libc = variant.arch.glibc();
            root.install(&libc, &format!("{directory}/libc.so.6"));
        }
        let library = root.path(&format!("{}/libfoo.so", sample.library_dir));
        root.install(&library, &format!("{directory}/libfoo.so"));
        sample.run();
        sample
    }

    /// At `/app/program`, wrapped, and started by a kernel of its architecture, not by QEMU's user-mode emulator. `None` if there is
    /// none here; the test is reported as skipped then.
    pub fn with_kernel(variant: Variant) -> Option<Sample> {
        let sample = Sample::new(variant);
        if !variant.arch.is_native() {
            match Kernel::find(variant.arch) {
                Ok(kernel) => sample.root.use_kernel(kernel),
                Err(why) => {
                    skipped(&why);
                    return None;
                }
            }
        }
        Some(sample)
    }

    /// At `program`, wrapped.
    pub fn at(variant: Variant, program: &str) -> Sample {
        let sample = Sample::unwrapped_at(variant, program);
        sample.wrap();
        sample
    }

    /// The call of wrap-buddy that [`Sample::wrap`] makes, so that you can add flags.
    pub fn wrapping(&self) -> Wrap<'_> {
        self.root
            .wrap(&self.program)
            .libs([self.library_dir.clone()])
    }

    /// Wraps it and checks the file.
    #[track_caller]
    pub fn wrap(&self) -> Wrapped {
        self.wrapping().run();
        self.wrapped()
    }

    /// The wrapped file with its original bytes, checked.
    #[track_caller]
    pub fn wrapped(&self) -> Wrapped {
        let original = fs::read(&self.built).expect("built before");
        let wrapped = Wrapped::read(&self.root, &self.program, original);
        wrapped.check();
        wrapped
    }

    /// At `/app/program`, edited in place.
    pub fn new_in_place(variant: Variant) -> Sample {
        let sample = Sample::unwrapped(variant);
        sample.edit();
        sample
    }

    /// Edits it in place and checks the file.
    #[track_caller]
    pub fn edit(&self) -> Edited {
        self.wrapping().args(["--strategy", "inplace"]).run();
        self.edited()
    }

    /// The edited file with its original bytes, checked.
    #[track_caller]
    pub fn edited(&self) -> Edited {
        let original = fs::read(&self.built).expect("built before");
        Edited::read(&self.root, &self.program, original)
    }

    /// The program, to start from a memfd with its bytes.
    pub fn command_from_memfd(&self) -> Run<'_> {
        let host = Variant::new(Arch::host(), Libc::Glibc, Kind::Exec);
        let fexecve = Build::program(host, source("fexecve.c"))
            .flag("-static")
            .build();
        self.root.install(&fexecve, "/tool/fexecve");
        self.root.command("/tool/fexecve").arg(&self.program)
    }

    /// The program, to start.
    pub fn command(&self) -> Run<'_> {
        self.root.command(&self.program)
    }

    /// Its start as the argument of ld.so, with all library directories.
    pub fn command_by_ld_so(&self) -> Run<'_> {
        let libs = [self.root.library_dirs(), vec![self.library_dir.clone()]].concat();
        let run = self.root.command(&self.interpreter());
        run.args(["--library-path", &libs.join(":"), &self.program])
    }

    /// Runs it and asserts its output.
    #[track_caller]
    pub fn run(&self) {
        says(self.command().output());
    }

    /// The real dynamic linker.
    pub fn interpreter(&self) -> String {
        self.root.interpreter(self.variant.arch, self.variant.libc)
    }

    /// The loader that this program uses.
    pub fn loader(&self) -> String {
        format!(
            "{}/{}",
            self.root.loader_dir(),
            self.variant.arch.loader_file()
        )
    }
}

/// Asserts that the sample ran and found its library.
#[track_caller]
pub fn says(output: Output) {
    let output = output.success();
    assert_eq!(output.stdout, SAYS, "{output}");
    assert_eq!(output.stderr, "", "{output}");
}
