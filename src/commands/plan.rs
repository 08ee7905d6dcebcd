//! `tidegate plan`: what a run would read now, and when the quotas allow it to end. Sends and changes nothing.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use super::output::{self, Table};
use super::{Context, Exit, PlanArgs, names, show};
use crate::clock;
use crate::config::{Job, JobStream};
use crate::connector::Connection;
use crate::quota::{CallKind, Ledger, LedgerKey, Snapshot};
use crate::schedule;
use crate::store::cursor;
use crate::worker::grid::{self, Due, Grid};
use crate::worker::scope;

/// The expected size of a page in bytes if none was read yet.
const PAGE_BYTES_GUESS: u64 = 500_000;

/// What a run would read of one stream.
#[derive(Debug, Serialize)]
struct StreamPlan {
    job: String,
    connection: String,
    stream: String,
    slices: usize,
    /// Number of slices that were finished before and are read again.
    again: usize,
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    calls: u64,
    bytes: u64,
    /// Whether calls and bytes are computed from earlier readings. Otherwise they are a guess.
    measured: bool,
    /// When the quotas allow the last call, if the streams are read in this order and nobody else sends.
    ends_at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct Document {
    at: DateTime<Utc>,
    streams: Vec<StreamPlan>,
}

pub(crate) async fn run(context: Context, args: PlanArgs) -> anyhow::Result<Exit> {
    let config = context.config.clone();
    let jobs = names::jobs(&config, &args.jobs)?;
    let document = context
        .with_schema(async |database, conn| {
            let at = schedule::clock(conn).await?;
            let mut quotas = Quotas::default();
            let mut streams = Vec::new();
            for job in jobs {
                for stream in &job.streams {
                    let connection = &config.connections[&job.connection];
                    let mut plan = plan(conn, job, connection, stream, at).await?;
                    plan.ends_at =
                        quotas.ends_at(&database.pool, &config.connections, connection, plan.calls, plan.bytes).await?;
                    streams.push(plan);
                }
            }
            Ok(Document { at, streams })
        })
        .await?;
    if args.json {
        output::print_json(&document)?;
    } else {
        output::print(&text(&document))?;
    }
    Ok(Exit::Done)
}

async fn plan(
    conn: &mut PgConnection,
    job: &Job,
    connection: &Connection,
    stream: &JobStream,
    now: DateTime<Utc>,
) -> Result<StreamPlan, sqlx::Error> {
    let name = &stream.stream.name;
    let stored = cursor::grid(&mut *conn, &job.connection, name).await?;
    let anchor = stored.as_ref().filter(|stored| stored.used).map_or(job.start, |stored| stored.anchor);
    let filter_zone = connection.settings.filter_zone();
    let grid = Grid { anchor, zone: job.timezone, length: stream.slice, filter_zone };
    let scope = scope(job, stream, now, i64::MAX, None);
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
    ) -> anyhow::Result<DateTime<Utc>> {
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

fn text(document: &Document) -> String {
    if document.streams.is_empty() {
        return "no job is configured; add one under `jobs`\n".to_owned();
    }
    let mut table = Table::new().left(&["JOB", "STREAM"]).right(&["SLICES", "AGAIN", "CALLS", "BYTES"]).left(&[
        "FROM",
        "UNTIL",
        "QUOTAS ALLOW IT BY",
    ]);
    for plan in &document.streams {
        let moment = |at: Option<DateTime<Utc>>| {
            at.map_or_else(|| show::NOTHING.to_owned(), |at| at.format("%Y-%m-%d %H:%M:%SZ").to_string())
        };
        let about = if plan.measured { "" } else { "~" };
        let ends = if plan.slices == 0 { show::NOTHING.to_owned() } else { show::moment(plan.ends_at, document.at) };
        table.row([
            plan.job.clone(),
            plan.stream.clone(),
            plan.slices.to_string(),
            plan.again.to_string(),
            format!("{about}{}", plan.calls),
            format!("{about}{}", plan.bytes),
            moment(plan.from),
            moment(plan.until),
            ends,
        ]);
    }
    let guessed = document.streams.iter().any(|plan| !plan.measured);
    let note = if guessed { "~ marks a guess: the stream was never read\n" } else { "" };
    format!("{}{note}", table.show())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::connector::Window;

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
