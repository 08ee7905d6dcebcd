//! The transaction of one or more pages: their rows, rejects, fingerprints, cursor, statistics and the fence check
//! become durable together, or not at all.
//!
//! [`PageLoad`] owns the transaction and three parts: the stage, the fingerprints and the counts. The parts run
//! statements on the connection that they are given, and do not know each other.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Postgres, Transaction};

use super::LoadError;
use super::counts::PageCounts;
use super::loader::{Loader, SliceReading};
use super::stage::{Stage, StagedBatch};
use super::statement::{execute, signed};
use super::table::Table;
use super::unchanged::Fingerprints;
use crate::rows::chunk::{BatchEnd, Chunk, Reject, SharedRecord};
use crate::rows::layout::Layout;
use crate::store::reading::{self, Hold, Position, Traffic};
use crate::store::run;
use crate::store::task::{self, Progress};

/// Larger rejects are stored before the page ends.
const REJECTS_BYTES_MAX: usize = 1 << 20;

/// Rows wait in memory up to this size. The more are sent together, the better their order fits the index.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// A transaction that is silent for this much longer than the vendor may be belongs to a process that is suspended or
/// unreachable, so Postgres ends it and releases its locks.
const VENDOR_WAIT_MARGIN: Duration = Duration::from_mins(5);
/// Postgres accepts no timeout beyond 24 days.
const VENDOR_WAIT_MAX: Duration = Duration::from_hours(24);

/// What follows a page.
#[derive(Debug, Clone)]
pub struct PageEnd {
    /// Where the next page begins. `None` after the last one.
    pub next: Option<String>,
    /// Bytes that this page cost.
    pub bytes: u64,
}

/// The transaction of a page while its rows arrive. If it is dropped before its checkpoint, only new columns remain.
pub struct PageLoad<'l, 'a> {
    pub(super) loader: &'l mut Loader<'a>,
    pub(super) transaction: Transaction<'l, Postgres>,
    pub(super) stage: Stage,
    pub(super) fingerprints: Fingerprints,
    pub(super) counts: PageCounts,
    /// The batch that is complete and not merged yet.
    pub(super) batch: Option<StagedBatch>,
    /// Whether the staging table has every row of the slice.
    pub(super) stage_is_slice: bool,
    /// Why rows of child tables that this page did not report are kept.
    pub(super) doubt: Option<String>,
    /// Why the slice that ends with this page is held.
    pub(super) hold: Option<Hold>,
    /// Of the batch whose rows are arriving.
    shared: Vec<SharedRecord>,
    rejects: Vec<Reject>,
    rejects_cleared: bool,
    /// Whether the transaction may be silent for longer than a lease.
    waits_for_vendor: bool,
}

/// Where a transaction can return to if a later page fails.
#[derive(Debug)]
pub struct Savepoint {
    progress: Progress,
    table: Table,
}

impl<'l, 'a> PageLoad<'l, 'a> {
    /// Opens a transaction for rows of this layout, of which at most `waiting_max` bytes wait in memory.
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
        Ok(Self {
            stage: Stage::new(loader, waiting_max.min(WAITING_BYTES_MAX)),
            loader,
            transaction,
            fingerprints: Fingerprints::default(),
            counts: PageCounts::default(),
            batch: None,
            stage_is_slice: false,
            doubt: None,
            hold: None,
            shared: Vec::new(),
            rejects: Vec::new(),
            rejects_cleared: false,
            waits_for_vendor: false,
        })
    }
}

impl PageLoad<'_, '_> {
    /// Takes a chunk's rows. Merges the batch before, if that is complete.
    pub async fn copy(&mut self, mut chunk: Chunk, reading: &SliceReading) -> Result<(), LoadError> {
        // Before the merge: until something is merged, this transaction does not lock the table.
        if !self.stage.table().holds(&chunk.layout) {
            self.stage.grow(&mut self.transaction, self.loader, &chunk.layout).await?;
        }
        if self.batch.is_some() {
            self.merge(reading, false).await?;
            self.stage.clear(&mut self.transaction).await?;
        }
        self.counts.add_records(chunk.counts, chunk.rejects.len());
        self.shared.append(&mut chunk.shared);
        self.rejects.append(&mut chunk.rejects);
        if self.rejects.iter().map(Reject::weight).sum::<usize>() > REJECTS_BYTES_MAX {
            self.store_rejects(reading).await?;
        }
        let batch_end = chunk.batch_end.take();
        self.stage.push(chunk);
        if self.stage.is_full() {
            self.flush(reading).await?;
        }
        if let Some(BatchEnd { duplicates, fingerprint }) = batch_end.map(|end| *end) {
            self.batch = Some(StagedBatch { shared: std::mem::take(&mut self.shared), duplicates, fingerprint });
        }
        Ok(())
    }

    /// Size of the rows that wait in memory, in bytes.
    pub const fn waiting(&self) -> usize {
        self.stage.waiting()
    }

    /// Ends the page and commits. Fails if another worker has taken over the run, the stream or the slice.
    pub async fn checkpoint(mut self, end: PageEnd, reading: &mut SliceReading) -> Result<Progress, LoadError> {
        let mut after = reading.clone();
        self.end_page(end, &mut after).await?;
        let progress = self.commit(&after).await?;
        *reading = after;
        Ok(progress)
    }

    /// Ends a page without a commit, so that the transaction can take the next one. Moves `reading` to the position
    /// after the page, which is not durable yet.
    pub async fn end_page(&mut self, end: PageEnd, reading: &mut SliceReading) -> Result<(), LoadError> {
        let last_page = end.next.is_none();
        let single = reading.slice.position.pages == 0 && last_page && self.counts.batches_merged == 0;
        self.end_wait().await?;
        self.merge(reading, single).await?;
        if last_page {
            self.end_reading(reading).await?;
        }
        self.stage.clear(&mut self.transaction).await?;
        self.store_rejects(reading).await?;
        let to = self.advance(end, reading).await?;
        self.end_counts(reading);
        reading.move_to(to);
        Ok(())
    }

    /// Whether the layout's fields have columns already. A page that needs new columns gets them before its
    /// transaction.
    pub fn holds(&self, layout: &Layout) -> bool {
        self.stage.table().holds(layout)
    }

    /// Sets a savepoint so that an error in the next page does not lose the finished ones.
    pub async fn savepoint(&mut self) -> Result<Savepoint, LoadError> {
        let release = self.stage.release_savepoint();
        execute(&mut self.transaction, format!("{release}savepoint finished_pages")).await?;
        Ok(Savepoint { progress: self.counts.progress, table: self.stage.table().clone() })
    }

    /// Commits the pages that were finished at the savepoint.
    pub async fn commit_to(mut self, savepoint: Savepoint, reading: &SliceReading) -> Result<Progress, LoadError> {
        execute(&mut self.transaction, "rollback to savepoint finished_pages".to_owned()).await?;
        self.counts.progress = savepoint.progress;
        self.stage.restore(savepoint.table);
        self.commit(reading).await
    }

    /// Commits all finished pages, or none of them.
    pub async fn commit(mut self, reading: &SliceReading) -> Result<Progress, LoadError> {
        let window = (reading.slice.window_start, reading.until);
        let Loader { claim, stream, lease, .. } = self.loader;
        let progress = self.counts.progress;
        // At the end, because the statement that counts calls waits for this lock.
        task::add_progress(&mut *self.transaction, claim.id, &stream.name, &progress, window).await?;
        if !run::pass_fence(&mut *self.transaction, claim, &stream.name, *lease).await? {
            return Err(LoadError::Fenced);
        }
        self.transaction.commit().await?;
        self.loader.table = self.stage.into_table();
        Ok(progress)
    }

    /// Permits the transaction to wait for the rest of a page that still arrives: longer than the lease, which is the
    /// limit of every other transaction ([`session::pool_options`](crate::store::session::pool_options)).
    pub async fn wait_for_vendor(&mut self) -> Result<(), LoadError> {
        self.waits_for_vendor = true;
        let wait = self.loader.vendor_wait.min(VENDOR_WAIT_MAX) + VENDOR_WAIT_MARGIN;
        self.limit_silence(wait).await
    }

    /// Nothing waits for the vendor from here on. If this worker falls silent now, Postgres must release its locks for
    /// the worker that takes over, even if the connection stays open.
    async fn end_wait(&mut self) -> Result<(), LoadError> {
        if std::mem::take(&mut self.waits_for_vendor) {
            self.limit_silence(self.loader.lease).await?;
        }
        Ok(())
    }

    async fn limit_silence(&mut self, limit: Duration) -> Result<(), LoadError> {
        let statement = format!("set local idle_in_transaction_session_timeout = {}", limit.as_millis());
        Ok(execute(&mut self.transaction, statement).await?)
    }

    /// Moves the slice's cursor to the position after this page, or ends its reading.
    async fn advance(&mut self, end: PageEnd, reading: &SliceReading) -> Result<Position, LoadError> {
        let bytes = i64::try_from(end.bytes).unwrap_or(i64::MAX);
        let slice = &reading.slice;
        let fingerprints = *self.fingerprints.state(slice);
        let before = &slice.position;
        let to = Position {
            run: before.run.or(Some(self.loader.claim.id)),
            until: Some(reading.until),
            fresh: reading.fresh,
            pages: before.pages + 1,
            rows: before.rows + self.counts.rows(),
            seen: before.seen + self.counts.seen(),
            rejected: before.rejected + self.counts.rejected(),
            doubt: before.doubt.clone().or_else(|| self.doubt.take()),
            lacks_columns: before.lacks_columns || self.counts.waiting() > 0,
            bytes: before.bytes + bytes,
            cursor: end.next,
            fingerprinted: fingerprints.whole,
            batches: fingerprints.batches,
        };
        let Loader { claim, stream, .. } = &*self.loader;
        let is_last = to.cursor.is_none();
        let moved = if is_last {
            self.counts.progress.slices_done = 1;
            let hold = self.hold.take();
            reading::finish(&mut self.transaction, slice.id, claim.id, &to, hold.as_ref(), slice.released).await?
        } else {
            reading::advance(&mut *self.transaction, slice.id, &to).await?
        };
        if !moved {
            return Err(LoadError::Moved);
        }
        let whole = reading.until >= slice.window_end;
        let traffic = Traffic {
            page_bytes: bytes,
            typical: !is_last || (whole && to.pages == 1),
            slice_bytes: is_last.then_some(to.bytes),
            whole,
        };
        reading::learn_traffic(&mut *self.transaction, &claim.connection, &stream.name, traffic).await?;
        Ok(to)
    }

    /// Stores the rejects. The first page of a reading deletes those of earlier readings of the slice.
    async fn store_rejects(&mut self, reading: &SliceReading) -> Result<(), LoadError> {
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
        self.counts.progress.records_rejected += signed(stored.rows_affected());
        Ok(())
    }

    fn end_counts(&mut self, reading: &SliceReading) {
        let astray = self.counts.end_page();
        if astray > 0 {
            tracing::warn!(
                stream = &*self.loader.stream.name,
                window_start = %reading.slice.window_start,
                rows = astray,
                "rows lie far outside the requested window; they are kept (is the time zone of the filter correct?)"
            );
        }
    }
}
