//! The sessions of pages, typed as they are, and the examples.

mod closed_binary;
mod examples;
mod images;
mod vscode_server;

use e2e::{Root, Run, toolchain};

/// The bash of this machine, in a root with this machine's programs.
fn bash(root: &Root) -> Run<'_> {
    let bash = toolchain::find_program("bash").expect("bash is installed");
    root.command(&bash.to_string_lossy()).argv0("bash")
}
