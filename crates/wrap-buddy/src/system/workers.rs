//! Work on many files at once, and on one file without the cost of starting threads.

use std::hint::black_box;
use std::num::NonZero;

use anyhow::Result;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Says whether what has not begun is to be left. Once it has said so it stays with that.
pub type Stop<'s> = dyn Fn() -> bool + Sync + 's;

/// Bytes of address space for a thread, not of memory.
const RESERVED: usize = 8 << 20;

/// Files that a thread takes on at a time: so few that in the end none works on while others have nothing left to do.
const AT_A_TIME: usize = 8;

/// Threads to work with; none beside the calling one where that is enough.
#[derive(Debug)]
pub struct WorkerPool(Option<ThreadPool>);

impl WorkerPool {
    /// Threads for `tasks` tasks, with `threads` threads at most, or as many as there are processors.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(tasks: usize, threads: Option<NonZero<usize>>) -> Result<Self> {
        if tasks < 2 || threads.is_some_and(|threads| threads.get() == 1) {
            return Ok(Self(None));
        }
        let pool = ThreadPoolBuilder::new().num_threads(threads.map_or(0, NonZero::get));
        let pool = pool.start_handler(|_| reserve());
        Ok(Self(Some(pool.build()?)))
    }

    /// What `work` makes of each item, in the order of the items.
    pub fn map<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        match &self.0 {
            Some(pool) => pool.install(|| {
                items
                    .par_iter()
                    .with_max_len(AT_A_TIME)
                    .map(&work)
                    .collect()
            }),
            None => items.iter().map(&work).collect(),
        }
    }

    /// What `work` makes of each item that it takes, in the order of the items.
    pub fn take<T: Send, R: Send>(&self, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
        match &self.0 {
            Some(pool) => pool.install(|| {
                items
                    .into_par_iter()
                    .with_max_len(AT_A_TIME)
                    .map(&work)
                    .collect()
            }),
            None => items.into_iter().map(&work).collect(),
        }
    }

    /// Does `work` on each item.
    pub fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        match &self.0 {
            Some(pool) => {
                pool.install(|| items.par_iter_mut().with_max_len(AT_A_TIME).for_each(&work))
            }
            None => items.iter_mut().for_each(&work),
        }
    }

    /// Does `one` and `other`, beside each other if there is somebody to do so.
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

/// Has glibc's malloc give this thread address space for all that a few thousand files take. It would get it page by page, in
/// system calls that threads wait for each other in (glibc malloc/arena.c, grow_heap, which keeps what it once got). The second
/// time, because what is that large comes from elsewhere until one was freed (malloc/malloc.c, mmap_threshold).
fn reserve() {
    for _ in 0..2 {
        let mut space = Vec::<u8>::new();
        // Where address space is limited, all goes on as without.
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
            let beside = AtomicBool::new(false);
            let both = pool.both(|| beside.store(true, Ordering::Relaxed), || 7);
            assert_eq!((both, beside.into_inner()), (7, true));
        }
    }
}
