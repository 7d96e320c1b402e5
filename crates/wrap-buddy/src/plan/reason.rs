//! Why a file is left as it is: the sentences that a person reads, each as the member of an enum that programs compare.

use std::fmt;
use std::path::{Path, PathBuf};

use elf_file::{Kind, Payload};
use ldso::Libc;
use sys::arch::ElfTarget;
use thiserror::Error;

use crate::state::limits::LoaderLimit;
use crate::state::prior::Method;
use crate::state::unusable::{ReadFailure, Unusable};

/// Why a file is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    #[error(transparent)]
    Skip(#[from] SkipReason),
    #[error(transparent)]
    Refusal(#[from] Refusal),
}

/// Why a file is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SkipReason {
    #[error("not a regular file")]
    NotRegular,
    /// The rest of its first line.
    #[error("script: #!{0}")]
    Script(String),
    #[error("not an ELF file")]
    NotElf,
    #[error(transparent)]
    Unreadable(#[from] ReadFailure),
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error("{0}")]
    Kind(Kind),
    #[error("static executable, although it has a PT_INTERP")]
    StaticWithInterp,
    #[error("its interpreter is in the store already: {}", .0.display())]
    InStore(PathBuf),
    #[error("other operating system: OS ABI {0}")]
    OtherSystem(u8),
    #[error("{kind}: e_type {0}", kind = Kind::Other)]
    OtherType(u16),
    #[error("{kind}: {payload}")]
    Packed {
        kind: Box<SkipReason>,
        payload: Payload,
    },
    #[error("other architecture: {target}{}", if *.little_endian { "" } else { ", big-endian" })]
    OtherArchitecture {
        target: ElfTarget,
        little_endian: bool,
    },
    #[error(
        "other architecture: this wrap-buddy was built without {arch}{}{}",
        if .remedy.is_empty() { "" } else { ": " },
        .remedy
    )]
    NoStage { arch: &'static str, remedy: String },
    /// A library, by the libc that it is linked to.
    #[error(
        "other libc: it is linked to {}, and only an interpreter of {} is known: pass --interpreter",
        .linked.map_or("another libc", Libc::name),
        .known.name()
    )]
    LibraryOfOtherLibc { linked: Option<Libc>, known: Libc },
    #[error(
        "other architecture: a library for {arch}, and no interpreter for that is known: pass --interpreter"
    )]
    LibraryOfOtherArchitecture { arch: &'static str },
    /// A program, by the dynamic linker that it asks for.
    #[error(
        "other libc: it asks for {} ({}), and only an interpreter of {} is known: pass --interpreter",
        .asks_for.display(), .libc.name(), .known.name()
    )]
    ProgramOfOtherLibc {
        asks_for: PathBuf,
        libc: Libc,
        known: Libc,
    },
    #[error(
        "other architecture: it asks for {}, and no interpreter for {arch} is known: pass --interpreter",
        .asks_for.display()
    )]
    ProgramOfOtherArchitecture {
        asks_for: PathBuf,
        arch: &'static str,
    },
    #[error("already wrapped")]
    Wrapped,
    #[error("already wrapped, by a stub: restore it to edit it in place")]
    WrappedByStub,
    #[error(
        "already wrapped: it is a hard link of {}, which has the sidecar; wrap that to change its settings",
        .0.display()
    )]
    WrappedByOtherName(PathBuf),
    #[error("edited in place already")]
    Edited,
    #[error(
        "edited in place already, and finds what it needs without that with these settings: restore it to take the search path back"
    )]
    EditedInVain,
    #[error("shared library that finds what it needs")]
    LibraryFindsAll,
    #[error("shared library, and what it needs is missing")]
    LibraryLacks,
    /// A library, and what becomes of it by way of programs.
    #[error("no room for a search path: {no_room}{}", Clauses(.advice))]
    NoSearchPath {
        no_room: NoRoom,
        advice: Vec<String>,
    },
    #[error("starts as it is, and finds its dynamic linker and libraries: --force wraps it")]
    StartsAsItIs,
    /// Another name of a file that is worked on; `done` says what is done to that.
    #[error("hard link of {}, and {done} with it", .of.display())]
    HardLink { of: PathBuf, done: &'static str },
    /// A dry run cannot see in which layer a file is.
    #[error(
        "hard link of {}: would be {done} by itself if the file is in a lower layer of the overlay, else with that name",
        .of.display()
    )]
    HardLinkOnOverlay { of: PathBuf, done: &'static str },
    #[error("neither wrapped nor edited")]
    NothingToRestore,
    #[error("restored; it is left alone until it changes")]
    Restored,
}

/// Why a file cannot be wrapped, edited or restored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error(transparent)]
    Unreadable(#[from] ReadFailure),
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error("{0}")]
    Packed(Payload),
    #[error("no dynamic linker is known for it, it asks for {}: pass --interpreter", .0.display())]
    NoInterpreter(PathBuf),
    /// A file that an earlier run has changed goes on finding its libraries as before.
    #[error("{}", match .0 {
        Some(Method::InPlace) => "edited in place already, and with these settings libraries would be missing",
        Some(_) => "already wrapped, and with these settings libraries would be missing",
        None => "libraries are missing",
    })]
    LibrariesMissing(Option<Method>),
    #[error(
        "cannot be made relocatable, {} would not be moved along: copy that into the tree, or pass --allow-outside",
        Paths(.0)
    )]
    Outside(Vec<PathBuf>),
    #[error("cannot be edited in place: {0}")]
    NotInPlace(NoRoom),
    #[error(transparent)]
    BadEntry(#[from] BadEntry),
    #[error("there is no place for a stub: {0}")]
    NoSlot(NoSlot),
    #[error(transparent)]
    NotInjectable(#[from] NotInjectable),
    #[error(
        "was changed since it was edited (strip, patchelf, an update?), and its sidecar {} does not describe it any more: restore it from where it came",
        .0.display()
    )]
    ChangedSinceEdit(PathBuf),
    #[error("it was replaced meanwhile")]
    Replaced,
    #[error("does not exist")]
    Nonexistent,
    #[error("a process still writes to it; run wrap-buddy again when it is complete")]
    BeingWritten,
    /// Reading, planning or writing has failed: the chain of errors.
    #[error("{0}")]
    Failed(String),
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        let other = |error| Self::Failed(format!("{error:#}"));
        error.downcast().unwrap_or_else(other)
    }
}

/// Why a stub cannot start at the entry point of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadEntry {
    #[error("its entry point {0:#x} is in no segment")]
    InNoSegment(u64),
    #[error("its entry point {0:#x} is in a segment that is not readable and executable")]
    NotExecutable(u64),
}

/// Why there is no entry slot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoSlot {
    #[error("it has no length")]
    NoLength,
    #[error("the stub takes {len} bytes, and there are only {room} after its entry point")]
    AtEntry { len: u64, room: u64 },
    #[error("the stub takes {len} bytes, and its executable segment has only {room}")]
    AtSegmentEnd { len: u64, room: u64 },
    #[error("the stub takes {len} bytes, and would cover {what}")]
    Covers { len: u64, what: &'static str },
    #[error("the stub would cover bytes that ld.so relocates (DT_TEXTREL)")]
    Relocated,
    #[error("{0}")]
    Unreadable(String),
}

/// Why ld.so cannot be given a search path in the memory of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotInjectable {
    #[error(transparent)]
    Limit(#[from] LoaderLimit),
    #[error("it has no .dynamic that is loaded: ld.so cannot be told where to look")]
    NoDynamic,
    #[error("it has no DT_STRTAB: ld.so cannot be told where to look")]
    NoStringTable,
}

/// Why a file is not edited in place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoRoom {
    #[error("a dynamic linker relative to the program is only possible with a stub")]
    Relocatable,
    #[error("its .dynamic has {spare} spare entries, and it takes {takes}")]
    Entries { spare: usize, takes: usize },
    #[error("there is no room for {len} bytes after its read-only segments ({largest} at most)")]
    Text { len: usize, largest: u64 },
    #[error("it has no PT_INTERP")]
    NoInterp,
    #[error("there is no room for the {len} bytes of its dynamic linker's path")]
    Interpreter { len: usize },
    #[error("{no_room}; and a directory of links does not help: {no_links}")]
    NorLinks {
        no_room: Box<NoRoom>,
        no_links: NoLinks,
    },
}

/// Why a directory of links cannot stand in for a search path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoLinks {
    #[error("it is set-id or has capabilities, and ld.so ignores $ORIGIN then")]
    Privileged,
    #[error("{} finds its own libraries relative to itself", .0.display())]
    Relative(PathBuf),
    #[error("there is no library to link to")]
    NoLibrary,
}

/// Each after a semicolon.
struct Clauses<'a>(&'a [String]);

impl fmt::Display for Clauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|clause| write!(f, "; {clause}"))
    }
}

/// With commas between them.
struct Paths<'a>(&'a [PathBuf]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", Path::display(path))?;
        }
        Ok(())
    }
}
