//! One page's transaction: stage, merge, rejects, cursor, statistics and the fence check become durable together.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row as _, Transaction};
use uuid::Uuid;

use super::LoadError;
use super::merge::MergeSql;
use super::page::{Chunk, Counts, Reject, row_key};
use super::table::{self, Cause, Table};
use crate::catalogue::Stream;
use crate::store::cursor::{self, Position, Slice};
use crate::store::run::{self, Claim, Progress};

/// Identical records of one slice beyond this are refused to be counted; it also bounds the search for a free place.
const TWINS_MAX: u32 = 1 << 24;

/// What stays the same for all pages of a task.
#[derive(Debug)]
pub struct Loader<'a> {
    pub pool: &'a PgPool,
    pub claim: &'a Claim,
    pub stream: &'a Stream,
    pub lease: Duration,
    /// The record key is made of fields: the later of two equal records wins.
    pub latest_wins: bool,
    pub table: Table,
}

/// The slice that is being read, as of the last committed page.
#[derive(Debug, Clone)]
pub struct Reading {
    pub slice: Slice,
    /// The end that its pages are asked for with.
    pub until: DateTime<Utc>,
    /// Starts of the slices before and behind.
    pub neighbours: [DateTime<Utc>; 2],
    /// Whether the slice has no row in the table that an earlier reading left.
    pub fresh: bool,
}

/// What follows a page.
#[derive(Debug, Clone)]
pub struct PageEnd {
    /// Where the next page begins; none after the last one.
    pub next: Option<String>,
    /// Bytes that this page cost.
    pub bytes: u64,
}

/// A page's transaction while its rows arrive.
pub struct PageLoad<'l, 'a> {
    loader: &'l mut Loader<'a>,
    transaction: Transaction<'static, Postgres>,
    sql: MergeSql,
    progress: Progress,
    rejects: Vec<Reject>,
    /// Keys, and identical records, of the batch that is staged and not merged yet.
    staged: Option<(Vec<u128>, HashMap<u128, u32>)>,
    boundary: Vec<u128>,
    batches_merged: u32,
    rows: u64,
    seen: i64,
}

impl<'a> Loader<'a> {
    /// Decides whether a slice that begins to be read has rows already, and drops what an abandoned reading left.
    pub async fn begin_reading(&self, reading: &mut Reading) -> Result<(), LoadError> {
        let mut connection = self.pool.acquire().await?;
        cursor::restart(&mut connection, reading.slice.id).await?;
        let statement = format!(
            "select not exists (select from {} where _connection = $1 and _window_start >= $2 and _window_start < $3)",
            super::ident::table(&self.table.schema, &self.table.name)
        );
        reading.fresh = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(&self.claim.connection)
            .bind(reading.slice.window_start)
            .bind(reading.slice.window_end)
            .fetch_one(&mut *connection)
            .await?;
        reading.slice.reading_pages = 0;
        reading.slice.reading_rows = 0;
        reading.slice.reading_seen = 0;
        reading.slice.reading_bytes = 0;
        reading.slice.cursor = None;
        Ok(())
    }

    /// Whether the rows that an unfinished reading noted as seen are still there (Postgres may have crashed since).
    pub async fn seen_is_whole(&self, slice: &Slice) -> Result<bool, LoadError> {
        let found =
            sqlx::query_scalar!(r#"select count(*) as "found!" from tidegate.seen_row where slice_id = $1"#, slice.id)
                .fetch_one(self.pool)
                .await?;
        Ok(found == slice.reading_seen)
    }

    /// Opens a page's transaction for rows of the chunk's layout.
    pub async fn begin<'l>(&'l mut self, chunk: &Chunk) -> Result<PageLoad<'l, 'a>, LoadError> {
        if !self.table.holds(&chunk.layout) {
            let mut connection = self.pool.acquire().await?;
            self.grow(&mut connection, chunk).await?;
        }
        let mut transaction = self.pool.begin().await?;
        let sql = MergeSql::new(&self.table, self.latest_wins);
        execute(&mut transaction, sql.create_stage.clone()).await?;
        Ok(PageLoad {
            loader: self,
            transaction,
            sql,
            progress: Progress { pages: 1, ..Progress::default() },
            rejects: Vec::new(),
            staged: None,
            boundary: Vec::new(),
            batches_merged: 0,
            rows: 0,
            seen: 0,
        })
    }

    /// Gives every field of the chunk a column.
    async fn grow(&mut self, connection: &mut PgConnection, chunk: &Chunk) -> Result<(), LoadError> {
        let cause = Cause { run: self.claim.id, connection: &self.claim.connection };
        self.table.grow(connection, self.stream, &chunk.layout, cause).await
    }
}

impl PageLoad<'_, '_> {
    /// Stages a chunk's rows; a batch that was complete before is merged first.
    pub async fn copy(&mut self, mut chunk: Chunk, reading: &Reading) -> Result<(), LoadError> {
        if self.staged.is_some() {
            self.merge(reading, false).await?;
            execute(&mut self.transaction, self.sql.clear_stage.clone()).await?;
        }
        if !self.loader.table.holds(&chunk.layout) {
            self.grow(&chunk).await?;
        }
        self.count(chunk.counts);
        self.rejects.append(&mut chunk.rejects);
        self.boundary.append(&mut chunk.boundary);
        if chunk.rows > 0 {
            let statement = self
                .sql
                .copy(&self.loader.table, &chunk.layout)
                .ok_or_else(|| LoadError::Column(format!("{}.{}", self.loader.table.schema, self.loader.table.name)))?;
            let mut copy = self.transaction.copy_in_raw(&statement).await?;
            copy.send(chunk.data).await?;
            copy.finish().await?;
        }
        if let Some(twins) = chunk.batch_end {
            self.staged = Some((std::mem::take(&mut self.boundary), twins));
        }
        self.rows += chunk.rows;
        Ok(())
    }

    /// Makes everything durable, or nothing: the fence, or the slice's position, may have passed to another worker.
    pub async fn checkpoint(mut self, end: PageEnd, reading: &mut Reading) -> Result<Progress, LoadError> {
        let first_page = reading.slice.reading_pages == 0;
        let last_page = end.next.is_none();
        let single = first_page && last_page && self.batches_merged == 0;
        self.merge(reading, single).await?;
        if last_page && !single && !reading.fresh {
            self.delete_unseen(reading).await?;
        }
        self.store_rejects(reading, first_page).await?;
        let read = i64::try_from(end.bytes).unwrap_or(i64::MAX);
        let to = Position {
            reading_run: reading.slice.reading_run.unwrap_or(self.loader.claim.id),
            reading_until: reading.until,
            fresh: reading.fresh,
            pages_before: reading.slice.reading_pages,
            rows: reading.slice.reading_rows + i64::try_from(self.rows).unwrap_or(i64::MAX),
            seen: reading.slice.reading_seen + self.seen,
            bytes: reading.slice.reading_bytes + read,
            cursor: end.next,
        };
        let moved = if last_page {
            self.progress.slices_done = 1;
            let run = self.loader.claim.id;
            cursor::finish(&mut *self.transaction, reading.slice.id, run, reading.until, to.pages_before, to.rows)
                .await?
        } else {
            cursor::advance(&mut *self.transaction, reading.slice.id, &to).await?
        };
        if !moved {
            return Err(LoadError::Moved);
        }
        let Loader { claim, stream, lease, .. } = self.loader;
        let window = (reading.slice.window_start, reading.until);
        run::add_progress(&mut *self.transaction, claim.id, &stream.name, &self.progress, window).await?;
        let slice_bytes = last_page.then_some(to.bytes);
        let whole = reading.until >= reading.slice.window_end;
        cursor::learn_traffic(&mut *self.transaction, &claim.connection, &stream.name, read, slice_bytes, whole)
            .await?;
        if !run::pass_fence(&mut *self.transaction, claim, &stream.name, *lease).await? {
            return Err(LoadError::Fenced);
        }
        self.transaction.commit().await?;
        reading.slice.reading_run = Some(to.reading_run);
        reading.slice.reading_pages += 1;
        reading.slice.reading_rows = to.rows;
        reading.slice.reading_seen = to.seen;
        reading.slice.reading_bytes = to.bytes;
        reading.slice.cursor = to.cursor;
        Ok(self.progress)
    }

    fn count(&mut self, counts: Counts) {
        self.progress.rows_read += signed(counts.read);
        self.progress.rows_outside += signed(counts.outside + counts.astray);
        self.progress.values_extra += signed(counts.extra);
    }

    /// Grows the table under a page that is arriving. Once a batch of this transaction is merged it holds the table, so
    /// the change must be its own; before that, a separate transaction keeps the table free for others.
    async fn grow(&mut self, chunk: &Chunk) -> Result<(), LoadError> {
        let before = self.loader.table.clone();
        if self.batches_merged > 0 {
            self.loader.grow(&mut self.transaction, chunk).await?;
        } else {
            let mut connection = self.loader.pool.acquire().await?;
            self.loader.grow(&mut connection, chunk).await?;
        }
        self.reshape(&before).await
    }

    async fn reshape(&mut self, before: &Table) -> Result<(), LoadError> {
        let sql = MergeSql::new(&self.loader.table, self.loader.latest_wins);
        for statement in sql.reshape_stage(&self.sql, before, &self.loader.table) {
            execute(&mut self.transaction, statement).await?;
        }
        self.sql = sql;
        Ok(())
    }

    /// Holds the table's shape until the end of the transaction, and follows it if another worker changed it.
    async fn pin_shape(&mut self) -> Result<(), LoadError> {
        let (schema, name) = (self.loader.table.schema.clone(), self.loader.table.name.clone());
        let target = super::ident::table(&schema, &name);
        execute(&mut self.transaction, format!("lock table {target} in row exclusive mode")).await?;
        if table::version(&mut self.transaction, &schema, &name).await? != self.loader.table.version {
            let cause = Cause { run: self.loader.claim.id, connection: &self.loader.claim.connection };
            let before = self.loader.table.clone();
            self.loader.table = Table::open(&mut self.transaction, self.loader.stream, cause).await?;
            self.reshape(&before).await?;
        }
        Ok(())
    }

    /// Brings the staged batch into the table; `single` when it is the whole slice.
    async fn merge(&mut self, reading: &Reading, single: bool) -> Result<(), LoadError> {
        let Some((boundary, twins)) = self.staged.take() else { return Ok(()) };
        self.pin_shape().await?;
        let (connection, start) = (&self.loader.claim.connection, reading.slice.window_start);
        if !boundary.is_empty() {
            let keys: Vec<Uuid> = boundary.into_iter().map(Uuid::from_u128).collect();
            let dropped = sqlx::query(AssertSqlSafe(self.sql.drop_shared.clone()))
                .bind(keys)
                .bind(connection)
                .bind(reading.neighbours)
                .execute(&mut *self.transaction)
                .await?;
            self.progress.rows_outside += signed(dropped.rows_affected());
        }
        let first_batch = reading.slice.reading_pages == 0 && self.batches_merged == 0;
        if !first_batch && !self.loader.latest_wins {
            self.place_twins(reading, &twins).await?;
        }
        let counts = sqlx::query(AssertSqlSafe(self.sql.merge.clone()))
            .bind(&self.loader.claim.connection)
            .bind(start)
            .bind(self.loader.claim.id)
            .fetch_one(&mut *self.transaction)
            .await?;
        let (inserted, updated, staged): (i64, i64, i64) =
            (counts.try_get("inserted")?, counts.try_get("updated")?, counts.try_get("staged")?);
        self.progress.rows_inserted += inserted;
        self.progress.rows_updated += updated;
        self.progress.rows_unchanged += staged - inserted - updated;
        if single && !reading.fresh {
            let gone = sqlx::query(AssertSqlSafe(self.sql.delete_unstaged.clone()))
                .bind(&self.loader.claim.connection)
                .bind(start)
                .bind(reading.slice.window_end)
                .execute(&mut *self.transaction)
                .await?;
            self.progress.rows_deleted += signed(gone.rows_affected());
        } else if !reading.fresh {
            let noted = sqlx::query(AssertSqlSafe(self.sql.note_seen.clone()))
                .bind(reading.slice.id)
                .execute(&mut *self.transaction)
                .await?;
            self.seen += signed(noted.rows_affected());
        }
        self.batches_merged += 1;
        Ok(())
    }

    async fn delete_unseen(&mut self, reading: &Reading) -> Result<(), LoadError> {
        let gone = sqlx::query(AssertSqlSafe(self.sql.delete_unseen.clone()))
            .bind(&self.loader.claim.connection)
            .bind(reading.slice.window_start)
            .bind(reading.slice.window_end)
            .bind(reading.slice.id)
            .execute(&mut *self.transaction)
            .await?;
        self.progress.rows_deleted += signed(gone.rows_affected());
        sqlx::query!("delete from tidegate.seen_row where slice_id = $1", reading.slice.id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Identical records of earlier pages of this reading keep their places; the staged ones move behind them.
    async fn place_twins(&mut self, reading: &Reading, twins: &HashMap<u128, u32>) -> Result<(), LoadError> {
        let query = if reading.fresh { &self.sql.present_before } else { &self.sql.seen_before };
        let query = sqlx::query_scalar::<_, Uuid>(AssertSqlSafe(query.clone()));
        let query = if reading.fresh {
            query.bind(&self.loader.claim.connection).bind(reading.slice.window_start)
        } else {
            query.bind(reading.slice.id)
        };
        let taken: Vec<Uuid> = query.fetch_all(&mut *self.transaction).await?;
        if taken.is_empty() {
            return Ok(());
        }
        let later_twins: std::collections::HashSet<u128> =
            twins.iter().flat_map(|(base, count)| (1..*count).map(|place| row_key(*base, place))).collect();
        let bases: Vec<u128> = taken.iter().map(Uuid::as_u128).filter(|key| !later_twins.contains(key)).collect();
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for (base, before) in self.count_twins(reading, bases).await? {
            for place in 0..twins.get(&base).copied().unwrap_or(1) {
                old.push(Uuid::from_u128(row_key(base, place)));
                new.push(Uuid::from_u128(row_key(base, before + place)));
            }
        }
        sqlx::query(AssertSqlSafe(self.sql.rename_staged.clone()))
            .bind(old)
            .bind(new)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// How many identical records earlier pages had, for each base key: doubling, then halving, all keys at once.
    async fn count_twins(&mut self, reading: &Reading, bases: Vec<u128>) -> Result<Vec<(u128, u32)>, LoadError> {
        // (base, a place that is taken, a place that is free)
        let mut searches: Vec<(u128, u32, u32)> = bases.into_iter().map(|base| (base, 0, TWINS_MAX)).collect();
        while searches.iter().any(|(_, taken, free)| free - taken > 1) {
            let middle = |taken: u32, free: u32| match free {
                TWINS_MAX => (taken * 2).clamp(1, TWINS_MAX - 1),
                _ => taken.midpoint(free),
            };
            let probes: Vec<Uuid> = searches
                .iter()
                .map(|&(base, taken, free)| Uuid::from_u128(row_key(base, middle(taken, free))))
                .collect();
            let found: std::collections::HashSet<Uuid> =
                self.taken_among(reading, &probes).await?.into_iter().collect();
            for ((_, taken, free), probe) in searches.iter_mut().zip(&probes) {
                if *free - *taken > 1 {
                    let place = middle(*taken, *free);
                    *(if found.contains(probe) { taken } else { free }) = place;
                }
            }
        }
        Ok(searches.into_iter().map(|(base, taken, _)| (base, taken + 1)).collect())
    }

    async fn taken_among(&mut self, reading: &Reading, keys: &[Uuid]) -> Result<Vec<Uuid>, LoadError> {
        if reading.fresh {
            let present = sqlx::query_scalar(AssertSqlSafe(self.sql.present_among.clone()))
                .bind(&self.loader.claim.connection)
                .bind(reading.slice.window_start)
                .bind(keys)
                .fetch_all(&mut *self.transaction)
                .await?;
            return Ok(present);
        }
        let seen = sqlx::query_scalar!(
            "select row_key from tidegate.seen_row where slice_id = $1 and row_key = any($2)",
            reading.slice.id,
            keys,
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        Ok(seen)
    }

    /// Keeps the records that are no rows; those of an earlier reading of the slice go.
    async fn store_rejects(&mut self, reading: &Reading, first_page: bool) -> Result<(), LoadError> {
        let Loader { claim, stream, .. } = &*self.loader;
        if first_page {
            let start = reading.slice.window_start;
            cursor::clear_rejects(&mut *self.transaction, &claim.connection, &stream.name, start).await?;
        }
        if self.rejects.is_empty() {
            return Ok(());
        }
        let (reasons, records): (Vec<String>, Vec<String>) =
            std::mem::take(&mut self.rejects).into_iter().map(|reject| (reject.reason, reject.record)).unzip();
        let stored = sqlx::query!(
            "
            insert into tidegate.rejected_record (run_id, connection, stream, window_start, reason, record)
            select $1, $2, $3, $4, rejected.reason, rejected.record
            from unnest($5::text[], $6::text[]) as rejected (reason, record)
            ",
            claim.id,
            claim.connection,
            &*stream.name,
            reading.slice.window_start,
            &reasons,
            &records,
        )
        .execute(&mut *self.transaction)
        .await?;
        self.progress.records_rejected += signed(stored.rows_affected());
        Ok(())
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
