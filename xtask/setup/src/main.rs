//! `cargo xtask setup` by itself. Its build takes a few seconds, and the build of `xtask` needs programs that it installs.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "setup")]
struct Arguments {
    #[command(flatten)]
    options: setup::Options,
}

fn main() -> ExitCode {
    match setup::run(&Arguments::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
