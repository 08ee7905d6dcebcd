//! The end of a reading: rows that it did not report are deleted or marked, unless the reading is doubtful.

use sqlx::AssertSqlSafe;

use super::LoadError;
use super::hold::{self, Evidence, Released};
use super::loader::SliceReading;
use super::statement::{planned_each_time, signed};
use super::transaction::PageLoad;
use crate::catalogue::Mode;
use crate::store::cursor::Slice;
use crate::store::fingerprint;
use crate::store::reading::{self, Hold};

impl PageLoad<'_, '_> {
    /// Deletes or marks the rows that no page of the finished reading had, or holds the slice.
    pub(super) async fn end_reading(&mut self, reading: &SliceReading) -> Result<(), LoadError> {
        let slice = &reading.slice;
        let compared = self.fingerprints.compares(self.loader, reading);
        let stage_is_slice = std::mem::take(&mut self.stage_is_slice);
        let seen = slice.position.seen + self.counts.seen();
        let vanish = self.stage.sql().vanish.clone();
        let Some(vanish) = vanish.filter(|_| !reading.fresh || seen > 0) else {
            // There is nothing to delete, but refused records may hold the slice.
            let evidence = self.evidence(reading, None, stage_is_slice).await?;
            if let Some(reason) = self.doubt(reading, evidence) {
                self.hold_back(reading, reason, evidence).await?;
            }
            return Ok(());
        };
        // `seen_row` is unlogged. If Postgres crashed since, a row that is not noted there has not necessarily
        // vanished.
        if reading::count_seen(&mut *self.transaction, slice.id).await? != seen {
            return Err(LoadError::SeenLost);
        }
        let count = if stage_is_slice { &vanish.unstaged_count } else { &vanish.unseen_count };
        let evidence = self.evidence(reading, count.as_deref(), stage_is_slice).await?;
        if let Some(reason) = self.doubt(reading, evidence) {
            self.hold_back(reading, reason, evidence).await?;
        } else if compared {
            self.delete_lost(reading).await?;
        } else if stage_is_slice {
            self.take_away(&vanish.unstaged, reading, None).await?;
        } else if !reading.fresh {
            self.take_away(&vanish.unseen, reading, Some(slice.id)).await?;
        }
        sqlx::query!("delete from tidegate.seen_row where slice_id = $1", slice.id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    fn doubt(&self, reading: &SliceReading, evidence: Evidence) -> Option<String> {
        let of_children = reading.slice.position.doubt.clone().or_else(|| self.doubt.clone());
        hold::doubt(evidence, self.loader.hold_below, released(&reading.slice)).or(of_children)
    }

    /// Deletes the rows whose keys are in no fingerprint of the finished reading.
    async fn delete_lost(&mut self, reading: &SliceReading) -> Result<(), LoadError> {
        let slice = &reading.slice;
        let batches = self.fingerprints.state(slice).batches.unwrap_or(0);
        if !fingerprint::vanished(&mut *self.transaction, slice.id, batches).await? {
            return Ok(());
        }
        if let Some(lost) = &self.stage.sql().lost {
            let gone = planned_each_time(lost)
                .bind(&self.loader.claim.connection)
                .bind(slice.window_start)
                .bind(slice.window_end)
                .bind(slice.id)
                .bind(batches)
                .execute(&mut *self.transaction)
                .await?;
            self.counts.progress.rows_deleted += signed(gone.rows_affected());
        }
        Ok(fingerprint::settle(&mut self.transaction, slice.id, batches).await?)
    }

    /// Deletes or marks the rows that `statement` finds missing from the reading, and the child rows that belong to
    /// them.
    async fn take_away(
        &mut self,
        statement: &str,
        reading: &SliceReading,
        slice: Option<i64>,
    ) -> Result<(), LoadError> {
        let account = &self.loader.claim.connection;
        let gone = planned_each_time(statement)
            .bind(account)
            .bind(reading.slice.window_start)
            .bind(reading.slice.window_end)
            .bind(self.loader.claim.id);
        let gone = if slice.is_some() { gone.bind(slice) } else { gone };
        let gone = gone.execute(&mut *self.transaction).await?;
        self.counts.progress.rows_deleted += signed(gone.rows_affected());
        for orphans in self.stage.sql().vanish.iter().flat_map(|vanish| &vanish.links) {
            planned_each_time(orphans).bind(account).execute(&mut *self.transaction).await?;
        }
        Ok(())
    }

    /// Returns the numbers by which the finished reading is judged. `count` is the statement that counts the rows of a
    /// list that the reading did not report; with it, rows that are new in the table do not count as reported.
    async fn evidence(
        &mut self,
        reading: &SliceReading,
        count: Option<&str>,
        stage_is_slice: bool,
    ) -> Result<Evidence, LoadError> {
        let slice = &reading.slice;
        let reported = slice.position.rows + self.counts.rows();
        let rejected = slice.position.rejected + self.counts.rejected();
        if reading.fresh {
            return Ok(Evidence { present: 0, reported, rejected });
        }
        let present = match slice.reading_present {
            Some(present) => present,
            // The reading was begun by a version that did not count.
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
        let missing = count.bind(slice.held_base_at).fetch_one(&mut *self.transaction).await?;
        Ok(Evidence::of_list(present, reported, missing, rejected))
    }

    /// Keeps the rows that the reading did not report. The next reading compares every row with the table itself, since
    /// the fingerprints of this one do not know all rows.
    async fn hold_back(&mut self, reading: &SliceReading, reason: String, evidence: Evidence) -> Result<(), LoadError> {
        let slice = &reading.slice;
        self.fingerprints.forget(&mut self.transaction, slice).await?;
        let rows_there = match self.stage.table().mode {
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
