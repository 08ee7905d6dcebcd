//! Batches that were compared with fingerprints: what is left of them goes into the table, and what they are is kept.
//!
//! As long as every row is where the last reading had it, nothing else needs to be looked up. When one is not (it moved to
//! another batch, or has a twin there), fingerprints are given up for this reading: from then on it goes like any other.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::LoadError;
use super::loader::Reading;
use super::stage::Merged;
use super::transaction::{Batch, FingerprintState, PageLoad, planned_each_time, signed};
use crate::rows::fingerprint::{Print, Way};
use crate::store::{fingerprint, reading};

/// Of fewer rows in its first batch a slice keeps no fingerprints: they would cost more than they save.
const ROWS_MIN: usize = 100;

impl PageLoad<'_, '_> {
    /// What is kept of the slice's fingerprints by now.
    pub(super) fn kept(&mut self, reading: &Reading) -> &mut FingerprintState {
        let slice = &reading.slice;
        self.kept
            .get_or_insert(FingerprintState { whole: slice.position.fingerprinted, batches: slice.position.batches })
    }

    /// Whether rows are compared with the fingerprints of the last reading.
    pub(super) fn compares(&mut self, reading: &Reading) -> bool {
        let FingerprintState { whole, batches } = *self.kept(reading);
        self.loader.comparing && !reading.fresh && whole && batches.is_some()
    }

    /// Merges a batch whose unchanged rows were left out.
    pub(super) async fn merge_compared(
        &mut self,
        reading: &Reading,
        batch: &Batch,
        mut print: Print,
    ) -> Result<(), LoadError> {
        let unclear = std::mem::take(&mut self.taken) || print.doubled;
        if unclear {
            self.give_up(reading).await?;
        }
        let placed = std::mem::take(&mut self.rows_placed);
        let (mut merged, mut dropped) = (Merged { inserted: 0, updated: 0, staged: 0 }, HashSet::new());
        if self.rows_staged > 0 {
            self.lock_schema().await?;
            let shared = match &self.sql.twins {
                Some(twins) if unclear || !batch.shared.is_empty() => {
                    self.place_twins(&twins.clone(), reading, batch).await?
                }
                _ => batch.shared_keys(&[]),
            };
            dropped = self.drop_shared(reading, shared).await?;
            merged = self.merge_known(reading, unclear, dropped.len()).await?;
        }
        let skipped = signed(print.keys(Way::Skipped).count() as u64);
        self.progress.rows_inserted += placed + merged.inserted;
        self.progress.rows_updated += merged.updated;
        self.progress.rows_unchanged += skipped + merged.staged - merged.inserted - merged.updated;

        let new = print.keys(Way::New).filter(|key| !dropped.contains(key)).count();
        let as_expected = self.renamed.is_empty() && placed + merged.inserted == signed(new as u64);
        if !unclear && as_expected {
            print.take_out(&dropped);
            self.rows += signed(print.now.keys.len() as u64);
            return self.keep(reading, &print).await;
        }
        self.give_up(reading).await?;
        let renamed = |key: &u128| self.renamed.get(key).copied().unwrap_or(*key);
        let keys: Vec<u128> = print.now.keys.iter().map(renamed).filter(|key| !dropped.contains(key)).collect();
        let noted = signed(fingerprint::note_keys(&mut *self.transaction, reading.slice.id, &keys).await?);
        self.seen += noted;
        self.rows += noted;
        Ok(())
    }

    /// Merges staged rows that should be there, with another content. The others are compared one by one.
    async fn merge_known(&mut self, reading: &Reading, unclear: bool, dropped: usize) -> Result<Merged, LoadError> {
        let staged = i64::from(self.rows_staged) - signed(dropped as u64);
        let mut updated = 0;
        if let Some(update) = self.sql.update.as_ref().filter(|_| !unclear) {
            let done = planned_each_time(update)
                .bind(&self.loader.claim.connection)
                .bind(reading.slice.window_start)
                .bind(self.loader.claim.id)
                .execute(&mut *self.transaction)
                .await?;
            updated = signed(done.rows_affected());
        }
        if updated == staged {
            return Ok(Merged { inserted: 0, updated, staged });
        }
        let merged = self.merge_staged(reading).await?;
        Ok(Merged { updated: updated + merged.updated, ..merged })
    }

    /// Keeps what a batch is of which nothing was known, if every row of it `arrived`.
    pub(super) async fn keep_whole(
        &mut self,
        reading: &Reading,
        print: Option<Print>,
        arrived: i64,
        dropped: &HashSet<u128>,
    ) -> Result<(), LoadError> {
        // The rows of this reading are not those that the fingerprints know.
        if self.kept(reading).whole {
            self.give_up(reading).await?;
        }
        let Some(mut print) = print else {
            return self.keep_none(reading).await;
        };
        let skipped: Vec<u128> = print.keys(Way::Skipped).collect();
        if !skipped.is_empty() {
            // Left out before it was clear that this reading must see them all.
            let noted = fingerprint::note_keys(&mut *self.transaction, reading.slice.id, &skipped).await?;
            if noted < skipped.len() as u64 {
                return Err(LoadError::Rearranged);
            }
            self.seen += signed(noted);
            self.rows += signed(noted);
            self.progress.rows_unchanged += signed(noted);
        }
        let Some(batches) = self.kept(reading).batches else { return Ok(()) };
        print.take_out(dropped);
        print.now.gone.clear();
        let is_whole = self.renamed.is_empty() && arrived == signed(print.now.keys.len() as u64);
        if !is_whole || (batches == 0 && print.now.keys.len() < ROWS_MIN) {
            return self.keep_none(reading).await;
        }
        self.keep(reading, &print).await
    }

    /// After the last page: rows that no batch has any more go.
    pub(super) async fn end_compared(&mut self, reading: &Reading) -> Result<(), LoadError> {
        let (slice, batches) = (reading.slice.id, self.kept(reading).batches.unwrap_or(0));
        if !fingerprint::vanished(&mut *self.transaction, slice, batches).await? {
            return Ok(());
        }
        if let Some(lost) = &self.sql.lost {
            let gone = planned_each_time(lost)
                .bind(&self.loader.claim.connection)
                .bind(reading.slice.window_start)
                .bind(reading.slice.window_end)
                .bind(slice)
                .bind(batches)
                .execute(&mut *self.transaction)
                .await?;
            self.progress.rows_deleted += signed(gone.rows_affected());
        }
        Ok(fingerprint::settle(&mut self.transaction, slice, batches).await?)
    }

    async fn keep(&mut self, reading: &Reading, print: &Print) -> Result<(), LoadError> {
        if print.differs {
            fingerprint::write(&mut *self.transaction, reading.slice.id, print).await?;
        }
        let kept = self.kept(reading);
        kept.batches = kept.batches.map(|batches| batches + 1);
        Ok(())
    }

    /// This reading keeps no fingerprints.
    async fn keep_none(&mut self, reading: &Reading) -> Result<(), LoadError> {
        if self.kept(reading).batches.take().is_some_and(|batches| batches > 0) {
            fingerprint::forget(&mut *self.transaction, reading.slice.id).await?;
        }
        Ok(())
    }

    /// Goes on without fingerprints: what they know of this reading is noted as seen.
    async fn give_up(&mut self, reading: &Reading) -> Result<(), LoadError> {
        let FingerprintState { whole, batches } =
            std::mem::replace(self.kept(reading), FingerprintState { whole: false, batches: None });
        self.loader.skipping.store(false, Ordering::Relaxed);
        if !whole {
            return Ok(());
        }
        let noted = fingerprint::note_seen(&mut *self.transaction, reading.slice.id, batches.unwrap_or(0)).await?;
        self.seen += signed(noted);
        Ok(reading::distrust(&mut self.transaction, reading.slice.id).await?)
    }
}
