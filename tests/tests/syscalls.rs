//! The cost of a start, in system calls.

use e2e::{Arch, Kind, Libc, Output, Sample, Variant, matrix, toolchain};
use sidecar::{Flags, Sidecar};

matrix!(all: with_a_loader_file, self_contained, self_contained_and_relocatable);
matrix!(native: leaves_no_descriptor_open);

/// One of them is for what it trusts: whose the sidecar is. Where the program is has to be asked only if it is started by another
/// directory than that of its sidecar.
fn with_a_loader_file(variant: Variant) {
    let sample = Sample::new(variant);
    counts(variant, &sample, 18);
}

/// Two of them are for what the stub trusts: whose the sidecar is, and who runs it.
fn self_contained(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let wrapping = sample.wrapping().without_loader_dir();
    wrapping.args(["--self-contained"]).run();
    counts(variant, &sample, 16);
}

/// Three more than that: it looks twice where it is, and reads the sidecar twice.
fn self_contained_and_relocatable(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let wrapping = sample.wrapping().without_loader_dir();
    wrapping.args(["--relocatable", "--allow-outside"]).run();
    counts(variant, &sample, 19);
}

/// From exec to the dynamic linker's first own system call there are at most so many; two less where nothing is put back over
/// the stub. musl's has whole pages of zeros, which are a mapping of their own. Two more keep a PIE, which the kernel puts among its
/// libraries, at a random distance from them.
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

/// System calls of the sample after its exec, one a line.
fn trace(variant: Variant, sample: &Sample) -> (Vec<String>, Output) {
    if variant.arch == Arch::Aarch64 {
        // The emulator's own trace: no tracer sees the emulated calls.
        let output = sample.command().env("QEMU_STRACE", "1").output().success();
        let calls = output.stderr.lines();
        // Each begins with the process's number.
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

/// What the dynamic linker does first: glibc asks for the break, musl sets its thread pointer.
fn begins_ld_so(variant: Variant, line: &str) -> bool {
    match (variant.libc, variant.arch) {
        (Libc::Glibc, _) => line.starts_with("brk(NULL)"),
        (Libc::Musl, Arch::X86_64) => line.starts_with("arch_prctl(ARCH_SET_FS"),
        (Libc::Musl, _) => line.starts_with("set_thread_area("),
    }
}
