//! Programs of the fixtures that start the tool and watch what it does, with a kernel that runs programs of an architecture.
//!
//! QEMU's user-mode emulator is not enough where these run while the tool changes their files: see [`Kernel`].

use std::path::{Path, PathBuf};

use crate::arch::{Arch, Kind, Libc, Variant};
use crate::kernel::{Kernel, Machine};
use crate::output::Output;
use crate::toolchain::{Build, source};
use crate::{run, skipped, tool};

const TOOL: &str = "/tool/wrap-buddy";
const DRIVER: &str = "/tool/driver";

/// A kernel, and the tool for it.
pub struct Driver {
    /// The architecture of the programs.
    arch: Arch,
    /// That of another machine.
    other: Option<(Kernel, PathBuf)>,
}

impl Driver {
    /// For programs of `arch`. `None` if there is no kernel or no tool for them; the test is reported as skipped then.
    pub fn new(arch: Arch) -> Option<Driver> {
        let other = match arch.is_native() {
            true => None,
            false => match (Kernel::find(arch), tool::built_for(arch)) {
                (Ok(kernel), Ok(tool)) => Some((kernel, tool)),
                (Err(why), _) | (_, Err(why)) => {
                    skipped(&why);
                    return None;
                }
            },
        };
        Some(Driver { arch, other })
    }

    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// The path of the tool for the driver.
    pub fn tool(&self) -> String {
        match self.other {
            Some(_) => TOOL.into(),
            None => tool::path().display().to_string(),
        }
    }

    /// A machine with the tool, if programs of the architecture need another one.
    pub fn machine(&self) -> Option<Machine> {
        let (kernel, tool) = self.other.as_ref()?;
        let mut machine = kernel.clone().machine();
        machine.add(tool, TOOL);
        Some(machine)
    }

    /// Compiles the fixture and runs it to its end. It sees `tree` at the same path, and its children find the C library, and libraries
    /// in `libraries`.
    pub fn run(
        &self,
        fixture: &str,
        tree: &Path,
        libraries: &[String],
        arguments: &[String],
    ) -> Output {
        let arch = match self.other {
            Some(_) => self.arch,
            None => Arch::host(),
        };
        let build = Variant::new(arch, Libc::Glibc, Kind::Exec);
        let driver = Build::program(build, source(fixture))
            .flag("-static")
            .build();
        let system = self.arch.library_dirs().into_iter();
        let system = system.map(|path| path.display().to_string());
        let libraries: Vec<String> = libraries.iter().cloned().chain(system).collect();
        let search = format!("LD_LIBRARY_PATH={}", libraries.join(":"));
        let Some(mut machine) = self.machine() else {
            let driver = driver.display().to_string();
            let all: Vec<&str> = [&search, &driver]
                .into_iter()
                .chain(arguments)
                .map(String::as_str)
                .collect();
            return run::on_host("env", &all);
        };
        machine.add(&driver, DRIVER);
        machine.add(tree, &tree.display().to_string());
        let names = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", arch.ld_so()];
        for library in names.iter().filter_map(|name| arch.find_library(name)) {
            machine.add(&library, &library.display().to_string());
        }
        let linker = arch.find_library(arch.ld_so()).expect("a dynamic linker");
        machine.add(&linker, arch.fhs_interpreter(Libc::Glibc));
        machine.set(["proc", "variable", &search, "argument", DRIVER]);
        for argument in arguments {
            machine.set(["argument", argument]);
        }
        machine.start(DRIVER, 1).remove(0)
    }
}
