//! Libraries and programs of each linker in each layout, and edits of them in memory.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Result;
use elf_file::{Elf, Source};
use wrap_buddy::plan::edits::{Changes, PatchSpace, Visibility, Wanted};

use crate::fixture::*;

/// The libraries that the files need.
pub const NEEDS: [&str; 2] = ["libdep0.so", "libdep1.so"];

/// A library that they may need in addition.
pub const MORE: &str = "libmore.so";

/// The search path of files that have one.
pub const OWN_SEARCH: &str = "$ORIGIN/../own";

/// A search path that ends with the name of a symbol: some linkers store both in the same bytes.
const SHARED_SEARCH: &str = "$ORIGIN/../own/dep0";

/// A dynamic linker that does not exist, with a path shorter than real ones.
const PROGRAM_ASKS_FOR: &str = "-Wl,--dynamic-linker=/gone/ld.so";

/// The options with which a file is linked.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub linker: Linker,
    pub kind: Kind,
    pub separate_code: bool,
    pub relro: bool,
    pub page: u32,
    pub stripped: bool,
    pub search: Search,
}

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Library,
    Pie,
    /// A program at a fixed address.
    Fixed,
}

/// The search path that a file has before the edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    None,
    Runpath,
    Rpath,
}

impl Layout {
    /// A library with the default layout of `linker`.
    pub fn usual(linker: Linker) -> Self {
        Self {
            linker,
            kind: Kind::Library,
            separate_code: true,
            relro: true,
            page: 4096,
            stripped: false,
            search: Search::None,
        }
    }
}

/// The default layouts of all linkers, and some combinations of their options.
pub fn layouts(target: Arch, random: &mut Random) -> Vec<Layout> {
    let mut layouts = Vec::new();
    for linker in Linker::installed_for(target) {
        for page in [4096, 16384, 65536] {
            for bits in 0..8 {
                layouts.push(Layout {
                    linker,
                    kind: match bits & 1 {
                        0 => Kind::Library,
                        // gold ends with an internal error for some of the others.
                        _ if linker == Linker::Gold => Kind::Pie,
                        _ => [Kind::Pie, Kind::Fixed][random.below(2)],
                    },
                    separate_code: bits & 2 == 0,
                    relro: bits & 4 == 0,
                    page,
                    stripped: random.below(2) == 0,
                    search: [Search::None, Search::Runpath, Search::Rpath][random.below(3)],
                });
            }
        }
    }
    layouts
}

/// The directory in which files are linked, all from the same objects.
pub struct LinkDir {
    pub dir: TestDir,
    target: Arch,
}

impl LinkDir {
    pub fn new(target: Arch) -> Self {
        let dir = TestDir::new();
        for name in NEEDS.into_iter().chain([MORE]) {
            let function = &name[3..7];
            let source = format!("int {function}(void) {{ return 0; }}");
            let soname = format!("-Wl,-soname,{name}");
            dir.compile(target, name, &source, &["-shared", "-fPIC", &soname]);
        }
        let subject = "int dep0(void), dep1(void); static char zeros[9000]; char *there = zeros;
            int subject(void) { return dep0() + dep1() + *there; }";
        let program = format!("{subject} int main(void) {{ return subject(); }}");
        let compile = ["-c", "-fPIC", "-O1"];
        dir.compile(target, "library.o", subject, &compile);
        dir.compile(target, "program.o", &program, &compile);
        Self { dir, target }
    }

    pub fn link(&self, output: &str, layout: &Layout) -> PathBuf {
        let mut arguments = layout.linker.flags();
        let kind = match layout.kind {
            Kind::Library => ["-shared", "library.o", "-Wl,-soname,libsubject.so"],
            Kind::Pie => ["-pie", "program.o", PROGRAM_ASKS_FOR],
            Kind::Fixed => ["-no-pie", "program.o", PROGRAM_ASKS_FOR],
        };
        arguments.extend(kind.map(String::from));
        arguments.extend(NEEDS.map(String::from));
        let code = match (layout.linker, layout.separate_code) {
            (Linker::Gold, true) => "--rosegment",
            (Linker::Gold, false) => "--no-rosegment",
            (_, true) => "-z,separate-code",
            (_, false) => "-z,noseparate-code",
        };
        let relro = if layout.relro { "relro" } else { "norelro" };
        arguments.push(format!(
            "-Wl,{code},-z,{relro},-z,max-page-size={}",
            layout.page
        ));
        if layout.stripped {
            arguments.push("-s".to_owned());
        }
        let tags = match layout.search {
            Search::None => None,
            Search::Runpath => Some(("enable", OWN_SEARCH)),
            Search::Rpath => Some(("disable", SHARED_SEARCH)),
        };
        arguments.extend(tags.map(|(tags, path)| format!("-Wl,--{tags}-new-dtags,-rpath,{path}")));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let linked = self.dir.drive(self.target, output, &arguments);
        linked.unwrap_or_else(|errors| panic!("{layout:?}: {errors}"))
    }
}

/// The code of the programs.
const LOADS: &str = "int subject(void); int main(void) { return subject(); }";

impl LinkDir {
    /// A directory with `need`, whose path has `len` bytes.
    pub fn library_directory(&self, need: &str, len: usize, letter: &str) -> PathBuf {
        let mut directory = self.dir.path(letter);
        while let Some(left) = len.checked_sub(directory.as_os_str().len() + 1) {
            if left == 0 {
                break;
            }
            directory.push(letter.repeat(left.min(100)));
        }
        fs::create_dir_all(&directory).unwrap();
        let link = directory.join(need);
        if !link.is_symlink() {
            symlink(self.dir.path(need), link).unwrap();
        }
        directory
    }

    /// A program `app/main` that finds `library`, but none of the libraries that it needs.
    pub fn program_that_loads(&self, library: &str, linker: Linker) -> PathBuf {
        let link = "-Wl,--allow-shlib-undefined";
        let linked = self.link_program("app/main", library, linker, &[link]);
        linked.unwrap_or_else(|errors| panic!("{linker:?}: {errors}"))
    }

    /// The same, if the linker finds all that the library needs.
    pub fn try_program(
        &self,
        output: &str,
        library: &str,
        linker: Linker,
    ) -> std::result::Result<PathBuf, String> {
        self.link_program(output, library, linker, &["-Wl,--no-allow-shlib-undefined"])
    }

    fn link_program(
        &self,
        output: &str,
        library: &str,
        linker: Linker,
        more: &[&str],
    ) -> std::result::Result<PathBuf, String> {
        let interpreter = self.target.interpreter();
        let library_directory = self.dir.path(library);
        let search = format!(
            "-Wl,--enable-new-dtags,--dynamic-linker={interpreter},-rpath,{}:{}",
            library_directory.parent().unwrap().display(),
            Path::new(interpreter).parent().unwrap().display(),
        );
        let mut arguments = linker.flags();
        arguments.extend([library.to_owned(), search]);
        arguments.extend(more.iter().map(|&one| one.to_owned()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.dir.try_compile(self.target, output, LOADS, &arguments)
    }
}

/// A file that is edited repeatedly, in memory.
pub struct Original {
    path: PathBuf,
    pub bytes: Vec<u8>,
    pub elf: Elf,
}

/// The edited file.
pub struct Edited {
    pub changes: Changes,
    pub bytes: Vec<u8>,
    pub elf: Elf,
}

impl Original {
    pub fn read(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            bytes: fs::read(path).unwrap(),
            elf: Elf::read(&mut Source::open(path).unwrap()).unwrap(),
        }
    }

    pub fn source(&self) -> Source {
        Source::open(&self.path).unwrap()
    }

    /// Calls `look` with the patch space of the file.
    pub fn on_patch_space<T>(&self, look: impl FnOnce(&PatchSpace<'_>) -> T) -> Result<T> {
        let arch = self.elf.target().arch().unwrap();
        let patch_space = PatchSpace::new(&self.elf, arch, &mut self.source());
        patch_space.map(|patch_space| look(&patch_space))
    }

    /// The maximum length of a string that fits, with its NUL.
    pub fn largest(&self, allowed: Visibility) -> usize {
        self.on_patch_space(|patch_space| patch_space.largest(allowed))
            .unwrap() as usize
    }

    pub fn edit(&self, wanted: &Wanted<'_>, allowed: Visibility) -> Result<Edited> {
        let changes = self.on_patch_space(|patch_space| patch_space.changes(wanted, allowed))??;
        let mut bytes = self.bytes.clone();
        let mut source = self.source();
        for change in &changes.list {
            let place = change.offset as usize..change.offset as usize + change.after.len();
            bytes[place].copy_from_slice(&change.after);
            source.lay_over(change.offset, &change.after);
        }
        let elf = Elf::read(&mut source).unwrap();
        Ok(Edited {
            changes,
            bytes,
            elf,
        })
    }
}

impl Edited {
    /// The ranges of the file that change, in order.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let list = self.changes.list.iter();
        let range = list.map(|change| change.offset..change.offset + change.after.len() as u64);
        let mut ranges: Vec<Range<u64>> = range.collect();
        ranges.sort_by_key(|range| range.start);
        ranges
    }
}
