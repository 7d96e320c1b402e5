//! Programs that another program maps by itself.

use std::path::Path;

use crate::state::prior::Method;

/// The name of the program, in the same directory, that starts the one at `path` by mapping it and the dynamic linker that its
/// PT_INTERP names, as Wine's does (loader/preloader.c, map_so_lib): a stub leaves no PT_INTERP.
pub fn of(path: &Path) -> Option<String> {
    let mut name = path.file_name()?.to_owned();
    name.push("-preloader");
    let is_there = path.with_file_name(&name).is_file();
    is_there.then(|| name.to_string_lossy().into_owned())
}

/// What there is to say of a program with a `preloader` that has a stub all the same.
pub fn warning(preloader: &str, prior: Option<Method>) -> String {
    let advice = match prior {
        Some(_) => "restore it and wrap it again, which edits it in place",
        None => {
            "it has no room to be edited in place, which takes an --interpreter whose path is not longer than its own and fewer or shorter --libs"
        }
    };
    format!(
        "{preloader} maps it by itself and reads its PT_INTERP, which a program with a stub does not have: it ends by SIGSEGV when started that way; {advice}"
    )
}
