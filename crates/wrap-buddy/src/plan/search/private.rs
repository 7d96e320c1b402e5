//! Files that glibc's libc.so.6 opens when a program calls certain functions. No file has a DT_NEEDED for them.
//!
//! - libgcc_s.so.1, to unwind the stack (misc/unwind-link.c). libc searches for it like for its own dependencies: on its own search path,
//!   on the DT_RPATH of the program, and in the defaults. Without it pthread_exit and pthread_cancel abort, and backtrace finds nothing.
//! - Modules of iconv, in libc's built-in directory `gconv`, or in those of GCONV_PATH (iconv/gconv_conf.c). Without them iconv_open
//!   knows ASCII and Unicode only.

use std::ffi::OsStr;
use std::iter;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Added;
use super::needs::Plan;
use ldso::Libc;
use ldso::libc_opens::{ICONV, LIBC, UNWINDER};
use ldso::{Dependent, Walk};

/// A file that libc opens for a program and will not find.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LibcLacks {
    #[error(
        "{} calls {function}, for which libc opens {UNWINDER} but will not find it; add its directory to --libs",
        .caller.display()
    )]
    Unwinder {
        caller: PathBuf,
        function: &'static str,
    },
    #[error(
        "{} calls {ICONV}, but libc's directory of modules {} does not exist; set GCONV_PATH to {} when you start it",
        .caller.display(),
        .directory.display(),
        .there.as_ref().map_or("their directory".into(), |there| there.to_string_lossy())
    )]
    Modules {
        caller: PathBuf,
        directory: PathBuf,
        /// The directory that has them.
        there: Option<PathBuf>,
    },
}

/// glibc's own library, and a file that calls such a function.
struct Caller<'w> {
    libc: usize,
    /// The file that imports the function.
    path: &'w Path,
    function: &'static str,
}

/// The first file of the walk that imports a function for which `is_it` returns true, apart from glibc's own.
fn caller<'w>(
    plan: &Plan<'_>,
    walk: &'w Walk<'_>,
    is_it: impl Fn(&str) -> bool,
) -> Option<Caller<'w>> {
    let libc = walk.node(OsStr::new(LIBC))?;
    let directory = walk.nodes[libc].found.path.parent();
    let libraries = walk.nodes.iter();
    let libraries = libraries.map(|node| (node.found.path.as_path(), &*node.found.elf));
    let others = libraries.filter(|(path, _)| path.parent() != directory);
    let program = (walk.subject.path, walk.subject.elf);
    iter::once(program).chain(others).find_map(|(path, elf)| {
        let imports = plan.probe_cache.imports(path, elf);
        let function = imports.iter().find(|function| is_it(function))?;
        Some(Caller {
            libc,
            path,
            function,
        })
    })
}

/// The library that the program has to load so that libc finds its unwinder.
pub(super) fn unwinder(plan: &Plan<'_>, walk: &Walk<'_>) -> Option<Result<Added, LibcLacks>> {
    let name = OsStr::new(UNWINDER);
    if walk.linker.interpreter.libc != Libc::Glibc || walk.is_known(name) {
        return None;
    }
    // Check the imports first: few files have them, and finding the defaults means reading ld.so.
    let caller = caller(plan, walk, |function| function != ICONV)?;
    let libc = &walk.nodes[caller.libc].found;
    let dependent = Dependent {
        path: &libc.path,
        elf: &libc.elf,
    };
    let search_list = walk.search_list(Some(caller.libc));
    if walk.linker.find(name, dependent, &[&search_list]).is_ok() {
        return None;
    }
    if plan
        .offer(name, walk.subject, &walk.search_list(None))
        .is_ok()
    {
        return Some(Ok(Added {
            soname: name.to_owned(),
            needed_by: Some(libc.path.clone()),
        }));
    }
    Some(Err(LibcLacks::Unwinder {
        caller: caller.path.to_owned(),
        function: caller.function,
    }))
}

/// Reports that the directory of iconv's modules does not exist.
pub(super) fn modules(plan: &Plan<'_>, walk: &Walk<'_>) -> Option<LibcLacks> {
    if walk.linker.interpreter.libc != Libc::Glibc {
        return None;
    }
    let caller = caller(plan, walk, |function| function == ICONV)?;
    let libc = &walk.nodes[caller.libc].found;
    let directory = plan.probe_cache.gconv_directory(&libc.path)?;
    if plan.probe_cache.is_directory(&directory) {
        return None;
    }
    let offered = plan.offered.iter().map(|step| step.directory.as_path());
    let mut near = libc.path.parent().into_iter().chain(offered);
    let there = near.find_map(|one| {
        let modules = one.join("gconv");
        plan.probe_cache.is_directory(&modules).then_some(modules)
    });
    Some(LibcLacks::Modules {
        caller: caller.path.to_owned(),
        directory,
        there,
    })
}
