//! The harness of the end-to-end tests.
//!
//! A test makes a [`Root`]: a directory that becomes `/` for the programs started in it, without a dynamic linker at the paths of
//! the FHS. The test puts a program in, wraps it with wrap-buddy *inside* the root, so that the tool sees the run-time paths, and
//! runs it.
//!
//! ```no_run
//! use e2e::{Arch, Build, Kind, Libc, Root, Variant, source};
//!
//! let variant = Variant::new(Arch::Aarch64, Libc::Glibc, Kind::Pie);
//! let root = Root::new(variant);                            // its libraries under /nix/store/HASH-NAME/lib
//! let zlib = root.system_libraries("zlib", variant.arch, &["libz.so.1"]);
//! root.install(&Build::program(variant, source("hello.c")).build(), "/app/hello");
//! e2e::assert_fails_unwrapped(root.command("/app/hello"));  // exec: ENOENT
//! root.wrap("/app/hello").libs([zlib]).args(["--needed", "libz.so.1"]).run();
//! let output = root.command("/app/hello").arg("x").env("K", "V").output().success();
//! assert_eq!(output.stdout, "hello\n");
//! ```
//!
//! - [`Root`]: [`Root::path`] (the path on this machine), [`Root::install`], [`Root::write`], [`Root::package`] and
//!   [`Root::system_libraries`] (a `/nix/store/HASH-NAME/lib`), [`Root::bind`] (mount a large directory of this machine,
//!   read-only), [`Root::bind_host`] + [`Root::host_command`] (strace, gdb, …).
//! - [`Run`], from [`Root::command`]: arguments, environment (empty by default), stdin, cwd, timeout, user, AT_SECURE, without
//!   /proc, as PID 1, …; [`Run::output`], [`Run::try_output`] (with the error of exec), [`Run::spawn`].
//! - [`Wrap`], from [`Root::wrap`]; [`Root::wrap_buddy`] is the tool without arguments.
//! - [`Build`]: a C or C++ source compiled for a [`Variant`]; cached.
//! - [`Wrapped`] and [`Edited`]: checks of a file afterwards; [`Report`]: wrap-buddy's JSON report.
//! - [`Sample`]: the program that most tests use, in a root, with a library of its own.
//! - [`matrix!`]: one `#[test]` per cell of the matrix. [`fixture`]: C files whose header describes the test.
//! - [`debian::unpack`]: Debian packages with all their dependencies, as a tree.
//! - [`Session`]: the commands of a page, typed into bash.
//! - [`Kernel`], [`Sample::with_kernel`], [`Driver`]: a kernel of another architecture, where QEMU's user-mode emulator is not like one.
//! - [`Store`]: a Nix store of its own, and roots that contain its results.
//! - Programs of foreign architectures run too, also as children of another program.
//!
//! The test process itself stays as it is: namespaces are entered between fork and exec.

pub mod arch;
pub mod cache;
pub mod check;
pub mod corpus;
pub mod debian;
pub mod debugger;
pub mod driver;
pub mod edited;
pub mod fixture;
mod fork;
pub mod kernel;
pub mod legacy;
mod machine;
pub mod matrix;
mod namespace;
pub mod offsets;
pub mod output;
pub mod report;
pub mod root;
pub mod run;
pub mod sample;
pub mod session;
mod skipped;
pub mod store;
pub mod tool;
pub mod toolchain;
pub mod watching;
pub mod wrap;

pub use arch::{Arch, Kind, Libc, Variant};
pub use check::{Wrapped, assert_fails_unwrapped};
pub use driver::Driver;
pub use edited::Edited;
pub use kernel::Kernel;
pub use output::Output;
pub use report::Report;
pub use root::{Root, store_path};
pub use run::{Run, Running};
pub use sample::{SAYS, Sample, says};
pub use session::Session;
pub use skipped::skipped;
pub use store::Store;
pub use toolchain::{Build, source};
pub use watching::Watching;
pub use wrap::Wrap;
