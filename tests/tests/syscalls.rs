//! The number of system calls of a start.

use e2e::{Arch, Kind, Libc, Output, Sample, Variant, matrix, toolchain};
use sidecar::{Flags, Sidecar};

matrix!(all: with_a_loader_file, embedded, self_contained, self_contained_and_relocatable);
matrix!(native: leaves_no_descriptor_open);

/// One call is to check the owner of the sidecar. The program's own path is needed only if the program is started through another
/// directory than that of its sidecar.
fn with_a_loader_file(variant: Variant) {
    let sample = Sample::new(variant);
    counts(variant, &sample, 18);
}

/// The sidecar is not opened, read, checked and closed, and no bytes are restored.
fn embedded(variant: Variant) {
    let sample = Sample::with_room(variant);
    sample.wrapping().args(["--embedded"]).run();
    counts(variant, &sample, 14);
}

/// Two calls are for the stub to check the owner of the sidecar, and the user.
fn self_contained(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let wrapping = sample.wrapping().without_loader_dir();
    wrapping.args(["--self-contained"]).run();
    counts(variant, &sample, 16);
}

/// Three calls more: it looks up its own path twice, and reads the sidecar twice.
fn self_contained_and_relocatable(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let wrapping = sample.wrapping().without_loader_dir();
    wrapping.args(["--relocatable", "--allow-outside"]).run();
    counts(variant, &sample, 19);
}

/// The maximum number from exec to the dynamic linker's first system call. It is two less if no bytes are restored over the stub.
/// musl's dynamic linker has whole pages of zeros, which need a mapping of their own. A PIE, which the kernel maps among its
/// libraries, needs two calls for its random distance from them.
fn counts(variant: Variant, sample: &Sample, limit: usize) {
    let sidecar = sample.root.read(&e2e::check::sidecar_of(&sample.program));
    let sidecar = Sidecar::parse(&sidecar).expect("just written");
    let stays = sidecar.header().flags.contains(Flags::SLOT_STAYS);
    let limit = if stays { limit - 2 } else { limit }
        + usize::from(variant.libc == Libc::Musl)
        + 2 * usize::from(variant.kind == Kind::Pie);
    let (trace, _) = trace(variant, sample);
    let first = trace.iter().position(|line| begins_ld_so(variant, line));
    let first = first.unwrap_or_else(|| panic!("no system call of ld.so in {trace:#?}"));
    assert!(first > 3, "a loader that does nothing? {trace:#?}");
    assert!(
        first <= limit,
        "{first} system calls: {:#?}",
        &trace[..first]
    );
}

fn leaves_no_descriptor_open(variant: Variant) {
    let sample = Sample::new(variant);
    let (_, output) = trace(variant, &sample);
    let open = sample.command().arg("descriptors").output().success();
    assert_eq!(open.stdout, "0\n1\n2\n", "{open}");
    output.success();
}

/// The system calls of the sample after its exec, one in each line.
fn trace(variant: Variant, sample: &Sample) -> (Vec<String>, Output) {
    if !variant.arch.is_native() {
        // The emulator's own trace, because strace does not see emulated calls.
        let output = sample.command().env("QEMU_STRACE", "1").output().success();
        let calls = output.stderr.lines();
        // Each line begins with the process id.
        let calls = calls.filter_map(|line| Some(line.split_once(' ')?.1.to_owned()));
        return (calls.collect(), output);
    }
    let strace = toolchain::find_program("strace").expect("strace; run: cargo xtask setup");
    sample.root.bind_host();
    let run = sample.root.host_command(&strace);
    let output = run
        .args(["-o", "/app/trace", &sample.program])
        .output()
        .success();
    let text = String::from_utf8_lossy(&sample.root.read("/app/trace")).into_owned();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("[ Process PID="));
    let lines = lines
        .skip_while(|line| !line.starts_with("execve("))
        .skip(1);
    (lines.map(String::from).collect(), output)
}

/// The dynamic linker's first system call: glibc queries the break, musl sets its thread pointer.
fn begins_ld_so(variant: Variant, line: &str) -> bool {
    match (variant.libc, variant.arch) {
        (Libc::Glibc, _) => line.starts_with("brk(NULL)"),
        (Libc::Musl, Arch::X86_64) => line.starts_with("arch_prctl(ARCH_SET_FS"),
        (Libc::Musl, _) => line.starts_with("set_thread_area("),
    }
}
