//! The present of a vendor: the real one, a frozen one, or none, if everything is known from the beginning.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};

use super::{Ticks, ticks};

/// Cheap to clone; all clones are frozen together.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Whether the future is hidden.
    moves: bool,
    frozen_at: Arc<AtomicI64>,
}

impl Clock {
    pub fn new(hide_future: bool) -> Self {
        Self { moves: hide_future, frozen_at: Arc::new(AtomicI64::new(Ticks::MAX)) }
    }

    /// Nothing after this time is known, however much time passes.
    pub fn freeze(&self, at: DateTime<Utc>) {
        self.frozen_at.store(ticks(at), Ordering::Relaxed);
    }

    pub fn now(&self) -> Ticks {
        let now = if self.moves { ticks(Utc::now()) } else { Ticks::MAX };
        now.min(self.frozen_at.load(Ordering::Relaxed))
    }
}
