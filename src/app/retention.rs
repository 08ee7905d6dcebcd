//! Drops what is older than `warehouse.keep` while the daemon runs: partitions, and rows in short transactions with
//! pauses between them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Months, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::catalogue::{Mode, Stream};
use crate::clock;
use crate::config::Config;
use crate::schedule;
use crate::store::distribution::Distribution;
use crate::store::keep::due::{Counting, Due};
use crate::store::keep::entities::{self, ChildTable, Entities};
use crate::store::keep::windows;
use crate::store::keep::{self, Expired, Step, StreamName, partitions};
use crate::store::partitions::Partition;
use crate::store::trouble::chain;
use crate::store::{event, session};

/// Rows per transaction.
const ROWS_AT_A_TIME: i64 = 5_000;
/// A pass ends after this; the rest is dropped in the next one.
const PASS_MAX: Duration = Duration::from_mins(20);
/// How often one pass tries what was in use, and the pause between.
const ROUNDS: u32 = 5;
const ROUND_PAUSE: Duration = Duration::from_secs(5);
/// How often a table is checked in which nothing is left to drop. What is too old changes once a month.
const AGAIN: Duration = Duration::from_hours(24);
/// Entities stay for this much longer than the windows that are compared with them.
const ENTITIES_LONGER: Months = Months::new(1);
/// How often a pass over a large table logs how far it has come.
const PROGRESS_EVERY: Duration = Duration::from_mins(1);
/// SQLSTATEs of something that is in use: a lock that was not granted in time, a deadlock.
const BUSY: [&str; 2] = ["55P03", "40P01"];
/// SQLSTATE of something on which something else depends.
const DEPENDED_ON: &str = "2BP01";

/// The tables in which nothing was left to drop, until when this was checked and from when rows are kept.
#[derive(Debug, Default)]
pub(super) struct Retention {
    done: HashMap<(&'static str, String), (DateTime<Utc>, Instant)>,
}

/// What was dropped of a table.
#[derive(Debug, Default, Clone, Copy)]
struct Dropped {
    partitions: u64,
    slices: u64,
    rows: u64,
}

/// How far the work on a table came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing is left to drop.
    Done,
    /// Something was in use, or there was no time left.
    Later,
}

impl Retention {
    /// Drops what the configuration does not keep, of every table that its jobs fill.
    pub(super) async fn pass(
        &mut self,
        pool: &PgPool,
        config: &watch::Receiver<Arc<Config>>,
        shutdown: &CancellationToken,
    ) -> Result<(), sqlx::Error> {
        let current = Arc::clone(&config.borrow());
        let mut conn = pool.acquire().await?;
        let now = schedule::clock(&mut conn).await?;
        drop(conn);
        let Some(kept_from) = kept_from(&current, now) else { return Ok(()) };
        let pass = Pass { pool, ends: Instant::now() + PASS_MAX, shutdown, config, current: &current };
        for round in 1..=ROUNDS {
            let is_done = self.round(&pass, &current, kept_from).await?;
            if is_done || round == ROUNDS || !pass.goes_on() {
                break;
            }
            // Something was in use. A short query, or the build of an index, may have ended then.
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(ROUND_PAUSE) => {}
            }
        }
        Ok(())
    }

    /// Goes through all tables once. Returns whether nothing is left to drop.
    async fn round(&mut self, pass: &Pass<'_>, config: &Config, kept_from: DateTime<Utc>) -> Result<bool, sqlx::Error> {
        let mut is_done = true;
        for ((schema, table), stream) in tables(config) {
            let key = (schema, table.to_owned());
            if self.done.get(&key).is_some_and(|(from, at)| *from == kept_from && at.elapsed() < AGAIN) {
                continue;
            }
            match pass.table(stream, kept_from).await {
                Ok(End::Done) => {
                    self.done.insert(key, (kept_from, Instant::now()));
                }
                Ok(End::Later) => is_done = false,
                Err(error) if session::is_lost(&error) => return Err(error),
                // The other tables do not depend on it.
                Err(error) => tracing::warn!(
                    table = format!("{schema}.{table}"),
                    error = chain(&error),
                    "old rows could not be dropped; it is tried again in the next pass"
                ),
            }
            if !pass.goes_on() {
                return Ok(false);
            }
        }
        Ok(is_done)
    }
}

/// From when rows are kept. The clocks of the database and of this process must agree that something is too old:
/// nothing brings rows back that a wrong clock has dropped.
fn kept_from(config: &Config, now_of_database: DateTime<Utc>) -> Option<DateTime<Utc>> {
    config.warehouse.kept_from(clock::cautious(now_of_database))
}

/// The tables that the jobs fill, each with a stream that fills it.
fn tables(config: &Config) -> BTreeMap<(&'static str, &str), &Arc<Stream>> {
    let streams = config.jobs.values().flat_map(|job| &job.streams).map(|entry| &entry.stream);
    streams.map(|stream| ((stream.schema, &*stream.name), stream)).collect()
}

/// What a table of entities keeps for longer.
fn longer(expired: Expired<'_>) -> Expired<'_> {
    let kept_from = expired.kept_from.checked_sub_months(ENTITIES_LONGER).unwrap_or(expired.kept_from);
    Expired { kept_from, ..expired }
}

/// What the next pass would drop, by table. Drops nothing. Tables of which nothing is too old are left out. `within`:
/// how long rows are counted.
pub async fn due(
    conn: &mut PgConnection,
    config: &Config,
    now: DateTime<Utc>,
    within: Duration,
) -> Result<Vec<Due>, sqlx::Error> {
    let Some(kept_from) = kept_from(config, now) else { return Ok(Vec::new()) };
    let counting = Counting::within(within);
    let mut all = Vec::new();
    for ((schema, table), stream) in tables(config) {
        let expired = Expired { schema, table, kept_from };
        let due = match stream.mode {
            Mode::ReplaceWindow => match partitions::old(conn, expired).await? {
                Some(old) => counting.partitions(conn, expired, &old).await?,
                None if windows::has_columns(conn, expired, &["_window_start"]).await?.is_some() => {
                    counting.windows(conn, expired).await?
                }
                None => None,
            },
            Mode::Upsert | Mode::Observe => match windows::has_columns(conn, expired, stream.time_columns()).await? {
                Some(column) => counting.entities(conn, longer(expired), &column).await?,
                None => None,
            },
            Mode::Snapshot => None,
        };
        all.extend(due);
    }
    Ok(all)
}

/// One pass over the tables.
struct Pass<'a> {
    pool: &'a PgPool,
    ends: Instant,
    shutdown: &'a CancellationToken,
    config: &'a watch::Receiver<Arc<Config>>,
    /// The configuration by which this pass drops.
    current: &'a Config,
}

/// The work on one table: where it is done, and what it has dropped.
struct Work<'a> {
    conn: &'a mut PgConnection,
    backend: i32,
    expired: Expired<'a>,
    dropped: Dropped,
    logged_at: Instant,
}

impl Pass<'_> {
    /// A reload may keep more: what is dropped is gone.
    fn goes_on(&self) -> bool {
        let is_current = self.config.borrow().warehouse == self.current.warehouse;
        is_current && !self.shutdown.is_cancelled() && Instant::now() < self.ends
    }

    async fn table(&self, stream: &Stream, kept_from: DateTime<Utc>) -> Result<End, sqlx::Error> {
        let expired = Expired { schema: stream.schema, table: &stream.name, kept_from };
        // Beside the pool, because a table may take long.
        let mut conn = session::connect_beside(self.pool).await?;
        let backend = session::backend(&mut conn).await?;
        if stream.mode != Mode::Snapshot {
            // One by one, because each is summarized anew.
            for wanting in keep::wanting_more(&mut conn, expired).await? {
                if !self.goes_on() {
                    return Ok(End::Later);
                }
                keep::want_less(&mut conn, expired, &wanting).await?;
            }
        }
        let mut work =
            Work { conn: &mut conn, backend, expired, dropped: Dropped::default(), logged_at: Instant::now() };
        let end = match stream.mode {
            Mode::ReplaceWindow => match partitions::old(work.conn, expired).await? {
                Some(old) => self.partitions(&mut work, &old).await,
                None => self.windows(&mut work).await,
            },
            Mode::Upsert | Mode::Observe => {
                work.expired = longer(expired);
                self.entities(&mut work, stream, kept_from).await
            }
            // Every reading reports the whole list.
            Mode::Snapshot => Ok(End::Done),
        };
        // Also after an error: what was dropped is gone.
        work.report().await?;
        end
    }

    async fn partitions(&self, work: &mut Work<'_>, old: &[Partition]) -> Result<End, sqlx::Error> {
        let mut end = End::Done;
        for partition in old {
            let slices = work.dropped.slices;
            if self.drain(work, &Part::Partition(partition.clone())).await? == End::Later {
                return Ok(End::Later);
            }
            let slices = work.dropped.slices - slices;
            let drop = partitions::take_away(work.conn, work.expired, partition, slices);
            let name = format!("{}.{}", partition.schema, partition.name);
            match session::yielding(self.pool, work.backend, drop).await {
                Ok(Some(true)) => {
                    work.dropped.partitions += 1;
                    tracing::info!(partition = name, slices, "an old partition was dropped");
                }
                // It is needed meanwhile, or another process has dropped it.
                Ok(Some(false)) => end = End::Later,
                // A session that uses this partition uses the table, so the others would be in use as well.
                Ok(None) => return Ok(later(&name)),
                Err(error) if is_busy(&error) => return Ok(later(&name)),
                Err(error) if code(&error).as_deref() == Some(DEPENDED_ON) => tracing::warn!(
                    partition = name,
                    "an old partition is not dropped, because a view, a foreign key or something else depends on it; \
                     drop that, or have it use the table"
                ),
                Err(error) => return Err(error),
            }
        }
        Ok(end)
    }

    async fn windows(&self, work: &mut Work<'_>) -> Result<End, sqlx::Error> {
        if windows::has_columns(work.conn, work.expired, &["_window_start"]).await?.is_none() {
            return Ok(End::Done);
        }
        for stream in keep::streams(work.conn, work.expired).await? {
            if self.drain(work, &Part::Slices(stream)).await? == End::Later {
                return Ok(End::Later);
            }
        }
        let mut before = String::new();
        while let Some(connection) = windows::connection_after(work.conn, work.expired, &before).await? {
            if self.drain(work, &Part::WithoutSlice(connection.clone())).await? == End::Later {
                return Ok(End::Later);
            }
            before = connection;
        }
        Ok(End::Done)
    }

    async fn entities(
        &self,
        work: &mut Work<'_>,
        stream: &Stream,
        kept_from: DateTime<Utc>,
    ) -> Result<End, sqlx::Error> {
        let Some(column) = windows::has_columns(work.conn, work.expired, stream.time_columns()).await? else {
            return Ok(End::Done);
        };
        let children = stream
            .children
            .iter()
            .map(|child| ChildTable {
                name: child.name.to_string(),
                key: child.parent.iter().map(|(own, theirs)| (own.to_string(), theirs.to_string())).collect(),
            })
            .collect();
        let mut of = Entities { column, children, connection: None };
        if self.current.database.distribution == Distribution::Citus {
            let mut before = String::new();
            while let Some(connection) = windows::connection_after(work.conn, work.expired, &before).await? {
                of.connection = Some(connection.clone());
                if self.drain(work, &Part::Entities(of.clone())).await? == End::Later {
                    return Ok(End::Later);
                }
                before = connection;
            }
        } else if self.drain(work, &Part::Entities(of)).await? == End::Later {
            return Ok(End::Later);
        }
        // Only now: what a stream says of itself begins later than what its table has.
        let rows = work.expired;
        work.expired = Expired { kept_from, ..rows };
        let mut end = End::Done;
        for stream in keep::streams(work.conn, work.expired).await? {
            end = self.drain(work, &Part::Slices(stream)).await?;
            if end == End::Later {
                break;
            }
        }
        work.expired = rows;
        Ok(end)
    }

    /// Works until nothing is left. Pauses as long as a step took, so that loads have the database to themselves half
    /// of the time. Gives way to a session that waits for a lock of this one.
    async fn drain(&self, work: &mut Work<'_>, part: &Part) -> Result<End, sqlx::Error> {
        loop {
            if !self.goes_on() {
                return Ok(End::Later);
            }
            let began = Instant::now();
            let step = part.step(work.conn, work.expired);
            let Step { gone, more } = match session::yielding(self.pool, work.backend, step).await {
                Ok(Some(step)) => step,
                Ok(None) => return Ok(later(&work.table())),
                Err(error) if is_busy(&error) => return Ok(later(&work.table())),
                Err(error) => return Err(error),
            };
            work.count(part, gone);
            if !more {
                return Ok(End::Done);
            }
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = tokio::time::sleep(began.elapsed()) => {}
            }
        }
    }
}

fn later(what: &str) -> End {
    tracing::info!(what, "old rows are in use, or others wait for them; they are dropped in a later pass");
    End::Later
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Cow::into_owned)
}

fn is_busy(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| BUSY.contains(&&*code))
}

impl Work<'_> {
    fn table(&self) -> String {
        format!("{}.{}", self.expired.schema, self.expired.table)
    }

    /// Counts what a step deleted, and logs now and then how many it was.
    fn count(&mut self, part: &Part, gone: u64) {
        match part {
            Part::Partition(_) | Part::Slices(_) => self.dropped.slices += gone,
            Part::WithoutSlice(_) | Part::Entities(_) => self.dropped.rows += gone,
        }
        if self.logged_at.elapsed() >= PROGRESS_EVERY {
            self.logged_at = Instant::now();
            let Dropped { partitions, slices, rows } = self.dropped;
            tracing::info!(table = self.table(), partitions, slices, rows, "old rows are being dropped");
        }
    }

    /// Logs what was dropped, and records what was deleted. A partition is recorded in the transaction that drops it.
    async fn report(&mut self) -> Result<(), sqlx::Error> {
        let Dropped { partitions, slices, rows } = self.dropped;
        let kept_from = self.expired.kept_from;
        if partitions > 0 || slices > 0 || rows > 0 {
            tracing::info!(table = self.table(), partitions, slices, rows, %kept_from, "old rows dropped");
        }
        if rows == 0 {
            return Ok(());
        }
        let (table, before) = (self.table(), kept_from.format("%Y-%m-%d"));
        let summary =
            format!("{rows} rows of {table} before {before} were deleted: they are older than warehouse.keep");
        event::of_table(&mut *self.conn, &summary).await
    }
}

/// Something to do in steps.
enum Part {
    /// The slices of an old partition.
    Partition(Partition),
    /// The old slices of a stream.
    Slices(StreamName),
    /// Old rows of a connection that belong to no slice.
    WithoutSlice(String),
    /// Old rows by their own time, with those of child tables.
    Entities(Entities),
}

impl Part {
    /// One short transaction.
    async fn step(&self, conn: &mut PgConnection, expired: Expired<'_>) -> Result<Step, sqlx::Error> {
        match self {
            Self::Partition(partition) => partitions::forget(conn, expired, partition).await,
            Self::Slices(stream) => windows::slices(conn, expired, stream).await,
            Self::WithoutSlice(connection) => windows::without_slice(conn, expired, connection, ROWS_AT_A_TIME).await,
            Self::Entities(of) => entities::rows(conn, expired, of, ROWS_AT_A_TIME).await,
        }
    }
}
