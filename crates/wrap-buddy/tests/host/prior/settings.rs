//! Reports on settings that differ from those of the previous run.

use wrap_buddy::plan::outcome::Report;

use super::wrap;
use crate::fixture::*;

e2e::architectures!(changed_settings_are_reported);

fn changed_settings_are_reported(target: Arch) {
    for strategy in ["stub", "inplace"] {
        let dir = TestDir::new();
        let main = dir.walk_through(target, &[]);
        let base = ["--strategy", strategy];
        let run = |more: &[&str]| wrap(&dir, target, &main, &[&base[..], more].concat());
        let changed = |report: &Report| -> Vec<&'static str> {
            let plan = only(report).plan.as_ref().unwrap();
            plan.settings_changed.iter().map(|one| one.name).collect()
        };
        let report = run(&["--runtime-dependencies", "/x", "--needed", "libfoo.so.1"]);
        assert!(changed(&report).is_empty(), "{report:#?}");
        let report = run(&[]);
        assert_eq!(changed(&report), ["search path"], "{strategy}");
        let plan = only(&report).plan.as_ref().unwrap();
        let change = &plan.settings_changed[0];
        assert!(change.before.contains("bar/lib:/x"), "{change:?}");
        assert!(!change.after.contains("/x"), "{change:?}");
        let report = run(&["--search", "rpath"]);
        assert_eq!(changed(&report), ["search path"], "{strategy}");
        let mut human = (Vec::new(), Vec::new());
        let output = wrap_buddy::report::Output {
            verbose: true,
            detailed: true,
            ..Default::default()
        };
        wrap_buddy::commands::wrap::human::write(&report, output, &mut human.0, &mut human.1)
            .unwrap();
        let text = plain(human.0);
        assert!(text.contains("settings changed search path\n"), "{text}");
        assert!(
            text.contains("search path: DT_RUNPATH ") && text.contains(" → DT_RPATH "),
            "{text}"
        );
        if strategy == "stub" {
            let report = run(&[
                "--self-contained",
                "--relocatable",
                "--allow-outside",
                "--search",
                "rpath",
            ]);
            let all = ["interpreter", "search path", "relocatable", "loader"];
            assert_eq!(changed(&report), all);
            assert_eq!(changed(&run(&[])), all);
        }
    }
}
