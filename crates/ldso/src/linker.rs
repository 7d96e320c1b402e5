//! The search of a dynamic linker for one library, by the rules of glibc and of musl.
//!
//! glibc (elf/dl-load.c, _dl_map_object) searches in this order: DT_RPATH of the file with the DT_NEEDED, of the files that had it
//! loaded, and of the program, unless the file has a DT_RUNPATH (its own DT_RPATH is then ignored, elf/get-dynamic-info.h);
//! LD_LIBRARY_PATH; DT_RUNPATH of the file; ld.so.cache; the default directories, unless the file has DF_1_NODEFLIB. In each
//! directory, it searches the hwcaps subdirectories first (open_path).
//!
//! musl (ldso/dynlink.c, load_library) searches LD_LIBRARY_PATH; then DT_RUNPATH, or else DT_RPATH, of the file and of the files
//! that had it loaded; then the list in `/etc/ld-musl-ARCH.path`. It takes the first file with the name, even one for another
//! machine.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::cache::Cache;
use crate::finds::{Finder, Finds};
use crate::found::{Dependent, Found, NearMiss, Rule, SearchList, SearchPath, Step, Uncached};
use crate::incompatibility::{Incompatible, incompatibility};
use crate::interpreter::{Interpreter, Libc};
use crate::probe_cache::{Probe, ProbeCache};
use crate::processor::Subdirectories;
use crate::surroundings::Surroundings;
use crate::tokens::{Tokens, expand};
use elf_file::bytes;
use elf_file::{Elf, Filtee, read_regular};
use sys::arch::Arch;

/// Maximum length of an `ld.so.preload` in bytes.
const MAX_PRELOAD: u64 = 1 << 20;

/// A dynamic linker with the surroundings that it searches in.
pub struct Linker<'a> {
    /// The dynamic linker.
    pub interpreter: &'a Interpreter,
    /// Its architecture.
    pub arch: &'static Arch,
    probe_cache: &'a ProbeCache,
    surroundings: &'a Surroundings,
    subdirectories: OnceLock<Subdirectories>,
    cache: OnceLock<Option<Arc<Cache>>>,
    finds: Arc<Finds>,
}

impl<'a> Linker<'a> {
    /// Creates the linker without reading anything. Returns `None` if the architecture is unknown.
    pub fn new(
        interpreter: &'a Interpreter,
        probe_cache: &'a ProbeCache,
        surroundings: &'a Surroundings,
    ) -> Option<Self> {
        Some(Self {
            interpreter,
            arch: interpreter.elf.target().arch()?,
            probe_cache,
            surroundings,
            subdirectories: OnceLock::new(),
            cache: OnceLock::new(),
            finds: probe_cache.finds(Finder {
                interpreter: interpreter.path.clone(),
                target: interpreter.elf.target(),
                libc: interpreter.libc,
                surroundings: surroundings.clone(),
            }),
        })
    }

    /// The values that ld.so substitutes for the tokens in `text`, a search path.
    pub fn tokens(&self, text: &[u8]) -> Tokens {
        // The value of $LIB costs a read of ld.so.
        let asks = bytes::contain(text, b"LIB");
        let known = asks
            .then(|| self.interpreter.built_in().lib_token)
            .flatten();
        Tokens {
            lib: known.map_or(self.arch.lib_tokens.to_vec(), |known| vec![known]),
            platform: self.surroundings.processor.platform(self.arch),
        }
    }

    /// The search path in the .dynamic of the file `elf`, which was opened as `path`.
    pub fn search_path(&self, path: &Path, elf: &Elf) -> SearchPath {
        let Some(dynamic) = &elf.dynamic else {
            return SearchPath::default();
        };
        let text = dynamic
            .search_path()
            .map_or(&b""[..], |text| text.as_bytes());
        SearchPath {
            directories: self.directories(text, path),
            is_runpath: dynamic.runpath.is_some(),
        }
    }

    fn directories(&self, text: &[u8], path: &Path) -> Vec<PathBuf> {
        if self.interpreter.libc == Libc::Musl && has_foreign_token(text) {
            return Vec::new();
        }
        // ld.so takes $ORIGIN from the path that it opened, with its symbolic links.
        let origin = path.parent().unwrap_or(Path::new("/"));
        let tokens = self.tokens(text);
        let entries = text.split(|&byte| byte == b':');
        let entries = entries.filter(|entry| !entry.is_empty());
        entries
            .flat_map(|entry| expand(entry, origin, &tokens))
            .collect()
    }

    /// Whether ld.so searches its default directories for the needs of `elf`. DF_1_NODEFLIB forbids that; musl ignores the flag.
    pub fn has_defaults(&self, elf: &Elf) -> bool {
        let dynamic = elf.dynamic.as_ref();
        let forbids = dynamic.is_some_and(|dynamic| dynamic.no_default_directories);
        !forbids || self.interpreter.libc == Libc::Musl
    }

    /// The directories from LD_LIBRARY_PATH, DT_RPATH and DT_RUNPATH. `chain` has the search paths of the file with the DT_NEEDED,
    /// of the file that had it loaded, and so on, up to the program.
    pub fn search_list<'p>(
        &self,
        chain: impl IntoIterator<Item = &'p SearchPath>,
    ) -> Arc<SearchList> {
        self.finds.search_list(self.steps(chain))
    }

    /// Returns the one shared list for these steps.
    pub fn list(&self, steps: Vec<Step>) -> Arc<SearchList> {
        self.finds.search_list(steps)
    }

    fn steps<'p>(&self, chain: impl IntoIterator<Item = &'p SearchPath>) -> Vec<Step> {
        let step = |rule, list| {
            move |directory: &PathBuf| Step {
                directory: directory.clone(),
                rule,
                list,
            }
        };
        let environment = self.surroundings.library_path.iter();
        let environment = environment.map(step(Rule::LibraryPath, 0));
        let mut chain = chain.into_iter();
        let Some(own) = chain.next() else {
            return environment.collect();
        };
        let rule = match own.is_runpath {
            true => Rule::Runpath,
            false => Rule::Rpath,
        };
        let paths = own.directories.iter().map(step(rule, 0));
        let is_musl = self.interpreter.libc == Libc::Musl;
        if own.is_runpath && !is_musl {
            return environment.chain(paths).collect();
        }
        let inherited = chain.zip(1..);
        let inherited = inherited.filter(|(path, _)| is_musl || !path.is_runpath);
        let inherited =
            inherited.flat_map(|(path, list)| path.directories.iter().map(step(Rule::Rpath, list)));
        if is_musl {
            return environment.chain(paths).chain(inherited).collect();
        }
        paths.chain(inherited).chain(environment).collect()
    }

    /// Searches for `name`, which the file `dependent` needs: first in each list of `search_list`, then in ld.so.cache and the default
    /// directories, unless DF_1_NODEFLIB forbids these.
    ///
    /// # Errors
    /// If there is no such library. The error has the near misses, in the order of the search.
    pub fn find(
        &self,
        name: &OsStr,
        dependent: Dependent<'_>,
        search_list: &[&SearchList],
    ) -> Result<Found, Arc<[NearMiss]>> {
        let search = || self.search_for(name, dependent, search_list);
        match name.as_bytes().contains(&b'/') {
            // The file decides which path that is.
            true => search(),
            false => {
                let has_defaults = self.has_defaults(dependent.elf);
                self.finds
                    .remembered(name, search_list, has_defaults, search)
            }
        }
    }

    fn search_for(
        &self,
        name: &OsStr,
        dependent: Dependent<'_>,
        search_list: &[&SearchList],
    ) -> Result<Found, Arc<[NearMiss]>> {
        let mut near_misses = Vec::new();
        if name.as_bytes().contains(&b'/') {
            // `name` is a path. A relative one depends on the directory in which the program is started.
            let origin = dependent.path.parent().unwrap_or(Path::new("/"));
            for path in expand(name.as_bytes(), origin, &self.tokens(name.as_bytes())) {
                if let Outcome::Found(elf) = self.try_path(&path, &mut near_misses) {
                    return Ok(found(path, elf, Rule::Path, None));
                }
            }
            return Err(near_misses.into());
        }
        let by_itself = std::iter::once_with(|| self.by_itself(name, dependent));
        let search_list = search_list
            .iter()
            .flat_map(|search_list| &search_list.steps);
        let search_list =
            search_list.map(|step| (Location::Directory(&step.directory, step.rule), step.list));
        let by_itself = by_itself.flatten().map(|location| (location, 0));
        let mut ended = None;
        for (location, list) in search_list.chain(by_itself) {
            let of_rule = (location.rule(), list);
            if ended == Some(of_rule) {
                continue;
            }
            match self.search(name, location, &mut near_misses) {
                Ok(None) => {}
                Ok(Some(found)) => return Ok(Found { list, ..found }),
                Err(Stop::List) => ended = Some(of_rule),
                Err(Stop::Search) => break,
            }
        }
        Err(near_misses.into())
    }

    /// ld.so.cache and the default directories. To know them costs a read of ld.so.
    fn by_itself(&self, name: &OsStr, dependent: Dependent<'_>) -> Vec<Location<'_>> {
        let default = &self.interpreter.built_in().default;
        let with_defaults = self.has_defaults(dependent.elf);
        let cached = self.cached(name);
        let cached = cached.filter(|path| with_defaults || !self.is_default(path));
        let defaults = default.iter().filter(|_| with_defaults);
        let defaults = defaults.map(|default| Location::Directory(default, Rule::Default));
        cached
            .map(Location::Cached)
            .into_iter()
            .chain(defaults)
            .collect()
    }

    /// Whether DF_1_NODEFLIB forbids `path` (glibc elf/dl-load.c, _dl_map_object, compares prefixes).
    fn is_default(&self, path: &Path) -> bool {
        let mut default = self.interpreter.built_in().default.iter();
        default.any(|default| path.starts_with(default))
    }

    /// The default directory that has the library `name`, if only the DF_1_NODEFLIB of `dependent` keeps ld.so from searching it.
    pub fn forbidden(&self, name: &OsStr, dependent: Dependent<'_>) -> Option<&Path> {
        let default = self.interpreter.built_in().default.iter();
        let mut default = default.filter(|_| !self.has_defaults(dependent.elf));
        default
            .find(|directory| self.has(directory, name))
            .map(PathBuf::as_path)
    }

    /// Whether `directory` has a library `name` for the same target and libc.
    pub fn has(&self, directory: &Path, name: &OsStr) -> bool {
        let fits = |elf: &Elf| {
            incompatibility(&self.interpreter.elf, self.interpreter.libc, elf).is_none()
        };
        matches!(self.probe_cache.probe(&directory.join(name)), Probe::Library(elf) if fits(&elf))
    }

    /// The filtees of a library: symbols are looked up in them before the library itself (glibc elf/dl-deps.c,
    /// _dl_map_object_deps). musl ignores both tags.
    pub fn filtees<'e>(&self, elf: &'e Elf) -> &'e [Filtee] {
        match self.interpreter.libc {
            Libc::Musl => &[],
            Libc::Glibc | Libc::Other => elf.filtees(),
        }
    }

    /// The libraries that ld.so loads into every program: those in LD_PRELOAD, then those in glibc's ld.so.preload (glibc
    /// elf/rtld.c, dl_main; musl has no such file).
    pub fn preloads(&self) -> Vec<(OsString, PathBuf)> {
        let named = self.surroundings.preload.iter();
        let mut all: Vec<(OsString, PathBuf)> = named
            .map(|name| (name.clone(), PathBuf::from("LD_PRELOAD")))
            .collect();
        if let Some(path) = &self.interpreter.built_in().preload {
            let path_on_host = self.probe_cache.root().on_host(path);
            let text = read_regular(&path_on_host, MAX_PRELOAD).unwrap_or_default();
            let names = preload_list(&text).into_iter();
            all.extend(names.map(|name| (name, path.clone())));
        }
        all
    }

    /// A directory of ld.so.conf that has the library `name`, when the search for `dependent` failed only because ld.so.cache is out of
    /// date.
    pub fn uncached(&self, name: &OsStr, dependent: Dependent<'_>) -> Option<Uncached> {
        let cache = self.interpreter.built_in().cache.as_ref()?;
        let conf = cache.with_extension("conf");
        let directories = self.probe_cache.conf(&conf);
        let with_defaults = self.has_defaults(dependent.elf);
        let mut counts = directories
            .iter()
            .filter(|one| with_defaults || !self.is_default(one));
        let directory = counts.find(|directory| self.has(directory, name))?;
        let directory = directory.clone();
        let cache = cache.clone();
        Some(Uncached {
            directory,
            conf,
            cache,
        })
    }

    fn search(
        &self,
        name: &OsStr,
        location: Location<'_>,
        near_misses: &mut Vec<NearMiss>,
    ) -> Result<Option<Found>, Stop> {
        let (directory, rule) = match location {
            Location::Directory(directory, rule) => (directory, rule),
            Location::Cached(path) => {
                return match self.try_path(&path, near_misses) {
                    Outcome::Found(elf) => {
                        let subdirectory = self.subdirectory_in(&path);
                        Ok(Some(found(path, elf, Rule::Cache, subdirectory)))
                    }
                    Outcome::Pass => Ok(None),
                    Outcome::Stop(stop) => Err(stop),
                };
            }
        };
        let below = self.below(directory).into_iter().map(Some);
        for subdirectory in below.chain([None]) {
            // One allocation for each path, because a search tries many.
            let mut path = PathBuf::with_capacity(directory.as_os_str().len() + name.len() + 1);
            path.push(directory);
            path.extend(&subdirectory);
            path.push(name);
            match self.try_path(&path, near_misses) {
                Outcome::Found(elf) => return Ok(Some(found(path, elf, rule, subdirectory))),
                Outcome::Pass => {}
                Outcome::Stop(stop) => return Err(stop),
            }
        }
        Ok(None)
    }

    /// The subdirectories of `directory` that are searched before it.
    fn below(&self, directory: &Path) -> Vec<PathBuf> {
        let mut all = Vec::new();
        let known = self.subdirectories();
        let is_there = |name: &Path| self.probe_cache.is_directory(&directory.join(name));
        if !known.named.is_empty() && is_there(Path::new("glibc-hwcaps")) {
            let named = known.named.iter();
            all.extend(named.map(|name| Path::new("glibc-hwcaps").join(name)));
        }
        if !known.legacy.is_empty() && self.probe_cache.is_directory(directory) {
            let legacy = known.legacy.iter();
            all.extend(legacy.filter(|name| is_there(name)).cloned());
        }
        all
    }

    fn subdirectories(&self) -> &Subdirectories {
        self.subdirectories.get_or_init(|| {
            let processor = self.surroundings.processor;
            processor.subdirectories(self.interpreter, self.arch)
        })
    }

    fn subdirectory_in(&self, path: &Path) -> Option<PathBuf> {
        let directory = path.parent()?;
        let known = self.subdirectories();
        let named = known.named.iter();
        let named = named.map(|name| Path::new("glibc-hwcaps").join(name));
        named
            .chain(known.legacy.iter().cloned())
            .find(|subdirectory| directory.ends_with(subdirectory))
    }

    /// The path of `name` in ld.so.cache.
    fn cached(&self, name: &OsStr) -> Option<PathBuf> {
        let cache = self.cache.get_or_init(|| {
            let path = self.interpreter.built_in().cache.as_ref()?;
            let counts = !self.surroundings.without_cache;
            counts.then(|| self.probe_cache.cache(path)).flatten()
        });
        let known = self.subdirectories();
        let entry =
            cache
                .as_ref()?
                .lookup(name, self.arch.cache_flags, &known.named, &known.legacy);
        Some(entry?.path.clone())
    }

    /// Treats the file at `path` as ld.so does.
    fn try_path(&self, path: &Path, near_misses: &mut Vec<NearMiss>) -> Outcome {
        let is_musl = self.interpreter.libc == Libc::Musl;
        let is_plan = self.surroundings.is_plan;
        let within = self.surroundings.within.as_ref();
        if within.is_some_and(|within| !path.starts_with(within)) {
            return Outcome::Pass;
        }
        let own = &self.interpreter.elf;
        let (why, stops) = match self.probe_cache.probe(path) {
            Probe::Absent => return Outcome::Pass,
            // glibc passes over a directory that does not exist, and gives up the list for a loop in the file itself
            // (elf/dl-load.c, open_path). musl gives up the search (ldso/dynlink.c, path_open).
            Probe::Loop if !is_musl => {
                let directory = path.parent().unwrap_or(Path::new("/"));
                return match self.probe_cache.is_directory(directory) && !is_plan {
                    true => Outcome::Stop(Stop::List),
                    false => Outcome::Pass,
                };
            }
            Probe::Loop => (
                Incompatible::Unusable("is a loop of symbolic links".to_owned()),
                true,
            ),
            Probe::Closed(why) => (Incompatible::Unusable(why), false),
            Probe::Unusable(why) => (Incompatible::Unusable(why), true),
            Probe::Library(library) => {
                match incompatibility(own, self.interpreter.libc, &library) {
                    None => return Outcome::Found(library),
                    Some(Incompatible::Libc(_)) if !is_plan => return Outcome::Found(library),
                    // musl only checks the headers, and these are valid for every machine of the same class.
                    Some(_) if is_musl && !is_plan && library.class == own.class => {
                        return Outcome::Found(library);
                    }
                    Some(why) => {
                        let passes = matches!(why, Incompatible::Target(_)) && !is_musl;
                        (why, !passes)
                    }
                }
            }
        };
        near_misses.push(NearMiss {
            path: path.to_owned(),
            why,
        });
        match stops && !is_plan {
            true => Outcome::Stop(Stop::Search),
            false => Outcome::Pass,
        }
    }
}

/// The names in LD_PRELOAD, or in a file where `#` begins a comment.
pub fn preload_list(text: &[u8]) -> Vec<OsString> {
    let lines = text.split(|&byte| byte == b'\n');
    let search_list = lines.flat_map(|line| line.split(|&byte| byte == b'#').next());
    let words = search_list.flat_map(|line| line.split(|byte| b": \t".contains(byte)));
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect()
}

/// The next place to search.
enum Location<'t> {
    Directory(&'t Path, Rule),
    Cached(PathBuf),
}

impl Location<'_> {
    fn rule(&self) -> Rule {
        match self {
            Location::Directory(_, rule) => *rule,
            Location::Cached(_) => Rule::Cache,
        }
    }
}

/// The part of the search that ld.so gives up after an error.
enum Stop {
    /// The list of directories: one search path, LD_LIBRARY_PATH, or the default directories.
    List,
    /// The whole search.
    Search,
}

enum Outcome {
    Found(Arc<Elf>),
    Pass,
    Stop(Stop),
}

fn found(path: PathBuf, elf: Arc<Elf>, rule: Rule, subdirectory: Option<PathBuf>) -> Found {
    Found {
        path,
        elf,
        rule,
        subdirectory,
        list: 0,
    }
}

/// Whether the path has a token other than $ORIGIN. musl ignores such a path (ldso/dynlink.c, fixup_rpath).
fn has_foreign_token(text: &[u8]) -> bool {
    let mut dollars = bytes::positions(text, b'$').map(|at| &text[at..]);
    dollars.any(|rest| !rest.starts_with(b"$ORIGIN") && !rest.starts_with(b"${ORIGIN}"))
}
