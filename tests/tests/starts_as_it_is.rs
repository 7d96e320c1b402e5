//! Programs that need no wrapping: they find their dynamic linker and libraries.

use std::fs;

use e2e::check::sidecar_of;
use e2e::{Sample, Variant, matrix, says};

matrix!(systems: skipped_unless_forced, wrapped_for_another_dynamic_linker);

fn skipped_unless_forced(variant: Variant) {
    let sample = Sample::installed_at(variant, "/app/program");
    let interpreter = variant.fhs_interpreter();
    let wrap = || {
        let wrap = sample.root.wrap(&sample.program);
        wrap.only_libs([""; 0]).interpreter(&interpreter)
    };
    let output = wrap().run();
    assert!(
        output.stdout.contains("skipped: starts as it is"),
        "{output}"
    );
    let original = fs::read(&sample.built).expect("built before");
    assert!(sample.root.read(&sample.program) == original);
    assert!(!sample.root.path(&sidecar_of(&sample.program)).exists());
    wrap().args(["--force"]).run();
    sample.wrapped();
    sample.run();
    // A wrapped program stays wrapped.
    let output = wrap().run();
    assert!(output.stdout.contains("already wrapped"), "{output}");
}

fn wrapped_for_another_dynamic_linker(variant: Variant) {
    let sample = Sample::installed_at(variant, "/app/program");
    let wrap = sample.root.wrap(&sample.program);
    wrap.only_libs([""; 0]).run();
    sample.wrapped();
    fs::remove_file(sample.root.path(&variant.fhs_interpreter())).expect("remove the linker");
    says(sample.command().output());
}
