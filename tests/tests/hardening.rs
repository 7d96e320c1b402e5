//! Kernel hardening, and tools that inspect a running program.

use std::path::Path;
use std::thread;
use std::time::Duration;

use e2e::debugger::{gdb, shows_everything};
use e2e::{Sample, Variant, matrix, run, says, toolchain};
use sidecar::{Flags, Sidecar};

matrix!(all: maps_show_the_program, no_descriptor_is_left_open);
matrix!(native: without_write_then_execute, without_write_then_execute_over_code, started_by_ld_so_without_write_then_execute, debugger_attaches, debugger_starts_the_program);
// Valgrind needs the symbols of ld.so, and no package has them for the i686 cross toolchain.
matrix!([x86_64_glibc_pie x86_64_glibc_exec x86_64_musl_pie x86_64_musl_exec]: (under_valgrind, self_contained_under_valgrind));

fn without_write_then_execute(variant: Variant) {
    says(Sample::new(variant).command().deny_write_execute().output());
}

/// With code after its entry point, there is room for the stub, so the stub has to be removed from memory.
fn without_write_then_execute_over_code(variant: Variant) {
    let sample = with_stub_over_code(variant);
    says(sample.command().deny_write_execute().output());
}

fn with_stub_over_code(variant: Variant) -> Sample {
    let flags = ["-DMORE".to_string()];
    let sample = Sample::with_flags(variant, "/app/program", &flags);
    let sidecar = sample.wrap().sidecar;
    let sidecar = Sidecar::parse(&sidecar).expect("checked before");
    assert!(!sidecar.header().flags.contains(Flags::SLOT_STAYS));
    sample
}

/// /proc/self/exe is then ld.so. Mapping it over the program's code would crash.
fn started_by_ld_so_without_write_then_execute(variant: Variant) {
    let sample = with_stub_over_code(variant);
    let run = sample.command_by_ld_so();
    run.deny_write_execute()
        .output()
        .refuses(&["/proc/self/mem"]);
}

fn maps_show_the_program(variant: Variant) {
    let sample = Sample::new(variant);
    let output = sample.command().arg("maps").output().success();
    let mut lines = output.stdout.lines();
    let main = lines.next().and_then(|line| line.strip_prefix("main "));
    let main = u64::from_str_radix(main.expect("an address"), 16).expect("a number");
    let mut of_main = None;
    for line in lines.filter(|line| line.contains('-')) {
        let map = Map::parse(line);
        assert!(
            !map.flags.contains("wx"),
            "writable and executable: {line}; {output}"
        );
        if (map.start..map.end).contains(&main) {
            of_main = Some(map.name);
        }
        // An emulator has code of its own there.
        if map.flags.contains('x') && variant.arch.is_native() {
            let known = map.name.starts_with('/') || map.name.starts_with("[v");
            assert!(known, "code that belongs to no file: {line}; {output}");
        }
    }
    assert_eq!(of_main, Some(sample.program.as_str()), "{output}");
}

fn no_descriptor_is_left_open(variant: Variant) {
    let output = Sample::new(variant)
        .command()
        .arg("descriptors")
        .output()
        .success();
    assert_eq!(output.stdout, "0\n1\n2\n", "{output}");
}

fn under_valgrind(variant: Variant) {
    start_under_valgrind(&Sample::new(variant));
}

/// The stub does not use memory below the stack pointer.
fn self_contained_under_valgrind(variant: Variant) {
    let sample = Sample::unwrapped(variant);
    let wrapping = sample.wrapping().without_loader_dir();
    wrapping.args(["--self-contained"]).run();
    start_under_valgrind(&sample);
}

fn start_under_valgrind(sample: &Sample) {
    sample.root.bind_host();
    // Valgrind looks here for the symbols of ld.so, and does not start without them.
    sample
        .root
        .bind(Path::new("/usr/lib/debug"), "/usr/lib/debug");
    // Debian's `valgrind` is a script that runs this.
    let valgrind = ["valgrind.bin", "valgrind"]
        .into_iter()
        .find_map(toolchain::find_program);
    let valgrind = valgrind.expect("valgrind; run: cargo xtask setup");
    let run = sample.root.host_command(&valgrind);
    let output = run
        .args(["-v", "-v", "--error-exitcode=9"])
        .arg(&sample.program)
        .env("VALGRIND_LIB", "/tool/host/usr/libexec/valgrind")
        .output()
        .success();
    assert_eq!(output.stdout, "value 42\n", "{output}");
    // Valgrind knows ld.so's functions, and does not report their reads after the end of a string, if the mappings agree with the
    // headers.
    let outside = "ELF section outside all mapped regions";
    assert!(!output.stderr.contains(outside), "{output}");
}

fn debugger_attaches(variant: Variant) {
    let sample = Sample::new(variant);
    let running = sample
        .command()
        .arg("loop")
        .spawn()
        .expect("execute the sample");
    // Before that, the debugger would see ld.so at work.
    let exe = format!("/proc/{}/maps", running.pid());
    for _ in 0..500 {
        if std::fs::read_to_string(&exe).is_ok_and(|maps| maps.contains("libfoo.so")) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(100));
    let output = run::on_host(
        "gdb",
        &[
            "-nx",
            "-batch",
            "-ex",
            &format!("set sysroot /proc/{}/root", running.pid()),
            "-ex",
            &format!("attach {}", running.pid()),
            "-ex",
            "info sharedlibrary",
            "-ex",
            "break foo",
            "-ex",
            "continue",
            "-ex",
            "backtrace",
            "-ex",
            "kill",
        ],
    );
    running.finish(Duration::from_secs(5));
    shows_everything(variant, &output);
}

fn debugger_starts_the_program(variant: Variant) {
    let sample = Sample::new(variant);
    let run = gdb(&sample.root).args([
        "-ex",
        "run",
        "-ex",
        "sharedlibrary",
        "-ex",
        "info sharedlibrary",
    ]);
    let run = run.args([
        "-ex",
        "break foo",
        "-ex",
        "continue",
        "-ex",
        "backtrace",
        "-ex",
        "kill",
    ]);
    let output = run.args(["--args", &sample.program, "stop"]).output();
    shows_everything(variant, &output);
}

/// A line of /proc/self/maps.
struct Map<'a> {
    start: u64,
    end: u64,
    flags: &'a str,
    name: &'a str,
}

impl<'a> Map<'a> {
    fn parse(line: &'a str) -> Map<'a> {
        let mut words = line.split_whitespace();
        let range = words
            .next()
            .and_then(|range| range.split_once('-'))
            .expect("a range");
        let number = |text| u64::from_str_radix(text, 16).expect("a number");
        let flags = words.next().expect("flags");
        let name = words.nth(3).unwrap_or("");
        Map {
            start: number(range.0),
            end: number(range.1),
            flags,
            name,
        }
    }
}
