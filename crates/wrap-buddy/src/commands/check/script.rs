//! Checks that the program in the `#!` line of a script exists.

use std::path::{Path, PathBuf};

use super::diagnosis::{Diagnosis, Next, Problem};
use super::{Checker, FileCheck};
use crate::plan::bundle::launch::is_launched;
use crate::system::shell::is_plain;
use elf_file::Kind;
use ldso::Root;

/// Searched after the PATH.
const USUAL: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// Checks a script; `line` is the text after `#!`.
pub fn file_state(checker: &Checker<'_>, shown: &Path, line: &str) -> FileCheck {
    let mut file = FileCheck::new(shown, Kind::Script);
    // A launcher of a bundle starts it with an interpreter of the bundle.
    if is_launched(shown) {
        return file;
    }
    let mut words = line.split_ascii_whitespace();
    let Some(program) = words.next() else {
        return file;
    };
    let exists = |path: &Path| checker.root.on_host(path).exists();
    let program = Path::new(program);
    file.interpreter = Some(program.to_owned());
    let is_env = program.file_name().is_some_and(|name| name == "env");
    let mut arguments = words.filter(|word| !word.starts_with('-') && !word.contains('='));
    let name = match arguments.next() {
        Some(name) if is_env => name.to_owned(),
        _ => program
            .file_name()
            .unwrap_or_default()
            .display()
            .to_string(),
    };
    let is_there = !program.is_absolute() || exists(program);
    let found = on_path(&checker.root, &name);
    if is_there && (!is_env || found.is_some()) {
        return file;
    }
    let (diagnosis, missing) = match is_there {
        true => (
            Diagnosis::ScriptCommandGone,
            format!(
                "{name}, which its first line starts by way of {}",
                program.display()
            ),
        ),
        false => (
            Diagnosis::ScriptProgramGone,
            format!("{}, which its first line names", program.display()),
        ),
    };
    let text = format!("{missing}, does not exist");
    file.problems.push(Problem::new(diagnosis, text));
    file.next.push(match found {
        Some(found) => {
            // The name comes from the script. It must have no special meaning in a sed expression.
            match found.to_str().filter(|found| is_plain(found)) {
                Some(found) => {
                    let expression = format!("1s|^#!.*|#!{found}|");
                    let text = "uses the one on the PATH; options in the line are lost";
                    Next::each(&["sed", "-i", &expression], shown, text)
                }
                None => Next::advice(format!(
                    "change its first line to {}, which is on the PATH",
                    found.display()
                )),
            }
        }
        None => Next::advice(format!("install {name}; no directory on the PATH has it")),
    });
    file
}

/// The program `name` in the directories of the PATH, and then the usual ones.
pub(super) fn on_path(root: &Root, name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").filter(|_| root.is_own());
    let own = path.iter().flat_map(std::env::split_paths);
    let usual = USUAL.iter().map(PathBuf::from);
    own.chain(usual)
        .map(|directory| directory.join(name))
        .find(|program| root.on_host(program).is_file())
}
