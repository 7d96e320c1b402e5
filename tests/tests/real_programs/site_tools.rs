//! Tools that build web sites: sass, a program in a snapshot that Dart's virtual machine maps, and hugo, written in Go and linked
//! to C++. Go's runtime reads arguments, environment and auxiliary vector itself.

use e2e::corpus;

use crate::layout::{Case, install_tree, root, wrap};

on!([x86_64 x86_64_auto x86_64_own]: sass_compiles_a_sheet);
on!([x86_64 aarch64 x86_64_auto aarch64_auto x86_64_own aarch64_own]: hugo_builds_a_site);

fn sass_compiles_a_sheet(case: Case) {
    let root = root(case);
    install_tree(&root, &corpus::fetch("dart", case.arch), "/app/sass");
    wrap(case, &root, "/app/sass/dart", &[]);
    root.write("/app/site/_size.scss", "$wide: 2 * 20px;\n");
    root.write(
        "/app/site/main.scss",
        "@use 'size';\na { b { width: size.$wide + 2; } }\n",
    );
    let output = root
        .command("/app/sass/dart")
        .args(["/app/sass/sass.snapshot", "--no-source-map", "main.scss"])
        .cwd("/app/site")
        .output()
        .success();
    assert_eq!(output.stdout, "a b {\n  width: 42px;\n}\n", "{output}");
}

fn hugo_builds_a_site(case: Case) {
    let root = root(case);
    let hugo = root.install(&corpus::fetch("hugo", case.arch), "/app/bin/hugo");
    wrap(case, &root, &hugo, &[]);
    root.write("/app/site/hugo.toml", "title = 'Answers'\n");
    root.write("/app/site/content/_index.md", "It is **42**.\n");
    // Go code, and a template function that calls the C++ code.
    root.write(
        "/app/site/layouts/home.html",
        "{{ os.Getenv \"HUGO_WHO\" }}: {{ .Content }}{{ ((resources.Get \"main.scss\") | css.Sass).Content }}",
    );
    root.write(
        "/app/site/assets/main.scss",
        "a { b { width: 2 * 21px; } }\n",
    );
    root.command(&hugo)
        .args(["--source", "/app/site", "--logLevel", "info"])
        .env("HUGO_WHO", "she")
        .env("HOME", "/app")
        .output()
        .success();
    let page = root.read("/app/site/public/index.html");
    let page = String::from_utf8_lossy(&page);
    for words in ["she: <p>It is <strong>42</strong>.", "width: 42px"] {
        assert!(page.contains(words), "{words:?} in {page}");
    }
}
