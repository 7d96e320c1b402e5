//! Runs the loader with thousands of damaged sidecars and dynamic linkers. Each time, it prints an error line or the program runs.
//! Programs are started without a root of their own, which is faster.
//!
//! With WRAP_BUDDY_DEBUG=1, the loader's last act is to print where it enters ld.so. A failure before that line is the loader's. A
//! later failure is not, unless the loader has mapped ld.so wrongly; a start of the same file by the kernel decides that.

mod bench;
mod damage;

use std::collections::BTreeMap;
use std::fs;
use std::mem::offset_of;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;

use e2e::offsets::E_ENTRY;
use e2e::{Arch, Variant, matrix};
use fastrand::Rng;
use sidecar::loader::IMAGE_LEN;
use sidecar::{Header, checked_part};

use bench::{Bench, DIRECT, OWN, OWN_SIDECAR, PROGRAM, SIDECAR};
use damage::{CHECKSUM, change_fields, change_headers, damage, difference, fix_checksum};

matrix!(architectures: damaged_sidecars, damaged_after_their_loader, trusted_sidecars, interpreters);

/// Threads, each with files of its own.
const WORKERS: usize = 2;

/// A sidecar is refused after a change before its text, or of its number of words, that changes its checksum.
fn damaged_sidecars(variant: Variant) {
    let count = starts(variant.arch, 5000);
    for_each_worker(variant, count, |bench, rng| {
        let mut bytes = bench.sidecar.clone();
        while is_as_good(&bytes, &bench.sidecar) {
            damage(&mut bytes, rng);
        }
        fs::write(bench.path(SIDECAR), &bytes).expect("it is ours");
        let start = bench.start(PROGRAM);
        assert!(
            start.is_refused(&bench.path(SIDECAR)),
            "{}: {start}",
            difference(&bench.sidecar, &bytes)
        );
        End::Refused
    });
}

/// The same for a sidecar after a loader. The loader is code, so its own bytes are not changed.
fn damaged_after_their_loader(variant: Variant) {
    let count = starts(variant.arch, 2000);
    for_each_worker(variant, count, |bench, rng| {
        let own_sidecar = bench.own_sidecar.clone();
        let (loader, good) = own_sidecar.split_at(IMAGE_LEN);
        let mut bytes = good.to_vec();
        while is_as_good(&bytes, good) {
            damage(&mut bytes, rng);
        }
        let path = bench.path(OWN_SIDECAR);
        fs::write(&path, [loader, &bytes].concat()).expect("it is ours");
        let start = bench.start(OWN);
        assert!(
            start.is_refused(&path),
            "{}: {start}",
            difference(good, &bytes)
        );
        End::Refused
    });
}

/// Whether a sidecar has the same number of words as a good one, and the same bytes before its text. An incomplete word is ignored.
/// So is a change that the checksum cannot show, one of some 400,000 of these.
fn is_as_good(bytes: &[u8], good: &[u8]) -> bool {
    let text = sidecar::CHECKED_FROM + checked_part(good).expect("whole").len();
    let same_checksum = || {
        let start = ..sidecar::CHECKED_FROM;
        bytes.get(start) == good.get(start)
            && sidecar::checksum_of(bytes) == sidecar::checksum_of(good)
    };
    bytes.len() / 4 == good.len() / 4 && (bytes[..text] == good[..text] || same_checksum())
}

/// A sidecar with a valid checksum is trusted (docs/design.md, section 3): a user who can write one can name any interpreter in it.
/// So only this is tested: a sidecar of another program is refused, fields that only the tool reads make no difference, and the
/// loader ends.
fn trusted_sidecars(variant: Variant) {
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

/// Changes bytes of a dynamic linker that the loader reads: ELF header, program headers, .dynamic, its property note, or the length
/// of the file. The loader refuses the file, or enters it. What happens then depends on these same bytes. But if the kernel starts
/// the program with this file as its PT_INTERP, the loader has to do so too. A program that succeeds without having run is a
/// failure, unless e_entry was changed.
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

/// The number of starts, because emulated ones are slow.
fn starts(arch: Arch, native: usize) -> usize {
    if arch == Arch::host() { native } else { 200 }
}

/// The magic, and the fields that tie a sidecar to its program.
const IDENTITY: [Range<usize>; 2] = [0..8, offset_of!(Header, id)..offset_of!(Header, id) + 16];

/// The results of acceptable starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// The loader printed an error line.
    Refused,
    /// The program ran.
    Ran,
    /// It failed after the loader's part.
    Beyond,
}

/// Runs `count` starts in threads that share nothing, each with its own random numbers. Returns the number of each result.
fn for_each_worker(
    variant: Variant,
    count: usize,
    one: impl Fn(&mut Bench, &mut Rng) -> End + Sync,
) -> BTreeMap<End, usize> {
    // All files are written before the first start: a child that is being forked has them open for writing.
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
