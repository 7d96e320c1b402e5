//! `bench size`: the stages' bytes against their budgets.

use anyhow::{Result, bail, ensure};
use sidecar::LINE_START;

/// Bytes one image may have, and bytes it is meant to have.
struct Budget {
    limit: usize,
    aim: usize,
}

const STUB: Budget = Budget {
    limit: 192,
    aim: 160,
};
const RELOCATABLE_STUB: Budget = Budget {
    limit: 288,
    aim: 256,
};
const LOADER: Budget = Budget {
    limit: 4096,
    aim: 4096,
};

/// Runs the task.
pub fn run() -> Result<()> {
    ensure!(
        !stages::all().is_empty(),
        "this build has no stage: `cargo xtask setup` installs what they are built with"
    );
    // The start of the message is the stub's, though it stands in the trailer, in front of the path; the closing mark is
    // the loader's.
    let (line, mark) = (LINE_START.len(), size_of::<u32>());
    let mut over = Vec::new();
    println!("architecture  image             bytes  budget   aim");
    for stage in stages::all() {
        let images = [
            ("stub", stage.stub.len() + line, STUB),
            (
                "relocatable stub",
                stage.relocatable_stub.len() + line,
                RELOCATABLE_STUB,
            ),
            ("loader", stage.loader_used + mark, LOADER),
        ];
        for (image, len, budget) in images {
            let verdict = match len {
                _ if len > budget.limit => "OVER BUDGET",
                _ if len > budget.aim => "above aim",
                _ => "ok",
            };
            println!(
                "{:<12}  {image:<16}  {len:>5}  {:>6}  {:>4}  {verdict}",
                stage.name, budget.limit, budget.aim
            );
            if len > budget.limit {
                over.push(format!(
                    "{} {image} has {len} of {} bytes",
                    stage.name, budget.limit
                ));
            }
        }
    }
    for (name, install) in stages::MISSING {
        println!("{name:<12}  not built: {install}");
    }
    if !over.is_empty() {
        bail!("over budget: {}", over.join("; "));
    }
    Ok(())
}
