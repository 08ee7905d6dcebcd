//! Drops what is older than `warehouse.keep` while the daemon runs: partitions, and rows in short transactions with
//! pauses between them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Months, Utc};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::catalogue::{Mode, Stream};
use crate::config::Config;
use crate::schedule;
use crate::store::keep::entities::{self, ChildTable};
use crate::store::keep::windows::{self, Step};
use crate::store::keep::{self, Expired, StreamName, partitions};
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

/// The tables in which nothing was left to drop, until when this was checked and from when rows are kept.
#[derive(Debug, Default)]
pub(super) struct Retention {
    done: HashMap<(&'static str, String), (DateTime<Utc>, Instant)>,
}

/// What was dropped of a table.
#[derive(Debug, Default, Clone, Copy)]
struct Dropped {
    partitions: u64,
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
        config: &Config,
        shutdown: &CancellationToken,
    ) -> Result<(), sqlx::Error> {
        let pass = Pass { pool, ends: Instant::now() + PASS_MAX, shutdown };
        let mut conn = pool.acquire().await?;
        let now = schedule::clock(&mut conn).await?;
        drop(conn);
        let Some(kept_from) = config.warehouse.kept_from(now) else { return Ok(()) };
        for round in 1..=ROUNDS {
            let is_done = self.round(&pass, config, kept_from).await?;
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
            let mut dropped = Dropped::default();
            let end = pass.table(stream, kept_from, &mut dropped).await;
            if dropped.partitions > 0 || dropped.rows > 0 {
                let Dropped { partitions, rows } = dropped;
                tracing::info!(table = format!("{schema}.{table}"), partitions, rows, %kept_from, "old rows dropped");
            }
            match end {
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

/// Sentences about what a daemon with this configuration drops in its next pass, one for each table.
pub async fn due_to_drop(conn: &mut PgConnection, config: &Config) -> Result<Vec<String>, sqlx::Error> {
    let now = schedule::clock(conn).await?;
    let Some(kept_from) = config.warehouse.kept_from(now) else { return Ok(Vec::new()) };
    let mut sentences = Vec::new();
    for ((schema, table), stream) in tables(config) {
        if stream.mode == Mode::Snapshot {
            continue;
        }
        let Some(waiting) = keep::waiting(conn, Expired { schema, table, kept_from }).await? else { continue };
        let slices = if waiting.slices == 1 { "1 slice".to_owned() } else { format!("{} slices", waiting.slices) };
        sentences.push(format!(
            "{schema}.{table}: {slices} from {} on, with {} rows when they were last read, are older than \
             `warehouse.keep`: a running daemon drops everything before {} within a day",
            waiting.oldest.format("%Y-%m-%d"),
            waiting.rows,
            kept_from.format("%Y-%m-%d"),
        ));
    }
    Ok(sentences)
}

/// The tables that the jobs fill, each with a stream that fills it.
fn tables(config: &Config) -> BTreeMap<(&'static str, &str), &Arc<Stream>> {
    let streams = config.jobs.values().flat_map(|job| &job.streams).map(|entry| &entry.stream);
    streams.map(|stream| ((stream.schema, &*stream.name), stream)).collect()
}

/// One pass over the tables.
struct Pass<'a> {
    pool: &'a PgPool,
    ends: Instant,
    shutdown: &'a CancellationToken,
}

impl Pass<'_> {
    fn goes_on(&self) -> bool {
        !self.shutdown.is_cancelled() && Instant::now() < self.ends
    }

    async fn table(
        &self,
        stream: &Stream,
        kept_from: DateTime<Utc>,
        dropped: &mut Dropped,
    ) -> Result<End, sqlx::Error> {
        let expired = Expired { schema: stream.schema, table: &stream.name, kept_from };
        let mut conn = self.pool.acquire().await?;
        match stream.mode {
            Mode::ReplaceWindow => match partitions::old(&mut conn, expired).await? {
                Some(old) => self.partitions(&mut conn, expired, &old, dropped).await,
                None => self.windows(&mut conn, expired, dropped).await,
            },
            Mode::Upsert | Mode::Observe => self.entities(&mut conn, stream, expired, dropped).await,
            // Every reading reports the whole list.
            Mode::Snapshot => Ok(End::Done),
        }
    }

    async fn partitions(
        &self,
        conn: &mut PgConnection,
        expired: Expired<'_>,
        old: &[crate::store::partitions::Partition],
        dropped: &mut Dropped,
    ) -> Result<End, sqlx::Error> {
        let mut end = End::Done;
        for partition in old {
            if !self.goes_on() {
                return Ok(End::Later);
            }
            match partitions::take_away(conn, expired, partition).await {
                Ok(true) => dropped.partitions += 1,
                // It changed meanwhile, or a slice needs it since.
                Ok(false) => end = End::Later,
                Err(error) if session::is_lost(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(
                        partition = format!("{}.{}", partition.schema, partition.name),
                        error = chain(&error),
                        "an old partition could not be dropped: it is in use, or something depends on it"
                    );
                    end = End::Later;
                }
            }
        }
        Ok(end)
    }

    async fn windows(
        &self,
        conn: &mut PgConnection,
        expired: Expired<'_>,
        dropped: &mut Dropped,
    ) -> Result<End, sqlx::Error> {
        if windows::has_columns(conn, expired, &["_window_start"]).await?.is_none() {
            return Ok(End::Done);
        }
        let mut work: Vec<Work> = keep::streams(conn, expired).await?.into_iter().map(Work::Slices).collect();
        let mut before = String::new();
        while let Some(connection) = windows::connection_after(conn, expired, &before).await? {
            work.push(Work::WithoutSlice(connection.clone()));
            before = connection;
        }
        let end = self.drain(conn, expired, &work, dropped).await?;
        self.note(conn, expired, *dropped).await?;
        Ok(end)
    }

    async fn entities(
        &self,
        conn: &mut PgConnection,
        stream: &Stream,
        expired: Expired<'_>,
        dropped: &mut Dropped,
    ) -> Result<End, sqlx::Error> {
        let Some(column) = windows::has_columns(conn, expired, stream.time_columns()).await? else {
            return Ok(End::Done);
        };
        let children: Vec<ChildTable> = stream
            .children
            .iter()
            .map(|child| ChildTable {
                name: child.name.to_string(),
                key: child.parent.iter().map(|(own, theirs)| (own.to_string(), theirs.to_string())).collect(),
            })
            .collect();
        let older = expired.kept_from.checked_sub_months(ENTITIES_LONGER).unwrap_or(expired.kept_from);
        let rows = Expired { kept_from: older, ..expired };
        let mut end = self.drain(conn, rows, &[Work::Entities(column, children)], dropped).await?;
        if end == End::Done {
            // Only now: what a stream says of itself begins later than what its table has.
            let streams = keep::streams(conn, expired).await?;
            let work: Vec<Work> = streams.into_iter().map(Work::OnlySlices).collect();
            end = self.drain(conn, expired, &work, dropped).await?;
        }
        self.note(conn, rows, *dropped).await?;
        Ok(end)
    }

    /// Works until nothing is left. Pauses as long as a step took, so that loads have the database to themselves half
    /// of the time.
    async fn drain(
        &self,
        conn: &mut PgConnection,
        expired: Expired<'_>,
        work: &[Work],
        dropped: &mut Dropped,
    ) -> Result<End, sqlx::Error> {
        for work in work {
            loop {
                if !self.goes_on() {
                    return Ok(End::Later);
                }
                let began = Instant::now();
                let Step { rows, more } = work.step(conn, expired).await?;
                dropped.rows += rows;
                if !more {
                    break;
                }
                tokio::select! {
                    () = self.shutdown.cancelled() => {}
                    () = tokio::time::sleep(began.elapsed()) => {}
                }
            }
        }
        Ok(End::Done)
    }

    /// Records what was deleted.
    async fn note(&self, conn: &mut PgConnection, expired: Expired<'_>, dropped: Dropped) -> Result<(), sqlx::Error> {
        if dropped.rows == 0 {
            return Ok(());
        }
        let Expired { schema, table, kept_from } = expired;
        let (rows, before) = (dropped.rows, kept_from.format("%Y-%m-%d"));
        let summary =
            format!("{rows} rows of {schema}.{table} before {before} were deleted: they are older than warehouse.keep");
        event::of_table(conn, &summary).await
    }
}

/// Something to do in steps.
enum Work {
    /// The old slices of a stream, with their rows.
    Slices(StreamName),
    /// The old slices of a stream whose rows belong to none.
    OnlySlices(StreamName),
    /// Old rows of a connection that belong to no slice.
    WithoutSlice(String),
    /// Old rows by the time in a column, with those of child tables.
    Entities(String, Vec<ChildTable>),
}

impl Work {
    /// One short transaction.
    async fn step(&self, conn: &mut PgConnection, expired: Expired<'_>) -> Result<Step, sqlx::Error> {
        match self {
            Self::Slices(stream) => windows::slices(conn, expired, stream, true, ROWS_AT_A_TIME).await,
            Self::OnlySlices(stream) => windows::slices(conn, expired, stream, false, ROWS_AT_A_TIME).await,
            Self::WithoutSlice(connection) => windows::without_slice(conn, expired, connection, ROWS_AT_A_TIME).await,
            Self::Entities(column, children) => entities::rows(conn, expired, column, children, ROWS_AT_A_TIME).await,
        }
    }
}
