//! `bench size`: compares the sizes of the stages with their budgets.

use anyhow::{Result, bail, ensure};
use sidecar::LINE_START;
use sidecar::loader::IMAGE_LEN;

use super::Figures;

/// Maximum and intended length of an image in bytes.
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
/// It has one path where the others have two, and checks its owner.
const SELF_CONTAINED_STUB: Budget = Budget {
    limit: 332,
    aim: 332,
};
const RELOCATABLE_SELF_CONTAINED_STUB: Budget = Budget {
    limit: 388,
    aim: 388,
};
const LOADER: Budget = Budget {
    limit: IMAGE_LEN,
    aim: 4608,
};

pub fn run(figures: &mut Figures) -> Result<()> {
    ensure!(
        !stages::all().is_empty(),
        "this build has no stage: `cargo xtask setup` installs what they are built with"
    );
    // The start of the message counts as the stub's, though it is in the trailer, before the path. The closing mark counts as the
    // loader's.
    let (line, mark) = (LINE_START.len(), size_of::<u32>());
    let mut over = Vec::new();
    println!("architecture  image                bytes  budget   aim");
    for stage in stages::all() {
        let [stub, relocatable, self_contained, both] = stage.stubs().map(|stub| stub.len() + line);
        let images = [
            ("stub", stub, STUB),
            ("relocatable stub", relocatable, RELOCATABLE_STUB),
            ("self-contained stub", self_contained, SELF_CONTAINED_STUB),
            ("relocatable, both", both, RELOCATABLE_SELF_CONTAINED_STUB),
            ("loader", stage.loader_used + mark, LOADER),
        ];
        for (image, len, budget) in images {
            let verdict = match len {
                _ if len > budget.limit => "OVER BUDGET",
                _ if len > budget.aim => "above aim",
                _ => "ok",
            };
            println!(
                "{:<12}  {image:<19}  {len:>5}  {:>6}  {:>4}  {verdict}",
                stage.name, budget.limit, budget.aim
            );
            figures.record(
                &format!("{} {image}", stage.name),
                len as f64,
                "bytes",
                Some(budget.limit as f64),
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
