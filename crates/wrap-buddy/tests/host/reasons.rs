//! The sentence of each reason for which a file is left alone. `INSTA_UPDATE=always cargo nextest run -p wrap-buddy reasons`
//! records the current ones.

use std::fmt::{Debug, Display};
use std::path::PathBuf;

use elf_file::{Kind, Payload};
use insta::assert_snapshot;
use ldso::Libc;
use sidecar::{InPlace, Legacy};
use sys::arch::ElfTarget;
use wrap_buddy::plan::reason::{BadEntry, NoLinks, NoSlot, NotInjectable, Step};
use wrap_buddy::plan::search::LibcLacks;
use wrap_buddy::state::found_sidecar::UnknownSidecar;
use wrap_buddy::state::limits::LoaderLimit;
use wrap_buddy::state::prior::Method;
use wrap_buddy::state::unusable::ReadFailure;
use wrap_buddy::system::lock::Holder;
use wrap_buddy::system::trust::{Exposed, Other};

use crate::fixture::*;

/// The files with the enums.
const SOURCES: [&str; 6] = [
    include_str!("../../src/plan/reason.rs"),
    include_str!("../../src/plan/search/private.rs"),
    include_str!("../../src/state/found_sidecar.rs"),
    include_str!("../../src/state/limits.rs"),
    include_str!("../../src/state/unusable.rs"),
    include_str!("../../src/system/trust.rs"),
];

/// The name of a member, and its sentence.
fn line(reason: &(impl Debug + Display)) -> String {
    let debug = format!("{reason:?}");
    let end = debug.find(|c: char| !c.is_alphanumeric());
    format!("{}: {reason}\n", &debug[..end.unwrap_or(debug.len())])
}

fn lines(reasons: &[impl Debug + Display]) -> String {
    reasons.iter().map(line).collect()
}

/// The members of the enums with sentences in `source`: one in a line, after `#[error`.
fn members(source: &str) -> Vec<String> {
    let enums = source.split("Error)]\npub enum ").skip(1);
    let bodies = enums.filter_map(|text| text.split("\n}\n").next());
    let names = bodies.flat_map(str::lines).filter_map(|line| {
        let name = line.strip_prefix("    ")?;
        let end = name.find(|c: char| !c.is_alphanumeric())?;
        name.starts_with(char::is_uppercase)
            .then(|| name[..end].to_owned())
    });
    names.collect()
}

#[test]
fn every_reason_has_its_sentence() {
    let path = || PathBuf::from("/opt/file");
    let sidecar = || PathBuf::from("/opt/.file.wrapbuddy");
    let text = || "the error".to_owned();
    let known = Libc::Glibc;
    let arch = "aarch64";
    let no_room = || NoRoom::Entries { spare: 1, takes: 2 };
    let skipped = [
        SkipReason::NotRegular,
        SkipReason::Script("/bin/sh -e".to_owned()),
        SkipReason::NotElf,
        SkipReason::Unreadable(ReadFailure::Malformed(text())),
        SkipReason::Unusable(Unusable::Changed(sidecar())),
        SkipReason::Kind(Kind::StaticPie),
        SkipReason::StaticWithInterp,
        SkipReason::InStore("/nix/store/hash-glibc/lib/ld.so".into()),
        SkipReason::OtherSystem(9),
        SkipReason::OtherType(7),
        SkipReason::Packed {
            kind: Box::new(SkipReason::Kind(Kind::StaticProgram)),
            payload: Payload::Par,
        },
        SkipReason::OtherArchitecture {
            target: ElfTarget::X32,
            little_endian: true,
        },
        SkipReason::OtherArchitecture {
            target: ElfTarget::new(22, 2, 0),
            little_endian: false,
        },
        SkipReason::NoStage {
            arch,
            remedy: String::new(),
        },
        SkipReason::NoStage {
            arch,
            remedy: "install its core library".to_owned(),
        },
        SkipReason::LibraryOfOtherLibc {
            linked: None,
            known,
        },
        SkipReason::LibraryOfOtherLibc {
            linked: Some(Libc::Musl),
            known,
        },
        SkipReason::LibraryOfOtherArchitecture { arch },
        SkipReason::ProgramOfOtherLibc {
            asks_for: "/lib/ld-musl-x86_64.so.1".into(),
            libc: Libc::Musl,
            known,
        },
        SkipReason::ProgramOfOtherArchitecture {
            asks_for: format!("/lib/{}", Arch::Aarch64.ld_so()).into(),
            arch,
        },
        SkipReason::Wrapped,
        SkipReason::WrappedByStub,
        SkipReason::WrappedByOtherName(path()),
        SkipReason::Edited,
        SkipReason::EditedInVain,
        SkipReason::LibraryFindsAll,
        SkipReason::LibraryLacks,
        SkipReason::NoSearchPath {
            no_room: no_room(),
            advice: vec!["first".to_owned(), "second".to_owned()],
        },
        SkipReason::StartsAsItIs,
        SkipReason::HardLink {
            of: path(),
            done: "wrapped",
        },
        SkipReason::HardLinkOnOverlay {
            of: path(),
            done: "wrapped",
        },
        SkipReason::NothingToRestore,
        SkipReason::Restored,
    ];
    let refused = [
        Refusal::Unreadable(ReadFailure::Unopenable(text())),
        Refusal::Unusable(Unusable::Orphan(sidecar())),
        Refusal::Packed(Payload::Upx),
        Refusal::NoInterpreter("/lib/ld.so".into()),
        Refusal::LibrariesMissing(None),
        Refusal::LibrariesMissing(Some(Method::InPlace)),
        Refusal::LibrariesMissing(Some(Method::Stub)),
        Refusal::Outside(vec![path(), "/opt/other".into()]),
        Refusal::NotInPlace(no_room()),
        Refusal::BadEntry(BadEntry::InNoSegment(0x40)),
        Refusal::NoSlot(NoSlot::Relocated),
        Refusal::NotInjectable(NotInjectable::NoDynamic),
        Refusal::Privileged(NotForPrivileged::LongPath),
        Refusal::Colon("/opt/a:b".into()),
        Refusal::Prelinked,
        Refusal::NotWritten(WriteFailure::Changed),
        Refusal::ChangedSinceEdit(sidecar()),
        Refusal::Replaced,
        Refusal::Nonexistent,
        Refusal::BeingWritten,
        Refusal::Failed(text()),
    ];
    let damaged = InPlace::parse(b"\x7fwrapip1").unwrap_err();
    let foreign = Legacy::parse(b"text", 2).unwrap_err();
    let unknown = [
        UnknownSidecar::Link,
        UnknownSidecar::Directory,
        UnknownSidecar::NotRegular,
        UnknownSidecar::TooLarge,
        UnknownSidecar::Unreadable(text()),
        UnknownSidecar::OtherVersion(b'9'),
        UnknownSidecar::Damaged(damaged),
        UnknownSidecar::NoFormat(foreign),
        UnknownSidecar::OtherEntry {
            of_sidecar: 0x1040,
            of_program: 0x1080,
        },
        UnknownSidecar::TooManyBytes,
        UnknownSidecar::OtherBytes,
        UnknownSidecar::DoesNotFit(text()),
        UnknownSidecar::Implausible(text()),
    ];
    // These follow "it".
    for reason in &unknown {
        let text = reason.to_string();
        let verbs = ["is", "has", "does", "cannot", "would"];
        let verb = text.split(' ').next();
        assert!(verb.is_some_and(|verb| verbs.contains(&verb)), "{text}");
    }
    let unusable = [
        Unusable::InterpReused(sidecar()),
        Unusable::Changed(sidecar()),
        Unusable::Orphan(sidecar()),
        Unusable::Untrusted(sidecar()),
        Unusable::UnknownSidecar {
            sidecar: sidecar(),
            reason: UnknownSidecar::Directory,
        },
    ];
    let (len, room) = (200, 100);
    let no_slots = [
        NoSlot::NoLength,
        NoSlot::AtEntry { len, room },
        NoSlot::AtSegmentEnd { len, room },
        NoSlot::Covers {
            len,
            what: ".dynamic",
        },
        NoSlot::Relocated,
        NoSlot::Unreadable(text()),
    ];
    let no_rooms = [
        NoRoom::Relocatable,
        no_room(),
        NoRoom::Text {
            len: 30,
            largest: 20,
        },
        NoRoom::NoInterp,
        NoRoom::Interpreter { len: 30 },
        NoRoom::NorLinks {
            no_room: Box::new(no_room()),
            no_links: NoLinks::NoLibrary,
        },
    ];
    let no_links = [
        NoLinks::Privileged,
        NoLinks::Relative("/opt/liba.so".into()),
        NoLinks::NoLibrary,
    ];
    let limits = [
        LoaderLimit::OtherDynamic,
        LoaderLimit::Headers {
            count: 100,
            most: 60,
        },
        LoaderLimit::HeadersNotLoaded,
    ];
    let not_injectable = [
        NotInjectable::Limit(LoaderLimit::HeadersNotLoaded),
        NotInjectable::NoDynamic,
        NotInjectable::NoStringTable,
    ];
    let privileged = [
        NotForPrivileged::Relocatable,
        NotForPrivileged::SelfContained,
        NotForPrivileged::NoLoaderInRoot,
        NotForPrivileged::NoLoaderDirectory,
        NotForPrivileged::LongPath,
        NotForPrivileged::Untrusted {
            path: path(),
            part: "/opt".into(),
        },
        NotForPrivileged::UntrustedSidecar {
            sidecar: sidecar(),
            part: "/opt".into(),
        },
    ];
    let steps = [
        Step::OpenDirectory,
        Step::Open,
        Step::Write,
        Step::Copy,
        Step::Replace,
        Step::Sync,
    ];
    let exposed = [
        Exposed::Replaceable(Other::All),
        Exposed::Linked {
            links: 2,
            by: Other::Group(100),
        },
    ];
    let not_written = [
        WriteFailure::Stopped,
        WriteFailure::Changed,
        WriteFailure::Locked(Holder::Unknown),
        WriteFailure::Exposed(exposed[0].clone()),
        WriteFailure::Capabilities,
        WriteFailure::Signed,
        WriteFailure::Sealed,
        WriteFailure::RunningWithOtherNames,
        WriteFailure::Refused {
            step: Step::Write,
            reason: text(),
        },
        WriteFailure::Sidecar {
            path: sidecar(),
            reason: text(),
        },
        WriteFailure::Links {
            directory: "/opt/.file.wrapbuddy.d".into(),
            reason: text(),
        },
        WriteFailure::Loader {
            path: "/opt/loader.bin".into(),
            reason: text(),
        },
    ];
    let lacks = [
        LibcLacks::Unwinder {
            caller: path(),
            function: "pthread_exit",
        },
        LibcLacks::Modules {
            caller: path(),
            directory: "/usr/lib/gconv".into(),
            there: None,
        },
        LibcLacks::Modules {
            caller: path(),
            directory: "/usr/lib/gconv".into(),
            there: Some("/opt/lib/gconv".into()),
        },
    ];
    let reasons = [
        Reason::Skip(SkipReason::NotElf),
        Reason::Refusal(Refusal::Replaced),
    ];
    let failures = [
        ReadFailure::Unopenable(text()),
        ReadFailure::Malformed(text()),
    ];
    let entries = [BadEntry::InNoSegment(0x40), BadEntry::NotExecutable(0x40)];
    let all = [
        lines(&reasons),
        lines(&skipped),
        lines(&refused),
        lines(&failures),
        lines(&unusable),
        lines(&unknown),
        lines(&entries),
        lines(&no_slots),
        lines(&not_injectable),
        lines(&privileged),
        lines(&not_written),
        lines(&steps),
        lines(&exposed),
        lines(&limits),
        lines(&no_rooms),
        lines(&no_links),
        lines(&lacks),
    ]
    .concat();
    for source in SOURCES {
        let names = members(source);
        assert!(!names.is_empty());
        for name in names {
            let is_there = all
                .lines()
                .any(|line| line.starts_with(&format!("{name}: ")));
            assert!(is_there, "{name} is not in the list");
        }
    }
    assert_snapshot!(all);
}
