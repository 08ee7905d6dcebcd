//! The arithmetic of one limit, over injected times.
//!
//! It promises that no interval as long as the limit's period ever holds more than the limit's amount, which satisfies
//! a vendor whose windows slide as well as one whose windows start anywhere; and that steady demand uses at least 95 %
//! of what is permitted. The SQL of `tidegate.quota_reserve` follows the same rule; this module serves forecasts and is
//! the model that the SQL is tested against.
//!
//! What is used counts until [`Spans::reach`] after the end of the bucket it was used in. Limits of few calls have
//! buckets of no width: exact send times. Others have about a hundred buckets to a period, and a bucket counts fully
//! until its end has left the window.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::limit::{Limit, Unit};

/// Calls per period up to which every send time is kept.
const EXACT_CALLS_MAX: u64 = 200;
/// Buckets to a period for all other limits: 1 % of the rate is what they cost.
const BUCKETS_PER_PERIOD: u32 = 100;
/// Two calls may come closer together on their way to the vendor than they left. This share of the period, in percent,
/// is left free for that, …
const MARGIN_PERCENT: u32 = 3;
/// … at most this, …
const MARGIN_MAX: Duration = Duration::from_millis(300);
/// … and at least this: what tasks take to wake does not shrink with the period. Only periods below 170 ms, which no
/// vendor has but a fast simulator, pay more than their percents.
const MARGIN_MIN: Duration = Duration::from_millis(5);

/// The lengths that follow from a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spans {
    /// Width of a bucket; zero: exact send times.
    pub width: Duration,
    /// How long a use counts after the end of its bucket.
    pub reach: Duration,
}

impl Spans {
    pub fn of(limit: &Limit) -> Self {
        let exact = limit.unit == Unit::Calls && limit.amount <= EXACT_CALLS_MAX;
        let width = if exact { Duration::ZERO } else { whole_micros(limit.per / BUCKETS_PER_PERIOD) };
        Self { width, reach: whole_micros(limit.per) + margin(limit.per) }
    }
}

/// How much closer together than they left two calls may arrive.
pub fn margin(per: Duration) -> Duration {
    whole_micros((per / 100 * MARGIN_PERCENT).clamp(MARGIN_MIN, MARGIN_MAX)) + Duration::from_micros(1)
}

/// Whether the margin costs more than its percents, so that it is worth a word to the ledger that it was not needed.
pub(super) fn is_tight(limit: &Limit) -> bool {
    Spans::of(limit).width.is_zero() && limit.per / 100 * MARGIN_PERCENT < MARGIN_MIN
}

/// Where a use counts once its answer is there: the vendor saw the call by then, so the next may leave a whole period
/// later, whatever the margin says. None if that is no earlier than `end`.
pub(super) fn proven_end(end: DateTime<Utc>, answered_at: DateTime<Utc>, per: Duration) -> Option<DateTime<Utc>> {
    let proven = at(answered_at.timestamp_micros().saturating_sub(micros(margin(per))).saturating_add(1));
    (proven < end).then_some(proven)
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

/// What a limit has seen and still counts.
#[derive(Debug, Clone)]
pub struct Window {
    unit: Unit,
    amount: u64,
    width: i64,
    reach: i64,
    /// Units by the end of the bucket they were used in, in microseconds since 1970.
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

    /// What a call of `bytes` needs of this limit: at least a byte, since no call is free of them; and an estimate beyond
    /// the whole limit counts as the whole, so that it can ever run.
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

    /// Lets go of what no longer counts.
    pub fn prune(&mut self, now: DateTime<Utc>) {
        let gone = now.timestamp_micros().saturating_sub(self.reach);
        while let Some(first) = self.uses.first_entry().filter(|entry| *entry.key() <= gone) {
            self.used -= first.remove();
        }
    }

    /// The earliest time from `now` on when `units` fit, behind `claimed` units of others who go first. Exact when
    /// nobody does. Counts what [`prune`](Self::prune) left.
    pub fn earliest(&self, now: DateTime<Utc>, units: u64, claimed: u64) -> DateTime<Utc> {
        let over = (self.used + claimed + units.min(self.amount)).saturating_sub(self.amount);
        let fits = if over == 0 {
            now.timestamp_micros()
        } else {
            // Units are freed in the order of their use; after a whole turn of the limit, those used meanwhile.
            let turn = self.amount.max(self.used);
            let turns = i64::try_from(1 + (over - 1) / turn).unwrap_or(i64::MAX);
            let last = self.uses.last_key_value().map_or(i64::MIN, |(end, _)| *end).max(now.timestamp_micros());
            let freed = self.freed((over - 1) % turn + 1).unwrap_or(last);
            freed.saturating_add(self.reach.saturating_mul(turns))
        };
        at(fits.max(self.blocked_until))
    }

    /// The bucket end with which the `units`-th used unit goes.
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
pub fn finish_time(windows: &[Window], calls: u64, bytes: u64, now: DateTime<Utc>) -> DateTime<Utc> {
    /// Calls that are played through; what is beyond goes on at the same average rate.
    const PLAYED_MAX: u64 = 100_000;
    let mut windows = windows.to_vec();
    let mut clock = now;
    let played = calls.min(PLAYED_MAX);
    for _ in 0..played {
        clock = grant_time(&mut windows, bytes, clock);
        for window in &mut windows {
            let units = window.need(bytes);
            window.take(clock, units);
        }
    }
    let rest = calls - played;
    if rest == 0 {
        return clock;
    }
    let taken = i128::from((clock - now).num_microseconds().unwrap_or(i64::MAX));
    let further = taken * i128::from(rest) / i128::from(played);
    at(clock.timestamp_micros().saturating_add(i64::try_from(further).unwrap_or(i64::MAX)))
}

/// The first time from `clock` on when a call of `bytes` fits every window, all pruned to that time.
fn grant_time(windows: &mut [Window], bytes: u64, mut clock: DateTime<Utc>) -> DateTime<Utc> {
    // Each limit is exact about itself, and what fits once goes on fitting while nothing is sent: the latest wins.
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
