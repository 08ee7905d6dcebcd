//! Rows on their way into the table: waiting in memory, copied directly, or staged and merged.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use sqlx::{FromRow, Row as _};
use uuid::Uuid;

use super::copy::{Common, Copy, Narrow, columns, fits};
use super::hold::{self, Evidence};
use super::loader::{Loader, SliceReading};
use super::sql::MergeSql;
use super::statement::{execute, planned_each_time, signed};
use super::table::{Cause, Table};
use super::{LoadError, shape};
use crate::catalogue::{Mode, Stream};
use crate::rows::binary;
use crate::rows::chunk::{Chunk, DuplicateCounts, SharedRecord};
use crate::rows::encode::Bound;
use crate::rows::fingerprint::{BatchFingerprint, RowKind};
use crate::rows::layout::Layout;
use crate::store::run::Claim;

/// SQLSTATE of a row whose key exists.
const UNIQUE_VIOLATION: &str = "23505";

/// What a merge did.
#[derive(Debug, Clone, Copy, Default, FromRow)]
pub(super) struct Merged {
    pub(super) inserted: i64,
    pub(super) updated: i64,
    /// Rows that were staged. Of two with one key, only the later counts.
    pub(super) staged: i64,
}

/// What is known of the records of a complete batch, in addition to their rows.
#[derive(Debug)]
pub(super) struct StagedBatch {
    pub(super) shared: Vec<SharedRecord>,
    pub(super) duplicates: DuplicateCounts,
    pub(super) fingerprint: Option<BatchFingerprint>,
}

/// The rows of the current batch. Each is in exactly one place: in `waiting`, in the staging table, or in the table
/// itself, where `rows_staged` and `rows_copied` count them.
#[derive(Debug)]
pub(super) struct Stage {
    /// As this transaction sees it, with its own columns that are not durable yet.
    table: Table,
    sql: MergeSql,
    latest_wins: bool,
    /// The transaction's timestamp, which becomes `_loaded_at`. Set once the transaction has locked the table's schema.
    locked_at: Option<DateTime<Utc>>,
    /// Chunks are sent together, as late as possible: rows that were copied directly lock the table's schema.
    waiting: Vec<Chunk>,
    waiting_bytes: usize,
    waiting_max: usize,
    /// Whether this session has the staging table.
    exists: bool,
    rows_staged: i32,
    rows_copied: i64,
    has_savepoint: bool,
    /// Whether a row that should be new was in the table already.
    key_conflict: bool,
    /// Whether the batch has staged rows that may have the key of a later row. Of such rows the later counts, and
    /// staged rows are merged after those that are copied directly.
    may_repeat: bool,
}

impl Stage {
    pub(super) fn new(loader: &Loader<'_>, waiting_max: usize) -> Self {
        Self {
            table: loader.table.clone(),
            sql: MergeSql::new(&loader.table, loader.latest_wins),
            latest_wins: loader.latest_wins,
            locked_at: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            waiting_max,
            exists: false,
            rows_staged: 0,
            rows_copied: 0,
            has_savepoint: false,
            key_conflict: false,
            may_repeat: false,
        }
    }

    pub(super) const fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn restore(&mut self, table: Table) {
        self.table = table;
    }

    pub(super) fn into_table(self) -> Table {
        self.table
    }

    pub(super) const fn sql(&self) -> &MergeSql {
        &self.sql
    }

    pub(super) const fn has_rows(&self) -> bool {
        self.rows_staged > 0
    }

    pub(super) fn rows(&self) -> i64 {
        self.rows_staged.into()
    }

    pub(super) const fn waiting(&self) -> usize {
        self.waiting_bytes
    }

    pub(super) const fn is_full(&self) -> bool {
        self.waiting_bytes > self.waiting_max
    }

    pub(super) fn push(&mut self, chunk: Chunk) {
        self.waiting_bytes += chunk.weight();
        self.waiting.push(chunk);
    }

    /// How many rows of the batch were copied directly, and whether a key conflict stopped that.
    pub(super) const fn take_copied(&mut self) -> (i64, bool) {
        (std::mem::replace(&mut self.rows_copied, 0), std::mem::replace(&mut self.key_conflict, false))
    }

    /// The statement that releases the savepoint of a direct copy; empty without one.
    pub(super) const fn release_savepoint(&mut self) -> &'static str {
        if std::mem::replace(&mut self.has_savepoint, false) { "release savepoint direct_copy; " } else { "" }
    }

    /// Sends the chunks that wait. If rows are expected to be new, they are copied directly into the table, except
    /// those that a neighbouring slice may have too.
    pub(super) async fn flush(
        &mut self,
        connection: &mut PgConnection,
        loader: &mut Loader<'_>,
        reading: &SliceReading,
        expects_new: bool,
    ) -> Result<(), LoadError> {
        let chunks = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        for chunks in chunks.chunk_by(|one, other| Arc::ptr_eq(&one.layout, &other.layout)) {
            let shares = || chunks.iter().flat_map(|chunk| &chunk.kinds).any(|kind| *kind == RowKind::Shared);
            self.may_repeat |= self.latest_wins && shares();
            let direct_copy = loader.direct_copy && expects_new && self.table.links.is_empty() && !self.may_repeat;
            let copied = direct_copy && self.copy_directly(connection, loader, chunks, reading).await?;
            self.stage(connection, chunks, copied).await?;
            self.may_repeat |= self.latest_wins && !copied;
        }
        Ok(())
    }

    /// Copies new rows directly into the table. Returns `false` if none was copied because one of their keys exists.
    async fn copy_directly(
        &mut self,
        connection: &mut PgConnection,
        loader: &mut Loader<'_>,
        chunks: &[Chunk],
        reading: &SliceReading,
    ) -> Result<bool, LoadError> {
        let rows = in_order(chunks, |kind| kind == RowKind::New);
        let Some(layout) = chunks.first().map(|chunk| &chunk.layout).filter(|_| !rows.is_empty()) else {
            return Ok(true);
        };
        let loaded_at = self.lock_schema(connection, loader.stream).await?;
        let columns = columns(&self.table, layout).ok_or_else(|| lacking(&self.table))?;
        if !fits(&columns, layout) || columns.iter().any(|column| column.bound != Bound::None) {
            return Ok(false);
        }
        let common = Common {
            connection: &loader.claim.connection,
            window_start: reading.slice.window_start,
            run: loader.claim.id,
            loaded_at,
        };
        let copy = Copy::into_table(&self.table, &columns, common);
        let release = self.release_savepoint();
        execute(connection, format!("{release}savepoint direct_copy")).await?;
        self.has_savepoint = true;
        match copy.send(connection, &rows).await {
            Ok(count) => {
                self.rows_copied += i64::from(count);
                Ok(true)
            }
            Err(error) if is_key_conflict(&error) => {
                execute(connection, "rollback to savepoint direct_copy".to_owned()).await?;
                loader.direct_copy = false;
                self.key_conflict = true;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Copies rows into the staging table, without the new ones if those were `copied` directly.
    async fn stage(&mut self, connection: &mut PgConnection, chunks: &[Chunk], copied: bool) -> Result<(), LoadError> {
        let rows = in_order(chunks, |kind| kind != RowKind::New || !copied);
        let Some(layout) = chunks.first().map(|chunk| &chunk.layout).filter(|_| !rows.is_empty()) else {
            return Ok(());
        };
        self.create(connection).await?;
        let columns = columns(&self.table, layout).ok_or_else(|| lacking(&self.table))?;
        if fits(&columns, layout) {
            let copy = Copy::to_stage(&self.sql.stage, &columns, self.rows_staged);
            self.rows_staged += copy.send(connection, &rows).await?;
            return Ok(());
        }
        let narrow = Narrow::of(&self.sql.stage, &self.table, layout).ok_or_else(|| lacking(&self.table))?;
        execute(connection, narrow.create).await?;
        let columns: Vec<_> = narrow.columns.iter().collect();
        let copy = Copy::to_stage(&narrow.stage, &columns, self.rows_staged);
        self.rows_staged += copy.send(connection, &rows).await?;
        for statement in narrow.widen {
            execute(connection, statement).await?;
        }
        Ok(())
    }

    pub(super) async fn create(&mut self, connection: &mut PgConnection) -> Result<(), LoadError> {
        if !std::mem::replace(&mut self.exists, true) {
            execute(connection, self.sql.create_stage.clone()).await?;
        }
        Ok(())
    }

    /// Empties the staging table for the next batch of the transaction.
    pub(super) async fn clear(&mut self, connection: &mut PgConnection) -> Result<(), LoadError> {
        self.may_repeat = false;
        if std::mem::take(&mut self.rows_staged) > 0 {
            execute(connection, self.sql.clear_stage.clone()).await?;
        }
        Ok(())
    }

    /// Adds columns to the table while a page arrives. If this transaction has locked the table's schema, it makes the
    /// change itself. Otherwise a transaction of its own does, so that the table is not locked for longer.
    pub(super) async fn grow(
        &mut self,
        connection: &mut PgConnection,
        loader: &mut Loader<'_>,
        layout: &Layout,
    ) -> Result<(), LoadError> {
        let before = self.table.clone();
        if self.locked_at.is_some() {
            let cause = Cause { run: loader.claim.id, connection: &loader.claim.connection };
            self.table.grow(connection, loader.stream, layout, cause).await?;
        } else {
            let mut other = loader.pool.acquire().await?;
            loader.grow(&mut other, layout).await?;
            self.table = loader.table.clone();
        }
        self.reshape(connection, &before).await
    }

    async fn reshape(&mut self, connection: &mut PgConnection, before: &Table) -> Result<(), LoadError> {
        let sql = MergeSql::new(&self.table, self.latest_wins);
        let statements = if self.exists { sql.reshape_stage(&self.sql, before, &self.table) } else { Vec::new() };
        for statement in statements {
            execute(connection, statement).await?;
        }
        self.sql = sql;
        Ok(())
    }

    /// Locks the table's schema until the end of the transaction, and reads it again if another worker changed it.
    /// Returns the transaction's timestamp.
    pub(super) async fn lock_schema(
        &mut self,
        connection: &mut PgConnection,
        stream: &Stream,
    ) -> Result<DateTime<Utc>, LoadError> {
        if let Some(at) = self.locked_at {
            return Ok(at);
        }
        let target = crate::store::ident::table(&self.table.schema, &self.table.name);
        execute(connection, format!("lock table {target} in row exclusive mode")).await?;
        let relation = shape::relation(connection, &self.table.schema, &self.table.name).await?;
        let relation = relation.ok_or_else(|| self.table.altered("it was dropped"))?;
        self.locked_at = Some(relation.now);
        if relation.version != self.table.version {
            let now = Table::read(connection, stream).await?;
            if !now.missing.is_empty() || !now.follows(&self.table) {
                return Err(self.table.altered("columns of it were dropped or changed"));
            }
            let before = std::mem::replace(&mut self.table, now);
            self.reshape(connection, &before).await?;
        }
        Ok(relation.now)
    }

    pub(super) async fn merge(
        &self,
        connection: &mut PgConnection,
        claim: &Claim,
        reading: &SliceReading,
    ) -> Result<Merged, LoadError> {
        let counts = planned_each_time(&self.sql.merge)
            .bind(&claim.connection)
            .bind(reading.slice.window_start)
            .bind(claim.id)
            .fetch_one(connection)
            .await?;
        Ok(Merged::from_row(&counts)?)
    }

    /// Writes staged rows whose keys the table has, and returns how many of them changed a row.
    pub(super) async fn update(
        &self,
        connection: &mut PgConnection,
        claim: &Claim,
        reading: &SliceReading,
    ) -> Result<i64, LoadError> {
        let Some(update) = &self.sql.update else { return Ok(0) };
        let done = planned_each_time(update)
            .bind(&claim.connection)
            .bind(reading.slice.window_start)
            .bind(claim.id)
            .execute(connection)
            .await?;
        Ok(signed(done.rows_affected()))
    }

    /// Updates the child tables from the staged parents. Returns why child rows that are no longer reported stay, if
    /// too many of them would be deleted; the slice must then be held.
    pub(super) async fn merge_links(
        &self,
        connection: &mut PgConnection,
        loader: &Loader<'_>,
        reading: &SliceReading,
    ) -> Result<Option<String>, LoadError> {
        let (account, run) = (&loader.claim.connection, loader.claim.id);
        let mut doubt = None;
        for links in &self.sql.links {
            let count = planned_each_time(&links.count).bind(account).bind(reading.slice.held_base_at);
            let counts = count.fetch_one(&mut *connection).await?;
            let (present, gone): (i64, i64) = (counts.try_get("present")?, counts.try_get("gone")?);
            let all_gone: i64 = counts.try_get("all_gone")?;
            let evidence = Evidence { present, reported: present - gone, rejected: 0 };
            let hold_below = if reading.slice.released { 0 } else { loader.hold_below };
            let is_whole_list = self.table.mode == Mode::Snapshot;
            if let Some(reason) = hold::doubt_of_children(&links.child, evidence, hold_below, is_whole_list) {
                doubt.get_or_insert(reason);
            } else if all_gone > 0 {
                planned_each_time(&links.delete).bind(account).execute(&mut *connection).await?;
            }
            planned_each_time(&links.insert).bind(account).bind(run).execute(&mut *connection).await?;
        }
        Ok(doubt)
    }

    /// Removes staged rows with these identities that a neighbouring slice has too; returns those of the removed rows.
    pub(super) async fn drop_shared(
        &self,
        connection: &mut PgConnection,
        claim: &Claim,
        reading: &SliceReading,
        keys: Vec<Uuid>,
    ) -> Result<HashSet<u128>, LoadError> {
        let Some(drop_shared) = self.sql.drop_shared.as_ref().filter(|_| !keys.is_empty()) else {
            return Ok(HashSet::new());
        };
        let dropped = planned_each_time(drop_shared)
            .bind(keys)
            .bind(&claim.connection)
            .bind(reading.neighbours)
            .fetch_all(connection)
            .await?;
        let keys = dropped.iter().map(|row| row.try_get::<Uuid, _>(0).map(|key| key.as_u128()));
        Ok(keys.collect::<Result<_, _>>()?)
    }

    /// Notes the staged rows as still reported; returns how many were not noted before.
    pub(super) async fn note_seen(&self, connection: &mut PgConnection, slice: i64) -> Result<i64, LoadError> {
        let noted = planned_each_time(&self.sql.note_seen).bind(slice).execute(connection).await?;
        Ok(signed(noted.rows_affected()))
    }
}

/// The rows of the wanted kinds, ordered by key, so that index pages are written in their order.
fn in_order(chunks: &[Chunk], wanted: impl Fn(RowKind) -> bool) -> Vec<&[u8]> {
    let rows = chunks.iter().flat_map(Chunk::rows).filter(|(_, kind)| wanted(*kind));
    let mut rows: Vec<&[u8]> = rows.map(|(row, _)| row).collect();
    // The sort is stable: of two rows with one key the later counts. Rows without a hash keep their order.
    rows.sort_by_cached_key(|row| binary::first_key(row));
    rows
}

fn lacking(table: &Table) -> LoadError {
    table.altered("it has no column, or one of another type, for a field")
}

fn is_key_conflict(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some(UNIQUE_VIOLATION)
}
