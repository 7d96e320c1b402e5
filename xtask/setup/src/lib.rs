//! Installs the programs that building the stages and running the tests need.

mod needs;
pub mod workspace;

use std::env;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};

use needs::{DENY_TOOL, FUZZ_TOOL, NEEDS, Need, TOOLS, Tool, WHEELS};

#[derive(clap::Args, Default)]
pub struct Options {
    /// Print what would be installed and how; install nothing
    #[arg(long)]
    dry_run: bool,

    /// Also install what only `cargo xtask fuzz` needs
    #[arg(long)]
    fuzz: bool,

    /// Also install what `cargo xtask test --thorough` needs
    #[arg(long)]
    thorough: bool,
}

impl Options {
    /// The needs of `cargo xtask fuzz`.
    pub fn for_fuzzing() -> Self {
        Self {
            fuzz: true,
            ..Self::default()
        }
    }

    /// The needs of `cargo xtask test`.
    pub fn for_tests(thorough: bool) -> Self {
        Self {
            thorough,
            ..Self::default()
        }
    }
}

/// Number of attempts: a mirror that is being synchronised is complete a little later.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(20);

const UPDATE: &[&str] = &["apt-get", "update", "-q", "-o", "Acquire::Retries=3"];
const INSTALL: &[&str] = &[
    "apt-get",
    "install",
    "-q",
    "-y",
    "--no-install-recommends",
    "-o",
    "Acquire::Retries=3",
];

pub fn run(options: &Options) -> Result<()> {
    let needs: Vec<&Need> = NEEDS
        .iter()
        .filter(|need| need.applies_to(env::consts::ARCH) && !need.is_met())
        .collect();
    let commands: Vec<&Tool> = TOOLS
        .iter()
        .chain((options.fuzz || options.thorough).then_some(&FUZZ_TOOL))
        .chain(options.thorough.then_some(&DENY_TOOL))
        .filter(|command| !is_installed(command.name))
        .collect();
    if needs.is_empty() && commands.is_empty() {
        println!("setup: everything is installed");
        return Ok(());
    }

    let packages: Vec<&str> = needs
        .iter()
        .flat_map(|need| need.packages.iter().copied())
        .collect();
    for need in &needs {
        println!("setup: missing {}: {}", need.packages.join(" "), need.why);
    }
    for command in &commands {
        println!("setup: missing {}: {}", command.name, command.why);
    }
    if options.dry_run {
        println!("setup: would run");
        println!("{}", instructions(&packages, &commands));
        return Ok(());
    }

    if !packages.is_empty() {
        if which::which("apt-get").is_err() {
            bail!(
                "there is no apt-get here: install the contents of the Debian packages {} with your package manager",
                packages.join(" ")
            );
        }
        if !nix::unistd::geteuid().is_root() {
            bail!(
                "installing packages takes root; run as root\n{}",
                instructions(&packages, &commands)
            );
        }
        install(&packages)?;
    }
    if commands.iter().any(|command| command.has_wheel) {
        let [program, arguments @ ..] = WHEELS else {
            bail!("no command to run");
        };
        let mut pip = Command::new(program);
        pip.args(arguments).current_dir(workspace::root());
        // Tools without a wheel are compiled.
        eprintln!("$ {}", WHEELS.join(" "));
        workspace::succeeds(&mut pip)?;
    }
    for command in &commands {
        if command.has_wheel && is_installed(command.name) {
            continue;
        }
        let [program, arguments @ ..] = command.install else {
            continue;
        };
        workspace::run(Command::new(program).args(arguments))?;
    }
    if let Some(need) = needs.iter().find(|need| !need.is_met()) {
        bail!(
            "apt-get installed {} but it does not bring {}",
            need.packages.join(" "),
            need.proofs_shown()
        );
    }
    println!("setup: installed");
    Ok(())
}

/// Whether the command `name`, `cargo NAME` or a program, can be run.
pub fn is_installed(name: &str) -> bool {
    let mut probe = match name.strip_prefix("cargo ") {
        Some(subcommand) => workspace::cargo([subcommand]),
        None => Command::new(name),
    };
    probe
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn install(packages: &[&str]) -> Result<()> {
    for attempt in 1..=ATTEMPTS {
        if apt(UPDATE, &[])? && apt(INSTALL, packages)? {
            return Ok(());
        }
        if attempt < ATTEMPTS {
            eprintln!("setup: attempt {attempt} of {ATTEMPTS} failed, the next in {PAUSE:?}");
            sleep(PAUSE);
        }
    }
    bail!(
        "apt-get could not install {}: its messages are above",
        packages.join(" ")
    )
}

fn apt(command: &[&str], packages: &[&str]) -> Result<bool> {
    eprintln!("$ {} {}", command.join(" "), packages.join(" "));
    let [program, arguments @ ..] = command else {
        bail!("no command to run");
    };
    workspace::succeeds(
        Command::new(program)
            .args(arguments)
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// The commands to type, one in each line.
fn instructions(packages: &[&str], commands: &[&Tool]) -> String {
    let mut lines = Vec::new();
    if !packages.is_empty() {
        lines.push(format!("  {}", UPDATE.join(" ")));
        lines.push(format!(
            "  DEBIAN_FRONTEND=noninteractive {} {}",
            INSTALL.join(" "),
            packages.join(" ")
        ));
    }
    if commands.iter().any(|command| command.has_wheel) {
        lines.push(format!("  {}", WHEELS.join(" ")));
    }
    for command in commands {
        let or = if command.has_wheel { "or " } else { "" };
        lines.push(format!("  {or}{}", command.install.join(" ")));
    }
    lines.join("\n")
}
