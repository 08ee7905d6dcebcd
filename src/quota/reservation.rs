//! The right to send one call, and what it turned out to use.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::ledger::{Ledger, LedgerError, units};
use super::limit::Unit;

/// The right to send one call, now. It is counted already; if it is dropped, it stays counted as estimated, which is
/// safe. Only [`Ledger::reserve`] creates it.
#[derive(Debug)]
#[must_use = "a reservation is counted against the quota from the moment it was granted"]
pub struct Reservation {
    pub(super) granted_at: DateTime<Utc>,
    /// A moment on this process's clock that is not later than `granted_at`.
    pub(super) granted: Instant,
    /// The shortest period of its call limits.
    pub(super) good_for: Duration,
    pub(super) counted_in: Vec<CountedUse>,
}

/// Where one limit counts a reservation.
#[derive(Debug, Clone)]
pub(super) struct CountedUse {
    pub(super) limit_id: i64,
    pub(super) unit: Unit,
    pub(super) ends_at: DateTime<Utc>,
    pub(super) units: i64,
    /// How late the call may be sent without moving the recorded time: the limit's margin covers it.
    pub(super) slack: TimeDelta,
}

/// What a call actually used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Bytes of request and response, as the vendor counts them.
    pub bytes: u64,
    /// How long after the grant the request was sent at the latest, as [`Reservation::age`] counts. `None` if it was
    /// sent at once. Up to half of a limit's margin is ignored.
    pub sent_at_offset: Option<Duration>,
}

impl Reservation {
    /// When the call was granted, on the database's clock.
    pub const fn granted_at(&self) -> DateTime<Utc> {
        self.granted_at
    }

    /// How long ago the call was granted, including the time that the database's response took.
    pub fn age(&self) -> Duration {
        self.granted.elapsed()
    }

    /// Whether the shortest period is over: another call may have been granted in place of this one.
    pub(super) fn is_stale(&self) -> bool {
        self.age() >= self.good_for
    }

    /// How often a request that is not sent yet must call [`departed`](Self::departed), or its grant would become stale
    /// unnoticed.
    pub fn renewal(&self) -> Duration {
        (self.good_for / 4).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }

    /// Records that the request is sent `offset` after the grant, before its response is read: the next call must keep
    /// its distance from the real time. Never moves it to an earlier time.
    pub async fn departed(&mut self, ledger: &Ledger, offset: Duration) -> Result<(), LedgerError> {
        let sent_at = self.after_grant(offset);
        let late = self.counted_in.iter().filter(|place| place.lateness(sent_at).is_some());
        let changes = late.map(|place| Change { counted: place.clone(), used: place.units, sent_at }).collect();
        for moved in ledger.apply(changes).await? {
            if let Some(place) = self.counted_in.iter_mut().find(|place| place.limit_id == moved.limit_id) {
                *place = moved;
            }
        }
        Ok(())
    }

    /// Moves the recorded time if the database's response took so long that it has used up the margin before the next
    /// call.
    pub(super) async fn catch_up(&mut self, ledger: &Ledger) -> Result<(), LedgerError> {
        /// Each correction allows for twice the delay. A database that is too slow for five of them is in trouble that
        /// no margin covers.
        const CORRECTIONS_MAX: usize = 5;
        for _ in 0..CORRECTIONS_MAX {
            let now = self.after_grant(self.age());
            let Some(late) = self.counted_in.iter().filter_map(|place| place.lateness(now)).max() else { break };
            let offset = self.age() + late * 2;
            self.departed(ledger, offset).await?;
        }
        Ok(())
    }

    /// Replaces the estimate with what was actually used.
    pub async fn settle(self, ledger: &Ledger, settlement: Settlement) -> Result<(), LedgerError> {
        let sent_at = self.after_grant(settlement.sent_at_offset.unwrap_or_default());
        // A vendor may count bytes when the call begins or when the response ends. Counted from the grant until a
        // period after now, they cover both.
        let read_at = self.after_grant(self.age());
        let change = |place: &CountedUse| match place.unit {
            Unit::Bytes => Some(Change { counted: place.clone(), used: units(settlement.bytes), sent_at: read_at }),
            Unit::Calls => {
                place.lateness(sent_at).map(|_| Change { counted: place.clone(), used: place.units, sent_at })
            }
        };
        let changes = self.counted_in.iter().filter_map(change).collect();
        ledger.apply(changes).await.map(|_| ())
    }

    /// Uncounts a call that will never be sent.
    pub(super) async fn release(self, ledger: &Ledger) -> Result<(), LedgerError> {
        let sent_at = self.granted_at;
        ledger
            .apply(self.counted_in.into_iter().map(|counted| Change { counted, used: 0, sent_at }).collect())
            .await
            .map(|_| ())
    }

    fn after_grant(&self, offset: Duration) -> DateTime<Utc> {
        let offset = TimeDelta::from_std(offset).unwrap_or(TimeDelta::MAX);
        self.granted_at.checked_add_signed(offset).unwrap_or(self.granted_at)
    }
}

impl CountedUse {
    /// How much later than recorded a call is sent at `sent_at`, if the margin does not cover that. Bytes are moved
    /// when the response has been read.
    fn lateness(&self, sent_at: DateTime<Utc>) -> Option<Duration> {
        let late = sent_at - self.ends_at;
        (self.unit == Unit::Calls && late > self.slack).then(|| late.to_std().unwrap_or_default())
    }
}

/// A change of where and how much a limit counts.
pub(super) struct Change {
    pub(super) counted: CountedUse,
    pub(super) used: i64,
    pub(super) sent_at: DateTime<Utc>,
}
