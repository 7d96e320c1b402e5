//! Wine's program, which starts itself again with a preloader that maps it.

use e2e::{Edited, corpus};

use crate::layout::{Case, root};

on!([x86_64]: preloader_starts_wine);

/// Without Wine's libraries, it runs and prints that they are missing.
fn preloader_starts_wine(case: Case) {
    let root = root(case);
    let wine = root.install(&corpus::fetch("wine", case.arch), "/app/wine/wine64");
    let preloader = corpus::fetch("wine-preloader", case.arch);
    let preloader = root.install(&preloader, "/app/wine/wine64-preloader");
    let original = root.read(&wine);
    let report = root.wrap(&wine).report().success();
    report.file(&wine).is("edited", &["wine64-preloader"]);
    Edited::read(&root, &wine, original);
    for command in [root.command(&wine), root.command(&preloader).arg(&wine)] {
        let output = command.output().exits_with(1);
        assert!(
            output.stderr.contains("could not load ntdll.so"),
            "{output}"
        );
    }
}
