//! What the calls of one session cost and how they ended.

use std::collections::BTreeMap;
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
    pub bytes: u64,
    /// `false` if no connection could be made.
    pub was_sent: bool,
}

/// Counts the calls, bytes and waits of a session, and keeps its records until they are taken.
#[derive(Debug)]
pub(super) struct Recorder {
    calls: AtomicU64,
    bytes: AtomicU64,
    records: Mutex<Vec<CallRecord>>,
    /// By limit.
    waits: Mutex<BTreeMap<String, Duration>>,
}

impl Recorder {
    pub(super) const fn new() -> Self {
        Self {
            calls: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            records: Mutex::new(Vec::new()),
            waits: Mutex::new(BTreeMap::new()),
        }
    }

    /// Counts a call that was sent.
    pub(super) fn sent(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts time that was waited for a limit.
    pub(super) fn waited(&self, limit: String, time: Duration) {
        if let Ok(mut waits) = self.waits.lock() {
            *waits.entry(limit).or_default() += time;
        }
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

    /// How long was waited for each limit since the last time this was called.
    pub(super) fn take_waits(&self) -> BTreeMap<String, Duration> {
        self.waits.lock().map(|mut waits| std::mem::take(&mut *waits)).unwrap_or_default()
    }
}
