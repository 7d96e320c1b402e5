//! Every fixture in every cell of the matrix: `wrapped::NAME::x86_64_glibc_pie`, `once::…` for the same program with `wrap-buddy run`,
//! and `linked::…` without wrapping.

use e2e::Variant;
use e2e::fixture::Fixture;
use libtest_mimic::{Arguments, Trial};

fn main() {
    type Run = fn(&Fixture, Variant);
    let ways: [(&str, Run); 3] = [
        ("wrapped", Fixture::run_wrapped),
        ("once", Fixture::run_once),
        ("linked", Fixture::run_linked),
    ];
    let mut trials = Vec::new();
    for fixture in Fixture::all() {
        for variant in fixture.variants() {
            for (way, run) in ways {
                let fixture = fixture.clone();
                let name = format!("{way}::{}::{variant}", fixture.name());
                trials.push(Trial::test(name, move || {
                    run(&fixture, variant);
                    Ok(())
                }));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
