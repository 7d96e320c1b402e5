use std::ffi::OsStr;
use std::path::Path;

use super::diagnosis::{Diagnosis, Next, Problem, Trouble};
use super::{FileCheck, kernel};
use crate::system::shell::quoted;

/// Reports a problem if `path` is on a file system mounted noexec.
pub fn noexec(path: &Path, shown: &Path, file: &mut FileCheck) {
    let mut known = file.problems.iter();
    if !kernel::is_noexec(path) || known.any(|known| known.trouble == Trouble::NoExec) {
        return;
    }
    let mount = kernel::mount_of(path);
    let text = format!(
        "{} is on {}, which is mounted noexec",
        shown.display(),
        mount.display()
    );
    let general = format!("it is on {}, which is mounted noexec", mount.display());
    let problem = Problem::new(Diagnosis::NoExec, text).general(general);
    file.problems.push(problem);
    let words = ["mount", "-o", "remount,exec"].map(OsStr::new);
    let words = words.into_iter().chain([mount.as_os_str()]);
    let text = format!("or copy {} elsewhere", shown.display());
    file.next.push(Next {
        general: Some("or copy the files elsewhere".to_owned()),
        ..Next::typed(quoted(words), text)
    });
}
