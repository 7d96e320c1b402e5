//! Programs that a preloader maps.

use std::path::Path;

use crate::state::prior::Method;
use ldso::Root;

/// The name of the preloader of the program at `path` in `root`, if there is one in the same directory. It maps the program and the dynamic linker in
/// its PT_INTERP (Wine: loader/preloader.c, map_so_lib). A program with a stub has no PT_INTERP.
pub fn of(root: &Root, path: &Path) -> Option<String> {
    let mut name = path.file_name()?.to_owned();
    name.push("-preloader");
    let is_there = root.real_on_host(&path.with_file_name(&name)).is_file();
    is_there.then(|| name.to_string_lossy().into_owned())
}

/// The warning for a program with a `preloader` that has, or gets, a stub.
pub fn warning(preloader: &str, prior: Option<Method>) -> String {
    let advice = match prior {
        Some(_) => "restore it and wrap it again to edit it in place",
        None => {
            "to edit it in place, use an --interpreter with a path no longer than its own, and fewer or shorter --libs"
        }
    };
    format!(
        "{preloader} maps it and reads its PT_INTERP, which a program with a stub does not have, so it ends with SIGSEGV; {advice}"
    )
}
