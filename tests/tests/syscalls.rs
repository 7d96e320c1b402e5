//! The cost of a start, in system calls.

use e2e::{Arch, Libc, Output, Sample, Variant, matrix, toolchain};

matrix!(all: at_most_18_system_calls);
matrix!(native: leaves_no_descriptor_open);

/// From exec to the dynamic linker's first own system call.
const LIMIT: usize = 18;

fn at_most_18_system_calls(variant: Variant) {
    let (trace, _) = trace(variant);
    let first = trace.iter().position(|line| begins_ld_so(variant, line));
    let first = first.unwrap_or_else(|| panic!("no system call of ld.so in {trace:#?}"));
    assert!(first > 3, "a loader that does nothing? {trace:#?}");
    assert!(
        first <= LIMIT,
        "{first} system calls: {:#?}",
        &trace[..first]
    );
}

fn leaves_no_descriptor_open(variant: Variant) {
    let (_, output) = trace(variant);
    let sample = Sample::new(variant);
    let open = sample.command().arg("descriptors").output().success();
    assert_eq!(open.stdout, "0\n1\n2\n", "{open}");
    output.success();
}

/// System calls of the sample after its exec, one a line.
fn trace(variant: Variant) -> (Vec<String>, Output) {
    let sample = Sample::new(variant);
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
