//! A root file system without an FHS dynamic linker, in which programs and the tool run.

use std::cell::{OnceCell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::arch::{Arch, Kind, Libc, Variant, musl_ld_so};
use crate::kernel::{Kernel, Machine};
use crate::namespace::Bind;
use crate::{cache, fork, tool, toolchain};

/// The run-time files of glibc.
const GLIBC: &[&str] = &[
    "libc.so.6",
    "libm.so.6",
    "libmvec.so.1",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
    "libresolv.so.2",
    "libanl.so.1",
    "libnss_files.so.2",
    "libnss_dns.so.2",
    "libthread_db.so.1",
];

/// The run-time libraries of a C or C++ compiler.
const GCC: &[&str] = &[
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libatomic.so.1",
    "libgomp.so.1",
];

/// A directory that becomes `/` of the programs started in it.
///
/// It has `/proc`, `/dev` (null, zero, random, urandom, shm), an empty `/tmp` for each program, `/app` for the programs under test,
/// `/nix/store/HASH-NAME/lib` with the libraries of its architectures, the loaders in [`Root::loader_dir`] once a program is
/// wrapped, and `/tool` with wrap-buddy and its libraries. There is no `/lib*`, no `/usr`, no `/etc`.
///
/// You can make and read files from outside at [`Root::path`]. Each program started by [`Root::command`] has its own namespaces, so
/// its mounts end with it, but files that it writes stay.
pub struct Root {
    dir: TempDir,
    systems: Vec<(Arch, Libc)>,
    binds: RefCell<Vec<Bind>>,
    kernel: OnceCell<Kernel>,
}

impl Root {
    /// A root with the libraries that `variant` needs.
    pub fn new(variant: Variant) -> Root {
        Root::with_systems(&[(variant.arch, variant.libc)])
    }

    /// A root with the C libraries of several systems.
    pub fn with_systems(systems: &[(Arch, Libc)]) -> Root {
        let root = Root::for_programs_of(systems);
        for &(arch, libc) in systems {
            for name in packages(arch, libc) {
                let package = system_package(arch, &name);
                root.bind(&package, &store_path(&name));
            }
        }
        root
    }

    /// A root in which programs of several systems can be started, but without their C libraries.
    pub fn for_programs_of(systems: &[(Arch, Libc)]) -> Root {
        let dir = tempfile::Builder::new()
            .prefix("root-")
            .tempdir_in(cache::dir("roots"))
            .expect("a temporary directory for a root");
        cache::make_readable(dir.path()).expect("chmod the root");
        let root = Root {
            dir,
            systems: systems.to_vec(),
            binds: RefCell::default(),
            kernel: OnceCell::new(),
        };
        for name in ["proc", "dev/shm", "tmp", "app", "tool/binfmt", "nix/store"] {
            root.mkdir(&format!("/{name}"));
        }
        for name in ["null", "zero", "random", "urandom"] {
            let device = Path::new("/dev").join(name);
            root.bind_writable(&device, &format!("/dev/{name}"));
        }
        root
    }

    /// The path on this machine of the absolute path `inside`.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside.trim_start_matches('/'))
    }

    /// Like [`Root::path`], but also for paths that [`Root::bind`] has mounted.
    pub fn lookup(&self, inside: &str) -> PathBuf {
        let path = self.path(inside);
        let binds = self.binds.borrow();
        let shown = binds.iter().rev().find_map(|bind| {
            let rest = path.strip_prefix(&bind.target).ok()?;
            Some(bind.source.join(rest))
        });
        shown.unwrap_or(path)
    }

    /// Makes a directory and its parents.
    pub fn mkdir(&self, inside: &str) -> PathBuf {
        let path = self.path(inside);
        fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        path
    }

    /// Copies a file of this machine to `inside`, executable, and returns `inside`.
    pub fn install(&self, file: &Path, inside: &str) -> String {
        let path = self.parent_made(inside);
        let _guard = fork::writing();
        fs::copy(file, &path)
            .unwrap_or_else(|error| panic!("copy {} to {inside}: {error}", file.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod a copy");
        inside.to_string()
    }

    /// Writes a file and makes its parent directories.
    pub fn write(&self, inside: &str, content: impl AsRef<[u8]>) {
        let _guard = fork::writing();
        fs::write(self.parent_made(inside), content)
            .unwrap_or_else(|error| panic!("write {inside}: {error}"));
    }

    pub fn read(&self, inside: &str) -> Vec<u8> {
        fs::read(self.path(inside)).unwrap_or_else(|error| panic!("read {inside}: {error}"))
    }

    /// Copies files of this machine to `/nix/store/HASH-name/lib` and returns that directory.
    pub fn package(&self, name: &str, files: &[impl AsRef<Path>]) -> String {
        let lib = format!("{}/lib", store_path(name));
        self.mkdir(&lib);
        for file in files {
            let file = file.as_ref();
            self.install(file, &format!("{lib}/{}", toolchain::file_name(file)));
        }
        lib
    }

    /// Copies this machine's libraries for `arch` to `/nix/store/HASH-name/lib` and returns that directory.
    pub fn system_libraries(&self, name: &str, arch: Arch, sonames: &[&str]) -> String {
        let find = |soname: &&str| {
            arch.find_library(soname)
                .unwrap_or_else(|| panic!("this machine has no {soname} for {}", arch.name()))
        };
        self.package(name, &sonames.iter().map(find).collect::<Vec<_>>())
    }

    /// Mounts a file or directory of this machine at `inside`, read-only, for every program started later.
    pub fn bind(&self, source: &Path, inside: &str) {
        self.add_bind(source, inside, false);
    }

    /// Mounts the programs and libraries of this machine at their paths, for compilers and shells.
    pub fn bind_machine(&self) {
        for name in ["bin", "etc", "lib", "lib32", "lib64", "usr"] {
            let dir = Path::new("/").join(name);
            if dir.is_dir() {
                self.bind(&dir, &format!("/{name}"));
            }
        }
    }

    /// Mounts all of this machine at `/tool/host`, for debuggers.
    pub fn bind_host(&self) {
        self.bind_writable(Path::new("/"), "/tool/host");
    }

    fn bind_writable(&self, source: &Path, inside: &str) {
        self.add_bind(source, inside, true);
    }

    fn add_bind(&self, source: &Path, inside: &str, recursive: bool) {
        let target = self.parent_made(inside);
        if source.is_dir() {
            self.mkdir(inside);
        } else if !target.exists() {
            fs::write(&target, "").expect("a file to mount on");
        }
        let source = source.to_path_buf();
        self.binds.borrow_mut().push(Bind {
            source,
            target,
            recursive,
        });
    }

    /// The path of the tool as a file that can be executed, for tests in which its own `/proc/self/exe` matters. It is wrapped, because
    /// the root has no dynamic linker for it.
    pub fn tool_itself(&self) -> String {
        const PLACE: &str = "/tool/bin";
        let program = format!("{PLACE}/wrap-buddy");
        let tool = tool::path();
        let built = fs::metadata(&tool).and_then(|file| file.modified());
        let key = cache::digest([format!("{} {built:?}", tool.display()).as_bytes()]);
        let wrapped = cache::filled("tool", &key[..16], |dir| {
            let host = Arch::host();
            let root = Root::for_programs_of(&[(host, Libc::Glibc)]);
            root.install(&tool, &program);
            let run = root.wrap_buddy().args([&program, "--self-contained"]);
            let run = run.args(["--libs", "/tool/glibc", "/tool/gcc"]);
            let interpreter = format!("/tool/glibc/{}", host.ld_so());
            let output = run.args(["--interpreter", &interpreter]).output();
            output.success();
            for file in fs::read_dir(root.path(PLACE)).expect("a directory") {
                let file = file.expect("an entry");
                fs::copy(file.path(), dir.join(file.file_name())).expect("copy");
            }
        });
        self.bind_host_runtime();
        self.bind(&wrapped, PLACE);
        program
    }

    /// Starts programs with this kernel from now on. It takes seconds to boot for each start, and has only the files that are
    /// there then: what a program writes is lost.
    pub fn use_kernel(&self, kernel: Kernel) {
        self.kernel.set(kernel).expect("one kernel");
    }

    /// A machine with the files of this root, if it has a kernel.
    pub(crate) fn machine(&self) -> Option<Machine> {
        let mut machine = self.kernel.get()?.clone().machine();
        machine.add(self.dir.path(), "/");
        for bind in self.binds().iter().filter(|bind| !bind.recursive) {
            let inside = bind.target.strip_prefix(self.dir.path());
            let inside = inside.expect("below the root").display();
            machine.add(&bind.source, &format!("/{inside}"));
        }
        Some(machine)
    }

    /// The real dynamic linker of a system of this root.
    pub fn interpreter(&self, arch: Arch, libc: Libc) -> String {
        match libc {
            Libc::Glibc => {
                let dir = store_path(&format!("glibc-{}", arch.name()));
                format!("{dir}/lib/{}", arch.ld_so())
            }
            Libc::Musl => {
                let dir = store_path(&format!("musl-{}", arch.name()));
                format!("{dir}/lib/{}", musl_ld_so(arch))
            }
        }
    }

    /// The real dynamic linkers of all systems of this root.
    pub fn interpreters(&self) -> Vec<String> {
        let of = |&(arch, libc): &(Arch, Libc)| self.interpreter(arch, libc);
        self.systems.iter().map(of).collect()
    }

    /// The directories with the C and C++ libraries of all systems of this root.
    pub fn library_dirs(&self) -> Vec<String> {
        self.systems
            .iter()
            .flat_map(|&(arch, libc)| packages(arch, libc))
            .map(|name| format!("{}/lib", store_path(&name)))
            .collect()
    }

    /// The directory with the loaders, such as `loader.bin`.
    pub fn loader_dir(&self) -> String {
        format!("{}/lib/wrap-buddy", store_path("wrap-buddy"))
    }

    pub(crate) fn binds(&self) -> Vec<Bind> {
        self.binds.borrow().clone()
    }

    pub(crate) fn foreign(&self) -> Vec<Arch> {
        let mut foreign: Vec<Arch> = self.systems.iter().map(|&(arch, _)| arch).collect();
        foreign.sort();
        foreign.dedup();
        foreign.retain(|arch| !arch.is_native());
        foreign
    }

    pub(crate) fn bind_host_runtime(&self) {
        if self.path("/tool/glibc").exists() {
            return;
        }
        let host = Arch::host();
        for name in ["glibc", "gcc"] {
            let package = system_package(host, &format!("{name}-{}", host.name()));
            self.bind(&package.join("lib"), &format!("/tool/{name}"));
        }
    }

    pub(crate) fn install_loaders(&self) {
        if self.path(&self.loader_dir()).exists() {
            return;
        }
        for &(arch, _) in &self.systems {
            let stage = stages::for_machine(arch.machine()).unwrap_or_else(|| {
                panic!(
                    "no stub and loader for {}: {:?}",
                    arch.name(),
                    stages::MISSING
                )
            });
            self.write(
                &format!("{}/{}", self.loader_dir(), arch.loader_file()),
                stage.loader,
            );
        }
    }

    fn parent_made(&self, inside: &str) -> PathBuf {
        let path = self.path(inside);
        let parent = path.parent().expect("a path below the root");
        fs::create_dir_all(parent)
            .unwrap_or_else(|error| panic!("create {}: {error}", parent.display()));
        path
    }
}

/// `/nix/store/HASH-name`, in the format of Nix, and the same in every run.
pub fn store_path(name: &str) -> String {
    // Nix does not use the letters e, o, t and u.
    const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
    let digest = cache::digest([name.as_bytes()]);
    let hash: String = digest
        .bytes()
        .take(64)
        .collect::<Vec<_>>()
        .chunks(2)
        .map(|pair| char::from(ALPHABET[usize::from(pair[0].wrapping_mul(7) ^ pair[1]) % 32]))
        .collect();
    format!("/nix/store/{hash}-{name}")
}

/// The packages that a system's programs may need, the C library first.
fn packages(arch: Arch, libc: Libc) -> Vec<String> {
    match libc {
        Libc::Glibc => vec![
            format!("glibc-{}", arch.name()),
            format!("gcc-{}", arch.name()),
        ],
        Libc::Musl => vec![format!("musl-{}", arch.name())],
    }
}

/// A directory with `lib`, whose files are copies of this machine's libraries.
pub(crate) fn system_package(arch: Arch, name: &str) -> PathBuf {
    let files: Vec<(PathBuf, String)> = match name.split('-').next() {
        Some("musl") => {
            let path = Variant::new(arch, Libc::Musl, Kind::Pie).dynamic_linker();
            vec![(path.clone(), musl_ld_so(arch)), (path, "libc.so".into())]
        }
        Some("gcc") => found(arch, GCC),
        _ => found(arch, &[&[arch.ld_so()], GLIBC].concat()),
    };
    assert!(
        !files.is_empty(),
        "this machine has no {name}; run: cargo xtask setup"
    );
    let contents: Vec<String> = files
        .iter()
        .map(|(path, _)| {
            let meta = fs::metadata(path).unwrap_or_else(|error| {
                panic!("{}: {error}; run: cargo xtask setup", path.display())
            });
            format!(
                "{} {} {:?}",
                path.display(),
                meta.len(),
                meta.modified().ok()
            )
        })
        .collect();
    let key = cache::digest(contents.iter().map(String::as_bytes));
    cache::filled("packages", &format!("{name}-{}", &key[..16]), |dir| {
        let lib = dir.join("lib");
        let _guard = fork::writing();
        fs::create_dir(&lib).expect("a directory in a fresh one");
        for (path, name) in &files {
            let target = lib.join(name);
            fs::copy(path, &target)
                .unwrap_or_else(|error| panic!("copy {}: {error}", path.display()));
            fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).expect("chmod a copy");
        }
    })
}

fn found(arch: Arch, sonames: &[&str]) -> Vec<(PathBuf, String)> {
    sonames
        .iter()
        .filter_map(|soname| Some((arch.find_library(soname)?, (*soname).to_string())))
        .collect()
}
