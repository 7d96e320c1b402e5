//! The search path, the names added to DT_NEEDED, and the missing libraries in the report.

use std::fs;
use std::path::PathBuf;

use wrap_buddy::plan::outcome::Status;

use crate::fixture::*;

fn library(dir: &TestDir, path: &str, source: &str, arguments: &[&str]) -> PathBuf {
    let name = path.rsplit('/').next().unwrap();
    let soname = format!("-Wl,-soname,{name}");
    let mut all = vec!["-shared", "-fPIC", &soname];
    all.extend_from_slice(arguments);
    dir.compile(Arch::X86_64, path, source, &all)
}

#[test]
fn useful_directories_are_in_the_users_order() {
    let dir = TestDir::new();
    let main = dir.walk_through(Arch::X86_64, &[]);
    fs::create_dir(dir.path("empty")).unwrap();
    let (of_foo, of_bar, empty) = (dir.path("foo/lib"), dir.path("bar/lib"), dir.path("empty"));
    let always = dir.path("always");
    let report = dir.wrap(&[
        &"--paths",
        &main,
        &"--libs",
        &empty,
        &of_bar,
        &of_foo,
        &of_bar,
        &"--runtime-dependencies",
        &always,
        &of_foo,
    ]);
    assert_eq!(wrapped(&report).search, [of_bar, of_foo, always]);
}

#[test]
fn everything_missing_is_in_one_report_and_the_rest_is_wrapped() {
    let dir = TestDir::new();
    dir.walk_through(Arch::X86_64, &[]);
    let main = dir.path("app/main");
    fs::copy(&main, dir.path("app/other")).unwrap();
    dir.compile(
        Arch::X86_64,
        "app/whole",
        "int main(void) { return 0; }",
        &[],
    );
    let before = fs::read(&main).unwrap();
    let report = dir.wrap(&[&"--paths", &dir.path("app")]);
    assert!(report.failed());
    let states: Vec<Status> = report.files.iter().map(|file| file.status).collect();
    assert_eq!(states, [Status::Failed, Status::Failed, Status::Wrapped]);
    let missing = report.missing(true);
    let names: Vec<_> = missing
        .iter()
        .map(|one| one.soname.to_str().unwrap())
        .collect();
    assert_eq!(names, ["libbar.so.1", "libfoo.so.1"]);
    assert_eq!(missing[0].needed_by, [main.clone(), dir.path("app/other")]);
    assert_eq!(fs::read(&main).unwrap(), before);
    assert!(!dir.path("app/.main.wrapbuddy").exists());
}

#[test]
fn patterns_allow_missing_libraries() {
    let dir = TestDir::new();
    let main = dir.walk_through(Arch::X86_64, &[]);
    let report = dir.wrap(&[
        &"--paths",
        &main,
        &"--ignore-missing",
        &"libfoo.*",
        &"libb?r.so.1",
    ]);
    let plan = wrapped(&report);
    assert_eq!(plan.resolution.ignored, ["libfoo.so.1", "libbar.so.1"]);
    assert!(plan.search.is_empty());
}

/// Packages of a registry have no links, so their libraries have the names that the links would lead to.
#[test]
fn a_library_of_the_tree_with_a_longer_name_is_named() {
    let dir = TestDir::new();
    let main = dir.walk_through(Arch::X86_64, &[]);
    fs::copy(
        dir.path("foo/lib/libfoo.so.1"),
        dir.path("app/libfoo.so.1.2"),
    )
    .unwrap();
    // With another DT_SONAME.
    fs::copy(
        dir.path("foo/lib/libfoo.so.1"),
        dir.path("app/libbar.so.1.2"),
    )
    .unwrap();
    let report = dir.wrap(&[&"--paths", &main.parent().unwrap()]);
    let missing = report.missing(true);
    let hints: Vec<&Vec<String>> = missing.iter().map(|one| &one.hints).collect();
    assert_eq!(hints[0].len(), 0, "{missing:?}");
    assert!(
        hints[1][0].contains("app/libfoo.so.1.2 has this DT_SONAME"),
        "{missing:?}"
    );
}

#[test]
fn near_misses_are_named() {
    let dir = TestDir::new();
    let main = dir.walk_through(Arch::X86_64, &[]);
    let (of_foo, of_bar) = (dir.path("foo/lib"), dir.path("bar/lib"));
    fs::rename(of_foo.join("libfoo.so.1"), of_foo.join("libfoo-1.2.so")).unwrap();
    dir.compile(
        Arch::Aarch64,
        "bar/lib/libbar.so.1",
        "int bar(void) { return 1; }",
        &["-shared", "-fPIC"],
    );
    let report = dir.wrap(&[&"--paths", &main, &"--libs", &of_foo, &of_bar]);
    let missing = report.missing(true);
    assert_eq!(missing.len(), 2);
    assert!(
        missing[0].hints[0].ends_with("libbar.so.1 is for aarch64"),
        "{missing:?}"
    );
    assert!(
        missing[1].hints[0].contains("libfoo-1.2.so has this DT_SONAME"),
        "{missing:?}"
    );
}

/// glibc passes over libraries with other registers for floating-point arguments: EF_RISCV_FLOAT_ABI, EF_ARM_ABI_FLOAT_SOFT.
#[test]
fn libraries_of_another_abi_are_incompatible() {
    let (single, soft) = (2_u32, 0x200);
    for (target, e_flags, mask, other, name) in [
        (
            Arch::Riscv64,
            0x30,
            6,
            single,
            "riscv64 with another floating-point ABI",
        ),
        (
            Arch::Armv7,
            0x24,
            0x600,
            soft,
            "32-bit ARM with another ABI",
        ),
    ] {
        let dir = TestDir::new();
        let main = dir.walk_through(target, &[]);
        let (of_foo, of_bar) = (dir.path("foo/lib"), dir.path("bar/lib"));
        let path = of_bar.join("libbar.so.1");
        let mut bytes = fs::read(&path).unwrap();
        let flags: &mut [u8; 4] = bytes[e_flags..].first_chunk_mut().unwrap();
        let hard = u32::from_le_bytes(*flags);
        assert_eq!(hard & mask, 2 * other, "not hard float");
        *flags = (hard & !mask | other).to_le_bytes();
        fs::write(&path, bytes).unwrap();
        let report = dir.wrap_for(target, &main, &[&"--libs", &of_foo, &of_bar]);
        let missing = report.missing(true);
        assert_eq!(missing.len(), 1, "{missing:?}");
        let hint = format!("libbar.so.1 is for {name}");
        assert!(missing[0].hints[0].ends_with(&hint), "{missing:?}");
    }
}

/// `main` needs liba, liba needs libb; each is in a directory of its own.
fn chain(dir: &TestDir, arguments_of_a: &[&str], arguments: &[&str]) -> PathBuf {
    library(dir, "b/libb.so", "int b(void) { return 0; }", &[]);
    let mut of_a = vec!["b/libb.so"];
    of_a.extend_from_slice(arguments_of_a);
    library(
        dir,
        "a/liba.so",
        "int b(void); int a(void) { return b(); }",
        &of_a,
    );
    let mut of_main = vec!["a/liba.so", "-Wl,-rpath-link,b"];
    of_main.extend_from_slice(arguments);
    let source = "int a(void); int main(void) { return a(); }";
    dir.compile(Arch::X86_64, "main", source, &of_main)
}

#[test]
fn needs_that_a_library_does_not_find_are_added_to_the_program() {
    let dir = TestDir::new();
    let main = chain(&dir, &[], &[]);
    let (a, b) = (dir.path("a"), dir.path("b"));
    let report = dir.wrap(&[&"--paths", &main, &"--libs", &a, &b]);
    let plan = wrapped(&report);
    let added = &plan.resolution.added;
    assert_eq!(added.len(), 1, "{added:?}");
    assert_eq!(added[0].soname, "libb.so");
    assert_eq!(added[0].needed_by, Some(dir.path("a/liba.so")));
    assert_eq!(plan.search, [a.clone(), b]);
    let bytes = fs::read(&plan.sidecar_path).unwrap();
    let sidecar = sidecar::Sidecar::parse(&bytes).unwrap();
    assert_eq!(sidecar.needed_names().collect::<Vec<_>>(), [b"libb.so"]);

    let dir = TestDir::new();
    let main = chain(&dir, &[], &[]);
    let report = dir.wrap(&[&"--paths", &main, &"--libs", &dir.path("a")]);
    assert_eq!(report.missing(true)[0].needed_by, [dir.path("a/liba.so")]);
}

#[test]
fn needs_that_a_library_finds_are_not_added() {
    let dir = TestDir::new();
    let main = chain(&dir, &["-Wl,--enable-new-dtags,-rpath,$ORIGIN/../b"], &[]);
    let a = dir.path("a");
    let b = dir.path("b");
    let minimal = "--search-minimal";
    let report = dir.wrap(&[&"--paths", &main, &"--libs", &a, &b, &minimal]);
    let plan = wrapped(&report);
    assert!(plan.resolution.added.is_empty());
    assert_eq!(plan.search, [a]);
}

#[test]
fn a_dt_rpath_is_inherited() {
    let dir = TestDir::new();
    let main = chain(&dir, &[], &["-Wl,--disable-new-dtags,-rpath,/usr"]);
    let (a, b) = (dir.path("a"), dir.path("b"));
    let report = dir.wrap(&[&"--paths", &main, &"--libs", &a, &b]);
    let plan = wrapped(&report);
    assert!(plan.resolution.added.is_empty());
    assert_eq!(plan.search, ["/usr".into(), a, b]);
}

#[test]
fn libraries_asked_for_come_first() {
    let dir = TestDir::new();
    let main = chain(&dir, &[], &[]);
    library(&dir, "x/libx.so", "int x;", &[]);
    let (a, b, x) = (dir.path("a"), dir.path("b"), dir.path("x"));
    let needed = ["libx.so", "libb.so", "libc.so.6"];
    let report = dir.wrap(&[
        &"--paths",
        &main,
        &"--libs",
        &a,
        &b,
        &x,
        &"--needed",
        &needed[0],
        &needed[1],
        &needed[2],
    ]);
    let plan = wrapped(&report);
    let added: Vec<_> = plan
        .resolution
        .added
        .iter()
        .map(|added| &added.soname)
        .collect();
    assert_eq!(added, ["libx.so", "libb.so"]);
    assert_eq!(plan.search, [a, b, x]);

    let dir = TestDir::new();
    let main = dir.compile(Arch::X86_64, "main", "int main(void) { return 0; }", &[]);
    let report = dir.wrap(&[&"--paths", &main, &"--needed", &"libnone.so"]);
    assert_eq!(report.missing(true)[0].soname, "libnone.so");
}

#[test]
fn a_symbol_version_that_is_not_there_is_a_warning() {
    let dir = TestDir::new();
    let map = dir.write("map", "V_1.9 {}; V_1.10 {}; V_2.0 { global: *; };");
    let script = format!("-Wl,--version-script={}", map.display());
    library(&dir, "lib/libv.so", "int v(void) { return 0; }", &[&script]);
    let source = "int v(void); int main(void) { return v(); }";
    let main = dir.compile(Arch::X86_64, "main", source, &["lib/libv.so"]);
    fs::write(&map, "V_1.9 {}; V_1.10 { global: *; };").unwrap();
    library(&dir, "lib/libv.so", "int v(void) { return 0; }", &[&script]);
    let report = dir.wrap(&[&"--paths", &main, &"--libs", &dir.path("lib")]);
    let unmet_versions = wrapped(&report).resolution.unmet_versions.iter();
    let warnings: Vec<String> = unmet_versions.map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("requires V_2.0 of"), "{warnings:?}");
    assert!(
        warnings[0].contains("libv.so, which has V_1.10 at most"),
        "{warnings:?}"
    );
}

#[test]
fn a_library_for_another_libc_is_passed_over() {
    let dir = TestDir::new();
    let main = dir.walk_through(Arch::X86_64, &[]);
    library(&dir, "musl/libc.so", "int c;", &[]);
    library(
        &dir,
        "musl/libfoo.so.1",
        "int foo(void) { return 0; }",
        &["-nostdlib", "-Wl,--no-as-needed", "musl/libc.so"],
    );
    let (musl, of_foo, of_bar) = (dir.path("musl"), dir.path("foo/lib"), dir.path("bar/lib"));
    let report = dir.wrap(&[&"--paths", &main, &"--libs", &musl, &of_foo, &of_bar]);
    assert_eq!(wrapped(&report).search, [of_foo, of_bar]);
}
