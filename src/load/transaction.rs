//! One page's transaction: stage, merge, rejects, cursor, statistics and the fence check become durable together.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Postgres, Transaction};

use super::LoadError;
use super::loader::{Loader, Reading};
use super::sql::MergeSql;
use super::table::Table;
use crate::rows::chunk::{BatchEnd, Chunk, Counts, Reject, Shared, Twins};
use crate::rows::fingerprint::Print;
use crate::rows::layout::Layout;
use crate::store::reading::{self, Hold, Position, Traffic};
use crate::store::run;
use crate::store::task::{self, Progress};

/// Refused records wait in memory up to this.
const REJECTS_BYTES_MAX: usize = 1 << 20;

/// Rows wait in memory up to this before they are sent: the more there are, the better they meet the index.
const WAITING_BYTES_MAX: usize = 4 << 20;

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
    pub(super) transaction: Transaction<'l, Postgres>,
    /// As this transaction sees it, with columns of its own that are not durable yet.
    pub(super) table: Table,
    /// The transaction's own time, which `_loaded_at` will be, once the table keeps its shape until its end.
    pub(super) pinned: Option<DateTime<Utc>>,
    pub(super) sql: MergeSql,
    pub(super) progress: Progress,
    rejects: Vec<Reject>,
    rejects_cleared: bool,
    /// Chunks that are sent together, and not before they must: rows in place hold the table.
    pub(super) waiting: Vec<Chunk>,
    waiting_bytes: usize,
    waiting_max: usize,
    /// Whether this session has the staging table.
    pub(super) has_stage: bool,
    /// Rows of the batch under way that are in the staging table.
    pub(super) rows_staged: i32,
    /// Rows of the batch under way that went straight into place.
    pub(super) rows_placed: i64,
    /// A savepoint is open behind which rows went straight into place.
    pub(super) savepoint: bool,
    /// Whether the transaction ends when its worker falls silent.
    silence_bounded: bool,
    /// What is kept of fingerprints by now.
    pub(super) kept: Option<FingerprintState>,
    /// Staged keys that gave way to those of earlier pages, and what they became.
    pub(super) renamed: HashMap<u128, u128>,
    /// Whether a row that should be new was there already.
    pub(super) taken: bool,
    /// The batch that is staged, complete, and not merged yet.
    pub(super) staged: Option<Batch>,
    shared: Vec<Shared>,
    /// Whether the staging table has every row of the slice.
    pub(super) stage_is_slice: bool,
    /// Why rows of child tables that this page did not report are kept.
    pub(super) doubt: Option<String>,
    /// Why the slice that ends with this page is held.
    pub(super) hold: Option<Hold>,
    pub(super) batches_merged: u32,
    /// Rows that the slice has by this page.
    pub(super) rows: i64,
    /// Entries that this page made in `tidegate.seen_row`.
    pub(super) seen: i64,
    /// Records that this page refused.
    pub(super) rejected: i64,
    astray: u64,
}

/// What a transaction keeps of a slice's fingerprints.
#[derive(Debug, Clone, Copy)]
pub(super) struct FingerprintState {
    /// Whether they know every row that the table has of the slice.
    pub(super) whole: bool,
    /// Batches of the reading under way; none when it keeps none.
    pub(super) batches: Option<i32>,
}

/// Where a transaction of several pages can go back to.
#[derive(Debug)]
pub struct Mark {
    progress: Progress,
    table: Table,
}

/// What is known of the records of a batch beside their rows.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) shared: Vec<Shared>,
    pub(super) twins: Twins,
    pub(super) print: Option<Print>,
}

impl<'l, 'a> PageLoad<'l, 'a> {
    /// Opens a page's transaction for rows of this layout, of which no more than `waiting_max` bytes are to wait.
    pub async fn begin(
        loader: &'l mut Loader<'a>,
        connection: &'l mut PgConnection,
        layout: &Layout,
        waiting_max: usize,
    ) -> Result<Self, LoadError> {
        if !loader.table.holds(layout) {
            loader.grow(connection, layout).await?;
        }
        let transaction = connection.begin().await?;
        let sql = MergeSql::new(&loader.table, loader.latest_wins);
        Ok(Self {
            table: loader.table.clone(),
            loader,
            transaction,
            sql,
            pinned: None,
            progress: Progress::default(),
            rejects: Vec::new(),
            rejects_cleared: false,
            waiting: Vec::new(),
            waiting_bytes: 0,
            waiting_max: waiting_max.min(WAITING_BYTES_MAX),
            has_stage: false,
            rows_staged: 0,
            rows_placed: 0,
            savepoint: false,
            silence_bounded: false,
            kept: None,
            renamed: HashMap::new(),
            taken: false,
            staged: None,
            shared: Vec::new(),
            stage_is_slice: false,
            doubt: None,
            hold: None,
            rejected: 0,
            batches_merged: 0,
            rows: 0,
            seen: 0,
            astray: 0,
        })
    }
}

impl PageLoad<'_, '_> {
    /// Takes a chunk's rows; a batch that was complete before is merged first.
    pub async fn copy(&mut self, mut chunk: Chunk, reading: &Reading) -> Result<(), LoadError> {
        // Before the merge: as long as nothing is merged, the table is free.
        if !self.table.holds(&chunk.layout) {
            self.grow(&chunk.layout).await?;
        }
        if self.staged.is_some() {
            self.merge(reading, false).await?;
            self.clear_stage().await?;
        }
        self.count(chunk.counts);
        self.shared.append(&mut chunk.shared);
        self.rejected += signed(chunk.rejects.len() as u64);
        self.rejects.append(&mut chunk.rejects);
        if self.rejects.iter().map(Reject::weight).sum::<usize>() > REJECTS_BYTES_MAX {
            self.store_rejects(reading).await?;
        }
        let batch_end = chunk.batch_end.take();
        self.waiting_bytes += chunk.weight();
        self.waiting.push(chunk);
        if self.waiting_bytes > self.waiting_max {
            self.flush(reading).await?;
        }
        if let Some(BatchEnd { twins, print }) = batch_end.map(|end| *end) {
            self.staged = Some(Batch { shared: std::mem::take(&mut self.shared), twins, print });
        }
        Ok(())
    }

    /// Bytes of the rows that wait.
    pub const fn waiting(&self) -> usize {
        self.waiting_bytes
    }

    /// Sends the rows that wait.
    pub(super) async fn flush(&mut self, reading: &Reading) -> Result<(), LoadError> {
        let chunks = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        for alike in chunks.chunk_by(|one, other| Arc::ptr_eq(&one.layout, &other.layout)) {
            self.send(alike, reading).await?;
        }
        Ok(())
    }

    /// Makes everything durable, or nothing: the fence, or the slice's position, may have passed to another worker.
    pub async fn checkpoint(mut self, end: PageEnd, reading: &mut Reading) -> Result<Progress, LoadError> {
        let mut behind = reading.clone();
        self.end_page(end, &mut behind).await?;
        let progress = self.commit(&behind).await?;
        *reading = behind;
        Ok(progress)
    }

    /// Ends a page whose transaction may go on with the next one; `reading` moves behind the page, which is not durable
    /// yet.
    pub async fn end_page(&mut self, end: PageEnd, reading: &mut Reading) -> Result<(), LoadError> {
        let last_page = end.next.is_none();
        let single = reading.slice.position.pages == 0 && last_page && self.batches_merged == 0;
        self.bound_silence().await?;
        self.merge(reading, single).await?;
        if last_page {
            self.end_reading(reading).await?;
        }
        self.clear_stage().await?;
        self.store_rejects(reading).await?;
        let to = self.advance(end, reading).await?;
        self.warn_of_astray(reading);
        self.progress.pages += 1;
        (self.rows, self.seen, self.rejected, self.astray) = (0, 0, 0, 0);
        reading.slice.position = to;
        Ok(())
    }

    /// Whether the layout's fields have columns already: a page that needs others gets them before its transaction begins.
    pub fn holds(&self, layout: &Layout) -> bool {
        self.table.holds(layout)
    }

    /// Marks the pages that were turned: a fault in the next one need not cost them.
    pub async fn mark(&mut self) -> Result<Mark, LoadError> {
        let release = if std::mem::take(&mut self.savepoint) { "release savepoint placed; " } else { "" };
        execute(&mut self.transaction, format!("{release}savepoint turned")).await?;
        Ok(Mark { progress: self.progress, table: self.table.clone() })
    }

    /// Makes durable what was turned when the mark was made.
    pub async fn commit_to(mut self, mark: Mark, reading: &Reading) -> Result<Progress, LoadError> {
        execute(&mut self.transaction, "rollback to savepoint turned".to_owned()).await?;
        (self.progress, self.table) = (mark.progress, mark.table);
        self.commit(reading).await
    }

    /// Makes the pages durable that were turned, or none of them.
    pub async fn commit(mut self, reading: &Reading) -> Result<Progress, LoadError> {
        let window = (reading.slice.window_start, reading.until);
        let Loader { claim, stream, lease, .. } = self.loader;
        // Last, since the statement that counts calls waits for it.
        task::add_progress(&mut *self.transaction, claim.id, &stream.name, &self.progress, window).await?;
        if !run::pass_fence(&mut *self.transaction, claim, &stream.name, *lease).await? {
            return Err(LoadError::Fenced);
        }
        self.transaction.commit().await?;
        self.loader.table = self.table;
        Ok(self.progress)
    }

    /// From here on nothing waits for the vendor: a worker that falls silent now must not hold its locks against the one
    /// that takes over, even when its connection stays open.
    async fn bound_silence(&mut self) -> Result<(), LoadError> {
        if std::mem::replace(&mut self.silence_bounded, true) {
            return Ok(());
        }
        let lease_ms = self.loader.lease.as_millis();
        let statement = format!("set local idle_in_transaction_session_timeout = {lease_ms}");
        Ok(execute(&mut self.transaction, statement).await?)
    }

    /// Moves the slice's cursor behind this page, or ends its reading.
    async fn advance(&mut self, end: PageEnd, reading: &Reading) -> Result<Position, LoadError> {
        let bytes = i64::try_from(end.bytes).unwrap_or(i64::MAX);
        let FingerprintState { whole, batches } = *self.kept(reading);
        let before = &reading.slice.position;
        let to = Position {
            run: before.run.or(Some(self.loader.claim.id)),
            until: Some(reading.until),
            fresh: reading.fresh,
            pages: before.pages + 1,
            rows: before.rows + self.rows,
            seen: before.seen + self.seen,
            rejected: before.rejected + self.rejected,
            doubt: before.doubt.clone().or_else(|| self.doubt.take()),
            bytes: before.bytes + bytes,
            cursor: end.next,
            fingerprinted: whole,
            batches,
        };
        let Loader { claim, stream, .. } = &*self.loader;
        let is_last = to.cursor.is_none();
        let moved = if is_last {
            self.progress.slices_done = 1;
            let hold = self.hold.take();
            let slice = &reading.slice;
            reading::finish(&mut *self.transaction, slice.id, claim.id, &to, hold.as_ref(), slice.released).await?
        } else {
            reading::advance(&mut *self.transaction, reading.slice.id, &to).await?
        };
        if !moved {
            return Err(LoadError::Moved);
        }
        let whole = reading.until >= reading.slice.window_end;
        let traffic = Traffic {
            page_bytes: bytes,
            typical: !is_last || (whole && to.pages == 1),
            slice_bytes: is_last.then_some(to.bytes),
            whole,
        };
        reading::learn_traffic(&mut *self.transaction, &claim.connection, &stream.name, traffic).await?;
        Ok(to)
    }

    fn count(&mut self, counts: Counts) {
        self.progress.rows_read += signed(counts.read);
        self.progress.rows_outside += signed(counts.outside);
        self.progress.values_extra += signed(counts.extra);
        self.astray += counts.astray;
    }

    /// Keeps the records that are no rows; those of an earlier reading of the slice go.
    async fn store_rejects(&mut self, reading: &Reading) -> Result<(), LoadError> {
        let Loader { claim, stream, .. } = &*self.loader;
        if reading.slice.position.pages == 0 && !self.rejects_cleared {
            let window = (reading.slice.window_start, reading.slice.window_end);
            reading::clear_rejects(&mut *self.transaction, &claim.connection, &stream.name, window).await?;
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

pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A generated statement, planned each time: a plan that was made for ten rows is ruinous for ten thousand, and the staging
/// table has no statistics that would tell Postgres so.
pub(super) fn planned_each_time(sql: &str) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false)
}

pub(super) async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
