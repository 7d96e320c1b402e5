//! The reasons why a file is skipped or cannot be changed. `Display` is the sentence that people read; code compares the enum.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use elf_file::{Kind, Payload, io_reason};
use ldso::Libc;
use sys::arch::ElfTarget;
use thiserror::Error;

use crate::state::limits::LoaderLimit;
use crate::state::prior::Method;
use crate::state::unusable::{ReadFailure, Unusable};
use crate::system::lock::Holder;
use crate::system::trust::Exposed;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    #[error(transparent)]
    Skip(#[from] SkipReason),
    #[error(transparent)]
    Refusal(#[from] Refusal),
}

/// Why a file is skipped.
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
    #[error("static executable with a PT_INTERP")]
    StaticWithInterp,
    #[error("its interpreter is already in the store: {}", .0.display())]
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
        "other architecture: this wrap-buddy was built without support for {arch}{}{}",
        if .remedy.is_empty() { "" } else { ": " },
        .remedy
    )]
    NoStage { arch: &'static str, remedy: String },
    /// A library, by the libc that it is linked to.
    #[error(
        "other libc: it is linked to {}, but only an interpreter of {} is known; pass --interpreter",
        .linked.map_or("another libc", Libc::name),
        .known.name()
    )]
    LibraryOfOtherLibc { linked: Option<Libc>, known: Libc },
    #[error("other architecture: no interpreter for {arch} is known; pass --interpreter")]
    LibraryOfOtherArchitecture { arch: &'static str },
    /// A program, by its PT_INTERP.
    #[error(
        "other libc: it asks for {} ({}), but only an interpreter of {} is known; pass --interpreter",
        .asks_for.display(), .libc.name(), .known.name()
    )]
    ProgramOfOtherLibc {
        asks_for: PathBuf,
        libc: Libc,
        known: Libc,
    },
    #[error(
        "other architecture: it asks for {}, but no interpreter for {arch} is known; pass --interpreter",
        .asks_for.display()
    )]
    ProgramOfOtherArchitecture {
        asks_for: PathBuf,
        arch: &'static str,
    },
    #[error("already wrapped")]
    Wrapped,
    #[error("already wrapped with a stub; restore it first to edit it in place")]
    WrappedByStub,
    #[error(
        "already wrapped: it is a hard link of {}, which has the sidecar; wrap that file to change the settings",
        .0.display()
    )]
    WrappedByOtherName(PathBuf),
    #[error("already edited in place")]
    Edited,
    #[error(
        "already edited in place, but with these settings it needs no search path; restore it to remove that"
    )]
    EditedInVain,
    #[error("shared library that finds its dependencies")]
    LibraryFindsAll,
    #[error("shared library, but libraries that it needs are missing")]
    LibraryLacks,
    /// A library, with advice on the programs that open it.
    #[error("no room for a search path: {no_room}{}", Clauses(.advice))]
    NoSearchPath {
        no_room: NoRoom,
        advice: Vec<String>,
    },
    #[error("starts as it is: it finds its dynamic linker and libraries; --force wraps it")]
    StartsAsItIs,
    /// Another name of a file that is changed; `done`: what happens to that file.
    #[error("hard link of {}, {done} together with it", .of.display())]
    HardLink { of: PathBuf, done: &'static str },
    /// A dry run cannot find out in which layer a file is.
    #[error(
        "hard link of {}: would be {done} separately if the file is in a lower layer of the overlay, otherwise together",
        .of.display()
    )]
    HardLinkOnOverlay { of: PathBuf, done: &'static str },
    #[error("neither wrapped nor edited")]
    NothingToRestore,
    #[error("restored; it is left alone until it changes")]
    Restored,
}

impl SkipReason {
    /// Whether the file is not an ELF file.
    pub fn is_no_elf(&self) -> bool {
        matches!(self, Self::NotRegular | Self::Script(_) | Self::NotElf)
    }

    /// Whether the file is for an architecture, a system or a C library of which no dynamic linker is known.
    pub fn is_for_other_machine(&self) -> bool {
        matches!(
            self,
            Self::OtherSystem(_)
                | Self::OtherArchitecture { .. }
                | Self::NoStage { .. }
                | Self::LibraryOfOtherLibc { .. }
                | Self::LibraryOfOtherArchitecture { .. }
                | Self::ProgramOfOtherLibc { .. }
                | Self::ProgramOfOtherArchitecture { .. }
        )
    }
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
    #[error("no dynamic linker is known for it (it asks for {}); pass --interpreter", .0.display())]
    NoInterpreter(PathBuf),
    /// A file that was changed before still works with the earlier settings.
    #[error("{}", match .0 {
        Some(Method::InPlace) => "already edited in place; with these settings libraries would be missing",
        Some(_) => "already wrapped; with these settings libraries would be missing",
        None => "libraries are missing",
    })]
    LibrariesMissing(Option<Method>),
    #[error(
        "cannot be made relocatable: {} is outside of the tree; copy it into the tree, or pass --allow-outside",
        Paths(.0)
    )]
    Outside(Vec<PathBuf>),
    #[error("cannot be edited in place: {0}")]
    NotInPlace(NoRoom),
    #[error(transparent)]
    BadEntry(#[from] BadEntry),
    #[error("there is no room for a stub: {0}")]
    NoSlot(NoSlot),
    #[error(transparent)]
    NotInjectable(#[from] NotInjectable),
    #[error(transparent)]
    Privileged(#[from] NotForPrivileged),
    #[error(
        "cannot have {} on its search path, because a colon ends a directory there; rename the directory or link to it",
        .0.display()
    )]
    Colon(OsString),
    #[error("it is prelinked, which an edit would break; undo that first (prelink --undo)")]
    Prelinked,
    #[error(transparent)]
    NotWritten(#[from] WriteFailure),
    #[error(
        "was changed after it was edited (strip, patchelf, an update?), and its sidecar {} no longer matches; download or build the file again",
        .0.display()
    )]
    ChangedSinceEdit(PathBuf),
    #[error("it was replaced in the meantime; run wrap-buddy again")]
    Replaced,
    #[error("does not exist")]
    Nonexistent,
    #[error("a process still writes to it; run wrap-buddy again when it is complete")]
    BeingWritten,
    /// The error chain of a failure to read or plan.
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

/// Why a set-id program, or one with capabilities, is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotForPrivileged {
    #[error(
        "is set-id or has capabilities, which a relocatable program cannot be; remove them, or leave out --relocatable"
    )]
    Relocatable,
    #[error(
        "is set-id or has capabilities, so its loader has to be in a file that only root can write; leave out --self-contained"
    )]
    SelfContained,
    #[error(
        "is set-id or has capabilities, so its loader cannot be in its sidecar; put one into the root (wrap-buddy generate loaders) and pass --loader-dir-path with its directory"
    )]
    NoLoaderInRoot,
    #[error(
        "is set-id or has capabilities, but no directory for its loader is writable; pass --loader-dir-path"
    )]
    NoLoaderDirectory,
    #[error(
        "is set-id or has capabilities, but has no room for the absolute path of its sidecar; move it to a shorter path"
    )]
    LongPath,
    /// Others can change `part` of `path`.
    #[error(
        "is set-id or has capabilities and would trust {}, but others can change {}; use a directory that only root can write to",
        .path.display(), .part.display()
    )]
    Untrusted { path: PathBuf, part: PathBuf },
    #[error(
        "is set-id or has capabilities and would trust its sidecar {}, but others can change {}; move the program to a directory that only root can write to",
        .sidecar.display(), .part.display()
    )]
    UntrustedSidecar { sidecar: PathBuf, part: PathBuf },
}

/// Why a planned change is not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WriteFailure {
    #[error("unchanged, because the run was stopped")]
    Stopped,
    #[error("another process changed it in the meantime; run wrap-buddy again")]
    Changed,
    #[error("locked by {0}; run wrap-buddy again when it is done")]
    Locked(Holder),
    #[error(transparent)]
    Exposed(#[from] Exposed),
    #[error(
        "has file capabilities, which root would restore after the file's owner may have changed it; pass --trust-tree if no other user writes there"
    )]
    Capabilities,
    #[error(
        "has an IMA signature, which would not match the changed file; remove the signature, or use an unsigned copy"
    )]
    Signed,
    #[error("cannot be written: it is sealed (fs-verity, or chattr +i); use an unsealed copy (cp)")]
    Sealed,
    #[error(
        "is running, and has other names (hard links) that a copy would not replace; stop it first"
    )]
    RunningWithOtherNames,
    #[error("{step}: {reason}")]
    Refused { step: Step, reason: String },
    #[error("its sidecar {} cannot be written: {reason}", .path.display())]
    Sidecar { path: PathBuf, reason: String },
    #[error("its links in {} cannot be created: {reason}", .directory.display())]
    Links { directory: PathBuf, reason: String },
    #[error("the loader cannot be installed as {}: {reason}; pass --loader-dir-path", .path.display())]
    Loader { path: PathBuf, reason: String },
}

/// What the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Step {
    #[error("its directory cannot be opened")]
    OpenDirectory,
    #[error("cannot be opened")]
    Open,
    #[error("cannot be written")]
    Write,
    #[error("cannot be copied")]
    Copy,
    #[error("cannot be replaced")]
    Replace,
    #[error("cannot be synced")]
    Sync,
}

impl Step {
    pub fn refused(self, error: &io::Error) -> WriteFailure {
        WriteFailure::Refused {
            step: self,
            reason: io_reason(error),
        }
    }
}

/// Why there is no entry slot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoSlot {
    #[error("it has no length")]
    NoLength,
    #[error("the stub takes {len} bytes, but there are only {room} after its entry point")]
    AtEntry { len: u64, room: u64 },
    #[error("the stub takes {len} bytes, but its executable segment has only {room}")]
    AtSegmentEnd { len: u64, room: u64 },
    #[error("the stub takes {len} bytes and would cover {what}")]
    Covers { len: u64, what: &'static str },
    #[error("the stub would cover bytes that ld.so relocates (DT_TEXTREL)")]
    Relocated,
    #[error("{0}")]
    Unreadable(String),
}

/// Why a program cannot get a search path in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotInjectable {
    #[error(transparent)]
    Limit(#[from] LoaderLimit),
    #[error("it has no loaded .dynamic, so it cannot get a search path")]
    NoDynamic,
    #[error("it has no DT_STRTAB, so it cannot get a search path")]
    NoStringTable,
}

/// Why a file is not edited in place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoRoom {
    #[error("a dynamic linker relative to the program needs a stub")]
    Relocatable,
    #[error("its .dynamic has {spare} spare entries, but {takes} are needed")]
    Entries { spare: usize, takes: usize },
    #[error("there is no room for {len} bytes after its read-only segments (at most {largest})")]
    Text { len: usize, largest: u64 },
    #[error("it has no PT_INTERP")]
    NoInterp,
    #[error("there is no room for its dynamic linker's path ({len} bytes)")]
    Interpreter { len: usize },
    #[error("{no_room}; a directory of links does not help either: {no_links}")]
    NorLinks {
        no_room: Box<NoRoom>,
        no_links: NoLinks,
    },
}

/// Why a directory of links cannot stand in for a search path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoLinks {
    #[error("ld.so ignores $ORIGIN for set-id programs and those with capabilities")]
    Privileged,
    #[error("{} finds its libraries relative to itself", .0.display())]
    Relative(PathBuf),
    #[error("there is no library to link to")]
    NoLibrary,
}

/// Puts a semicolon before each clause.
struct Clauses<'a>(&'a [String]);

impl fmt::Display for Clauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|clause| write!(f, "; {clause}"))
    }
}

/// Separates paths by commas.
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
