//! A pool of threads for many files. A single file is processed without starting threads.

use std::hint::black_box;
use std::num::NonZero;
use std::sync::Mutex;

use anyhow::Result;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Returns true once the run is cancelled; start no further work then. Afterwards it always returns true.
pub type Stop<'s> = dyn Fn() -> bool + Sync + 's;

/// Bytes of address space per thread, not of memory.
const RESERVED: usize = 8 << 20;

/// Files that a thread takes at a time: few, so that no thread is idle at the end while others still have a queue.
const AT_A_TIME: usize = 8;

const ONCE: &str = "each slot is locked once, and a panic ends the run";

/// `None`: work is done by the calling thread.
#[derive(Debug)]
pub struct WorkerPool(Option<ThreadPool>);

impl WorkerPool {
    /// A pool for `tasks` tasks. `threads`: `None` means the number of processors.
    pub fn new(tasks: usize, threads: Option<NonZero<usize>>) -> Result<Self> {
        if tasks < 2 || threads.is_some_and(|threads| threads.get() == 1) {
            return Ok(Self(None));
        }
        let pool = ThreadPoolBuilder::new().num_threads(threads.map_or(0, NonZero::get));
        let pool = pool.start_handler(|_| reserve());
        Ok(Self(Some(pool.build()?)))
    }

    /// Results are in the order of the items.
    pub fn map<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        self.take(items.iter().collect(), work)
    }

    /// Like [`map`](Self::map), for owned items.
    pub fn take<T: Send, R: Send>(&self, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
        let slots = items.into_iter().map(|item| Mutex::new((Some(item), None)));
        let slots: Vec<Mutex<(Option<T>, Option<R>)>> = slots.collect();
        self.count_to(slots.len(), &|number| {
            let mut slot = slots[number].lock().expect(ONCE);
            slot.1 = slot.0.take().map(&work);
        });
        let done = slots.into_iter();
        done.filter_map(|slot| slot.into_inner().expect(ONCE).1)
            .collect()
    }

    pub fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        self.take(items.iter_mut().collect(), work);
    }

    /// Calls `work` with each number below `count`. Without type parameters: the pool's own code is compiled once, not for each caller.
    fn count_to(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        match &self.0 {
            Some(pool) => pool.install(|| {
                let numbers = (0..count).into_par_iter().with_max_len(AT_A_TIME);
                numbers.for_each(work);
            }),
            None => (0..count).for_each(work),
        }
    }

    /// Runs `one` and `other`, in parallel if there are threads.
    pub fn both<R: Send>(&self, one: impl FnOnce() + Send, other: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.join(one, other).1,
            None => {
                one();
                other()
            }
        }
    }
}

/// Makes glibc's malloc reserve address space for this thread in one step. Otherwise its arena grows by page with system calls that
/// contend for a lock (glibc malloc/arena.c, grow_heap, which keeps the memory). Twice, because the first request of this size is mapped
/// separately; freeing it raises the threshold (malloc/malloc.c, mmap_threshold).
fn reserve() {
    for _ in 0..2 {
        let mut space = Vec::<u8>::new();
        // If address space is limited, threads work without the reserve.
        let _ = space.try_reserve_exact(RESERVED);
        drop(black_box(space));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn order_does_not_depend_on_who_did_the_work() {
        let numbers: Vec<usize> = (0..1000).collect();
        let expected: Vec<usize> = numbers.iter().map(|n| n * 2).collect();
        for threads in [None, NonZero::new(1), NonZero::new(3)] {
            let pool = WorkerPool::new(numbers.len(), threads).unwrap();
            assert_eq!(pool.map(&numbers, |n| n * 2), expected);
            assert_eq!(pool.take(numbers.clone(), |n| n * 2), expected);
            let mut doubled = numbers.clone();
            pool.each(&mut doubled, |n| *n *= 2);
            assert_eq!(doubled, expected);
            let other = AtomicBool::new(false);
            let both = pool.both(|| other.store(true, Ordering::Relaxed), || 7);
            assert_eq!((both, other.into_inner()), (7, true));
        }
    }
}
