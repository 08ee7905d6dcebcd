//! A ledger at one instant: what is used, what is left, and when further calls could be sent. Pure.

use chrono::{DateTime, Utc};

use super::limit::{CallKind, Limit, Unit};
use super::usage::Usage;
use super::window::{self, Window};

/// The state of every limit of a ledger at `now`.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// On the database's clock.
    pub now: DateTime<Utc>,
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) limit: Limit,
    pub(super) window: Window,
    pub(super) blocked_until: Option<DateTime<Utc>>,
}

impl Snapshot {
    /// A ledger that was never used.
    pub fn unused(limits: &[Limit], now: DateTime<Utc>) -> Self {
        let entries = limits
            .iter()
            .map(|limit| Entry { limit: limit.clone(), window: Window::new(limit), blocked_until: None })
            .collect();
        Self { now, entries }
    }

    /// What is used of each limit, in the order of the configuration.
    pub fn usage(&self) -> Vec<Usage> {
        let usage = |entry: &Entry| {
            let next_free = entry.window.earliest(self.now, 1, 0);
            Usage {
                limit: entry.limit.name.clone(),
                amount: entry.limit.amount,
                unit: entry.limit.unit,
                used: entry.window.used(),
                per: entry.limit.per,
                blocked_until: entry.blocked_until,
                next_free: (next_free > self.now).then_some(next_free),
            }
        };
        self.entries.iter().map(usage).collect()
    }

    /// Bytes that may still be read before a bandwidth limit is used up. `None` if bandwidth is not limited.
    pub fn remaining_bytes(&self) -> Option<u64> {
        let bytes = self.entries.iter().filter(|entry| entry.limit.unit == Unit::Bytes);
        bytes.map(|entry| entry.limit.amount.saturating_sub(entry.window.used())).min()
    }

    /// When the last of `calls` further calls of `bytes` each could be sent, if nobody else sends any.
    pub fn finish(&self, kind: CallKind, calls: u64, bytes: u64) -> DateTime<Utc> {
        let counted = self.entries.iter().filter(|entry| entry.limit.calls.include(kind));
        let windows: Vec<Window> = counted.map(|entry| entry.window.clone()).collect();
        window::finish_time(&windows, calls, bytes, self.now)
    }
}
