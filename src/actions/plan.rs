//! What a run would read, and when the quotas allow it to end. Sends and changes nothing.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::clock;
use crate::config::{Config, Job, JobStream};
use crate::connector::{Connection, Window};
use crate::quota::{CallKind, Ledger, LedgerError, LedgerKey, Snapshot};
use crate::store::{cursor, session};
use crate::worker::grid::{self, Due, Grid};
use crate::worker::scope;

/// The expected size of a page in bytes if none was read yet.
const PAGE_BYTES_GUESS: u64 = 500_000;

/// What a run would read of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StreamPlan {
    pub job: String,
    pub connection: String,
    pub stream: String,
    pub slices: usize,
    /// Number of slices that were finished before and are read again.
    pub again: usize,
    pub from: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    pub calls: u64,
    pub bytes: u64,
    /// Whether calls and bytes are computed from earlier readings. Otherwise they are a guess.
    pub measured: bool,
    /// When the quotas allow the last call, if the streams are read in this order and no other program uses the
    /// credential.
    pub ends_at: DateTime<Utc>,
}

/// What a run of `job` would read of `stream` at `now`; with `range`, a backfill of it. `ends_at` is `now`, as if there
/// were no quotas.
pub async fn stream(
    conn: &mut PgConnection,
    job: &Job,
    connection: &Connection,
    stream: &JobStream,
    range: Option<Window>,
    now: DateTime<Utc>,
) -> Result<StreamPlan, sqlx::Error> {
    let name = &stream.stream.name;
    let stored = cursor::grid(&mut *conn, &job.connection, name).await?;
    let anchor = stored.as_ref().filter(|stored| stored.used).map_or(job.start, |stored| stored.anchor);
    let filter_zone = connection.settings.filter_zone();
    let grid = Grid { anchor, zone: job.timezone, length: stream.slice, filter_zone };
    let scope = scope(job, stream, now, i64::MAX, range);
    let known = cursor::slices(conn, &job.connection, name, scope.from).await?;
    let known: HashMap<_, _> = known.into_iter().map(|slice| (slice.window_start, slice)).collect();
    let due = if stream.stream.windowed() {
        let mut due = grid::due(grid, scope, &known);
        grid::add_again(&mut due, scope, known.values());
        due
    } else {
        vec![Due { window: grid::list_window(), until: now, newest: true }]
    };
    let finished = |due: &&Due| known.get(&due.window.start).is_some_and(|slice| slice.read_until.is_some());

    let weight = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
    let page = stored.as_ref().and_then(|stored| weight(stored.page_bytes));
    let slice = stored.as_ref().and_then(|stored| weight(stored.slice_bytes));
    let slice_bytes = slice.unwrap_or(PAGE_BYTES_GUESS);
    let page_bytes = page.unwrap_or(slice_bytes);
    let bytes = |due: &Due| if stream.stream.windowed() { elapsed_share(due, slice_bytes) } else { slice_bytes };
    Ok(StreamPlan {
        job: job.name.clone(),
        connection: job.connection.clone(),
        stream: name.to_string(),
        slices: due.len(),
        again: due.iter().filter(finished).count(),
        from: due.first().map(|due| due.window.start).filter(|_| stream.stream.windowed()),
        until: due.last().map(|due| due.until),
        calls: due.iter().map(|due| bytes(due).div_ceil(page_bytes).max(1)).sum(),
        bytes: due.iter().map(bytes).sum(),
        measured: slice.is_some(),
        ends_at: now,
    })
}

/// The expected bytes of the part of a slice that is already in the past, if a whole slice has `slice_bytes`.
fn elapsed_share(due: &Due, slice_bytes: u64) -> u64 {
    let secs = |from: DateTime<Utc>, until: DateTime<Utc>| u128::try_from((until - from).num_seconds()).unwrap_or(0);
    let elapsed = secs(due.window.start, due.until);
    let share = u128::from(slice_bytes) * elapsed / secs(due.window.start, due.window.end).max(1);
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// Why the ledgers could not be read.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    #[error("{}", session::summary(.0))]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Sets when the quotas allow each of these plans to end, one after another.
pub async fn with_quotas(pool: &PgPool, config: &Config, plans: &mut [StreamPlan]) -> Result<(), QuotaError> {
    let mut quotas = Quotas::default();
    for plan in plans {
        if let Some(connection) = config.connections.get(&plan.connection) {
            plan.ends_at = quotas.ends_at(pool, &config.connections, connection, plan.calls, plan.bytes).await?;
        }
    }
    Ok(())
}

/// The ledgers of the planned connections, and what the plan uses of each.
#[derive(Default)]
struct Quotas {
    open: BTreeMap<String, (Snapshot, u64, u64)>,
}

impl Quotas {
    async fn ends_at(
        &mut self,
        pool: &PgPool,
        all: &BTreeMap<String, Connection>,
        connection: &Connection,
        calls: u64,
        bytes: u64,
    ) -> Result<DateTime<Utc>, QuotaError> {
        if !self.open.contains_key(&connection.name) {
            let key = LedgerKey::derive(pool, &connection.base_url, &connection.settings.credential()).await?;
            let snapshot =
                Ledger::peek(pool.clone(), &key, &connection.name, &connection.limits_among(all.values())).await?;
            self.open.insert(connection.name.clone(), (snapshot, 0, 0));
        }
        let Some((snapshot, taken_calls, taken_bytes)) = self.open.get_mut(&connection.name) else {
            return Ok(clock::now());
        };
        *taken_calls += calls;
        *taken_bytes += bytes;
        let each = *taken_bytes / (*taken_calls).max(1);
        Ok(snapshot.finish(CallKind::Data, *taken_calls, each))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn the_estimate_of_an_open_slice_covers_only_its_past_part() {
        let start: DateTime<Utc> = "2028-02-29T00:00:00Z".parse().unwrap();
        let share = |minutes: i64| {
            let window = Window { start, end: start + TimeDelta::days(1) };
            elapsed_share(&Due { window, until: start + TimeDelta::minutes(minutes), newest: true }, 144_000)
        };
        assert_eq!([0, 1, 720, 1438, 1440].map(share), [0, 100, 72_000, 143_800, 144_000]);
        let window = Window { start, end: start };
        assert_eq!(elapsed_share(&Due { window, until: start, newest: true }, u64::MAX), 0);
    }
}
