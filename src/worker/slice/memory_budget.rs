//! Limits the memory that the runs of a process use for pages that are not in the database yet (promise 6).

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::rows::buffer::SharedBuffers;
use crate::rows::page::CHUNK_BYTES;

/// Divided among the runs.
const SHARED_BYTES: usize = 10 << 20;
/// Lent to one run at a time, on top of its share: to the first that needs it, for as long as it does.
const SPARE_BYTES: usize = 4 << 20;
/// No run uses a larger share.
const SHARE_BYTES_MAX: usize = (5 << 20) / 2;

/// The memory budget of a process.
#[derive(Debug)]
pub struct MemoryBudget {
    share: usize,
    spare: Semaphore,
    /// The buffers that rows are encoded into.
    pub(in crate::worker) buffers: SharedBuffers,
}

/// One run's share of the budget.
#[derive(Debug)]
pub(super) struct Share<'r> {
    budget: &'r MemoryBudget,
    spare: Option<SemaphorePermit<'r>>,
}

impl MemoryBudget {
    /// `runs`: how many runs are under way at most.
    pub fn for_runs(runs: usize) -> Self {
        let share = (SHARED_BYTES / runs.max(1)).min(SHARE_BYTES_MAX);
        // One chunk is on its way through the queue, and the share must hold at least one more.
        Self { share: share.max(2 * CHUNK_BYTES), spare: Semaphore::new(1), buffers: SharedBuffers::default() }
    }

    pub(super) fn share(&self) -> Share<'_> {
        Share { budget: self, spare: None }
    }
}

impl Share<'_> {
    /// The bytes that pages may use, without the chunk that is on its way through the queue.
    pub(super) fn capacity(&self) -> usize {
        let spare = if self.spare.is_some() { SPARE_BYTES } else { 0 };
        self.budget.share + spare - CHUNK_BYTES
    }

    /// Whether `bytes` fit. Borrows the spare memory if they need it and it is free.
    pub(super) fn fits(&mut self, bytes: usize) -> bool {
        if bytes > self.capacity() && self.spare.is_none() {
            self.spare = self.budget.spare.try_acquire().ok();
        }
        bytes <= self.capacity()
    }

    /// Returns the spare memory, unless `bytes` need it.
    pub(super) fn release_spare(&mut self, bytes: usize) {
        if bytes <= self.budget.share - CHUNK_BYTES {
            self.spare = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_the_runs_of_a_process_share_its_memory() {
        for runs in 1..=32 {
            let budget = MemoryBudget::for_runs(runs);
            let mut shares: Vec<Share<'_>> = (0..runs).map(|_| budget.share()).collect();
            for share in &mut shares {
                assert!(share.capacity() >= CHUNK_BYTES && share.fits(CHUNK_BYTES), "{runs}");
                assert!(!share.fits(usize::MAX), "{runs}");
            }
            let total: usize = shares.iter().map(|share| share.capacity() + CHUNK_BYTES).sum();
            assert!(total <= SHARED_BYTES + SPARE_BYTES, "{runs} take {total}");
        }
        assert!(MemoryBudget::for_runs(usize::MAX).share().fits(CHUNK_BYTES), "any number of runs makes progress");
    }

    #[test]
    fn p6_spare_memory_is_lent_to_one_run_at_a_time() {
        let budget = MemoryBudget::for_runs(4);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.fits(5 << 20) && !other.fits(5 << 20));
        assert!(!one.fits(7 << 20));
        one.release_spare(4 << 20);
        assert!(!other.fits(5 << 20), "memory in use is not returned");
        one.release_spare(1 << 20);
        assert!(other.fits(5 << 20) && !one.fits(5 << 20));
        drop(other);
        assert!(one.fits(5 << 20));
    }
}
