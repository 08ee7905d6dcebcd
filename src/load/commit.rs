//! One page's transaction: stage, merge, rejects, cursor, statistics and the fence check become durable together.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row as _, Transaction};
use uuid::Uuid;

use super::LoadError;
use super::chunk::{Chunk, Counts, Reject, Shared, Twins};
use super::merge::MergeSql;
use super::table::{self, Cause, Table};
use crate::catalogue::{Mode, Stream};
use crate::store::cursor::{self, Position, Slice};
use crate::store::run::{self, Claim, Progress};

/// Refused records wait in memory up to this.
const REJECTS_BYTES_MAX: usize = 1 << 20;

/// A connection's write buffer grows to what is sent at once, and stays that large.
const COPY_PART_BYTES: usize = 32 << 10;

/// What stays the same for all pages of a task.
#[derive(Debug)]
pub struct Loader<'a> {
    pub pool: &'a PgPool,
    pub claim: &'a Claim,
    pub stream: &'a Stream,
    pub lease: Duration,
    /// The record key is made of fields: the later of two equal records wins.
    pub latest_wins: bool,
    /// As of the last change that is durable.
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

/// A page's transaction while its rows arrive. Dropped before its checkpoint, it leaves nothing behind but columns.
pub struct PageLoad<'l, 'a> {
    pub(super) loader: &'l mut Loader<'a>,
    pub(super) transaction: Transaction<'static, Postgres>,
    /// As this transaction sees it, with columns of its own that are not durable yet.
    table: Table,
    pub(super) sql: MergeSql,
    progress: Progress,
    rejects: Vec<Reject>,
    rejects_cleared: bool,
    /// The batch that is staged, complete, and not merged yet.
    staged: Option<Batch>,
    shared: Vec<Shared>,
    pub(super) batches_merged: u32,
    /// Rows that the slice has by this page.
    rows: i64,
    /// Entries that this page made in `tidegate.seen_row`.
    pub(super) seen: i64,
    astray: u64,
}

/// What is known of the records of a batch beside their rows.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) shared: Vec<Shared>,
    pub(super) twins: Twins,
}

impl<'a> Loader<'a> {
    /// Decides whether a slice that begins to be read has rows already, and drops what an abandoned reading left.
    pub async fn begin_reading(&self, reading: &mut Reading) -> Result<(), LoadError> {
        let mut transaction = self.pool.begin().await?;
        cursor::restart(&mut transaction, reading.slice.id).await?;
        // Whatever a window of entities brings, its rows are no other than those of the windows around.
        let here = match self.stream.mode {
            Mode::ReplaceWindow => "_connection = $1 and _window_start >= $2 and _window_start < $3",
            Mode::Snapshot | Mode::Upsert | Mode::Observe => "_connection = $1",
        };
        let target = super::ident::table(&self.table.schema, &self.table.name);
        let statement = format!("select not exists (select from {target} where {here})");
        let fresh = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(&self.claim.connection)
            .bind(reading.slice.window_start)
            .bind(reading.slice.window_end)
            .fetch_one(&mut *transaction)
            .await?;
        // Or a worker that lost the stream would send the one that has it back to the first page.
        if !run::pass_fence(&mut *transaction, self.claim, &self.stream.name, self.lease).await? {
            return Err(LoadError::Fenced);
        }
        transaction.commit().await?;
        reading.fresh = fresh;
        reading.slice.reading_run = None;
        reading.slice.reading_until = None;
        reading.slice.reading_fresh = false;
        reading.slice.reading_pages = 0;
        reading.slice.reading_rows = 0;
        reading.slice.reading_seen = 0;
        reading.slice.reading_bytes = 0;
        reading.slice.cursor = None;
        Ok(())
    }

    /// Whether what an unfinished reading noted as seen is still there (Postgres may have crashed since).
    pub async fn seen_is_whole(&self, slice: &Slice) -> Result<bool, LoadError> {
        Ok(cursor::count_seen(self.pool, slice.id).await? == slice.reading_seen)
    }

    /// Notes where a reading stands that has to wait for the vendor, no rows with it.
    pub async fn park(&self, cursor: String, reading: &mut Reading) -> Result<(), LoadError> {
        let mut transaction = self.pool.begin().await?;
        let slice = &reading.slice;
        let position = Position {
            reading_run: slice.reading_run.unwrap_or(self.claim.id),
            reading_until: reading.until,
            fresh: reading.fresh,
            pages_before: slice.reading_pages,
            rows: slice.reading_rows,
            seen: slice.reading_seen,
            bytes: slice.reading_bytes,
            cursor: Some(cursor),
        };
        if !cursor::park(&mut *transaction, slice.id, &position).await? {
            return Err(LoadError::Moved);
        }
        if !run::pass_fence(&mut *transaction, self.claim, &self.stream.name, self.lease).await? {
            return Err(LoadError::Fenced);
        }
        transaction.commit().await?;
        reading.slice.reading_run = Some(position.reading_run);
        reading.slice.reading_until = Some(position.reading_until);
        reading.slice.reading_fresh = position.fresh;
        reading.slice.cursor = position.cursor;
        Ok(())
    }

    /// Opens a page's transaction for rows of the chunk's layout.
    pub async fn begin<'l>(&'l mut self, chunk: &Chunk) -> Result<PageLoad<'l, 'a>, LoadError> {
        if !self.table.holds(&chunk.layout) {
            self.grow(chunk).await?;
        }
        let mut transaction = self.pool.begin().await?;
        let sql = MergeSql::new(&self.table, self.latest_wins);
        execute(&mut transaction, sql.create_stage.clone()).await?;
        Ok(PageLoad {
            table: self.table.clone(),
            loader: self,
            transaction,
            sql,
            progress: Progress { pages: 1, ..Progress::default() },
            rejects: Vec::new(),
            rejects_cleared: false,
            staged: None,
            shared: Vec::new(),
            batches_merged: 0,
            rows: 0,
            seen: 0,
            astray: 0,
        })
    }

    /// Gives every field of the chunk a column, in a transaction of its own.
    async fn grow(&mut self, chunk: &Chunk) -> Result<(), LoadError> {
        let mut connection = self.pool.acquire().await?;
        let cause = Cause { run: self.claim.id, connection: &self.claim.connection };
        self.table.grow(&mut connection, self.stream, &chunk.layout, cause).await
    }
}

impl PageLoad<'_, '_> {
    /// Stages a chunk's rows; a batch that was complete before is merged first.
    pub async fn copy(&mut self, mut chunk: Chunk, reading: &Reading) -> Result<(), LoadError> {
        // Before the merge: as long as nothing is merged, the table is free.
        if !self.table.holds(&chunk.layout) {
            self.grow(&chunk).await?;
        }
        if self.staged.is_some() {
            self.merge(reading, false).await?;
            execute(&mut self.transaction, self.sql.clear_stage.clone()).await?;
        }
        self.count(chunk.counts);
        self.shared.append(&mut chunk.shared);
        self.rejects.append(&mut chunk.rejects);
        if self.rejects.iter().map(Reject::weight).sum::<usize>() > REJECTS_BYTES_MAX {
            self.store_rejects(reading).await?;
        }
        if chunk.rows > 0 {
            let statement = self
                .sql
                .copy(&self.table, &chunk.layout)
                .ok_or_else(|| LoadError::Column(format!("{}.{}", self.table.schema, self.table.name)))?;
            let mut copy = self.transaction.copy_in_raw(&statement).await?;
            for part in chunk.data.chunks(COPY_PART_BYTES) {
                copy.send(part).await?;
            }
            copy.finish().await?;
        }
        if let Some(twins) = chunk.batch_end {
            self.staged = Some(Batch { shared: std::mem::take(&mut self.shared), twins });
        }
        Ok(())
    }

    /// Makes everything durable, or nothing: the fence, or the slice's position, may have passed to another worker.
    pub async fn checkpoint(mut self, end: PageEnd, reading: &mut Reading) -> Result<Progress, LoadError> {
        let last_page = end.next.is_none();
        let single = reading.slice.reading_pages == 0 && last_page && self.batches_merged == 0;
        self.bound_silence().await?;
        self.merge(reading, single).await?;
        if last_page && !single {
            self.end_reading(reading).await?;
        }
        self.store_rejects(reading).await?;
        let to = self.advance(end, reading).await?;
        self.warn_of_astray(reading);
        let window = (reading.slice.window_start, reading.until);
        let Loader { claim, stream, lease, .. } = self.loader;
        run::add_progress(&mut *self.transaction, claim.id, &stream.name, &self.progress, window).await?;
        if !run::pass_fence(&mut *self.transaction, claim, &stream.name, *lease).await? {
            return Err(LoadError::Fenced);
        }
        self.transaction.commit().await?;
        self.loader.table = self.table;
        reading.slice.reading_run = Some(to.reading_run);
        reading.slice.reading_until = Some(to.reading_until);
        reading.slice.reading_fresh = to.fresh;
        reading.slice.reading_pages += 1;
        reading.slice.reading_rows = to.rows;
        reading.slice.reading_seen = to.seen;
        reading.slice.reading_bytes = to.bytes;
        reading.slice.cursor = to.cursor;
        Ok(self.progress)
    }

    /// From here on nothing waits for the vendor: a worker that falls silent now must not hold its locks against the one
    /// that takes over, even when its connection stays open.
    async fn bound_silence(&mut self) -> Result<(), LoadError> {
        let lease_ms = self.loader.lease.as_millis();
        let statement = format!("set local idle_in_transaction_session_timeout = {lease_ms}");
        Ok(execute(&mut self.transaction, statement).await?)
    }

    /// Moves the slice's cursor behind this page, or ends its reading.
    async fn advance(&mut self, end: PageEnd, reading: &Reading) -> Result<Position, LoadError> {
        let Loader { claim, stream, .. } = &*self.loader;
        let bytes = i64::try_from(end.bytes).unwrap_or(i64::MAX);
        let to = Position {
            reading_run: reading.slice.reading_run.unwrap_or(claim.id),
            reading_until: reading.until,
            fresh: reading.fresh,
            pages_before: reading.slice.reading_pages,
            rows: reading.slice.reading_rows + self.rows,
            seen: reading.slice.reading_seen + self.seen,
            bytes: reading.slice.reading_bytes + bytes,
            cursor: end.next,
        };
        let is_last = to.cursor.is_none();
        let moved = if is_last {
            self.progress.slices_done = 1;
            let (slice, until) = (reading.slice.id, reading.until);
            cursor::finish(&mut *self.transaction, slice, claim.id, until, to.pages_before, to.rows).await?
        } else {
            cursor::advance(&mut *self.transaction, reading.slice.id, &to).await?
        };
        if !moved {
            return Err(LoadError::Moved);
        }
        let slice_bytes = is_last.then_some(to.bytes);
        let whole = reading.until >= reading.slice.window_end;
        cursor::learn_traffic(&mut *self.transaction, &claim.connection, &stream.name, bytes, slice_bytes, whole)
            .await?;
        Ok(to)
    }

    fn count(&mut self, counts: Counts) {
        self.progress.rows_read += signed(counts.read);
        self.progress.rows_outside += signed(counts.outside);
        self.progress.values_extra += signed(counts.extra);
        self.astray += counts.astray;
    }

    /// Grows the table under a page that is arriving. Once a batch of this transaction is merged it holds the table, so
    /// the change must be its own; before that, a separate transaction keeps the table free for others.
    async fn grow(&mut self, chunk: &Chunk) -> Result<(), LoadError> {
        let before = self.table.clone();
        if self.batches_merged > 0 {
            let Loader { claim, stream, .. } = &*self.loader;
            let cause = Cause { run: claim.id, connection: &claim.connection };
            self.table.grow(&mut self.transaction, stream, &chunk.layout, cause).await?;
        } else {
            self.loader.grow(chunk).await?;
            self.table = self.loader.table.clone();
        }
        self.reshape(&before).await
    }

    async fn reshape(&mut self, before: &Table) -> Result<(), LoadError> {
        let sql = MergeSql::new(&self.table, self.loader.latest_wins);
        for statement in sql.reshape_stage(&self.sql, before, &self.table) {
            execute(&mut self.transaction, statement).await?;
        }
        self.sql = sql;
        Ok(())
    }

    /// Holds the table's shape until the end of the transaction, and follows it if another worker changed it.
    async fn pin_shape(&mut self) -> Result<(), LoadError> {
        let target = super::ident::table(&self.table.schema, &self.table.name);
        execute(&mut self.transaction, format!("lock table {target} in row exclusive mode")).await?;
        let version = table::version(&mut self.transaction, &self.table.schema, &self.table.name).await?;
        if version != self.table.version {
            let cause = Cause { run: self.loader.claim.id, connection: &self.loader.claim.connection };
            let now = Table::open(&mut self.transaction, self.loader.stream, cause).await?;
            let before = std::mem::replace(&mut self.table, now);
            self.reshape(&before).await?;
        }
        Ok(())
    }

    /// Brings the staged batch into the table; `single` when it is the whole slice.
    async fn merge(&mut self, reading: &Reading, single: bool) -> Result<(), LoadError> {
        let Some(batch) = self.staged.take() else { return Ok(()) };
        self.pin_shape().await?;
        let shared = match &self.sql.twins {
            Some(twins) if !single => self.place_twins(&twins.clone(), reading, &batch).await?,
            _ => batch.shared_keys(&[]),
        };
        self.drop_shared(reading, shared).await?;
        let counts = planned_anew(&self.sql.merge)
            .bind(&self.loader.claim.connection)
            .bind(reading.slice.window_start)
            .bind(self.loader.claim.id)
            .fetch_one(&mut *self.transaction)
            .await?;
        let (inserted, updated, staged): (i64, i64, i64) =
            (counts.try_get("inserted")?, counts.try_get("updated")?, counts.try_get("staged")?);
        self.progress.rows_inserted += inserted;
        self.progress.rows_updated += updated;
        self.progress.rows_unchanged += staged - inserted - updated;
        self.merge_links().await?;
        self.rows += match (self.sql.vanish.is_some(), reading.fresh, single) {
            (true, true, _) => inserted,
            (true, false, true) => {
                self.delete_unstaged(reading).await?;
                staged
            }
            (true, false, false) => self.note_seen(reading).await?,
            (false, ..) => staged,
        };
        self.batches_merged += 1;
        Ok(())
    }

    /// Brings the child tables in line with the staged parents.
    async fn merge_links(&mut self) -> Result<(), LoadError> {
        for statement in &self.sql.links {
            let bound = planned_anew(statement).bind(&self.loader.claim.connection);
            // The statement that deletes needs no run.
            bound.bind(self.loader.claim.id).execute(&mut *self.transaction).await?;
        }
        Ok(())
    }

    /// Leaves out what a neighbouring slice has of the second that it shares with this one.
    async fn drop_shared(&mut self, reading: &Reading, keys: Vec<Uuid>) -> Result<(), LoadError> {
        let Some(drop_shared) = self.sql.drop_shared.as_ref().filter(|_| !keys.is_empty()) else { return Ok(()) };
        let dropped = planned_anew(drop_shared)
            .bind(keys)
            .bind(&self.loader.claim.connection)
            .bind(reading.neighbours)
            .execute(&mut *self.transaction)
            .await?;
        self.progress.rows_outside += signed(dropped.rows_affected());
        Ok(())
    }

    async fn delete_unstaged(&mut self, reading: &Reading) -> Result<(), LoadError> {
        let Some(vanish) = &self.sql.vanish else { return Ok(()) };
        let gone = planned_anew(&vanish.unstaged)
            .bind(&self.loader.claim.connection)
            .bind(reading.slice.window_start)
            .bind(reading.slice.window_end)
            .bind(self.loader.claim.id)
            .execute(&mut *self.transaction)
            .await?;
        self.progress.rows_deleted += signed(gone.rows_affected());
        self.delete_orphans().await
    }

    /// Child rows go with their parents.
    async fn delete_orphans(&mut self) -> Result<(), LoadError> {
        for statement in self.sql.vanish.iter().flat_map(|vanish| &vanish.links) {
            planned_anew(statement).bind(&self.loader.claim.connection).execute(&mut *self.transaction).await?;
        }
        Ok(())
    }

    /// Notes the staged rows as still reported; answers how many were not noted before.
    async fn note_seen(&mut self, reading: &Reading) -> Result<i64, LoadError> {
        let noted = planned_anew(&self.sql.note_seen).bind(reading.slice.id).execute(&mut *self.transaction).await?;
        self.seen += signed(noted.rows_affected());
        Ok(signed(noted.rows_affected()))
    }

    /// After the last of several pages or batches: rows that none of them had go.
    async fn end_reading(&mut self, reading: &Reading) -> Result<(), LoadError> {
        let Some(vanish) = &self.sql.vanish else { return Ok(()) };
        // Postgres may have crashed while a page was awaited: what is not noted any more has not vanished.
        let noted = cursor::count_seen(&mut *self.transaction, reading.slice.id).await?;
        if noted != reading.slice.reading_seen + self.seen {
            return Err(LoadError::SeenLost);
        }
        if !reading.fresh {
            let gone = planned_anew(&vanish.unseen)
                .bind(&self.loader.claim.connection)
                .bind(reading.slice.window_start)
                .bind(reading.slice.window_end)
                .bind(self.loader.claim.id)
                .bind(reading.slice.id)
                .execute(&mut *self.transaction)
                .await?;
            self.progress.rows_deleted += signed(gone.rows_affected());
            self.delete_orphans().await?;
        }
        sqlx::query!("delete from tidegate.seen_row where slice_id = $1", reading.slice.id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Keeps the records that are no rows; those of an earlier reading of the slice go.
    async fn store_rejects(&mut self, reading: &Reading) -> Result<(), LoadError> {
        let Loader { claim, stream, .. } = &*self.loader;
        if reading.slice.reading_pages == 0 && !self.rejects_cleared {
            let window = (reading.slice.window_start, reading.slice.window_end);
            cursor::clear_rejects(&mut *self.transaction, &claim.connection, &stream.name, window).await?;
            self.rejects_cleared = true;
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

    fn warn_of_astray(&self, reading: &Reading) {
        if self.astray > 0 {
            tracing::warn!(
                stream = &*self.loader.stream.name,
                window_start = %reading.slice.window_start,
                rows = self.astray,
                "rows lie far outside the window that was asked for; they are kept (does the filter's zone fit?)"
            );
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A generated statement, planned each time: a plan that was made for ten rows is ruinous for ten thousand, and the staging
/// table has no statistics that would tell Postgres so.
pub(super) fn planned_anew(sql: &str) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false)
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
