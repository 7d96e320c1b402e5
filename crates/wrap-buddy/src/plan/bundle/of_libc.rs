//! Files that glibc opens by itself.

use std::ffi::OsStr;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use super::collect::Collect;
use super::contents::{Contents, Role};
use super::layout::library_directory;
use super::{Refusal, Selection};
use ldso::libc_opens::{ICONV, LIBC, UNWINDER};
use ldso::{Dependent, Libc, Policy, ProbeCache, Walk};

/// Modules of glibc for names of users, groups and hosts (nss/nsswitch.conf).
const NSS: [&str; 5] = [
    "libnss_compat.so.2",
    "libnss_db.so.2",
    "libnss_dns.so.2",
    "libnss_files.so.2",
    "libnss_hesiod.so.2",
];

/// The directory of iconv modules, and the word that excludes it.
pub(super) const GCONV: &str = "gconv";

pub(super) struct OfLibc<'c> {
    pub selection: &'c Selection,
    pub probe_cache: &'c ProbeCache,
}

impl OfLibc<'_> {
    /// Adds modules for names, the library that unwinds the stack, and iconv modules.
    pub fn add(
        &self,
        walk: &Walk<'_>,
        policy: &Collect<'_>,
        contents: &mut Contents,
        later: &mut Vec<(PathBuf, Role, PathBuf)>,
    ) -> Result<(), Refusal> {
        let libc = walk
            .node(OsStr::new(LIBC))
            .map(|index| &walk.nodes[index].found);
        let Some(libc) = libc.filter(|_| walk.linker.interpreter.libc == Libc::Glibc) else {
            return Ok(());
        };
        let root = &self.selection.root;
        let beside = libc.path.parent().unwrap_or(Path::new("/"));
        let modules = NSS
            .iter()
            .filter(|name| !self.selection.exclude.is_match(name));
        let modules = modules
            .map(|name| beside.join(name))
            .filter(|path| root.on_host(path).is_file());
        later.extend(modules.map(|path| (path, Role::OfLibc, libc.path.clone())));
        let others = walk
            .nodes
            .iter()
            .filter(|node| node.found.path.file_name() != libc.path.file_name());
        let others = others.map(|node| (node.found.path.as_path(), &*node.found.elf));
        let files = iter::once((walk.subject.path, walk.subject.elf)).chain(others);
        let imports: Vec<(&Path, Arc<[&str]>)> = files
            .map(|(path, elf)| (path, self.probe_cache.imports(path, elf)))
            .collect();
        let caller = |is_it: &dyn Fn(&str) -> bool| {
            imports
                .iter()
                .find(|(_, functions)| functions.iter().any(|function| is_it(function)))
        };
        let unwinder = OsStr::new(UNWINDER);
        let unwinds =
            caller(&|function| function != ICONV).filter(|_| walk.node(unwinder).is_none());
        if let Some((path, _)) = unwinds.filter(|_| !self.selection.exclude.is_match(unwinder)) {
            let dependent = Dependent {
                path: &libc.path,
                elf: &libc.elf,
            };
            let search_list = policy.search_list(walk, None);
            let found = walk.linker.find(unwinder, dependent, &[&search_list]).ok();
            later.extend(found.map(|found| (found.path, Role::OfLibc, path.to_path_buf())));
        }
        if let Some((path, _)) = caller(&|function| function == ICONV)
            .filter(|_| !self.selection.exclude.is_match(GCONV))
        {
            self.iconv(
                &libc.path,
                path,
                library_directory(walk.linker.interpreter),
                contents,
            )?;
        }
        Ok(())
    }

    /// The iconv modules of the C library `libc`, for the file `caller`.
    fn iconv(
        &self,
        libc: &Path,
        caller: &Path,
        directory: &Path,
        contents: &mut Contents,
    ) -> Result<(), Refusal> {
        let place = directory.join(GCONV);
        let root = &self.selection.root;
        let from = self
            .probe_cache
            .gconv_directory(libc)
            .and_then(|from| root.existing(&from).ok());
        let Some(from) = from.filter(|_| !contents.items.contains_key(&place)) else {
            return Ok(());
        };
        contents.directory(place.clone(), &from, Role::OfLibc);
        let from_on_host = root.real_on_host(&from);
        for entry in WalkDir::new(&from_on_host)
            .min_depth(1)
            .sort_by_file_name()
            .into_iter()
            .flatten()
        {
            let below = entry
                .path()
                .strip_prefix(&from_on_host)
                .unwrap_or(Path::new(""));
            let at = place.join(below);
            if entry.file_type().is_file()
                && contents.file(at.clone(), &from.join(below), Role::OfLibc)?
            {
                contents.because(&at, caller, None);
            }
        }
        if !self.selection.include.iter().any(|name| name == GCONV) {
            contents.notes.push(format!(
                "{}: modules of iconv, which {} calls; programs find them with GCONV_PATH, which --include {GCONV} sets",
                place.display(),
                caller.display()
            ));
        }
        Ok(())
    }
}
