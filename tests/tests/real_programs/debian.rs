//! Debian's own programs, copied from this machine.

use crate::layout::{Case, host_program, root, wrap_with};

on!([host host_auto host_embedded]:
    ls_lists, dash_runs_pipelines_of_wrapped_programs, python_imports_extensions_and_starts_itself, perl_runs_a_script
);

fn ls_lists(case: Case) {
    let root = root(case);
    let ls = root.install(&host_program("ls"), "/app/bin/ls");
    let libraries = ["libselinux.so.1", "libpcre2-8.so.0"];
    let libraries = root.system_libraries("libselinux", case.arch, &libraries);
    root.write("/app/dir/b", "");
    root.write("/app/dir/a", "");
    wrap_with(case, &root, &ls, &[libraries], &[]);
    let output = root
        .command(&ls)
        .args(["-1", "/app/dir"])
        .output()
        .success();
    assert_eq!(output.stdout, "a\nb\n");
}

fn dash_runs_pipelines_of_wrapped_programs(case: Case) {
    let root = root(case);
    for name in ["dash", "seq", "sort", "wc"] {
        let libraries = match name {
            "sort" => vec![root.system_libraries("openssl", case.arch, &["libcrypto.so.3"])],
            _ => Vec::new(),
        };
        let program = root.install(&host_program(name), &format!("/app/bin/{name}"));
        wrap_with(case, &root, &program, &libraries, &[]);
    }
    let script = "seq 20 | sort -r | while read n; do echo $((n * 2)); done | { read first; echo $first; wc -l; }";
    let dash = root
        .command("/app/bin/dash")
        .args(["-c", script])
        .env("PATH", "/app/bin");
    assert_eq!(dash.output().success().stdout, "18\n19\n");
}

fn python_imports_extensions_and_starts_itself(case: Case) {
    let root = root(case);
    let python = host_program("python3");
    let name = python
        .file_name()
        .and_then(|name| name.to_str())
        .expect("python3.N")
        .to_string();
    let library = python
        .parent()
        .expect("a directory")
        .with_file_name("lib")
        .join(&name);
    let program = root.install(&python, &format!("/app/bin/{name}"));
    root.bind(&library, &format!("/app/lib/{name}"));
    let libraries = [
        "libz.so.1",
        "libexpat.so.1",
        "libbz2.so.1.0",
        "libcrypto.so.3",
    ];
    let libraries = root.system_libraries("python-needs", case.arch, &libraries);
    // The program's DT_RUNPATH does not apply to an extension's needs.
    wrap_with(
        case,
        &root,
        &program,
        &[libraries],
        &["--needed", "libbz2.so.1.0", "libcrypto.so.3"],
    );
    root.write("/app/main.py", PYTHON);
    let output = root
        .command(&program)
        .args(["-I", "/app/main.py"])
        .output()
        .success();
    let child = format!("child of {program}\n");
    assert_eq!(
        output.stdout,
        format!("{child}compressed, hashed, counted 10\n")
    );
}

const PYTHON: &str = r#"import bz2, hashlib, subprocess, sys, threading, zlib, xml.parsers.expat
print(end=subprocess.check_output([sys.executable, "-Ic", "import sys; print('child of', sys.executable)"], text=True))
data = b"wrapped " * 1000
assert bz2.decompress(bz2.compress(data)) == zlib.decompress(zlib.compress(data)) == data
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c44298fc1c14")
done = []
threads = [threading.Thread(target=done.append, args=(n,)) for n in range(10)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("compressed, hashed, counted", len(done))
"#;

fn perl_runs_a_script(case: Case) {
    let root = root(case);
    let perl = root.install(&host_program("perl"), "/app/bin/perl");
    let libraries = root.system_libraries("libxcrypt", case.arch, &["libcrypt.so.1"]);
    wrap_with(case, &root, &perl, &[libraries], &[]);
    let script = r#"my %n; $n{$_}++ for split //, shift; print map { "$_$n{$_}" } sort keys %n; print crypt("a", "ab")"#;
    let output = root
        .command(&perl)
        .args(["-e", script, "wrapped"])
        .output()
        .success();
    assert!(output.stdout.starts_with("a1d1e1p2r1w1ab"), "{output}");
}
