//! Computes which libraries the dynamic linker would load for an ELF file: from where, by which rule and in which order. It knows
//! glibc's ld.so and musl's, on this machine or below another root. It executes nothing.
//!
//! The rules are those of glibc (`elf/dl-load.c`, `elf/dl-deps.c`, `elf/rtld.c`) and of musl (`ldso/dynlink.c`): DT_RPATH and
//! DT_RUNPATH, LD_LIBRARY_PATH, ld.so.cache, default directories, glibc-hwcaps, LD_PRELOAD, DT_FILTER and symbol versions. Default
//! directories and the path of ld.so.cache differ from one build of ld.so to the next, so they are read from its file.
//!
//! [`Linker`] is one dynamic linker with its surroundings. [`Tree`] is everything that it loads for one file, in order. [`Walk`] is
//! the same walk with your own [`Policy`], which decides where a name is found.
//!
//! # Example
//! What would ld.so load for this file, under that root, and why?
//!
//! ```
//! use std::path::Path;
//!
//! use elf_file::{Elf, Source};
//! use ldso::{Dependent, Interpreter, Linker, ProbeCache, Root, Surroundings, Tree};
//!
//! # fn main() -> anyhow::Result<()> {
//! // This machine's own root. The root of an image or a container: `Root::at(directory)`.
//! let root = Root::default();
//! // A path inside that root.
//! let path = std::env::current_exe()?;
//! let elf = Elf::read(&mut Source::open(&root.on_host(&path))?)?;
//! let Some(interp) = &elf.interp else {
//!     return Ok(()); // A static program: ld.so loads nothing.
//! };
//!
//! let interpreter = Interpreter::open_in(&root, Path::new(&interp.path))?;
//! let cache = ProbeCache::new(root.clone(), Vec::new());
//! // No LD_LIBRARY_PATH, no LD_PRELOAD.
//! let surroundings = Surroundings::default();
//! let linker = Linker::new(&interpreter, &cache, &surroundings).expect("a known architecture");
//! let tree = Tree::of(&linker, Dependent { path: &path, elf: &elf }, None);
//!
//! for node in &tree.nodes {
//!     let asks = tree.path_of(node.by, &path).display();
//!     let (name, found) = (node.name.display(), node.found.path.display());
//!     println!("{name}: {found}, by {}, for {asks}", node.found.rule);
//! }
//! // This program has started, so ld.so has found everything.
//! assert!(!tree.nodes.is_empty());
//! assert!(tree.missing.is_empty() && tree.unmet_versions.is_empty());
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]

pub mod cache;
mod conf;
mod finds;
mod found;
mod incompatibility;
pub mod index;
mod interpreter;
mod known;
pub mod libc_opens;
mod linker;
mod probe_cache;
mod processor;
mod root;
mod surroundings;
mod tokens;
mod tree;
mod versions;
mod walk;

pub use found::{Dependent, Found, NearMiss, Rule, SearchList, SearchPath, Step, Uncached};
pub use incompatibility::{Incompatible, incompatibility};
pub use interpreter::{BuiltIn, Fit, Interpreter, Interpreters, Libc};
pub use known::{Known, remembered};
pub use linker::{Linker, preload_list};
pub use probe_cache::{Probe, ProbeCache};
pub use processor::Processor;
pub use root::Root;
pub use surroundings::Surroundings;
pub use tokens::{Tokens, expand};
pub use tree::{Answerer, MissingLibrary, Need, Opener, OptionalLibrary, Tree};
pub use versions::{UnmetVersion, UnversionedRelr};
pub use walk::{Answer, Cause, Node, Policy, Request, Walk};
