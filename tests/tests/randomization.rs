//! An address of the program does not reveal the addresses of its libraries.

use std::collections::HashSet;

use e2e::{Output, Sample, Variant, matrix};

// An emulator has an address space of its own.
matrix!([x86_64_glibc_pie x86_64_musl_pie i686_glibc_pie]: (libraries_are_at_a_random_distance));
matrix!(native: without_randomization_each_start_is_the_same, limited_address_space_is_left_to_the_program);

const STARTS: usize = 100;

/// The distance in bytes from the program to its library, which ld.so has mapped.
fn distance(output: Output) -> i64 {
    let output = output.success();
    let mut lines = output.stdout.lines();
    let main = lines.next().and_then(|line| line.strip_prefix("main "));
    let main = i64::from_str_radix(main.expect("an address"), 16).expect("a number");
    let library = lines.find(|line| line.ends_with("/libfoo.so"));
    let start = library
        .and_then(|line| line.split_once('-'))
        .expect("its library")
        .0;
    i64::from_str_radix(start, 16).expect("a number") - main
}

fn libraries_are_at_a_random_distance(variant: Variant) {
    let sample = Sample::new(variant);
    let start = |_| distance(sample.command().arg("maps").output());
    let found = (0..STARTS).map(start).collect::<HashSet<_>>().len();
    // The kernel varies a 32-bit mapping by 256 pages, so some of 100 starts are alike.
    let expected = if variant.arch.is_64() { 98 } else { 60 };
    assert!(found >= expected, "{found} distances");
}

fn without_randomization_each_start_is_the_same(variant: Variant) {
    let sample = Sample::new(variant);
    let start = |_| distance(sample.command().without_aslr().arg("maps").output());
    assert_eq!((0..5).map(start).collect::<HashSet<_>>().len(), 1);
}

/// The random distance does not count against the limit.
fn limited_address_space_is_left_to_the_program(variant: Variant) {
    let sample = Sample::new(variant);
    for _ in 0..5 {
        let limited = sample.command().address_space(64 << 20);
        let output = limited.arg("maps").output().success();
        let unused = |line: &&str| line.contains(" ---p ") && line.trim_end().ends_with(" 00:00 0");
        let unused: Vec<&str> = output.stdout.lines().filter(unused).collect();
        assert!(unused.is_empty(), "{unused:#?}");
    }
}
