//! The arithmetic of one limit, over injected times.
//!
//! It promises that no interval as long as the limit's period ever holds more than the limit's amount, which satisfies
//! vendors with sliding windows and vendors with fixed windows; and that steady demand uses at least 95 % of the
//! permitted rate if the period is a second or longer. The SQL of `tidegate.quota_reserve` follows the same rule; this
//! module serves forecasts and is the model that the SQL is tested against.
//!
//! A use counts until [`Spans::reach`] after the end of its bucket. Limits of few calls have buckets of zero width:
//! exact send times. Others have about a hundred buckets per period, and a bucket counts fully until its end has left
//! the window.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::limit::{Limit, Unit};

/// Limits of up to this many calls keep every send time.
const EXACT_CALLS_MAX: u64 = 200;
/// Buckets per period for all other limits. They cost 1 % of the rate.
const BUCKETS_PER_PERIOD: u32 = 100;
/// Two calls may reach the vendor closer together than they were sent. This share of the period, in percent, is kept
/// free for that, …
const MARGIN_PERCENT: u32 = 3;
/// … at most this, …
const MARGIN_MAX: Duration = Duration::from_millis(300);
/// … and at least this, because the latency of a task does not shrink with the period.
const MARGIN_MIN: Duration = Duration::from_millis(5);

/// The lengths that follow from a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spans {
    /// Width of a bucket; zero: exact send times.
    pub width: Duration,
    /// How long a use counts after the end of its bucket.
    pub reach: Duration,
}

impl Spans {
    pub(crate) fn of(limit: &Limit) -> Self {
        let exact = limit.unit == Unit::Calls && limit.amount <= EXACT_CALLS_MAX;
        let width = if exact { Duration::ZERO } else { whole_micros(limit.per / BUCKETS_PER_PERIOD) };
        Self { width, reach: whole_micros(limit.per) + margin(limit.per) }
    }
}

/// How much closer together two calls may arrive than they were sent.
pub(crate) fn margin(per: Duration) -> Duration {
    whole_micros((per / 100 * MARGIN_PERCENT).clamp(MARGIN_MIN, MARGIN_MAX)) + Duration::from_micros(1)
}

/// Postgres keeps microseconds.
fn whole_micros(duration: Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn at(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The uses of a limit that still count.
#[derive(Debug, Clone)]
pub struct Window {
    unit: Unit,
    amount: u64,
    width: i64,
    reach: i64,
    /// Units by the end of their bucket, in microseconds since 1970.
    uses: BTreeMap<i64, u64>,
    used: u64,
    blocked_until: i64,
}

impl Window {
    /// A limit of which nothing is used.
    pub fn new(limit: &Limit) -> Self {
        Self::with_spans(limit.unit, limit.amount, Spans::of(limit))
    }

    pub(super) fn with_spans(unit: Unit, amount: u64, spans: Spans) -> Self {
        Self {
            unit,
            amount,
            width: micros(spans.width),
            reach: micros(spans.reach),
            uses: BTreeMap::new(),
            used: 0,
            blocked_until: i64::MIN,
        }
    }

    /// The units that a call of `bytes` needs: at least a byte, as every call has some, and at most the whole limit, or
    /// the call could never be sent.
    pub fn need(&self, bytes: u64) -> u64 {
        match self.unit {
            Unit::Calls => 1,
            Unit::Bytes => bytes.clamp(1, self.amount),
        }
    }

    /// Units that count now.
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Counts `units` at a bucket end read from the ledger.
    pub(super) fn restore(&mut self, bucket_end: DateTime<Utc>, units: u64) {
        *self.uses.entry(bucket_end.timestamp_micros()).or_default() += units;
        self.used += units;
    }

    /// Nothing fits before `until`.
    pub(super) fn block(&mut self, until: DateTime<Utc>) {
        self.blocked_until = self.blocked_until.max(until.timestamp_micros());
    }

    /// Removes uses that no longer count.
    pub fn prune(&mut self, now: DateTime<Utc>) {
        let gone = now.timestamp_micros().saturating_sub(self.reach);
        while let Some(first) = self.uses.first_entry().filter(|entry| *entry.key() <= gone) {
            self.used -= first.remove();
        }
    }

    /// The earliest time from `now` on when `units` fit, after `claimed` units of callers with a higher rank. Exact if
    /// there are none. Requires [`prune`](Self::prune).
    pub fn earliest(&self, now: DateTime<Utc>, units: u64, claimed: u64) -> DateTime<Utc> {
        let over = (self.used + claimed + units.min(self.amount)).saturating_sub(self.amount);
        let fits = if over == 0 {
            now.timestamp_micros()
        } else {
            // Units are freed in the order of their use; after a whole turn of the limit, those used in the meantime.
            let turn = self.amount.max(self.used);
            let turns = i64::try_from(1 + (over - 1) / turn).unwrap_or(i64::MAX);
            let last = self.uses.last_key_value().map_or(i64::MIN, |(end, _)| *end).max(now.timestamp_micros());
            let freed = self.freed((over - 1) % turn + 1).unwrap_or(last);
            freed.saturating_add(self.reach.saturating_mul(turns))
        };
        at(fits.max(self.blocked_until))
    }

    /// The end of the bucket that holds the `units`-th unit.
    fn freed(&self, units: u64) -> Option<i64> {
        let mut freed = 0;
        self.uses.iter().find_map(|(end, used)| {
            freed += used;
            (freed >= units).then_some(*end)
        })
    }

    /// Counts `units` as used at `sent_at`; returns the end of the bucket.
    pub fn take(&mut self, sent_at: DateTime<Utc>, units: u64) -> DateTime<Utc> {
        let end = self.bucket_end(sent_at);
        self.restore(end, units);
        end
    }

    /// Replaces `counted` units in the bucket that ended at `end` by `used` units at `sent_at`, never earlier.
    pub fn settle(&mut self, end: DateTime<Utc>, counted: u64, used: u64, sent_at: DateTime<Utc>) -> DateTime<Utc> {
        if let Some(units) = self.uses.get_mut(&end.timestamp_micros()) {
            let gone = counted.min(*units);
            *units -= gone;
            self.used -= gone;
        }
        let end = end.max(self.bucket_end(sent_at));
        self.restore(end, used);
        end
    }

    fn bucket_end(&self, sent_at: DateTime<Utc>) -> DateTime<Utc> {
        let sent_at = sent_at.timestamp_micros();
        if self.width == 0 { at(sent_at) } else { at(sent_at - sent_at.rem_euclid(self.width) + self.width) }
    }
}

/// When the last of `calls` further calls of `bytes` each is granted, if they are sent as soon as the limits allow and
/// nobody else uses them; `now` if there are none.
pub(crate) fn finish_time(windows: &[Window], calls: u64, bytes: u64, now: DateTime<Utc>) -> DateTime<Utc> {
    /// Calls that are simulated one by one. Further calls are extrapolated at the same average rate.
    const SIMULATED_MAX: u64 = 100_000;
    let mut windows = windows.to_vec();
    let mut clock = now;
    let simulated = calls.min(SIMULATED_MAX);
    for _ in 0..simulated {
        clock = grant_time(&mut windows, bytes, clock);
        for window in &mut windows {
            let units = window.need(bytes);
            window.take(clock, units);
        }
    }
    let rest = calls - simulated;
    if rest == 0 {
        return clock;
    }
    let taken = i128::from((clock - now).num_microseconds().unwrap_or(i64::MAX));
    let further = taken * i128::from(rest) / i128::from(simulated);
    at(clock.timestamp_micros().saturating_add(i64::try_from(further).unwrap_or(i64::MAX)))
}

/// The first time from `clock` on when a call of `bytes` fits every window, all pruned to that time.
fn grant_time(windows: &mut [Window], bytes: u64, mut clock: DateTime<Utc>) -> DateTime<Utc> {
    // Once a call fits a limit, it keeps fitting while nothing is sent. So the latest time counts.
    for window in windows.iter_mut() {
        window.prune(clock);
        clock = clock.max(window.earliest(clock, window.need(bytes), 0));
    }
    for window in windows.iter_mut() {
        window.prune(clock);
    }
    clock
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
