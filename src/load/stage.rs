//! Rows on their way into the table: waiting in memory, copied directly, or staged and merged.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;
use sqlx::{FromRow, Row as _};
use tokio::time::Instant;
use uuid::Uuid;

use super::apart_sql::ApartSql;
use super::copy::{Common, Copy, Narrow, columns, fits};
use super::hold::{self, Evidence};
use super::loader::{Loader, SliceReading};
use super::replace::Replace;
use super::sql::{Merge, MergeSql};
use super::statement::{execute, planned_each_time, signed};
use super::table::{Cause, Table, TableColumn};
use super::{LoadError, shape};
use crate::catalogue::{ColumnType, Mode, Stream};
use crate::rows::binary;
use crate::rows::chunk::{Chunk, DuplicateCounts, SharedRecord};
use crate::rows::encode::Bound;
use crate::rows::fingerprint::{BatchFingerprint, RowKind};
use crate::rows::layout::Layout;
use crate::store::distribution::Distribution;
use crate::store::run::Claim;

/// SQLSTATE of a row whose key exists.
const UNIQUE_VIOLATION: &str = "23505";
/// SQLSTATE of an error that has none of its own.
const INTERNAL_ERROR: &str = "XX000";

/// What a merge did.
#[derive(Debug, Clone, Copy, Default, FromRow)]
pub(super) struct Merged {
    pub(super) inserted: i64,
    pub(super) updated: i64,
    /// Rows that were staged, one for each key.
    pub(super) staged: i64,
}

/// Rows that were copied directly into the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    pub(super) inserted: i64,
    pub(super) replaced: i64,
    /// Whether the table has other rows than was known, so that the rest was not copied directly.
    pub(super) key_conflict: bool,
}

/// Which rows of a layout are copied directly.
#[derive(Debug, Default)]
struct Direct {
    new: bool,
    changed: Option<Replace>,
}

impl Direct {
    fn takes(&self, row: &[u8], kind: RowKind) -> bool {
        match kind {
            RowKind::New => self.new,
            RowKind::Changed => self.changed.as_ref().is_some_and(|replace| replace.takes(row)),
            RowKind::Known | RowKind::Repeated | RowKind::Shared => false,
        }
    }
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
    /// Whether changed rows may be replaced. Known once the transaction has locked the table's schema.
    replaces: bool,
    /// Whether this session has the staging table.
    exists: bool,
    rows_staged: i32,
    rows_copied: i64,
    /// Rows of the table that were replaced by copied ones.
    rows_replaced: i64,
    has_savepoint: bool,
    /// Whether a row that should be new was in the table already.
    key_conflict: bool,
    /// Whether the batch has staged rows, or rows to be staged, that may have the key of another row. Of such rows the
    /// later counts, and staged rows are merged after those that are copied directly.
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
            replaces: false,
            exists: false,
            rows_staged: 0,
            rows_copied: 0,
            rows_replaced: 0,
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

    /// What was copied directly of the batch.
    pub(super) fn take_copied(&mut self) -> Copied {
        Copied {
            inserted: std::mem::take(&mut self.rows_copied),
            replaced: std::mem::take(&mut self.rows_replaced),
            key_conflict: std::mem::take(&mut self.key_conflict),
        }
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
        let may_repeat = |kind: &RowKind| matches!(kind, RowKind::Repeated | RowKind::Shared);
        self.may_repeat |= self.latest_wins && chunks.iter().flat_map(|chunk| &chunk.kinds).any(may_repeat);
        for chunks in chunks.chunk_by(|one, other| Arc::ptr_eq(&one.layout, &other.layout)) {
            let direct_copy = loader.direct_copy && expects_new && self.table.links.is_empty() && !self.may_repeat;
            let direct = if direct_copy {
                self.copy_directly(connection, loader, chunks, reading).await?
            } else {
                Direct::default()
            };
            self.stage(connection, chunks, &direct).await?;
            self.may_repeat |= self.latest_wins && !direct.new;
        }
        Ok(())
    }

    /// Copies new rows, and rows that certainly changed, directly into the table. Returns which rows it has copied:
    /// none if the table has other rows than is known.
    async fn copy_directly(
        &mut self,
        connection: &mut PgConnection,
        loader: &mut Loader<'_>,
        chunks: &[Chunk],
        reading: &SliceReading,
    ) -> Result<Direct, LoadError> {
        let may_take = |kind: &RowKind| matches!(kind, RowKind::New | RowKind::Changed);
        let some = chunks.iter().find(|chunk| chunk.kinds.iter().any(may_take));
        let Some(layout) = some.map(|chunk| &chunk.layout) else {
            return Ok(Direct { new: true, changed: None });
        };
        let loaded_at = self.lock_schema(connection, loader.stream).await?;
        let columns = columns(&self.table, layout).ok_or_else(|| lacking(&self.table))?;
        if !fits(&columns, layout) || columns.iter().any(|column| column.bound != Bound::None) {
            return Ok(Direct::default());
        }
        // Of records with one key the last counts. If the first were replaced, its row would be written, and counted,
        // though the last may be what the table has.
        let repeats = chunks.iter().flat_map(|chunk| &chunk.kinds).any(|kind| *kind == RowKind::Repeated);
        let replaces = self.replaces && !repeats;
        let changed = if replaces { Replace::of(&self.sql, &self.table, &columns) } else { None };
        let direct = Direct { new: true, changed };
        let rows = in_order(chunks, self.order(&columns), |row, kind| direct.takes(row, kind));
        if rows.is_empty() {
            return Ok(direct);
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
        let replaced: Vec<&[u8]> =
            rows.iter().filter(|(_, kind)| *kind == RowKind::Changed).map(|(row, _)| *row).collect();
        let all_there = match &direct.changed {
            Some(replace) if !replaced.is_empty() => {
                let gone = replace.delete(connection, common, &replaced, &mut loader.changes_in_order).await?;
                gone == replaced.len() as u64
            }
            _ => true,
        };
        if all_there {
            let all: Vec<&[u8]> = rows.iter().map(|(row, _)| *row).collect();
            match copy.send(connection, &all).await {
                Ok(_) => {
                    self.rows_replaced += signed(replaced.len() as u64);
                    self.rows_copied += signed((rows.len() - replaced.len()) as u64);
                    return Ok(direct);
                }
                Err(error) if is_key_conflict(&error, self.table.distribution) => {}
                Err(error) => return Err(error.into()),
            }
        }
        execute(connection, "rollback to savepoint direct_copy".to_owned()).await?;
        loader.direct_copy = false;
        self.key_conflict = true;
        Ok(Direct::default())
    }

    /// Copies rows into the staging table, without those that were copied directly.
    async fn stage(
        &mut self,
        connection: &mut PgConnection,
        chunks: &[Chunk],
        direct: &Direct,
    ) -> Result<(), LoadError> {
        let is_staged = |row: &[u8], kind| !direct.takes(row, kind);
        let some = chunks.iter().find(|chunk| chunk.rows().any(|(row, kind)| is_staged(row, kind)));
        let Some(layout) = some.map(|chunk| &chunk.layout) else { return Ok(()) };
        self.create(connection).await?;
        let columns = columns(&self.table, layout).ok_or_else(|| lacking(&self.table))?;
        let rows = in_order(chunks, self.order(&columns), is_staged);
        let rows: Vec<&[u8]> = rows.into_iter().map(|(row, _)| row).collect();
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

    /// By which field rows are ordered.
    fn order(&self, columns: &[&TableColumn]) -> Order {
        let first = self.table.key.first().filter(|_| !self.table.by_hash());
        let at = first.and_then(|name| columns.iter().position(|column| column.name == *name));
        at.map_or(Order::Hash, |at| match columns[at].kind {
            ColumnType::Text => Order::Text(at + 1),
            _ => Order::Number(at + 1),
        })
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
            if !loader.locked_tables.may_wait(&self.table) {
                return Err(loader.stay_locked_out(layout));
            }
            let begun = Instant::now();
            let cause = Cause { run: loader.claim.id, connection: &loader.claim.connection };
            let outcome = self.table.grow(connection, loader.stream, layout, cause).await;
            loader.note_attempt(layout, begun, &outcome);
            outcome?;
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
        // A partition is not locked before rows come into it.
        let only = if self.table.partitioned { "only " } else { "" };
        execute(connection, format!("lock table {only}{target} in row exclusive mode")).await?;
        let relation = shape::relation(connection, &self.table.schema, &self.table.name).await?;
        let relation = relation.ok_or_else(|| self.table.altered("it was dropped"))?;
        self.locked_at = Some(relation.now);
        if relation.version != self.table.version {
            let now = Table::read(connection, stream, self.table.distribution).await?;
            if !now.missing.is_empty() || !now.follows(&self.table) {
                return Err(self.table.altered("columns of it were dropped or changed"));
            }
            let before = std::mem::replace(&mut self.table, now);
            self.reshape(connection, &before).await?;
        }
        self.replaces = relation.is_plain && relation.columns == signed(self.table.columns_known() as u64);
        Ok(relation.now)
    }

    pub(super) async fn merge(
        &self,
        connection: &mut PgConnection,
        claim: &Claim,
        reading: &SliceReading,
    ) -> Result<Merged, LoadError> {
        let ApartSql { insert, update, staged } = match &self.sql.merge {
            Merge::Joined(merge) => {
                let counts = planned_each_time(merge)
                    .bind(&claim.connection)
                    .bind(reading.slice.window_start)
                    .bind(claim.id)
                    .fetch_one(connection)
                    .await?;
                return Ok(Merged::from_row(&counts)?);
            }
            Merge::Apart(apart) => apart,
        };
        let inserted = self.write(connection, insert, claim, reading).await?;
        let updated = self.write(connection, update, claim, reading).await?;
        let staged = planned_each_time(staged).fetch_one(connection).await?.try_get(0)?;
        Ok(Merged { inserted, updated, staged })
    }

    /// Runs a statement that writes staged rows; returns how many rows it wrote.
    async fn write(
        &self,
        connection: &mut PgConnection,
        statement: &str,
        claim: &Claim,
        reading: &SliceReading,
    ) -> Result<i64, LoadError> {
        let done = planned_each_time(statement)
            .bind(&claim.connection)
            .bind(reading.slice.window_start)
            .bind(claim.id)
            .execute(connection)
            .await?;
        Ok(signed(done.rows_affected()))
    }

    /// Writes staged rows whose keys the table has, and returns how many of them changed a row.
    pub(super) async fn update(
        &self,
        connection: &mut PgConnection,
        claim: &Claim,
        reading: &SliceReading,
    ) -> Result<i64, LoadError> {
        let Some(update) = &self.sql.update else { return Ok(0) };
        self.write(connection, update, claim, reading).await
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
            for statement in &links.write {
                planned_each_time(statement).bind(account).bind(run).execute(&mut *connection).await?;
            }
        }
        Ok(doubt)
    }

    /// Removes staged rows with these identities that a neighbouring slice has too. Returns the identities of which the
    /// batch has no row any more.
    pub(super) async fn drop_shared(
        &mut self,
        connection: &mut PgConnection,
        claim: &Claim,
        reading: &SliceReading,
        keys: Vec<Uuid>,
    ) -> Result<HashSet<u128>, LoadError> {
        let Some(shared) = self.sql.shared.as_ref().filter(|_| !keys.is_empty()) else {
            return Ok(HashSet::new());
        };
        let mut places: BTreeSet<i32> = BTreeSet::new();
        let mut dropped = HashSet::new();
        for neighbour in reading.neighbours {
            let found = planned_each_time(&shared.find)
                .bind(&keys)
                .bind(&claim.connection)
                .bind(neighbour)
                .fetch_all(&mut *connection)
                .await?;
            for row in found {
                places.insert(row.try_get(0)?);
                dropped.insert(row.try_get::<Uuid, _>(1)?.as_u128());
            }
        }
        if !places.is_empty() {
            self.rows_staged -= i32::try_from(places.len()).unwrap_or(self.rows_staged);
            let places: Vec<i32> = places.into_iter().collect();
            planned_each_time(&shared.delete).bind(places).execute(&mut *connection).await?;
            // Another record with the key of a removed one may differ from the neighbour's row.
            let removed: Vec<Uuid> = dropped.iter().copied().map(Uuid::from_u128).collect();
            for row in planned_each_time(&shared.left).bind(removed).fetch_all(connection).await? {
                dropped.remove(&row.try_get::<Uuid, _>(0)?.as_u128());
            }
        }
        Ok(dropped)
    }

    /// Notes the staged rows as still reported; returns how many were not noted before.
    pub(super) async fn note_seen(&self, connection: &mut PgConnection, slice: i64) -> Result<i64, LoadError> {
        let noted = planned_each_time(&self.sql.note_seen).bind(slice).execute(connection).await?;
        Ok(signed(noted.rows_affected()))
    }
}

/// How rows are ordered: by their `_row_key`, or by the first column of the key, which is at this place.
#[derive(Debug, Clone, Copy)]
enum Order {
    Hash,
    Text(usize),
    /// A signed number, or an instant.
    Number(usize),
}

impl Order {
    /// The beginning of what the row is ordered by. Rows with one key have one beginning.
    fn of(self, row: &[u8]) -> u128 {
        let (at, flip) = match self {
            Self::Hash => return binary::first_key(row),
            Self::Text(at) => (at, 0),
            // So that negative numbers come first.
            Self::Number(at) => (at, 1 << 127),
        };
        let value = binary::fields(row).nth(at).flatten().unwrap_or_default();
        let mut start = [0; 16];
        let length = value.len().min(start.len());
        start[..length].copy_from_slice(&value[..length]);
        u128::from_be_bytes(start) ^ flip
    }
}

/// The wanted rows with their kinds, ordered by key, so that index pages are written in their order.
fn in_order(chunks: &[Chunk], order: Order, wanted: impl Fn(&[u8], RowKind) -> bool) -> Vec<(&[u8], RowKind)> {
    let mut rows: Vec<(&[u8], RowKind)> =
        chunks.iter().flat_map(Chunk::rows).filter(|(row, kind)| wanted(row, *kind)).collect();
    // The sort is stable: of two rows with one key the later counts.
    rows.sort_by_cached_key(|(row, _)| order.of(row));
    rows
}

fn lacking(table: &Table) -> LoadError {
    table.altered("it has no column, or one of another type, for a field")
}

/// Whether a copy met a row whose key exists.
///
/// Citus reports what a node refuses of a copy without its code, and in the language of the node. So any such error
/// counts: the rows are staged and merged instead, and what else was wrong with them is reported there.
fn is_key_conflict(error: &sqlx::Error, distribution: Distribution) -> bool {
    match super::code(error).as_deref() {
        Some(UNIQUE_VIOLATION) => true,
        Some(INTERNAL_ERROR) => distribution == Distribution::Citus,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::PostgresError;

    #[test]
    fn a_key_that_exists_is_noticed_although_citus_reports_it_without_its_code() {
        let is_conflict = |code, distribution| is_key_conflict(&PostgresError(code).into(), distribution);
        for (code, on_one_server, distributed) in
            [("23505", true, true), ("XX000", false, true), ("22P03", false, false), ("08006", false, false)]
        {
            assert_eq!(is_conflict(code, Distribution::None), on_one_server, "{code}");
            assert_eq!(is_conflict(code, Distribution::Citus), distributed, "{code}");
        }
    }
}
