//! `check --tree` and `check --format dot`: the libraries of a program, and the rule that finds each of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use e2e::{Arch, Build, Kind, Libc, Root, Variant, matrix, source};

use crate::cases::install_system;

matrix!(architectures: each_library_has_its_rule);

const HOST: Variant = Variant::new(Arch::X86_64, Libc::Glibc, Kind::Pie);
const PROGRAM: &str = "/app/program";

/// A library that needs others, with more flags for the linker.
fn library(variant: Variant, name: &str, needs: &[&Path], flags: &[&str]) -> PathBuf {
    let build = Build::library(variant, source("lib/foo.c"), name);
    linked(build, needs, flags)
}

fn linked(build: Build, needs: &[&Path], flags: &[&str]) -> PathBuf {
    let all = "-Wl,--no-as-needed,--unresolved-symbols=ignore-all,--allow-shlib-undefined";
    let build = build.flag(all).flags(flags.iter().copied());
    let build = needs.iter().fold(build, |build, need| build.link(*need));
    build.build()
}

/// A program whose libraries are found by different rules, and one that is missing.
fn tree(variant: Variant) -> Root {
    let root = Root::new(variant);
    install_system(&root, variant);
    let deep = library(variant, "libdeep.so", &[], &[]);
    let leaf = library(variant, "libleaf.so", &[], &[]);
    let by_environment = library(variant, "libenv.so", &[], &[]);
    let none = library(variant, "libnone.so", &[], &[]);
    let runpath = ["-Wl,--enable-new-dtags,-rpath,/app/deep"];
    let mid = library(variant, "libmid.so", &[&deep], &runpath);
    let plain = library(variant, "libplain.so", &[&leaf, &deep], &[]);
    let rpath = ["-Wl,--disable-new-dtags,-rpath,/app/lib:/app/leaf"];
    let program = Build::program(variant, source("hello.c"));
    let program = linked(program, &[&mid, &plain, &by_environment, &none], &rpath);
    root.install(&program, PROGRAM);
    root.install(&deep, "/app/deep/libdeep.so");
    root.install(&leaf, "/app/leaf/libleaf.so");
    root.install(&mid, "/app/lib/libmid.so");
    root.install(&plain, "/app/lib/libplain.so");
    root.install(&by_environment, "/app/env/libenv.so");
    root
}

fn printed(root: &Root, arguments: &[&str]) -> String {
    let run = root.wrap_buddy().env("LD_LIBRARY_PATH", "/app/env");
    let output = run.args(["check"]).args(arguments.iter().copied()).output();
    output.exits_with(1).stdout
}

fn each_library_has_its_rule(variant: Variant) {
    let root = tree(variant);
    let text = printed(&root, &["--tree", PROGRAM]);
    let libc = format!(
        "libc.so.6 => {}/libc.so.6 (default directory)",
        variant.default_library_dir()
    );
    let expected = [
        "  libmid.so => /app/lib/libmid.so (DT_RPATH of /app/program)",
        "    libdeep.so => /app/deep/libdeep.so (DT_RUNPATH of /app/lib/libmid.so)",
        "  libplain.so => /app/lib/libplain.so (DT_RPATH of /app/program)",
        "    libleaf.so => /app/leaf/libleaf.so (DT_RPATH of /app/program)",
        "    libdeep.so => /app/deep/libdeep.so (shown above)",
        "  libenv.so => /app/env/libenv.so (LD_LIBRARY_PATH)",
        "  libnone.so => not found",
    ];
    for line in expected {
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }
    assert_eq!(text.matches(&libc).count(), 1, "{text}");
    let json = printed(&root, &["--format", "json", PROGRAM]);
    let document: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let libraries = document["files"][0]["libraries"].as_array().expect("some");
    let of = |name: &str| {
        let mut libraries = libraries.iter();
        let library = libraries.find(|one| one["soname"] == name).expect(name);
        library["search_path_of"].as_str().map(str::to_owned)
    };
    assert_eq!(of("libleaf.so").as_deref(), Some(PROGRAM), "{json}");
    assert_eq!(of("libdeep.so").as_deref(), Some("/app/lib/libmid.so"));
    assert_eq!(of("libenv.so"), None);
}

type Attributes = BTreeMap<String, String>;

/// Reads the part of the DOT language (graphviz.org/doc/info/lang.html) that nodes and edges need.
#[derive(Debug, Default)]
struct Graph {
    nodes: BTreeMap<String, Attributes>,
    edges: Vec<(String, String, Attributes)>,
}

/// Splits off the first token: a string without its quotes, a name, an arrow or a punctuation mark.
fn token<'t>(text: &mut &'t str) -> &'t str {
    *text = text.trim_start();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some(rest) = text.strip_prefix('"') {
        let mut is_escaped = false;
        let end = rest.find(|c: char| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let end = end.unwrap_or_else(|| panic!("no end: {rest}"));
        *text = &rest[end + 1..];
        return &rest[..end];
    }
    let end = match text.find(|c| !is_name(c)).unwrap_or(text.len()) {
        0 if text.starts_with("->") => 2,
        0 => 1,
        end => end,
    };
    let (token, rest) = text.split_at(end);
    *text = rest;
    token
}

impl Graph {
    fn parse(mut text: &str) -> Graph {
        let rest = &mut text;
        assert_eq!(token(rest), "digraph");
        token(rest);
        assert_eq!(token(rest), "{");
        let mut graph = Graph::default();
        loop {
            let first = token(rest);
            if first == "}" {
                break;
            }
            match token(rest) {
                "=" => {
                    token(rest);
                }
                "[" => {
                    let attributes = Self::attributes(rest);
                    graph.nodes.insert(first.to_owned(), attributes);
                }
                "->" => {
                    let to = token(rest);
                    assert_eq!(token(rest), "[");
                    let attributes = Self::attributes(rest);
                    let edge = (first.to_owned(), to.to_owned(), attributes);
                    graph.edges.push(edge);
                }
                other => panic!("{first} {other}"),
            }
            assert_eq!(token(rest), ";");
        }
        assert_eq!(text.trim(), "");
        graph
    }

    fn attributes(rest: &mut &str) -> Attributes {
        let mut all = Attributes::new();
        loop {
            let name = token(rest);
            assert_eq!(token(rest), "=");
            all.insert(name.to_owned(), token(rest).to_owned());
            match token(rest) {
                "," => {}
                "]" => return all,
                other => panic!("{other}"),
            }
        }
    }

    /// The attributes of the edge between the nodes with these labels.
    fn edge(&self, from: &str, to: &str) -> &Attributes {
        let label = |node: &String| self.nodes[node]["label"].as_str();
        let mut edges = self.edges.iter();
        let found = edges.find(|one| label(&one.0) == from && label(&one.1) == to);
        &found
            .unwrap_or_else(|| panic!("{from} -> {to}: {self:?}"))
            .2
    }
}

#[test]
fn the_graph_of_two_programs() {
    let root = tree(HOST);
    let odd = r#"/app/an "odd\name"#;
    root.install(&root.path(PROGRAM), odd);
    root.write("/app/lib/libplugin.so", root.read("/app/lib/libmid.so"));
    let text = printed(&root, &["--format", "dot", "/app"]);
    let graph = Graph::parse(&text);
    let odd = r#"/app/an \"odd\\name"#;
    for (program, more) in [(PROGRAM, odd), (odd, PROGRAM)] {
        let edge = graph.edge(program, "/app/lib/libmid.so");
        let expected = format!("DT_RPATH of {PROGRAM}");
        assert!(edge["label"].contains("DT_RPATH of "), "{edge:?} {more}");
        assert!(program != PROGRAM || edge["label"] == expected, "{edge:?}");
        assert_eq!(graph.edge(program, "libnone.so")["color"], "red");
    }
    let edge = graph.edge("/app/lib/libmid.so", "/app/deep/libdeep.so");
    assert_eq!(edge["label"], "DT_RUNPATH of /app/lib/libmid.so");
    let edge = graph.edge("/app/lib/libplain.so", "/app/deep/libdeep.so");
    assert_eq!(edge["style"], "dotted", "loaded before");
    let red = graph.nodes.values().filter(|one| one.contains_key("color"));
    let red: Vec<&str> = red.map(|one| one["label"].as_str()).collect();
    assert_eq!(red, ["libnone.so"], "once");
    let labels: Vec<&str> = graph.nodes.values().map(|one| &*one["label"]).collect();
    assert!(!labels.contains(&"/app/lib/libplugin.so"), "{labels:?}");
}
