//! The loader on sidecars and dynamic linkers with random damage, by the thousand: whatever it reads, it ends in an error line,
//! or the program runs. Starts are direct, without a root of their own, so that there can be many.
//!
//! With WRAP_BUDDY_DEBUG=1 the loader's last act is to say where it enters ld.so: what goes wrong before that line is the
//! loader's own, what goes wrong behind it is not unless the loader has mapped ld.so wrongly, of which the kernel is the judge.

mod bench;
mod damage;

use std::collections::BTreeMap;
use std::fs;
use std::mem::offset_of;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;

use e2e::{Arch, Variant, matrix};
use fastrand::Rng;
use sidecar::loader::IMAGE_LEN;
use sidecar::{Header, checked_part};

use bench::{Bench, DIRECT, OWN, OWN_SIDECAR, PROGRAM, SIDECAR};
use damage::{CHECKSUM, change_fields, change_headers, damage, difference, fix_checksum};

matrix!([x86_64_glibc_pie i686_glibc_pie aarch64_glibc_pie]: (damaged_sidecars, damaged_behind_their_loader, believed_sidecars, interpreters));

/// Threads, each with files of its own.
const WORKERS: usize = 2;

/// Changed in any way in front of its text, or in its number of words, and not given the right checksum, a sidecar is refused.
fn damaged_sidecars(variant: Variant) {
    let count = starts(variant.arch, 5000);
    for_each_worker(variant, count, |bench, rng| {
        let mut bytes = bench.sidecar.clone();
        while is_as_good(&bytes, &bench.sidecar) {
            damage(&mut bytes, rng);
        }
        fs::write(bench.path(SIDECAR), &bytes).expect("it is ours");
        let start = bench.start(PROGRAM);
        assert!(start.is_refused(&bench.path(SIDECAR)), "{start}");
        End::Refused
    });
}

/// The same of a sidecar with a loader in front, which is code: nothing is promised of a changed one.
fn damaged_behind_their_loader(variant: Variant) {
    let count = starts(variant.arch, 2000);
    for_each_worker(variant, count, |bench, rng| {
        let (loader, good) = bench.own_sidecar.split_at(IMAGE_LEN);
        let mut bytes = good.to_vec();
        while is_as_good(&bytes, good) {
            damage(&mut bytes, rng);
        }
        let path = bench.path(OWN_SIDECAR);
        fs::write(&path, [loader, &bytes].concat()).expect("it is ours");
        let start = bench.start(OWN);
        assert!(start.is_refused(&path), "{start}");
        End::Refused
    });
}

/// Whether a sidecar has as many words as a good one, and the same in front of its text. A rest that is no word is not looked at.
fn is_as_good(bytes: &[u8], good: &[u8]) -> bool {
    let text = sidecar::CHECKED_FROM + checked_part(good).expect("whole").len();
    bytes.len() / 4 == good.len() / 4 && bytes[..text] == good[..text]
}

/// A sidecar with a right checksum is believed (docs/design.md, section 3): who can write one can name any interpreter in it, so
/// nothing is promised of what comes of a changed one, but this: it is still refused if it says that it belongs to another
/// program; fields that only the tool reads make no difference; and the loader comes to an end.
fn believed_sidecars(variant: Variant) {
    let count = starts(variant.arch, 5000);
    let ends = for_each_worker(variant, count, |bench, rng| {
        let mut bytes = bench.sidecar.clone();
        while bytes == bench.sidecar {
            change_fields(&mut bytes, rng);
            fix_checksum(&mut bytes);
        }
        fs::write(bench.path(SIDECAR), &bytes).expect("it is ours");
        let start = bench.start(PROGRAM);
        let pairs = bytes.iter().zip(&bench.sidecar).enumerate();
        let changed: Vec<usize> = pairs
            .filter(|(_, (one, other))| one != other)
            .map(|(at, _)| at)
            .filter(|at| !CHECKSUM.contains(at))
            .collect();
        let is_in = |ranges: &[Range<usize>], at| ranges.iter().any(|range| range.contains(at));
        let (good, end) = if changed.iter().any(|at| is_in(&IDENTITY, at)) {
            (start.is_refused(&bench.path(SIDECAR)), End::Refused)
        } else if changed.iter().all(|at| is_in(&bench.unread, at)) {
            (start.is_success(), End::Ran)
        } else {
            (start.ended_in_time(), End::Beyond)
        };
        assert!(good, "{}: {start}", difference(&bench.sidecar, &bytes));
        end
    });
    assert_eq!(ends.len(), 3, "one kind of field is not tested: {ends:?}");
}

/// What the loader reads of a dynamic linker is changed: ELF header, program headers, .dynamic and the note of its properties,
/// or where the file ends. It refuses, or enters. What it enters may then fail in any way, because it goes by these same bytes,
/// but where the kernel starts the program with the same file as its PT_INTERP, the loader must too; and a program that succeeds
/// without having run is a failure, unless it was e_entry that led elsewhere.
fn interpreters(variant: Variant) {
    let count = starts(variant.arch, 10_000);
    let ends = for_each_worker(variant, count, |bench, rng| {
        let mut bytes = bench.interpreter.clone();
        for _ in 0..rng.usize(1..=3) {
            change_headers(&mut bytes, &bench.headers, rng);
        }
        let word = if variant.arch.is_64() { 8 } else { 4 };
        let entry = E_ENTRY..E_ENTRY + word;
        let same_entry = bytes[entry.clone()] == bench.interpreter[entry];
        if rng.u8(..) < 8 {
            bytes.truncate(rng.usize(..bytes.len()));
        }
        let path = bench.interpreter_path();
        fs::write(&path, &bytes).expect("it is ours");
        let start = bench.start(PROGRAM);
        let (good, end) = if !start.has_entered() {
            (start.is_refused(&path), End::Refused)
        } else if start.is_success() {
            (true, End::Ran)
        } else {
            let succeeded = same_entry && start.status.success();
            let kernel_can = variant.arch.is_native() && bench.start(DIRECT).is_success();
            (!succeeded && !kernel_can, End::Beyond)
        };
        assert!(good, "{}: {start}", difference(&bench.interpreter, &bytes));
        end
    });
    assert_eq!(ends.len(), 3, "one kind of end was not reached: {ends:?}");
}

/// How many starts there are: emulated ones take their time.
fn starts(arch: Arch, native: usize) -> usize {
    if arch == Arch::host() { native } else { 200 }
}

/// Where e_entry is, in both classes.
const E_ENTRY: usize = 24;

/// Fields that tie a sidecar to its program, and the magic.
const IDENTITY: [Range<usize>; 2] = [0..8, offset_of!(Header, id)..offset_of!(Header, id) + 16];

/// What became of starts that went as they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// An error line of the loader's.
    Refused,
    /// The program ran.
    Ran,
    /// What the loader has no part in.
    Beyond,
}

/// Has `count` starts made by threads that share nothing, each of random numbers of its own; says how often what came of them.
fn for_each_worker(
    variant: Variant,
    count: usize,
    one: impl Fn(&mut Bench, &mut Rng) -> End + Sync,
) -> BTreeMap<End, usize> {
    // All before the first start: a child that is just being forked holds what is being written.
    let benches: Vec<Bench> = (0..WORKERS).map(|_| Bench::new(variant)).collect();
    let ends = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for (number, mut bench) in benches.into_iter().enumerate() {
            let (one, ends) = (&one, &ends);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(number as u64);
                for _ in 0..count / WORKERS {
                    let end = one(&mut bench, &mut rng);
                    *ends.lock().expect("no panic").entry(end).or_default() += 1;
                }
            });
        }
    });
    let ends = ends.into_inner().expect("no panic");
    println!("{variant}: {ends:?}");
    ends
}
