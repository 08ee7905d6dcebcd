//! Loads the pages of a task, slice by slice. Changes the state of a slice's reading before its first page and between
//! pages.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::time::Instant;

use super::locked_out::{LockedTables, is_free};
use super::sql::MergeSql;
use super::table::{Cause, Table};
use super::{LoadError, partition};
use crate::catalogue::{Mode, Stream};
use crate::rows::layout::Layout;
use crate::store::cursor::Slice;
use crate::store::reading::{self, Position};
use crate::store::run::{self, Claim};
use crate::store::session::{self, Deadline as _, watched};

/// The default of [`Loader::hold_below`].
pub const HOLD_BELOW: u8 = 80;

/// The settings and the state of a task that loads pages.
#[derive(Debug)]
pub struct Loader<'a> {
    pub pool: &'a PgPool,
    pub claim: &'a Claim,
    pub stream: &'a Stream,
    pub lease: Duration,
    /// The longest silence of the vendor within a page.
    pub vendor_wait: Duration,
    /// Of two records with one key, the later wins. Otherwise both are kept.
    pub latest_wins: bool,
    /// As of the last durable change.
    pub table: Table,
    /// Whether rows that should be new are copied directly into the table. Cleared by the first key conflict.
    pub direct_copy: bool,
    /// Whether changed rows are expected to follow each other in the order of their keys.
    pub(super) changes_in_order: bool,
    /// Whether the rows of the current reading are compared with fingerprints.
    pub comparing: bool,
    /// Whether unchanged rows may be left out. Shared with the writer of the rows.
    pub skipping: Arc<AtomicBool>,
    /// In percent. A reading that reports a smaller share of a slice's rows deletes nothing.
    pub hold_below: u8,
    /// The tables that are known to be locked. Shared by the tasks of a process.
    pub locked_tables: LockedTables,
    /// The fields for which the table should have columns, but is locked.
    pub(super) locked_out: Option<Layout>,
}

/// The rows of a slice or list, as a condition on `$1` connection, `$2` window start and `$3` window end.
const fn rows_of(mode: Mode) -> &'static str {
    match mode {
        Mode::ReplaceWindow => "_connection = $1 and _window_start >= $2 and _window_start < $3",
        Mode::Snapshot => "_connection = $1 and _deleted_at is null",
        Mode::Upsert | Mode::Observe => "_connection = $1",
    }
}

/// The slice that is being read, as of the last committed page.
#[derive(Debug, Clone)]
pub struct SliceReading {
    pub slice: Slice,
    /// The end of the requested window.
    pub until: DateTime<Utc>,
    /// Starts of the previous and the next slice.
    pub neighbours: [DateTime<Utc>; 2],
    /// Whether the table had no rows of the slice when this reading began.
    pub fresh: bool,
}

impl SliceReading {
    pub(super) fn move_to(&mut self, to: Position) {
        self.slice.position = to;
    }
}

impl<'a> Loader<'a> {
    pub fn new(
        pool: &'a PgPool,
        claim: &'a Claim,
        stream: &'a Stream,
        lease: Duration,
        latest_wins: bool,
        table: Table,
    ) -> Self {
        let skipping = Arc::new(AtomicBool::new(false));
        Self {
            pool,
            claim,
            stream,
            lease,
            vendor_wait: Duration::ZERO,
            latest_wins,
            table,
            direct_copy: true,
            changes_in_order: true,
            comparing: false,
            skipping,
            hold_below: HOLD_BELOW,
            locked_tables: LockedTables::default(),
            locked_out: None,
        }
    }

    /// Prepares for the reading of a slice. Its rows are compared with fingerprints, if that is possible.
    pub fn compare(&mut self, slice: &Slice) {
        (self.direct_copy, self.changes_in_order) = (true, true);
        self.comparing = self.table.fingerprinted() && slice.position.batches.is_some();
        self.skipping = Arc::new(AtomicBool::new(self.comparing && slice.position.fingerprinted));
    }

    /// Prepares for further pages of a reading that was begun: the partition of its rows may have been dropped since.
    pub async fn resume_reading(&self, reading: &SliceReading) -> Result<(), LoadError> {
        if !self.table.partitioned {
            return Ok(());
        }
        let mut connection = self.pool.acquire().await?;
        let backend = session::backend(&mut connection).await?;
        watched(self.pool, backend, self.make_room(&mut connection, &reading.slice)).await
    }

    /// Makes the partition of the slice's rows, if the table is partitioned and has none.
    async fn make_room(&self, connection: &mut PgConnection, slice: &Slice) -> Result<(), LoadError> {
        if !self.table.partitioned {
            return Ok(());
        }
        partition::make_room(connection, (&self.table.schema, &self.table.name), slice.window_start).await
    }

    /// Begins the reading of a slice: finds out whether it has rows already, and deletes the state of an abandoned
    /// reading.
    pub async fn begin_reading(&self, reading: &mut SliceReading) -> Result<(), LoadError> {
        let mut connection = self.pool.acquire().await?;
        let backend = session::backend(&mut connection).await?;
        watched(self.pool, backend, self.begin_reading_on(&mut connection, reading)).await
    }

    async fn begin_reading_on(
        &self,
        connection: &mut PgConnection,
        reading: &mut SliceReading,
    ) -> Result<(), LoadError> {
        self.make_room(connection, &reading.slice).await?;
        let mut transaction = connection.begin().in_time().await?;
        reading::restart(&mut transaction, reading.slice.id).await?;
        // The rows of other modes do not belong to a window: any row of the connection may be reported again.
        let here = match self.stream.mode {
            Mode::ReplaceWindow => rows_of(Mode::ReplaceWindow),
            Mode::Snapshot | Mode::Upsert | Mode::Observe => "_connection = $1",
        };
        let target = crate::store::ident::table(&self.table.schema, &self.table.name);
        let statement = format!("select 1 from {target} where {here} limit 1");
        let some: Option<i32> = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(&self.claim.connection)
            .bind(reading.slice.window_start)
            .bind(reading.slice.window_end)
            .fetch_optional(&mut *transaction)
            .await?;
        let fresh = some.is_none();
        let slice = &reading.slice;
        let rows = if fresh { 0 } else { self.rows_present(&mut transaction, slice, None).await? };
        let whole = slice.position.fingerprinted && !fresh && rows == slice.rows_total;
        // Rows that an abandoned reading added do not count.
        let had = if slice.finished_run.is_some() { rows.min(slice.rows_total) } else { rows };
        // Neither do rows that doubtful readings added.
        let present = match slice.held_base_at {
            Some(base) if !fresh => self.rows_present(&mut transaction, slice, Some(base)).await?.min(had),
            _ => had,
        };
        reading::note_present(&mut *transaction, reading.slice.id, present).await?;
        if reading.slice.position.fingerprinted && !whole {
            reading::distrust(&mut transaction, reading.slice.id).await?;
        }
        // Otherwise a worker that lost the stream would send its new holder back to the first page.
        if !run::pass_fence(&mut *transaction, self.claim, &self.stream.name, self.lease).await? {
            return Err(LoadError::Fenced);
        }
        transaction.commit().in_time().await?;
        reading.fresh = fresh;
        reading.slice.position = Position { fingerprinted: whole, batches: Some(0), ..Position::default() };
        reading.slice.reading_present = Some(present);
        Ok(())
    }

    /// How many rows the table has of a slice or list. Returns 0 for modes that never delete rows.
    /// With `before`, only rows that were last written before that instant.
    pub(super) async fn rows_present(
        &self,
        connection: &mut PgConnection,
        slice: &Slice,
        before: Option<DateTime<Utc>>,
    ) -> Result<i64, LoadError> {
        if matches!(self.stream.mode, Mode::Upsert | Mode::Observe) {
            return Ok(0);
        }
        let target = crate::store::ident::table(&self.table.schema, &self.table.name);
        let written = if before.is_some() { " and _loaded_at < $4" } else { "" };
        let statement = format!("select count(*) from {target} where {}{written}", rows_of(self.stream.mode));
        let count = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(&self.claim.connection)
            .bind(slice.window_start)
            .bind(slice.window_end);
        let count = if before.is_some() { count.bind(before) } else { count };
        Ok(count.fetch_one(connection).await?)
    }

    /// Reads the slice from its first page again, and compares every row with the table itself.
    pub async fn start_over(&self, slice: &Slice) -> Result<(), LoadError> {
        let mut transaction = self.pool.begin().in_time().await?;
        reading::distrust(&mut transaction, slice.id).await?;
        reading::restart(&mut transaction, slice.id).await?;
        if !run::pass_fence(&mut *transaction, self.claim, &self.stream.name, self.lease).await? {
            return Err(LoadError::Fenced);
        }
        Ok(transaction.commit().in_time().await?)
    }

    /// Whether all rows that an unfinished reading noted as seen are still noted, with identities that this version
    /// knows. Postgres may have crashed since, and a process of an earlier version noted rows with key columns by
    /// another digest: at the end of the reading, they would be deleted as not seen.
    pub async fn seen_is_whole(&self, slice: &Slice) -> Result<bool, LoadError> {
        let seen = slice.position.seen;
        if reading::count_seen(self.pool, slice.id).await? != seen {
            return Ok(false);
        }
        let Some(statement) = MergeSql::new(&self.table, self.latest_wins).count_seen.filter(|_| seen > 0) else {
            return Ok(true);
        };
        let mut connection = self.pool.acquire().await?;
        let backend = session::backend(&mut connection).await?;
        let known = sqlx::query_scalar(AssertSqlSafe(statement))
            .persistent(false)
            .bind(&self.claim.connection)
            .bind(slice.window_start)
            .bind(slice.window_end)
            .bind(slice.id)
            .fetch_one(&mut *connection);
        let known: i64 = watched(self.pool, backend, known).await?;
        Ok(known == seen)
    }

    /// Stores the cursor of a reading that has to wait for the vendor, without rows.
    pub async fn park(&self, cursor: String, reading: &mut SliceReading) -> Result<(), LoadError> {
        let mut transaction = self.pool.begin().in_time().await?;
        let mut position = reading.slice.position.clone();
        position.run.get_or_insert(self.claim.id);
        position.until = Some(reading.until);
        position.fresh = reading.fresh;
        position.cursor = Some(cursor);
        if !reading::park(&mut *transaction, reading.slice.id, &position).await? {
            return Err(LoadError::Moved);
        }
        if !run::pass_fence(&mut *transaction, self.claim, &self.stream.name, self.lease).await? {
            return Err(LoadError::Fenced);
        }
        transaction.commit().in_time().await?;
        reading.slice.position = position;
        Ok(())
    }

    /// Adds columns for the fields of the layout, in a transaction of its own. Does not wait for a table that was
    /// locked lately.
    pub(super) async fn grow(&mut self, connection: &mut PgConnection, layout: &Layout) -> Result<(), LoadError> {
        if !self.locked_tables.may_wait(&self.table) && !is_free(connection, &self.table).await? {
            return Err(self.stay_locked_out(layout));
        }
        let begun = Instant::now();
        let cause = Cause { run: self.claim.id, connection: &self.claim.connection };
        let outcome = self.table.grow(connection, self.stream, layout, cause).await;
        self.note_attempt(layout, begun, &outcome);
        outcome
    }
}
