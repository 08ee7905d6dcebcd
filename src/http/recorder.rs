//! What the calls of one session cost and how they ended.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::outcome::CallOutcome;
use crate::quota::CallKind;

/// The result of one call, for metrics.
#[derive(Debug, Clone)]
pub struct CallRecord {
    pub kind: CallKind,
    pub outcome: CallOutcome,
    pub took: Duration,
    pub waited: Duration,
    pub waited_for: Option<String>,
    pub bytes: u64,
}

/// Counts the calls and bytes of a session, and keeps its records until they are taken.
#[derive(Debug)]
pub(super) struct Recorder {
    calls: AtomicU64,
    bytes: AtomicU64,
    records: Mutex<Vec<CallRecord>>,
}

impl Recorder {
    pub(super) const fn new() -> Self {
        Self { calls: AtomicU64::new(0), bytes: AtomicU64::new(0), records: Mutex::new(Vec::new()) }
    }

    /// Counts a call that is about to be sent.
    pub(super) fn sent(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a call that has ended.
    pub(super) fn note(&self, record: CallRecord) {
        self.bytes.fetch_add(record.bytes, Ordering::Relaxed);
        if let Ok(mut records) = self.records.lock() {
            records.push(record);
        }
    }

    /// Calls and bytes since the last time this was called.
    pub(super) fn take_traffic(&self) -> (u64, u64) {
        (self.calls.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed))
    }

    /// The calls that ended since the last time this was called.
    pub(super) fn take_records(&self) -> Vec<CallRecord> {
        self.records.lock().map(|mut records| std::mem::take(&mut *records)).unwrap_or_default()
    }
}
