//! `cargo xtask`: development tasks.

mod bench;
mod book;
mod dist;
mod fuzz;
mod lint;
mod pages;
mod schema;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// Tasks of the wrap-buddy repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
enum Task {
    /// Install the tools that building and testing need; instant when all are there
    Setup(setup::Options),
    /// Set up, build, lint and run every test
    Test(test::Options),
    /// Check format, prose, packages, lints, documentation and dependencies, and run no test
    Lint,
    /// Measure sizes and speed against their budgets
    Bench(bench::Options),
    /// Run the fuzz targets, each for a while
    Fuzz(fuzz::Options),
    /// Put a prefix together: the tool, its loaders, manual pages, completions and documents
    Dist(dist::Options),
    /// Make the book of all pages: book in cargo's target directory
    Book,
    /// Write docs/schema.json from the tool's types
    Schema,
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Setup(options) => setup::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Lint => lint::run(),
        Task::Bench(options) => bench::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Dist(options) => dist::run(&options),
        Task::Book => book::run(),
        Task::Schema => schema::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
