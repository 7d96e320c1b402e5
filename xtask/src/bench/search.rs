//! `bench search`: the time to find libraries at a start, with each search method.

mod cache;
mod kit;
mod plot;
mod real;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::launch::{launch, pin_to_one_cpu};
use super::{Figures, figures, median};
use kit::{Kit, Method};
use real::Needs;

#[derive(clap::Args)]
pub struct Options {
    /// Rounds to measure; every variant runs once in each, in a new order
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The patchelf to compare with
    #[arg(long, default_value = "patchelf", value_name = "PATH")]
    patchelf: PathBuf,
    /// Programs of this system, started with --version, to be measured as well [default: pango-view, rsvg-convert, curl and nix-store of /usr/bin]
    #[arg(long, value_name = "PATH")]
    program: Vec<PathBuf>,
    /// Draw start times over numbers of libraries and of directories into this one, as SVG, instead of comparing with targets
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
}

/// Rounds before the measurement.
const WARM_UP: u32 = 20;

/// Numbers of libraries, each in a directory of its own, with the maximum of time frozen / time patchelf'd.
const TARGETS: [(usize, f64); 2] = [(10, 0.80), (40, 0.50)];
/// Time frozen / time unchanged, with all libraries in ld.so.cache.
const TARGET_TO_CACHE: f64 = 1.05;
/// For the first of the usual programs: time frozen / time with a DT_RUNPATH in each file.
const TARGET_OF_REAL: f64 = 0.85;

/// Numbers of libraries, and of directories, in the drawing.
const DRAWN: [usize; 8] = [1, 4, 8, 16, 24, 32, 48, 64];

/// A search method, and the times of its starts.
struct Variant {
    method: Method,
    path: PathBuf,
    micros: Vec<f64>,
}

pub fn run(options: &Options, figures: &mut Figures) -> Result<()> {
    let kit = Kit::new(&options.patchelf)?;
    pin_to_one_cpu()?;
    if let Some(directory) = &options.plot {
        return draw(&kit, options, directory, figures);
    }
    for (libraries, target) in TARGETS {
        println!();
        figures.subject(&format!("{libraries} libraries in {libraries} directories"));
        let variants = measure(&kit, (libraries, libraries), options.rounds)?;
        report(&variants, figures);
        let frozen = time(&variants, Method::Frozen)?;
        let patchelfd = time(&variants, Method::Patchelf)?;
        figures.compare("  frozen / patchelf'd", frozen / patchelfd, target, "");
        if let Ok(cached) = time(&variants, Method::Cache) {
            let ratio = frozen / cached;
            figures.compare("  frozen / cached", ratio, TARGET_TO_CACHE, "");
        }
    }
    let programs = programs(options);
    for program in &programs {
        let ratio = of_system(&kit, program, options.rounds, figures)?;
        if program == Path::new(real::USUAL[0]) {
            figures.compare("  frozen / runpath", ratio, TARGET_OF_REAL, "");
        } else {
            println!("  frozen / runpath: {ratio:.3}");
            figures.record("frozen / runpath", ratio, "", None);
        }
    }
    if options.program.is_empty() && !programs.contains(&PathBuf::from(real::USUAL[0])) {
        println!(
            "\n{} is not installed: Debian's pango1.0-tools has it",
            real::USUAL[0]
        );
    }
    Ok(())
}

fn programs(options: &Options) -> Vec<PathBuf> {
    match options.program.as_slice() {
        [] => {
            let usual = real::USUAL.iter().map(PathBuf::from);
            usual.filter(|program| program.is_file()).collect()
        }
        named => named.to_vec(),
    }
}

/// Starts a program of this system with its libraries laid out as in a store. Returns time frozen / time with a DT_RUNPATH in each
/// file.
fn of_system(kit: &Kit, program: &Path, count: u32, figures: &mut Figures) -> Result<f64> {
    let needs = Needs::of(kit, program).with_context(|| program.display().to_string())?;
    let (libraries, directories) = needs.counts();
    println!();
    figures.subject(&format!(
        "{} with {libraries} libraries in {directories} directories",
        program.display()
    ));
    let home = tempfile::tempdir_in(kit.directory())?;
    let mut variants = Vec::new();
    for method in [Method::Runpath, Method::Rpath, Method::Frozen] {
        let place = home.path().join(format!("{method:?}"));
        variants.push(Variant {
            method,
            path: needs.laid_out(kit, program, method, &place)?,
            micros: Vec::new(),
        });
    }
    rounds(&mut variants, count, &[real::ARGUMENT])?;
    report(&variants, figures);
    Ok(time(&variants, Method::Frozen)? / time(&variants, Method::Runpath)?)
}

/// Starts programs with that many libraries and directories, with each search method.
fn measure(
    kit: &Kit,
    (libraries, directories): (usize, usize),
    count: u32,
) -> Result<Vec<Variant>> {
    let program = kit.program(libraries, directories)?;
    let mut variants = Vec::new();
    for method in Method::ALL {
        let made = match method {
            Method::Cache => cache::show(kit.directory(), &program).map(|()| program.path.clone()),
            _ => kit.variant(&program, method),
        };
        match made {
            Ok(path) => variants.push(Variant {
                method,
                path,
                micros: Vec::new(),
            }),
            Err(error) if method == Method::Cache => println!("  not measured: {error:#}"),
            Err(error) => return Err(error),
        }
    }
    rounds(&mut variants, count, &[])?;
    Ok(variants)
}

/// Starts every variant once in each round, in a random order, so that none always follows the same other.
fn rounds(variants: &mut [Variant], count: u32, arguments: &[&str]) -> Result<()> {
    for round in 0..WARM_UP + count {
        let mut order: Vec<usize> = (0..variants.len()).collect();
        fastrand::shuffle(&mut order);
        for index in order {
            let variant = &mut variants[index];
            let mut command = Command::new(&variant.path);
            command
                .args(arguments)
                .env_clear()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let sample = launch(&mut command)?;
            if round >= WARM_UP {
                variant.micros.push(sample.wall.as_secs_f64() * 1e6);
            }
        }
    }
    Ok(())
}

fn report(variants: &[Variant], figures: &mut Figures) {
    for variant in variants {
        let (name, time) = (variant.method.name(), median(variant.micros.clone()));
        println!("  {name:<24} {time:>9.0} µs");
        figures.record(name, time, "µs", None);
        figures.samples(name, "µs", &variant.micros);
    }
}

fn time(variants: &[Variant], method: Method) -> Result<f64> {
    let mut variants = variants.iter();
    let Some(variant) = variants.find(|variant| variant.method == method) else {
        bail!("{} was not measured", method.name());
    };
    Ok(median(variant.micros.clone()))
}

fn draw(kit: &Kit, options: &Options, directory: &Path, figures: &mut Figures) -> Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let most = DRAWN[DRAWN.len() - 1];
    let each = DRAWN.map(|count| (count, (count, count)));
    let shared = DRAWN.map(|count| (count, (most, count)));
    let subtitle = format!(
        "{}, medians of {} rounds; ×: compared with ld.so.cache",
        figures::system()?,
        options.rounds
    );
    for (name, title, counted, points) in [
        (
            "libraries",
            "Time to start a program, by how it finds its libraries",
            "libraries, each in a directory of its own",
            each,
        ),
        (
            "directories",
            "Time to start a program with 64 libraries",
            "directories that have the libraries",
            shared,
        ),
    ] {
        let mut lines: Vec<plot::Line> = Vec::new();
        for (count, program) in points {
            figures.subject(&format!(
                "{} libraries in {} directories",
                program.0, program.1
            ));
            let variants = measure(kit, program, options.rounds)?;
            report(&variants, figures);
            for variant in &variants {
                let point = (count, median(variant.micros.clone()) / 1e3);
                let name = variant.method.name();
                match lines.iter_mut().find(|line| line.name == name) {
                    Some(line) => line.points.push(point),
                    None => lines.push(plot::Line {
                        name,
                        points: vec![point],
                    }),
                }
            }
        }
        let path = directory.join(format!("start-by-{name}.svg"));
        let labels = plot::Labels {
            title,
            subtitle: &subtitle,
            counted,
            compared_with: Method::Cache.name(),
        };
        plot::draw(&path, &labels, &lines)?;
        println!("drawn: {}", path.display());
    }
    Ok(())
}
