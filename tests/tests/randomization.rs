//! An address of the program does not reveal the addresses of its libraries.

use std::collections::HashSet;

use e2e::{Output, Sample, Variant, matrix};

matrix!(systems: libraries_are_at_a_random_distance);
matrix!(all: without_randomization_each_start_is_the_same, limited_address_space_is_left_to_the_program);

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
    let Some(sample) = Sample::with_kernel(variant) else {
        return;
    };
    let starts = sample.command().arg("maps").outputs(STARTS);
    let found: HashSet<i64> = starts.into_iter().map(distance).collect();
    // The kernel varies a 32-bit mapping by 256 pages, so some of 100 starts are alike.
    let expected = if variant.arch.is_64() { 98 } else { 60 };
    assert!(found.len() >= expected, "{} distances", found.len());
}

fn without_randomization_each_start_is_the_same(variant: Variant) {
    let Some(sample) = Sample::with_kernel(variant) else {
        return;
    };
    let starts = sample.command().without_aslr().arg("maps").outputs(5);
    let found: HashSet<i64> = starts.into_iter().map(distance).collect();
    assert_eq!(found.len(), 1);
}

/// The random distance does not count against the limit.
fn limited_address_space_is_left_to_the_program(variant: Variant) {
    let Some(sample) = Sample::with_kernel(variant) else {
        return;
    };
    let limited = sample.command().address_space(64 << 20);
    for output in limited.arg("maps").outputs(5) {
        let output = output.success();
        let lines: Vec<&str> = output.stdout.lines().collect();
        let file = |line: &str| line.rsplit(' ').next().map(str::to_owned);
        let is_unused =
            |line: &str| line.contains(" ---p ") && line.trim_end().ends_with(" 00:00 0");
        // Not a part of ld.so, whose segments may be aligned to more than a page.
        let unused = |three: &&[&str]| is_unused(three[1]) && file(three[0]) != file(three[2]);
        let unused: Vec<_> = lines.windows(3).filter(unused).collect();
        assert!(unused.is_empty(), "{unused:#?}\n{output}");
        let is_code = |line: &&&str| line.contains(" r-xp ") && line.contains("/ld-");
        assert_eq!(
            lines.iter().filter(is_code).count(),
            1,
            "ld.so is mapped once; {output}"
        );
    }
}
