//! Measured figures: compared with their targets, printed, and saved with the machine that they are from.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::workspace::{output, root};

/// The figures of one run.
#[derive(Default)]
pub struct Figures {
    /// What the next figures are about.
    subject: String,
    /// Objects as they are saved: `figure`, `value`, `unit`, and `target` if there is one.
    all: Vec<Value>,
    /// Objects with `of`, `unit`, and `values`, one for each round.
    samples: Vec<Value>,
    missed: Vec<String>,
}

impl Figures {
    /// Names and prints the subject of the next figures.
    pub fn subject(&mut self, subject: &str) {
        println!("{subject}");
        subject.clone_into(&mut self.subject);
    }

    /// Prints a measured value with its target, and counts it as missed if it is larger.
    pub fn compare(&mut self, what: &str, measured: f64, target: f64, unit: &str) {
        let is_missed = measured > target;
        let verdict = if is_missed { "MISSED" } else { "ok" };
        let line = format!("{what}: {measured:.3}{unit}, target {target}{unit}");
        println!("{line}: {verdict}");
        self.record(what, measured, unit, Some(target));
        if is_missed {
            self.missed.push(line.trim_start().to_owned());
        }
    }

    /// Keeps a value that is printed elsewhere.
    pub fn record(&mut self, what: &str, measured: f64, unit: &str, target: Option<f64>) {
        let mut figure = json!({
            "figure": self.name(what),
            "value": rounded(measured),
            "unit": unit.trim_start(),
        });
        if let Some(target) = target {
            figure["target"] = rounded(target).into();
        }
        self.all.push(figure);
    }

    /// Keeps the value of each round.
    pub fn samples(&mut self, of: &str, unit: &str, values: &[f64]) {
        let values: Vec<f64> = values.iter().copied().map(rounded).collect();
        let series = json!({"of": self.name(of), "unit": unit, "values": values});
        self.samples.push(series);
    }

    fn name(&self, what: &str) -> String {
        let what = what.trim_start();
        match self.subject.as_str() {
            "" => what.to_owned(),
            subject => format!("{subject}: {what}"),
        }
    }

    /// Writes all figures to `path`, as JSON.
    pub fn save(&self, path: &Path) -> Result<()> {
        let document = json!({
            "machine": machine()?,
            "figures": self.all,
            "samples": self.samples,
        });
        let text = serde_json::to_string(&document)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Adds the figures of a saved run of the bench `name`.
    pub fn add(&mut self, name: &str, path: &Path) -> Result<()> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let document: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is no saved run", path.display()))?;
        for (key, list) in [("figures", &mut self.all), ("samples", &mut self.samples)] {
            for one in document[key].as_array().into_iter().flatten() {
                let mut one = one.clone();
                one["bench"] = name.into();
                list.push(one);
            }
        }
        Ok(())
    }

    /// An error if targets were missed.
    pub fn check(&self) -> Result<()> {
        if !self.missed.is_empty() {
            bail!("above target: {}", self.missed.join("; "));
        }
        Ok(())
    }
}

/// With six significant digits: no clock here has more.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().expect("it is a number")
}

/// The machine and the commit that the figures are from.
fn machine() -> Result<Value> {
    let git = |arguments: &[&str]| output(Command::new("git").args(arguments).current_dir(root()));
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let commit = git(&["describe", "--always", "--exclude=*"])?;
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let processor = processors
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == "model name");
    let libc = output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    Ok(json!({
        "date": output(Command::new("date").arg("+%F"))?.trim_end(),
        "commit": commit.trim_end(),
        "changed": !changed.is_empty(),
        "system": system()?,
        "libc": libc.trim_end(),
        "processor": processor.map(|(_, model)| model.trim()),
        "processors": thread::available_parallelism()?.get(),
    }))
}

/// The architecture, and the first two numbers of the kernel's version.
pub fn system() -> Result<String> {
    let system = nix::sys::utsname::uname()?;
    let [name, release, machine] =
        [system.sysname(), system.release(), system.machine()].map(OsStr::to_string_lossy);
    let version: Vec<&str> = release.split('.').take(2).collect();
    Ok(format!("{machine}, {name} {}", version.join(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missed_targets_fail_a_check() {
        let mut figures = Figures::default();
        figures.compare("time", 2.0, 2.0, " ms");
        assert!(figures.check().is_ok());
        figures.compare("time", 2.1, 2.0, " ms");
        assert!(figures.check().is_err());
    }

    #[test]
    fn saved_figures_are_read_again() {
        let mut figures = Figures::default();
        figures.subject("a hello");
        figures.compare("  time", 1.234_567_8, 2.0, " ms");
        figures.samples("start", "ms", &[1.0, 1.5]);
        let file = tempfile::NamedTempFile::new().expect("a file");
        figures.save(file.path()).expect("it is written");
        let mut all = Figures::default();
        all.add("startup", file.path()).expect("it is read");
        let figure = json!({"bench": "startup", "figure": "a hello: time", "value": 1.23457, "unit": "ms", "target": 2.0});
        assert_eq!(all.all, [figure]);
        let samples =
            json!({"bench": "startup", "of": "a hello: start", "unit": "ms", "values": [1.0, 1.5]});
        assert_eq!(all.samples, [samples]);
    }
}
