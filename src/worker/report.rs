//! Reports the progress of a task to the metrics and to the task's statistics.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::http::{CallOutcome, Session};
use crate::metrics::{Metrics, RowChange};
use crate::quota::{Hours, Traffic};
use crate::store::run::Claim;
use crate::store::task::{self, Progress};

/// How often calls are reported. They are also reported at the end.
pub(crate) const COUNT_EVERY: Duration = Duration::from_millis(500);

/// Reports for one task.
#[derive(Debug)]
pub(crate) struct Reporter<'a> {
    pub pool: &'a sqlx::PgPool,
    pub metrics: &'a Metrics,
    pub hours: &'a Hours,
    pub claim: &'a Claim,
    pub stream: &'a str,
}

impl Reporter<'_> {
    /// Does `work`, and meanwhile reports the calls of the session that have ended: one step may repeat a call for
    /// minutes.
    pub(crate) async fn calls_during<T>(&self, session: &Session<'_>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut ticks = interval(COUNT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = ticks.tick() => self.ended_calls(session),
            }
        }
    }

    /// Reports the calls that the session has made since the last report, and how long they waited for limits.
    pub(crate) async fn calls(&self, session: &Session<'_>) -> Result<(), sqlx::Error> {
        self.ended_calls(session);
        let (calls, bytes) = session.take_traffic();
        if calls == 0 {
            return Ok(());
        }
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        task::add_traffic(self.pool, self.claim.id, self.stream, signed(calls), signed(bytes)).await
    }

    /// Reports the calls that have ended to the metrics.
    fn ended_calls(&self, session: &Session<'_>) {
        let connection = &self.claim.connection;
        for (limit, waited) in session.take_waits() {
            self.metrics.quota_wait(connection, &limit, waited);
            self.hours.record(connection, Traffic { waited, ..Traffic::default() });
        }
        for call in session.take_records() {
            self.metrics.vendor_call(connection, call.kind, call.outcome, call.took, call.bytes);
            let refused = u64::from(call.outcome == CallOutcome::Quota);
            let calls = u64::from(call.was_sent);
            self.hours.record(connection, Traffic { calls, bytes: call.bytes, refused, ..Traffic::default() });
        }
    }

    /// Reports pages that were committed together.
    pub(crate) fn pages(&self, progress: &Progress, took: Duration) {
        let connection = &self.claim.connection;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        for (change, rows) in [
            (RowChange::Inserted, progress.rows_inserted),
            (RowChange::Updated, progress.rows_updated),
            (RowChange::Deleted, progress.rows_deleted),
            (RowChange::Unchanged, progress.rows_unchanged),
            (RowChange::Outside, progress.rows_outside),
        ] {
            if rows > 0 {
                self.metrics.rows(connection, self.stream, change, count(rows));
            }
        }
        let (rejected, extra) = (count(progress.records_rejected), count(progress.values_extra));
        self.metrics.page_committed(connection, self.stream, took, rejected, extra);
        self.metrics.pages_joined(connection, self.stream, count(progress.pages - 1));
        tracing::debug!(
            pages = progress.pages,
            rows_read = progress.rows_read,
            rows_inserted = progress.rows_inserted,
            rows_deleted = progress.rows_deleted,
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "pages committed"
        );
    }
}
