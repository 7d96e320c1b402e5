//! Questions to the user.

use std::io::{self, BufRead, IsTerminal, Write, stderr, stdin};

use anyhow::{Context, Result, ensure};

/// Whether there is a terminal for a question and its answer.
pub fn can_ask() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Asks a question on the terminal; only `y` and `yes` mean yes.
///
/// # Errors
/// If standard input is not a terminal.
pub fn confirm(question: &str) -> Result<bool> {
    ensure!(
        stdin().is_terminal(),
        "standard input is no terminal to ask on: pass --yes, or --dry-run"
    );
    write!(stderr(), "{question} [y/N] ").and_then(|()| io::stderr().flush())?;
    let mut answer = String::new();
    stdin()
        .lock()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
