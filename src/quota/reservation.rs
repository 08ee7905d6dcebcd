//! The right to send one call, and what it turned out to use.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::ledger::{Ledger, LedgerError, units};
use super::limit::Unit;
use super::window::proven_end;

/// The right to send one call, now. It is counted already: dropped, it stays counted as estimated, which is the safe
/// side. Cannot be cloned or made; [`Ledger::reserve`] hands it out.
#[derive(Debug)]
#[must_use = "a reservation is counted against the quota from the moment it was granted"]
pub struct Reservation {
    pub(super) granted_at: DateTime<Utc>,
    /// Not later than `granted_at`, on this process's clock.
    pub(super) granted: Instant,
    /// The shortest period that it is counted in.
    pub(super) good_for: Duration,
    pub(super) marks: Vec<Mark>,
}

/// Where a reservation is counted.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) limit_id: i64,
    pub(super) unit: Unit,
    pub(super) ends_at: DateTime<Utc>,
    pub(super) counted: i64,
    /// Lateness that the limit's margin takes care of.
    pub(super) slack: TimeDelta,
    /// The period of a limit whose margin is out of proportion to it.
    pub(super) tight: Option<Duration>,
}

/// What a call really used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Request and answer, as the vendor counts them.
    pub bytes: u64,
    /// How long after the grant the request reached the vendor at the latest, as [`Reservation::age`] counts; none if
    /// it left at once. Half of a limit's margin is let pass.
    pub sent_at_offset: Option<Duration>,
    /// How long after the grant the vendor began to answer, at the latest; none without an answer.
    pub answered_offset: Option<Duration>,
}

impl Reservation {
    /// When it was granted, on the database's clock.
    pub const fn granted_at(&self) -> DateTime<Utc> {
        self.granted_at
    }

    /// How long ago it was granted, rounded up by what the database's answer took.
    pub fn age(&self) -> Duration {
        self.granted.elapsed()
    }

    /// Whether the grant has left the shortest of its periods: by now another call may have been granted in its place.
    pub(super) fn is_stale(&self) -> bool {
        self.age() >= self.good_for
    }

    /// How often a request that has not left yet must tell so by [`departed`](Self::departed), lest its grant becomes
    /// stale unseen.
    pub fn renewal(&self) -> Duration {
        (self.good_for / 4).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }

    /// Records that the request leaves `offset` after the grant, before its answer is read: who asks next must keep
    /// the distance from the real departure. Never moves it earlier.
    pub async fn departed(&mut self, ledger: &Ledger, offset: Duration) -> Result<(), LedgerError> {
        let sent_at = self.after_grant(offset);
        let late = self.marks.iter().filter(|mark| mark.lateness(sent_at).is_some());
        let changes = late.map(|mark| Change { mark: mark.clone(), used: mark.counted, sent_at }).collect();
        for moved in ledger.apply(changes).await? {
            if let Some(mark) = self.marks.iter_mut().find(|mark| mark.limit_id == moved.limit_id) {
                *mark = moved;
            }
        }
        Ok(())
    }

    /// Moves the recorded departure to where it can still be, if the answer of the database took so long that it has
    /// eaten the margin between this call and the next.
    pub(super) async fn catch_up(&mut self, ledger: &Ledger) -> Result<(), LedgerError> {
        /// Each time twice as much is allowed for as was lacking; a database that outruns this five times over is in
        /// trouble that no margin covers.
        const CORRECTIONS_MAX: usize = 5;
        for _ in 0..CORRECTIONS_MAX {
            let now = self.after_grant(self.age());
            let Some(late) = self.marks.iter().filter_map(|mark| mark.lateness(now)).max() else { break };
            let offset = self.age() + late * 2;
            self.departed(ledger, offset).await?;
        }
        Ok(())
    }

    /// Replaces the estimate by what was really used.
    pub async fn settle(self, ledger: &Ledger, settlement: Settlement) -> Result<(), LedgerError> {
        let sent_at = self.after_grant(settlement.sent_at_offset.unwrap_or_default());
        // A vendor may count bytes when the call begins or when the answer ends: they are counted from the grant until
        // a period after now, which holds for both.
        let read_at = self.after_grant(self.age());
        let answered_at = settlement.answered_offset.map(|offset| self.after_grant(offset));
        let change = |mark: &Mark| match mark.unit {
            Unit::Bytes => vec![Change { mark: mark.clone(), used: units(settlement.bytes), sent_at: read_at }],
            Unit::Calls => mark.proven(answered_at).unwrap_or_else(|| {
                let late = mark.lateness(sent_at).map(|_| Change { mark: mark.clone(), used: mark.counted, sent_at });
                late.into_iter().collect()
            }),
        };
        let changes = self.marks.iter().flat_map(change).collect();
        ledger.apply(changes).await.map(|_| ())
    }

    /// For a call that will never be sent.
    pub(super) async fn give_back(self, ledger: &Ledger) -> Result<(), LedgerError> {
        let sent_at = self.granted_at;
        ledger.apply(self.marks.into_iter().map(|mark| Change { mark, used: 0, sent_at }).collect()).await.map(|_| ())
    }

    fn after_grant(&self, offset: Duration) -> DateTime<Utc> {
        let offset = TimeDelta::from_std(offset).unwrap_or(TimeDelta::MAX);
        self.granted_at.checked_add_signed(offset).unwrap_or(self.granted_at)
    }
}

impl Mark {
    /// How much later than recorded a call leaves at `sent_at`, if that is more than the margin takes care of. Bytes
    /// are moved when they have been read.
    fn lateness(&self, sent_at: DateTime<Utc>) -> Option<Duration> {
        let late = sent_at - self.ends_at;
        (self.unit == Unit::Calls && late > self.slack).then(|| late.to_std().unwrap_or_default())
    }

    /// Moves the use to where the answer proves that it counts. The ledger moves none to an earlier time by itself, so it
    /// is taken away from one place and counted at the other.
    fn proven(&self, answered_at: Option<DateTime<Utc>>) -> Option<Vec<Change>> {
        let ends_at = proven_end(self.ends_at, answered_at?, self.tight?)?;
        let gone = Change { mark: self.clone(), used: 0, sent_at: self.ends_at };
        let counted =
            Change { mark: Self { ends_at, counted: 0, ..self.clone() }, used: self.counted, sent_at: ends_at };
        Some(vec![gone, counted])
    }
}

/// What is to become of a mark.
pub(super) struct Change {
    pub(super) mark: Mark,
    pub(super) used: i64,
    pub(super) sent_at: DateTime<Utc>,
}
