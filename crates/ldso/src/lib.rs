//! What the dynamic linker would load for an ELF file, from where, by which rule and in which order: glibc's ld.so and
//! musl's, on this machine or below another root. Nothing is executed.

pub mod cache;
mod conf;
mod finds;
mod found;
pub mod index;
mod interpreter;
mod known;
pub mod libc_opens;
mod linker;
mod misfit;
mod processor;
mod root;
mod shelf;
mod surroundings;
mod tokens;
mod tree;
mod versions;
mod walk;

pub use found::{Asker, Found, Near, Rule, SearchPath, Step, Told, Uncached};
pub use interpreter::{BuiltIn, Fit, Interpreter, Interpreters, Libc};
pub use known::{Known, remembered};
pub use linker::{Linker, preload_list};
pub use misfit::{Misfit, misfit};
pub use processor::Processor;
pub use root::Root;
pub use shelf::{Probe, Shelf};
pub use surroundings::Surroundings;
pub use tokens::{Tokens, expand};
pub use tree::{Dispensable, Lost, Opener, Tree};
pub use versions::{Unmet, UnversionedRelr};
pub use walk::{Answer, Cause, Node, Policy, Request, Walk};
