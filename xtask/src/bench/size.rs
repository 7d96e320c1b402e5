//! `bench size`: the stages' bytes against their budgets.

use anyhow::{Result, bail, ensure};
use sidecar::loader::CLOSING_OFFSET;

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
    let mut over = Vec::new();
    println!("architecture  image             bytes  budget   aim");
    for stage in stages::all() {
        let images = [
            ("stub", stage.stub.len(), STUB),
            (
                "relocatable stub",
                stage.relocatable_stub.len(),
                RELOCATABLE_STUB,
            ),
            ("loader", used_loader_len(stage.loader), LOADER),
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

/// Bytes of a loader image that mean something: without the zeros that fill it up to its closing mark.
fn used_loader_len(image: &[u8]) -> usize {
    // A linker script that lets the image grow past its page must not hide behind the padding.
    let Some((content, mark)) = image.split_at_checked(CLOSING_OFFSET) else {
        return image.len();
    };
    let padding = content.iter().rev().take_while(|&&byte| byte == 0).count();
    content.len() - padding + mark.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_not_counted_and_the_mark_is() {
        let mut image = vec![0u8; sidecar::loader::IMAGE_LEN];
        image[..100].fill(7);
        image[CLOSING_OFFSET..].fill(9);
        assert_eq!(used_loader_len(&image), 104);
    }

    #[test]
    fn an_image_that_outgrew_its_page_is_over_budget() {
        assert!(used_loader_len(&[7; 4100]) > LOADER.limit);
    }
}
