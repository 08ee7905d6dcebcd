//! The stored fingerprints of the slice that is being read.

use std::sync::atomic::Ordering;

use sqlx::PgConnection;

use super::LoadError;
use super::loader::{Loader, SliceReading};
use super::statement::signed;
use crate::rows::fingerprint::BatchFingerprint;
use crate::store::cursor::Slice;
use crate::store::{fingerprint, reading};

/// What is stored of a slice's fingerprints, as this transaction sees it. If it is `whole`, the stored fingerprints
/// know every row that the table has of the slice.
#[derive(Debug, Default)]
pub(super) struct Fingerprints(Option<FingerprintState>);

#[derive(Debug, Clone, Copy)]
pub(super) struct FingerprintState {
    pub(super) whole: bool,
    /// Number of batches that the current reading has stored. `None` if it stores no fingerprints.
    pub(super) batches: Option<i32>,
}

impl Fingerprints {
    pub(super) fn state(&mut self, slice: &Slice) -> &mut FingerprintState {
        self.0.get_or_insert(FingerprintState { whole: slice.position.fingerprinted, batches: slice.position.batches })
    }

    pub(super) fn compares(&mut self, loader: &Loader<'_>, reading: &SliceReading) -> bool {
        let FingerprintState { whole, batches } = *self.state(&reading.slice);
        loader.comparing && !reading.fresh && whole && batches.is_some()
    }

    /// Stores the fingerprint of the next batch.
    pub(super) async fn keep(
        &mut self,
        connection: &mut PgConnection,
        slice: &Slice,
        batch: &BatchFingerprint,
    ) -> Result<(), LoadError> {
        if batch.differs {
            fingerprint::write(connection, slice.id, batch).await?;
        }
        let state = self.state(slice);
        state.batches = state.batches.map(|batches| batches + 1);
        Ok(())
    }

    /// Stops storing fingerprints of this reading, and deletes those that it has stored.
    pub(super) async fn keep_none(&mut self, connection: &mut PgConnection, slice: &Slice) -> Result<(), LoadError> {
        if self.state(slice).batches.take().is_some_and(|batches| batches > 0) {
            fingerprint::forget(connection, slice.id).await?;
        }
        Ok(())
    }

    /// Continues the reading without fingerprints. Moves the rows that they know of this reading to
    /// `tidegate.seen_row`; returns the number of new entries there.
    pub(super) async fn give_up(
        &mut self,
        connection: &mut PgConnection,
        loader: &Loader<'_>,
        slice: &Slice,
    ) -> Result<i64, LoadError> {
        let none = FingerprintState { whole: false, batches: None };
        let FingerprintState { whole, batches } = std::mem::replace(self.state(slice), none);
        loader.skipping.store(false, Ordering::Relaxed);
        if !whole {
            return Ok(0);
        }
        let noted = fingerprint::note_seen(&mut *connection, slice.id, batches.unwrap_or(0)).await?;
        reading::distrust(connection, slice.id).await?;
        Ok(signed(noted))
    }

    /// Deletes the fingerprints of a slice that is held: they do not know the rows that were kept.
    pub(super) async fn forget(&mut self, connection: &mut PgConnection, slice: &Slice) -> Result<(), LoadError> {
        *self.state(slice) = FingerprintState { whole: false, batches: None };
        Ok(fingerprint::forget(connection, slice.id).await?)
    }
}
