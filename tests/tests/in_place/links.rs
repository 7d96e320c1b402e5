//! Libraries without room for a long search path: a directory of links next to them replaces it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use e2e::{Build, Report, Variant, Wrap, matrix, source, store_path, toolchain};

use super::{ALL_NEEDED, Opener, SAYS, calling, foo, links_of, long_directory, other};

matrix!(systems:
    links_to_needed_libraries, own_runpath_stays_in_front, opened_by_a_symlink_elsewhere, links_move_with_the_library,
    relative_links_move_with_the_tree, links_follow_other_directories,
    directory_goes_when_the_path_fits, no_link_to_library_that_uses_origin, no_link_to_library_that_will_use_origin,
);

/// A plugin that needs three libraries, each in a directory whose path has 2500 bytes.
struct Far {
    opener: Opener,
    built: PathBuf,
    plugin: String,
    /// Needed libraries and their directories.
    needs: [(PathBuf, String); 3],
}

/// The search paths with which the plugin finds its links.
const LINKS: [&str; 2] = [
    "$ORIGIN/.libbar.so.wrapbuddy.d",
    "/app/plugins/.libbar.so.wrapbuddy.d",
];

impl Far {
    fn new(variant: Variant, flags: &[&str]) -> Far {
        Far::with_inner(variant, &foo(variant), flags)
    }

    /// The same with another `libfoo.so`.
    fn with_inner(variant: Variant, inner: &Path, flags: &[&str]) -> Far {
        let opener = Opener::new(variant);
        let [two, three] = ["libtwo.so", "libthree.so"].map(|name| other(variant, name));
        let needs = [inner.to_path_buf(), two, three];
        let mut build = calling(variant, "bar", "foo")
            .flag(ALL_NEEDED)
            .flags(flags.iter().copied());
        for library in &needs {
            build = build.link(library);
        }
        let built = build.build();
        let plugin = opener.install(&built);
        let needs = needs.map(|library| {
            let name = toolchain::file_name(&library);
            let dir = long_directory(&opener.root, &store_path(&name), 2500, &[&library]);
            (library, dir)
        });
        Far {
            opener,
            built,
            plugin,
            needs,
        }
    }

    fn directories(&self) -> Vec<&str> {
        self.needs.iter().map(|(_, dir)| dir.as_str()).collect()
    }

    fn wrap(&self) -> Wrap<'_> {
        self.opener.wrap(&self.plugin, &self.directories())
    }

    /// Asserts that the plugin's directory of links has exactly these, and that its search path leads there.
    #[track_caller]
    fn has_links(&self, in_front: &[&str], expected: &[(&str, String)]) {
        let mut expected: Vec<(String, PathBuf)> = expected
            .iter()
            .map(|(name, target)| ((*name).to_string(), PathBuf::from(target)))
            .collect();
        expected.sort();
        assert_eq!(self.links(), expected);
        let edited = self.opener.edited(&self.built, &self.plugin);
        edited.searches("RUNPATH", &[in_front, &LINKS].concat());
        let names: Vec<&String> = expected.iter().map(|(name, _)| name).collect();
        assert_eq!(edited.links().iter().collect::<Vec<_>>(), names);
    }

    /// The plugin's directory of links, sorted.
    fn links(&self) -> Vec<(String, PathBuf)> {
        let directory = self.opener.root.path(&links_of(&self.plugin));
        let entries = fs::read_dir(directory).expect("a directory of links");
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.expect("a directory entry").path();
            let target = fs::read_link(&path).expect("a symbolic link");
            (toolchain::file_name(&path), target)
        };
        let mut links: Vec<_> = entries.map(read).collect();
        links.sort();
        links
    }

    /// Names and targets of links to all needed libraries.
    fn all(&self) -> Vec<(&'static str, String)> {
        let names = ["libfoo.so", "libtwo.so", "libthree.so"].into_iter();
        let named = names.zip(self.directories());
        named
            .map(|(name, dir)| (name, format!("{dir}/{name}")))
            .collect()
    }
}

fn links_to_needed_libraries(variant: Variant) {
    let far = Far::new(variant, &[]);
    far.opener.refuses(&far.plugin, "lib");
    far.wrap().run();
    far.has_links(&[], &far.all());
    far.opener.says(&far.plugin, SAYS);
}

fn own_runpath_stays_in_front(variant: Variant) {
    let far = Far::new(
        variant,
        &["-Wl,--enable-new-dtags,-rpath,/nowhere:$ORIGIN/own"],
    );
    far.wrap().run();
    far.has_links(&["$ORIGIN/own"], &far.all());
    far.opener.says(&far.plugin, SAYS);
    // It stays on the search path: a file that appears there later comes first.
    let decoy = Build::library(variant, source("lib/foo.c"), "libfoo.so");
    let decoy = decoy.flag("-DVALUE=1").build();
    far.opener
        .root
        .install(&decoy, "/app/plugins/own/libfoo.so");
    far.opener.says(&far.plugin, "3\n");
}

/// ld.so takes $ORIGIN from the path by which a library is opened.
fn opened_by_a_symlink_elsewhere(variant: Variant) {
    let far = Far::new(variant, &[]);
    far.wrap().run();
    let root = &far.opener.root;
    root.mkdir("/app/links");
    symlink("../plugins/libbar.so", root.path("/app/links/libbar.so")).expect("a symlink");
    far.opener.says("/app/links/libbar.so", SAYS);
}

fn links_move_with_the_library(variant: Variant) {
    let far = Far::new(variant, &[]);
    far.wrap().run();
    let root = &far.opener.root;
    fs::rename(root.path("/app/plugins"), root.path("/app/moved")).expect("rename");
    far.opener.says("/app/moved/libbar.so", SAYS);
}

/// A tree with all needed libraries.
fn relative_links_move_with_the_tree(variant: Variant) {
    let far = Far::new(variant, &[]);
    let root = &far.opener.root;
    let needs = far.needs.iter().enumerate();
    let dirs: Vec<String> = needs
        .map(|(n, (library, _))| {
            let base = format!("/app/plugins/lib{n}");
            long_directory(root, &base, 2500, &[library])
        })
        .collect();
    let dirs: Vec<&str> = dirs.iter().map(String::as_str).collect();
    let wrap = far.opener.wrap(&far.plugin, &dirs);
    wrap.args(["--relocatable", "--allow-outside"]).run();
    assert!(far.links().iter().all(|(_, target)| target.is_relative()));
    fs::rename(root.path("/app/plugins"), root.path("/app/moved")).expect("rename");
    far.opener.says("/app/moved/libbar.so", SAYS);
}

/// Each run updates the links for its directories, and removes links that are no longer needed.
fn links_follow_other_directories(variant: Variant) {
    let far = Far::new(variant, &[]);
    far.wrap().run();
    let root = &far.opener.root;
    let (inner, _) = &far.needs[0];
    let elsewhere = long_directory(root, &store_path("elsewhere"), 2500, &[inner]);
    let directories = [elsewhere.as_str(), far.directories()[1]];
    let wrap = far.opener.wrap(&far.plugin, &directories);
    let report = wrap.args(["--ignore-missing", "libthree.so"]).report();
    report.success().file(&far.plugin).is("edited", &[]);
    let two = far.all().swap_remove(1);
    far.has_links(&[], &[("libfoo.so", format!("{elsewhere}/libfoo.so")), two]);

    // A link that was removed is made again.
    let link = format!("{}/libtwo.so", links_of(&far.plugin));
    fs::remove_file(root.path(&link)).expect("a link");
    far.wrap().run();
    far.has_links(&[], &far.all());
    far.opener.says(&far.plugin, SAYS);
    settled(&far.wrap().report(), &far.plugin);
}

fn directory_goes_when_the_path_fits(variant: Variant) {
    let far = Far::new(variant, &[]);
    far.wrap().run();
    let libraries: Vec<&Path> = far.needs.iter().map(|(path, _)| path.as_path()).collect();
    let near = far.opener.root.package("near", &libraries);
    far.opener.wrap(&far.plugin, &[&near]).run();
    let edited = far.opener.edited(&far.built, &far.plugin);
    edited.searches("RUNPATH", &[&near]);
    assert!(edited.links().is_empty());
    let left = far.opener.root.path(&links_of(&far.plugin));
    assert!(!left.exists(), "a directory without a purpose");
    far.opener.says(&far.plugin, SAYS);
}

/// ld.so takes $ORIGIN from the path by which a library was opened: that of a link is another directory.
fn no_link_to_library_that_uses_origin(variant: Variant) {
    let flags = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/own";
    let inner = Build::library(variant, source("lib/foo.c"), "libfoo.so");
    let far = Far::with_inner(variant, &inner.flag(flags).build(), &[]);
    let report = far.wrap().report().exits_with(1);
    let words = [
        "no room",
        "libfoo.so finds its libraries relative to itself",
        "--runtime-dependencies",
    ];
    report.file(&far.plugin).is("failed", &words);
    far.opener.is_untouched(&far.built, &far.plugin);
}

/// The same if the library gets such a search path in the same run, because it has no room for another.
fn no_link_to_library_that_will_use_origin(variant: Variant) {
    let deepest = [other(variant, "libdeep1.so"), other(variant, "libdeep2.so")];
    let mut inner = Build::library(variant, source("lib/foo.c"), "libfoo.so");
    inner = inner.flag(ALL_NEEDED);
    for library in &deepest {
        inner = inner.link(library);
    }
    let inner = inner.build();
    let far = Far::with_inner(variant, &inner, &[]);
    let root = &far.opener.root;
    let deep = ["deep1", "deep2"];
    let mut dirs: Vec<String> = deep
        .into_iter()
        .zip(&deepest)
        .map(|(name, library)| long_directory(root, &store_path(name), 2500, &[library]))
        .collect();
    let foo_dir = far.directories()[0].to_string();
    dirs.extend(far.directories().into_iter().map(String::from));
    let report = root
        .wrap("/app/plugins")
        .and([&foo_dir])
        .libs(dirs)
        .report();
    let report = report.success();
    report
        .file(&format!("{foo_dir}/libfoo.so"))
        .is("edited", &[]);
    let words = [
        "libfoo.so finds its libraries relative to itself",
        "--runtime-dependencies",
    ];
    report.file(&far.plugin).is("skipped", &words);
    far.opener.is_untouched(&far.built, &far.plugin);
}

#[track_caller]
fn settled(report: &Report, path: &str) {
    report
        .file(path)
        .is("skipped", &["already edited in place"]);
}
