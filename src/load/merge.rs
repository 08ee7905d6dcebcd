//! Merges a complete batch into the table: one of which nothing is known, or one whose unchanged rows were left out.
//!
//! If every row is where the last reading had it, fingerprints alone tell which rows are new and which have vanished.
//! If a row moved to another batch, or has a duplicate there, fingerprints are given up for the rest of the reading.

use std::collections::{HashMap, HashSet};

use super::LoadError;
use super::duplicates::{Duplicates, shared_keys};
use super::loader::SliceReading;
use super::stage::{Merged, StagedBatch};
use super::statement::signed;
use super::transaction::PageLoad;
use crate::rows::fingerprint::{BatchFingerprint, RowOutcome};
use crate::rows::page::KeyForm;
use crate::store::fingerprint;

/// A slice whose first batch has fewer rows stores no fingerprints: they would cost more than they save.
const ROWS_MIN: usize = 100;

/// What became of the keys of staged rows before the merge.
#[derive(Debug, Default)]
struct Placed {
    /// Identities of which nothing is left, because a neighbouring slice has the rows.
    dropped: HashSet<u128>,
    /// New keys of rows whose keys earlier pages had.
    renamed: HashMap<u128, u128>,
}

impl PageLoad<'_, '_> {
    pub(super) async fn flush(&mut self, reading: &SliceReading) -> Result<(), LoadError> {
        let expects_new = reading.fresh || self.fingerprints.compares(self.loader, reading);
        self.stage.flush(&mut self.transaction, self.loader, reading, expects_new).await
    }

    /// Merges the complete batch, if there is one. `single`: it is the whole slice.
    pub(super) async fn merge(&mut self, reading: &SliceReading, single: bool) -> Result<(), LoadError> {
        let Some(mut batch) = self.batch.take() else { return Ok(()) };
        self.flush(reading).await?;
        match batch.fingerprint.take() {
            Some(rows) if self.fingerprints.compares(self.loader, reading) => {
                self.merge_compared(reading, &batch, rows).await?;
            }
            rows => self.merge_whole(reading, &batch, rows, single).await?,
        }
        self.counts.batches_merged += 1;
        Ok(())
    }

    /// Merges a batch of which nothing is known.
    async fn merge_whole(
        &mut self,
        reading: &SliceReading,
        batch: &StagedBatch,
        rows: Option<BatchFingerprint>,
        single: bool,
    ) -> Result<(), LoadError> {
        let copied = self.stage.take_copied();
        self.counts.add_written(copied.inserted, copied.replaced);
        let mut arrived = copied.inserted;
        let mut placed = Placed::default();
        if !reading.fresh || self.stage.has_rows() {
            self.stage.lock_schema(&mut self.transaction, self.loader.stream).await?;
            self.stage.create(&mut self.transaction).await?;
            placed = self.place(reading, batch, !single).await?;
            let merged = self.stage.merge(&mut self.transaction, self.loader.claim, reading).await?;
            self.counts.add_written(merged.inserted, merged.updated);
            let doubt = self.stage.merge_links(&mut self.transaction, self.loader, reading).await?;
            self.doubt = self.doubt.take().or(doubt);
            arrived += match (self.stage.sql().vanish.is_some(), reading.fresh, single) {
                (true, true, _) => merged.inserted,
                (true, false, true) => {
                    self.stage_is_slice = true;
                    merged.staged
                }
                (true, false, false) => {
                    let noted = self.stage.note_seen(&mut self.transaction, reading.slice.id).await?;
                    self.counts.add_seen(noted);
                    noted
                }
                (false, ..) => merged.staged,
            };
        }
        self.counts.add_rows(arrived);
        self.keep_whole(reading, rows, arrived, &placed).await
    }

    /// Merges a batch whose unchanged rows were left out.
    async fn merge_compared(
        &mut self,
        reading: &SliceReading,
        batch: &StagedBatch,
        mut rows: BatchFingerprint,
    ) -> Result<(), LoadError> {
        let copied = self.stage.take_copied();
        let unclear = copied.key_conflict || rows.doubled;
        if unclear {
            self.give_up(reading).await?;
        }
        let (mut merged, mut placed) = (Merged::default(), Placed::default());
        if self.stage.has_rows() {
            self.stage.lock_schema(&mut self.transaction, self.loader.stream).await?;
            placed = self.place(reading, batch, unclear || !batch.shared.is_empty()).await?;
            merged = self.merge_known(reading, unclear).await?;
        }
        self.counts.add_written(copied.inserted + merged.inserted, copied.replaced + merged.updated);

        let new = rows.keys(RowOutcome::New).filter(|key| !placed.dropped.contains(key)).count();
        let as_expected = placed.renamed.is_empty() && copied.inserted + merged.inserted == signed(new as u64);
        if !unclear && as_expected {
            rows.take_out(&placed.dropped);
            self.counts.add_rows(signed(rows.now.keys.len() as u64));
            return self.fingerprints.keep(&mut self.transaction, &reading.slice, &rows).await;
        }
        self.give_up(reading).await?;
        let renamed = |key: &u128| placed.renamed.get(key).copied().unwrap_or(*key);
        let keys: Vec<u128> = rows.now.keys.iter().map(renamed).filter(|key| !placed.dropped.contains(key)).collect();
        self.note_keys(reading, &keys).await?;
        Ok(())
    }

    /// Updates staged rows that the table should have with another content. If that is not true of all of them, merges
    /// every staged row.
    async fn merge_known(&mut self, reading: &SliceReading, unclear: bool) -> Result<Merged, LoadError> {
        let staged = self.stage.rows();
        let mut updated = 0;
        if !unclear {
            updated = self.stage.update(&mut self.transaction, self.loader.claim, reading).await?;
        }
        if updated == staged {
            return Ok(Merged { inserted: 0, updated, staged });
        }
        let merged = self.stage.merge(&mut self.transaction, self.loader.claim, reading).await?;
        Ok(Merged { updated: updated + merged.updated, ..merged })
    }

    /// Gives staged duplicates of rows from earlier pages other keys if `search` is set, then removes rows that a
    /// neighbouring slice has.
    async fn place(&mut self, reading: &SliceReading, batch: &StagedBatch, search: bool) -> Result<Placed, LoadError> {
        let form = KeyForm::of(self.loader.stream);
        let (mut shared, mut renamed) = (shared_keys(form, batch, &[]), HashMap::new());
        if let Some(sql) = self.stage.sql().duplicates.as_ref().filter(|_| search) {
            let is_first = reading.slice.position.pages == 0 && self.counts.batches_merged == 0;
            let connection = &mut *self.transaction;
            let mut duplicates =
                Duplicates { connection, sql, account: &self.loader.claim.connection, reading, batch, form };
            let moved = duplicates.place(is_first).await?;
            self.counts.add_seen(moved.noted);
            (shared, renamed) = (moved.shared, moved.renamed);
        }
        let staged = self.stage.rows();
        let dropped = self.stage.drop_shared(&mut self.transaction, self.loader.claim, reading, shared).await?;
        self.counts.progress.rows_outside += staged - self.stage.rows();
        Ok(Placed { dropped, renamed })
    }

    /// Stores the fingerprint of a batch of which nothing was known, if all its rows `arrived`.
    async fn keep_whole(
        &mut self,
        reading: &SliceReading,
        rows: Option<BatchFingerprint>,
        arrived: i64,
        placed: &Placed,
    ) -> Result<(), LoadError> {
        let slice = &reading.slice;
        // The stored fingerprints do not know the rows of this batch.
        if self.fingerprints.state(slice).whole {
            self.give_up(reading).await?;
        }
        let Some(mut rows) = rows else {
            return self.fingerprints.keep_none(&mut self.transaction, slice).await;
        };
        let skipped: Vec<u128> = rows.keys(RowOutcome::Skipped).collect();
        if !skipped.is_empty() {
            // They were left out before it was known that this reading needs all rows.
            let noted = self.note_keys(reading, &skipped).await?;
            if noted < signed(skipped.len() as u64) {
                return Err(LoadError::Rearranged);
            }
        }
        let Some(batches) = self.fingerprints.state(slice).batches else { return Ok(()) };
        rows.take_out(&placed.dropped);
        rows.now.gone.clear();
        let is_whole = placed.renamed.is_empty() && arrived == signed(rows.now.keys.len() as u64);
        if !is_whole || (batches == 0 && rows.now.keys.len() < ROWS_MIN) {
            return self.fingerprints.keep_none(&mut self.transaction, slice).await;
        }
        self.fingerprints.keep(&mut self.transaction, slice, &rows).await
    }

    async fn give_up(&mut self, reading: &SliceReading) -> Result<(), LoadError> {
        let noted = self.fingerprints.give_up(&mut self.transaction, self.loader, &reading.slice).await?;
        self.counts.add_seen(noted);
        Ok(())
    }

    /// Notes rows as seen; returns how many were not noted before.
    async fn note_keys(&mut self, reading: &SliceReading, keys: &[u128]) -> Result<i64, LoadError> {
        let noted = signed(fingerprint::note_keys(&mut *self.transaction, reading.slice.id, keys).await?);
        self.counts.add_seen(noted);
        self.counts.add_rows(noted);
        Ok(noted)
    }
}
