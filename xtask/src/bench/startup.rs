//! `bench startup`: the cost of starting a program that is wrapped or edited in place, compared with unchanged and patchelf'd
//! programs.

mod programs;
mod syscalls;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::launch::{Sample, launch, pin_to_one_cpu};
use super::{Figures, median};
use programs::{Kit, Program};
use syscalls::SystemCalls;

/// Time wrapped / time patchelf'd.
const TARGET_RATIO: f64 = 1.02;
/// Time edited in place / time patchelf'd.
const TARGET_RATIO_IN_PLACE: f64 = 1.01;
/// System calls from exec to ld.so's first instruction.
const TARGET_CALLS: f64 = 20.0;
/// The same with the loader in the sidecar.
const TARGET_CALLS_SELF_CONTAINED: f64 = 16.0;
/// The same with the settings in the program.
const TARGET_CALLS_EMBEDDED: f64 = 13.0;

#[derive(clap::Args)]
pub struct Options {
    /// Rounds to measure; every variant runs once in each, in a new order
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// Rounds before the measurement.
const WARM_UP: u32 = 50;

/// A way in which a program finds its libraries.
struct Variant {
    name: &'static str,
    path: PathBuf,
    calls: SystemCalls,
    samples: Vec<Sample>,
}

pub fn run(options: &Options, figures: &mut Figures) -> Result<()> {
    let kit = Kit::new()?;
    let mut languages = Vec::new();
    for program in programs::ALL {
        languages.push((program.language, variants(&kit, program)?));
    }
    pin_to_one_cpu()?;
    for (language, variants) in &mut languages {
        for round in 0..WARM_UP + options.rounds {
            measure_round(variants, round >= WARM_UP)?;
        }
        report(language, variants, figures)?;
    }
    start_once(&kit, &programs::ALL[0], options.rounds, figures)
}

/// A start by `wrap-buddy run`, whose copy is there already, and one of the original.
fn start_once(kit: &Kit, program: &Program, rounds: u32, figures: &mut Figures) -> Result<()> {
    println!();
    figures.subject(&format!("{} hello, started by run", program.language));
    let mut original = Command::new(kit.original(program)?);
    let mut commands = [original.env_clear(), &mut kit.started_once(program)?];
    let mut micros = [Vec::new(), Vec::new()];
    for round in 0..WARM_UP + rounds {
        for (command, micros) in commands.iter_mut().zip(&mut micros) {
            let sample = launch(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
            if round >= WARM_UP {
                micros.push(sample.wall.as_secs_f64() * 1e6);
            }
        }
    }
    let [original, run] = micros;
    let cost = median(
        run.iter()
            .zip(&original)
            .map(|(one, other)| one - other)
            .collect(),
    );
    println!("  run takes {cost:.1} µs more, median of pairs");
    figures.record("more than original, median of pairs", cost, "µs", None);
    figures.samples("run", "µs", &run);
    Ok(())
}

fn variants(kit: &Kit, program: &Program) -> Result<Vec<Variant>> {
    let mut built = vec![
        ("original", kit.original(program)?),
        ("wrapped", kit.wrapped(program)?),
        ("self-contained", kit.self_contained(program)?),
        ("embedded", kit.embedded(program)?),
        ("in place", kit.edited_in_place(program)?),
    ];
    match which::which("patchelf") {
        Ok(patchelf) => built.push(("patchelf'd", kit.patchelfd(program, &patchelf)?)),
        Err(_) => println!("patchelf is not installed: nothing to compare with"),
    }
    built
        .into_iter()
        .map(|(name, path)| {
            let calls = SystemCalls::count(&path).with_context(|| {
                format!(
                    "cannot count system calls of the {name} {}",
                    program.language
                )
            })?;
            Ok(Variant {
                name,
                path,
                calls,
                samples: Vec::new(),
            })
        })
        .collect()
}

/// Starts every variant once, in a random order, so that none always follows the same other.
fn measure_round(variants: &mut [Variant], counts: bool) -> Result<()> {
    let mut order: Vec<usize> = (0..variants.len()).collect();
    fastrand::shuffle(&mut order);
    for index in order {
        let variant = &mut variants[index];
        let sample = launch(
            Command::new(&variant.path)
                .env_clear()
                .stdin(Stdio::null())
                .stdout(Stdio::null()),
        )?;
        if counts {
            variant.samples.push(sample);
        }
    }
    Ok(())
}

fn report(language: &str, variants: &[Variant], figures: &mut Figures) -> Result<()> {
    println!();
    figures.subject(&format!("{language} hello"));
    println!(
        "  {:<16} {:>9}  minor faults  system calls  before ld.so",
        "", "median µs"
    );
    for variant in variants {
        println!(
            "  {:<16} {:>9.1}  {:>12}  {:>12}  {:>12}",
            variant.name,
            median(variant.micros()),
            median(variant.faults()),
            variant.calls.total,
            variant.calls.before_ld_so,
        );
        figures.samples(variant.name, "µs", &variant.micros());
    }
    let find = |name| variants.iter().find(|variant| variant.name == name);
    let wrapped = find("wrapped").context("the wrapped program was not measured")?;
    let own = find("self-contained").context("the self-contained program was not measured")?;
    let embedded = find("embedded").context("the embedded program was not measured")?;
    let in_place = find("in place").context("the program edited in place was not measured")?;
    let patchelfd = find("patchelf'd");
    if let Some(patchelfd) = patchelfd {
        for (variant, target) in [
            (wrapped, TARGET_RATIO),
            (own, TARGET_RATIO),
            (embedded, TARGET_RATIO),
            (in_place, TARGET_RATIO_IN_PLACE),
        ] {
            compare_times(variant, patchelfd, target, figures);
        }
    }
    let calls = |variant: &Variant| variant.calls.before_ld_so as f64;
    let what = |name| format!("  system calls before ld.so, {name}");
    figures.compare(&what(wrapped.name), calls(wrapped), TARGET_CALLS, "");
    for (variant, target) in [
        (own, TARGET_CALLS_SELF_CONTAINED),
        (embedded, TARGET_CALLS_EMBEDDED),
    ] {
        figures.compare(&what(variant.name), calls(variant), target, "");
    }
    if let Some(patchelfd) = patchelfd {
        figures.compare(&what(in_place.name), calls(in_place), calls(patchelfd), "");
    }
    Ok(())
}

/// Prints the ratio of the times of `variant` and `other` in the same rounds.
fn compare_times(variant: &Variant, other: &Variant, target: f64, figures: &mut Figures) {
    let what = format!("  {} / {}", variant.name, other.name);
    compare_pairs(&what, &variant.micros(), &other.micros(), target, figures);
}

/// The same for times of the same rounds.
pub(super) fn compare_pairs(
    what: &str,
    times: &[f64],
    others: &[f64],
    target: f64,
    figures: &mut Figures,
) {
    let pairs = times.iter().zip(others);
    let pairs = pairs.map(|(one, other)| one / other).collect();
    let fastest = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{what}: {:.3} of the fastest, {:.3} of the medians",
        fastest(times) / fastest(others),
        median(times.to_vec()) / median(others.to_vec()),
    );
    figures.compare(
        &format!("{what}, median of pairs"),
        median(pairs),
        target,
        "",
    );
}

impl Variant {
    fn micros(&self) -> Vec<f64> {
        let micros = |sample: &Sample| sample.wall.as_secs_f64() * 1e6;
        self.samples.iter().map(micros).collect()
    }

    fn faults(&self) -> Vec<f64> {
        let faults = |sample: &Sample| sample.minor_faults as f64;
        self.samples.iter().map(faults).collect()
    }
}
