//! What the runs of a process may hold in memory of the pages that they read (promise 6).

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::rows::buffer::SharedBuffers;
use crate::rows::page::CHUNK_BYTES;

/// What all runs have together, for shares.
const SHARED_BYTES: usize = 10 << 20;
/// What one of them may have besides: the first that asks, for as long as it needs it.
const SPARE_BYTES: usize = 4 << 20;
/// A larger share would not be used.
const SHARE_BYTES_MAX: usize = (5 << 20) / 2;

/// The room of a process.
#[derive(Debug)]
pub struct Room {
    share: usize,
    spare: Semaphore,
    /// What they are written in.
    pub(in crate::worker) buffers: SharedBuffers,
}

/// What one run has of it.
#[derive(Debug)]
pub(super) struct Part<'r> {
    room: &'r Room,
    spare: Option<SemaphorePermit<'r>>,
}

impl Room {
    /// Where up to `runs` are under way at a time.
    pub fn of(runs: usize) -> Self {
        let share = (SHARED_BYTES / runs.max(1)).min(SHARE_BYTES_MAX);
        // A chunk is between the halves, and one at least must find room behind them.
        Self { share: share.max(2 * CHUNK_BYTES), spare: Semaphore::new(1), buffers: SharedBuffers::default() }
    }

    pub(super) fn part(&self) -> Part<'_> {
        Part { room: self, spare: None }
    }
}

impl Part<'_> {
    /// What pages may take, but for the chunk that is on its way to them.
    pub(super) fn bytes(&self) -> usize {
        let spare = if self.spare.is_some() { SPARE_BYTES } else { 0 };
        self.room.share + spare - CHUNK_BYTES
    }

    /// Whether there is room for so many bytes; takes what is spare where they need it.
    pub(super) fn fits(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes() && self.spare.is_none() {
            self.spare = self.room.spare.try_acquire().ok();
        }
        bytes <= self.bytes()
    }

    /// Lets others have what is spare, unless so many bytes need it.
    pub(super) fn give_back(&mut self, bytes: usize) {
        if bytes <= self.room.share - CHUNK_BYTES {
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
            let room = Room::of(runs);
            let mut parts: Vec<Part<'_>> = (0..runs).map(|_| room.part()).collect();
            for part in &mut parts {
                assert!(part.bytes() >= CHUNK_BYTES && part.fits(CHUNK_BYTES), "{runs}");
                assert!(!part.fits(usize::MAX), "{runs}");
            }
            let total: usize = parts.iter().map(|part| part.bytes() + CHUNK_BYTES).sum();
            assert!(total <= SHARED_BYTES + SPARE_BYTES, "{runs} take {total}");
        }
        assert!(Room::of(usize::MAX).part().fits(CHUNK_BYTES), "even so many runs make progress");
    }

    #[test]
    fn p6_what_is_spare_goes_to_one_run_and_from_it_to_the_next() {
        let room = Room::of(4);
        let (mut one, mut other) = (room.part(), room.part());
        assert!(one.fits(5 << 20) && !other.fits(5 << 20));
        assert!(!one.fits(7 << 20));
        one.give_back(4 << 20);
        assert!(!other.fits(5 << 20), "what is in use is not spare");
        one.give_back(1 << 20);
        assert!(other.fits(5 << 20) && !one.fits(5 << 20));
        drop(other);
        assert!(one.fits(5 << 20));
    }
}
