//! What the dynamic linker would load for an ELF file, from where, by which rule and in which order: glibc's ld.so and
//! musl's, on this machine or below another root. Nothing is executed.

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

pub use found::{Asker, Found, NearMiss, Rule, SearchList, SearchPath, Step, Uncached};
pub use incompatibility::{Incompatible, incompatibility};
pub use interpreter::{BuiltIn, Fit, Interpreter, Interpreters, Libc};
pub use known::{Known, remembered};
pub use linker::{Linker, preload_list};
pub use probe_cache::{Probe, ProbeCache};
pub use processor::Processor;
pub use root::Root;
pub use surroundings::Surroundings;
pub use tokens::{Tokens, expand};
pub use tree::{MissingLibrary, Opener, OptionalLibrary, Tree};
pub use versions::{UnmetVersion, UnversionedRelr};
pub use walk::{Answer, Cause, Node, Policy, Request, Walk};
