//! A batch's way from its chunks into the table: straight into place, or staged and merged.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::copy::{Common, Copy, Narrow, columns, fits};
use super::hold::{self, Evidence, Released};
use super::loader::{Loader, Reading};
use super::sql::MergeSql;
use super::table::{Cause, Table};
use super::transaction::{Batch, FingerprintState, PageLoad, execute, planned_each_time, signed};
use super::{LoadError, shape};
use crate::catalogue::Mode;
use crate::rows::binary;
use crate::rows::chunk::Chunk;
use crate::rows::encode::Bound;
use crate::rows::fingerprint::{Print, RowKind};
use crate::rows::layout::Layout;
use crate::store::cursor::Slice;
use crate::store::fingerprint;
use crate::store::reading::{self, Hold};

/// SQLSTATE of a row whose key is taken.
const UNIQUE_VIOLATION: &str = "23505";

/// What a merge did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merged {
    pub(super) inserted: i64,
    pub(super) updated: i64,
    /// Rows that were staged, of two with one key the later.
    pub(super) staged: i64,
}

impl PageLoad<'_, '_> {
    /// Sends rows of one layout. Those of a slice that has none go straight into place, but for those that a neighbouring
    /// slice may have too.
    pub(super) async fn send(&mut self, chunks: &[Chunk], reading: &Reading) -> Result<(), LoadError> {
        let expected_new = reading.fresh || self.compares(reading);
        let direct_copy = self.loader.direct_copy && expected_new && self.table.links.is_empty();
        let placed = direct_copy && self.place(chunks, reading).await?;
        self.stage(chunks, placed).await
    }

    /// Copies rows straight into place; false when there is nothing of them, for the key of one is taken.
    async fn place(&mut self, chunks: &[Chunk], reading: &Reading) -> Result<bool, LoadError> {
        let rows = in_order(chunks, |kind| kind == RowKind::New);
        let Some(layout) = chunks.first().map(|chunk| &chunk.layout).filter(|_| !rows.is_empty()) else {
            return Ok(true);
        };
        let loaded_at = self.lock_schema().await?;
        let columns = columns(&self.table, layout).ok_or_else(|| lacking(&self.table))?;
        if !fits(&columns, layout) || columns.iter().any(|column| column.bound != Bound::None) {
            return Ok(false);
        }
        let common = Common {
            connection: &self.loader.claim.connection,
            window_start: reading.slice.window_start,
            run: self.loader.claim.id,
            loaded_at,
        };
        let copy = Copy::into_place(&self.table, &columns, common);
        let release = if self.savepoint { "release savepoint placed; " } else { "" };
        execute(&mut self.transaction, format!("{release}savepoint placed")).await?;
        self.savepoint = true;
        match copy.send(&mut self.transaction, &rows).await {
            Ok(count) => {
                self.rows_placed += i64::from(count);
                Ok(true)
            }
            Err(error) if is_taken(&error) => {
                execute(&mut self.transaction, "rollback to savepoint placed".to_owned()).await?;
                self.loader.direct_copy = false;
                self.taken = true;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Copies rows into the staging table; the new ones not if they are in place.
    async fn stage(&mut self, chunks: &[Chunk], placed: bool) -> Result<(), LoadError> {
        let rows = in_order(chunks, |kind| kind != RowKind::New || !placed);
        let Some(layout) = chunks.first().map(|chunk| &chunk.layout).filter(|_| !rows.is_empty()) else {
            return Ok(());
        };
        self.make_stage().await?;
        let columns = columns(&self.table, layout).ok_or_else(|| lacking(&self.table))?;
        if fits(&columns, layout) {
            let copy = Copy::to_stage(&self.sql.stage, &columns, self.rows_staged);
            self.rows_staged += copy.send(&mut self.transaction, &rows).await?;
            return Ok(());
        }
        let narrow = Narrow::of(&self.sql.stage, &self.table, layout).ok_or_else(|| lacking(&self.table))?;
        execute(&mut self.transaction, narrow.create).await?;
        let columns: Vec<_> = narrow.columns.iter().collect();
        let copy = Copy::to_stage(&narrow.stage, &columns, self.rows_staged);
        self.rows_staged += copy.send(&mut self.transaction, &rows).await?;
        for statement in narrow.widen {
            execute(&mut self.transaction, statement).await?;
        }
        Ok(())
    }

    async fn make_stage(&mut self) -> Result<(), LoadError> {
        if !std::mem::replace(&mut self.has_stage, true) {
            execute(&mut self.transaction, self.sql.create_stage.clone()).await?;
        }
        Ok(())
    }

    /// Makes room for the next batch of the transaction.
    pub(super) async fn clear_stage(&mut self) -> Result<(), LoadError> {
        if std::mem::take(&mut self.rows_staged) > 0 {
            execute(&mut self.transaction, self.sql.clear_stage.clone()).await?;
        }
        Ok(())
    }

    /// Grows the table under a page that is arriving. Once rows of this transaction are in it, it holds the table, so the
    /// change must be its own; before that, a separate transaction keeps the table free for others.
    pub(super) async fn grow(&mut self, layout: &Layout) -> Result<(), LoadError> {
        let before = self.table.clone();
        if self.pinned.is_some() {
            let Loader { claim, stream, .. } = &*self.loader;
            let cause = Cause { run: claim.id, connection: &claim.connection };
            self.table.grow(&mut self.transaction, stream, layout, cause).await?;
        } else {
            let mut connection = self.loader.pool.acquire().await?;
            self.loader.grow(&mut connection, layout).await?;
            self.table = self.loader.table.clone();
        }
        self.reshape(&before).await
    }

    pub(super) async fn reshape(&mut self, before: &Table) -> Result<(), LoadError> {
        let sql = MergeSql::new(&self.table, self.loader.latest_wins);
        let statements = if self.has_stage { sql.reshape_stage(&self.sql, before, &self.table) } else { Vec::new() };
        for statement in statements {
            execute(&mut self.transaction, statement).await?;
        }
        self.sql = sql;
        Ok(())
    }

    /// Holds the table's shape until the end of the transaction, and follows it if another worker changed it; returns the
    /// transaction's own time.
    pub(super) async fn lock_schema(&mut self) -> Result<DateTime<Utc>, LoadError> {
        if let Some(at) = self.pinned {
            return Ok(at);
        }
        let target = crate::store::ident::table(&self.table.schema, &self.table.name);
        execute(&mut self.transaction, format!("lock table {target} in row exclusive mode")).await?;
        let relation = shape::relation(&mut self.transaction, &self.table.schema, &self.table.name).await?;
        let relation = relation.ok_or_else(|| self.table.altered("it was dropped"))?;
        self.pinned = Some(relation.now);
        if relation.version != self.table.version {
            let now = Table::read(&mut self.transaction, self.loader.stream).await?;
            if !now.missing.is_empty() || !now.follows(&self.table) {
                return Err(self.table.altered("columns of it were dropped or changed"));
            }
            let before = std::mem::replace(&mut self.table, now);
            self.reshape(&before).await?;
        }
        Ok(relation.now)
    }

    /// Brings the staged batch into the table; `single` when it is the whole slice.
    pub(super) async fn merge(&mut self, reading: &Reading, single: bool) -> Result<(), LoadError> {
        let Some(mut batch) = self.staged.take() else { return Ok(()) };
        self.flush(reading).await?;
        match batch.print.take() {
            Some(print) if self.compares(reading) => self.merge_compared(reading, &batch, print).await?,
            print => self.merge_whole(reading, &batch, print, single).await?,
        }
        self.batches_merged += 1;
        self.renamed.clear();
        Ok(())
    }

    /// Merges a batch of which nothing is known.
    async fn merge_whole(
        &mut self,
        reading: &Reading,
        batch: &Batch,
        print: Option<Print>,
        single: bool,
    ) -> Result<(), LoadError> {
        self.taken = false;
        let placed = std::mem::take(&mut self.rows_placed);
        self.progress.rows_inserted += placed;
        self.rows += placed;
        let mut arrived = placed;
        let mut dropped = HashSet::new();
        if !reading.fresh || self.rows_staged > 0 {
            self.lock_schema().await?;
            self.make_stage().await?;
            let shared = match &self.sql.twins {
                Some(twins) if !single => self.place_twins(&twins.clone(), reading, batch).await?,
                _ => batch.shared_keys(&[]),
            };
            dropped = self.drop_shared(reading, shared).await?;
            let merged = self.merge_staged(reading).await?;
            self.progress.rows_inserted += merged.inserted;
            self.progress.rows_updated += merged.updated;
            self.progress.rows_unchanged += merged.staged - merged.inserted - merged.updated;
            self.merge_links(reading).await?;
            let counted = match (self.sql.vanish.is_some(), reading.fresh, single) {
                (true, true, _) => merged.inserted,
                (true, false, true) => {
                    self.stage_is_slice = true;
                    merged.staged
                }
                (true, false, false) => self.note_seen(reading).await?,
                (false, ..) => merged.staged,
            };
            self.rows += counted;
            arrived += counted;
        }
        self.keep_whole(reading, print, arrived, &dropped).await
    }

    /// Merges what is staged, whatever it is.
    pub(super) async fn merge_staged(&mut self, reading: &Reading) -> Result<Merged, LoadError> {
        let counts = planned_each_time(&self.sql.merge)
            .bind(&self.loader.claim.connection)
            .bind(reading.slice.window_start)
            .bind(self.loader.claim.id)
            .fetch_one(&mut *self.transaction)
            .await?;
        Ok(Merged {
            inserted: counts.try_get("inserted")?,
            updated: counts.try_get("updated")?,
            staged: counts.try_get("staged")?,
        })
    }

    /// Brings the child tables in line with the staged parents. Child rows that are no longer reported stay if too many of
    /// them would go; the slice is held then.
    async fn merge_links(&mut self, reading: &Reading) -> Result<(), LoadError> {
        for links in self.sql.links.clone() {
            let counts = planned_each_time(&links.count)
                .bind(&self.loader.claim.connection)
                .bind(reading.slice.held_base_at)
                .fetch_one(&mut *self.transaction)
                .await?;
            let (present, gone): (i64, i64) = (counts.try_get("present")?, counts.try_get("gone")?);
            let all_gone: i64 = counts.try_get("all_gone")?;
            let evidence = Evidence { present, reported: present - gone, rejected: 0 };
            let hold_below = if reading.slice.released { 0 } else { self.loader.hold_below };
            let is_whole_list = self.table.mode == Mode::Snapshot;
            if let Some(reason) = hold::doubt_of_children(&links.child, evidence, hold_below, is_whole_list) {
                self.doubt.get_or_insert(reason);
            } else if all_gone > 0 {
                planned_each_time(&links.delete)
                    .bind(&self.loader.claim.connection)
                    .execute(&mut *self.transaction)
                    .await?;
            }
            planned_each_time(&links.insert)
                .bind(&self.loader.claim.connection)
                .bind(self.loader.claim.id)
                .execute(&mut *self.transaction)
                .await?;
        }
        Ok(())
    }

    /// Leaves out what a neighbouring slice has of the second that it shares with this one; returns the keys of that.
    pub(super) async fn drop_shared(&mut self, reading: &Reading, keys: Vec<Uuid>) -> Result<HashSet<u128>, LoadError> {
        let Some(drop_shared) = self.sql.drop_shared.as_ref().filter(|_| !keys.is_empty()) else {
            return Ok(HashSet::new());
        };
        let dropped = planned_each_time(&format!("{drop_shared}\nreturning staged._row_key"))
            .bind(keys)
            .bind(&self.loader.claim.connection)
            .bind(reading.neighbours)
            .fetch_all(&mut *self.transaction)
            .await?;
        self.progress.rows_outside += signed(dropped.len() as u64);
        let keys = dropped.iter().map(|row| row.try_get::<Uuid, _>(0).map(|key| key.as_u128()));
        Ok(keys.collect::<Result<_, _>>()?)
    }

    /// Child rows go with their parents.
    async fn delete_orphans(&mut self) -> Result<(), LoadError> {
        for statement in self.sql.vanish.iter().flat_map(|vanish| &vanish.links) {
            planned_each_time(statement).bind(&self.loader.claim.connection).execute(&mut *self.transaction).await?;
        }
        Ok(())
    }

    /// Notes the staged rows as still reported; returns how many were not noted before.
    async fn note_seen(&mut self, reading: &Reading) -> Result<i64, LoadError> {
        let noted =
            planned_each_time(&self.sql.note_seen).bind(reading.slice.id).execute(&mut *self.transaction).await?;
        self.seen += signed(noted.rows_affected());
        Ok(signed(noted.rows_affected()))
    }

    /// After the last page: rows that no page had are deleted or marked, unless the reading is doubtful.
    pub(super) async fn end_reading(&mut self, reading: &Reading) -> Result<(), LoadError> {
        let compared = self.compares(reading);
        let stage_is_slice = std::mem::take(&mut self.stage_is_slice);
        let vanish = self.sql.vanish.clone();
        let Some(vanish) = vanish.filter(|_| !reading.fresh || reading.slice.position.seen + self.seen > 0) else {
            // Nothing can be deleted, but what was refused is missing.
            let evidence = self.evidence(reading, None, stage_is_slice).await?;
            if let Some(reason) = self.doubt(reading, evidence) {
                self.hold_back(reading, reason, evidence).await?;
            }
            return Ok(());
        };
        // Postgres may have crashed while a page was awaited: what is not noted any more has not vanished.
        let noted = reading::count_seen(&mut *self.transaction, reading.slice.id).await?;
        if noted != reading.slice.position.seen + self.seen {
            return Err(LoadError::SeenLost);
        }
        let count = if stage_is_slice { &vanish.unstaged_count } else { &vanish.unseen_count };
        let evidence = self.evidence(reading, count.as_deref(), stage_is_slice).await?;
        if let Some(reason) = self.doubt(reading, evidence) {
            self.hold_back(reading, reason, evidence).await?;
        } else if compared {
            self.end_compared(reading).await?;
        } else if stage_is_slice {
            self.take_away(&vanish.unstaged, reading, None).await?;
        } else if !reading.fresh {
            self.take_away(&vanish.unseen, reading, Some(reading.slice.id)).await?;
        }
        sqlx::query!("delete from tidegate.seen_row where slice_id = $1", reading.slice.id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Why the finished reading is held.
    fn doubt(&self, reading: &Reading, evidence: Evidence) -> Option<String> {
        let of_children = reading.slice.position.doubt.clone().or_else(|| self.doubt.clone());
        hold::doubt(evidence, self.loader.hold_below, released(&reading.slice)).or(of_children)
    }

    /// Deletes or marks the rows that `statement` finds missing from the reading, and the child rows that go with them.
    async fn take_away(&mut self, statement: &str, reading: &Reading, slice: Option<i64>) -> Result<(), LoadError> {
        let gone = planned_each_time(statement)
            .bind(&self.loader.claim.connection)
            .bind(reading.slice.window_start)
            .bind(reading.slice.window_end)
            .bind(self.loader.claim.id);
        let gone = if slice.is_some() { gone.bind(slice) } else { gone };
        let gone = gone.execute(&mut *self.transaction).await?;
        self.progress.rows_deleted += signed(gone.rows_affected());
        self.delete_orphans().await
    }

    /// Returns the numbers by which the finished reading is judged. `count` is the statement that counts the rows of a list
    /// that the reading did not report; with it, rows that are new in the table do not count as reported.
    async fn evidence(
        &mut self,
        reading: &Reading,
        count: Option<&str>,
        stage_is_slice: bool,
    ) -> Result<Evidence, LoadError> {
        let slice = &reading.slice;
        let reported = slice.position.rows + self.rows;
        let rejected = slice.position.rejected + self.rejected;
        if reading.fresh {
            return Ok(Evidence { present: 0, reported, rejected });
        }
        let present = match slice.reading_present {
            Some(present) => present,
            // Begun by a version that did not count.
            None => self.loader.rows_present(&mut self.transaction, slice, None).await?,
        };
        let Some(count) = count else { return Ok(Evidence { present, reported, rejected }) };
        let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(count.to_owned()))
            .persistent(false)
            .bind(&self.loader.claim.connection)
            .bind(slice.window_start)
            .bind(slice.window_end)
            .bind(self.loader.claim.id);
        let count = if stage_is_slice { count } else { count.bind(slice.id) };
        let count = count.bind(slice.held_base_at);
        let lacking = count.fetch_one(&mut *self.transaction).await?;
        Ok(Evidence { present, reported: reported.min(present - lacking), rejected })
    }

    /// Keeps the rows that the reading did not report, and says why. The next reading compares every row with the table
    /// itself, since the fingerprints of this one do not know all rows.
    async fn hold_back(&mut self, reading: &Reading, reason: String, evidence: Evidence) -> Result<(), LoadError> {
        let slice = &reading.slice;
        *self.kept(reading) = FingerprintState { whole: false, batches: None };
        fingerprint::forget(&mut *self.transaction, slice.id).await?;
        let rows_there = match self.table.mode {
            Mode::ReplaceWindow | Mode::Snapshot => {
                self.loader.rows_present(&mut self.transaction, slice, None).await?
            }
            // Rows of such a table belong to no slice.
            Mode::Upsert | Mode::Observe => evidence.reported,
        };
        tracing::warn!(
            window_start = %slice.window_start,
            reason,
            "the slice is held: nothing was deleted; see `tidegate held`"
        );
        let had_children = self.doubt.is_some() || slice.position.doubt.is_some();
        self.hold = Some(Hold {
            reason,
            rows_there,
            rows_reported: evidence.reported,
            records_rejected: evidence.rejected,
            had_rows: evidence.present > 0 || had_children,
        });
        Ok(())
    }
}

/// The doubtful reading that the operator saw before the release; `None` without a release.
fn released(slice: &Slice) -> Option<Released> {
    let reported = slice.held_rows_reported.filter(|_| slice.released)?;
    Some(Released { reported, rejected: slice.held_records_rejected > 0 })
}

/// The rows of these kinds, in the order of their keys: so they meet the index where it was met before.
fn in_order(chunks: &[Chunk], wanted: impl Fn(RowKind) -> bool) -> Vec<&[u8]> {
    let rows = chunks.iter().flat_map(Chunk::rows).filter(|(_, kind)| wanted(*kind));
    let mut rows: Vec<&[u8]> = rows.map(|(row, _)| row).collect();
    // Stable: of two rows with one key the later counts. Where there is no hash, nothing moves.
    rows.sort_by_cached_key(|row| binary::first_key(row));
    rows
}

fn lacking(table: &Table) -> LoadError {
    table.altered("it has no column, or one of another type, for a field")
}

fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some(UNIQUE_VIOLATION)
}
