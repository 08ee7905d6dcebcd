//! What loads the pages of a task, slice by slice, and what becomes of a slice's reading between its pages.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::LoadError;
use super::table::{Cause, Table};
use crate::catalogue::{Mode, Stream};
use crate::rows::layout::Layout;
use crate::store::cursor::Slice;
use crate::store::reading::{self, Position};
use crate::store::run::{self, Claim};
use crate::store::session::Deadline as _;

/// What [`Loader::hold_below`] is unless the job says otherwise.
pub const HOLD_BELOW: u8 = 80;

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
    /// Whether rows that should be new go straight into place: until there was one whose key was taken.
    pub direct_copy: bool,
    /// Whether the rows of the reading under way are compared with fingerprints.
    pub comparing: bool,
    /// Whether rows may be left out that did not change; told to the reader of the records.
    pub skipping: Arc<AtomicBool>,
    /// A reading that reports a smaller share of a slice's rows than this takes nothing away, in percent.
    pub hold_below: u8,
}

/// Rows that a slice or list has, as a condition on `$1` connection, `$2` window start and `$3` window end.
const fn rows_of(mode: Mode) -> &'static str {
    match mode {
        Mode::ReplaceWindow => "_connection = $1 and _window_start >= $2 and _window_start < $3",
        Mode::Snapshot => "_connection = $1 and _deleted_at is null",
        Mode::Upsert | Mode::Observe => "_connection = $1",
    }
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
            latest_wins,
            table,
            direct_copy: true,
            comparing: false,
            skipping,
            hold_below: HOLD_BELOW,
        }
    }

    /// Prepares for the reading of a slice: compares its rows with fingerprints, where that is possible.
    pub fn compare(&mut self, slice: &Slice) {
        self.direct_copy = true;
        self.comparing = self.table.fingerprinted() && slice.position.batches.is_some();
        self.skipping = Arc::new(AtomicBool::new(self.comparing && slice.position.fingerprinted));
    }

    /// Decides whether a slice that begins to be read has rows already, and drops what an abandoned reading left.
    pub async fn begin_reading(&self, reading: &mut Reading) -> Result<(), LoadError> {
        let mut transaction = self.pool.begin().in_time().await?;
        reading::restart(&mut transaction, reading.slice.id).await?;
        // Whatever a window of entities brings, its rows are no other than those of the windows around.
        let here = match self.stream.mode {
            Mode::ReplaceWindow => rows_of(Mode::ReplaceWindow),
            Mode::Snapshot | Mode::Upsert | Mode::Observe => "_connection = $1",
        };
        let target = crate::store::ident::table(&self.table.schema, &self.table.name);
        let statement = format!("select not exists (select from {target} where {here})");
        let fresh: bool = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(&self.claim.connection)
            .bind(reading.slice.window_start)
            .bind(reading.slice.window_end)
            .fetch_one(&mut *transaction)
            .await?;
        let slice = &reading.slice;
        let rows = if fresh { 0 } else { self.rows_present(&mut transaction, slice, None).await? };
        let whole = slice.position.fingerprinted && !fresh && rows == slice.rows_total;
        // What an abandoned reading added is not what the slice had.
        let had = if slice.finished_run.is_some() { rows.min(slice.rows_total) } else { rows };
        // Nor is what doubtful readings added.
        let present = match slice.held_base_at {
            Some(base) if !fresh => self.rows_present(&mut transaction, slice, Some(base)).await?.min(had),
            _ => had,
        };
        reading::note_present(&mut *transaction, reading.slice.id, present).await?;
        if reading.slice.position.fingerprinted && !whole {
            reading::distrust(&mut transaction, reading.slice.id).await?;
        }
        // Or a worker that lost the stream would send the one that has it back to the first page.
        if !run::pass_fence(&mut *transaction, self.claim, &self.stream.name, self.lease).await? {
            return Err(LoadError::Fenced);
        }
        transaction.commit().in_time().await?;
        reading.fresh = fresh;
        reading.slice.position = Position { fingerprinted: whole, batches: Some(0), ..Position::default() };
        reading.slice.reading_present = Some(present);
        Ok(())
    }

    /// How many rows the table has of a slice or list. Returns 0 where rows that are no longer reported stay anyway.
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

    /// Whether what an unfinished reading noted as seen is still there (Postgres may have crashed since).
    pub async fn seen_is_whole(&self, slice: &Slice) -> Result<bool, LoadError> {
        Ok(reading::count_seen(self.pool, slice.id).await? == slice.position.seen)
    }

    /// Notes where a reading stands that has to wait for the vendor, no rows with it.
    pub async fn park(&self, cursor: String, reading: &mut Reading) -> Result<(), LoadError> {
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

    /// Gives every field of the layout a column, in a transaction of its own.
    pub(super) async fn grow(&mut self, connection: &mut PgConnection, layout: &Layout) -> Result<(), LoadError> {
        let cause = Cause { run: self.claim.id, connection: &self.claim.connection };
        self.table.grow(connection, self.stream, layout, cause).await
    }
}
