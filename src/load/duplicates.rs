//! Places among identical records, over several pages and batches of one reading.
//!
//! Within a batch the writer counts. What comes later moves behind what earlier pages had: the rows of a fresh slice, or
//! the keys noted as seen. Records in a second that two parts of the slice share are counted for each part apart, so
//! that both parts' copies meet in the same rows.

use std::collections::HashSet;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::LoadError;
use super::loader::Reading;
use super::sql::TwinsSql;
use super::transaction::{Batch, PageLoad, planned_each_time};
use crate::rows::page::row_key;

/// Identical records of one slice beyond this are taken for one; it bounds the search for a free place.
const TWINS_MAX: u32 = 1 << 24;

/// Where the places that are taken are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Places {
    /// Rows of the slice, which was empty when its reading began.
    Table,
    /// `tidegate.seen_row`.
    Seen,
}

impl Batch {
    /// How many identical records the batch has of the one whose key is `base`.
    fn count(&self, base: u128) -> u32 {
        self.twins.get(&base).copied().unwrap_or(1)
    }

    /// The keys of the records in shared seconds, behind those that `before` says are placed already.
    pub(super) fn shared_keys(&self, before: &[u32]) -> Vec<Uuid> {
        let first = |number: usize| before.get(number).copied().unwrap_or(0);
        self.shared
            .iter()
            .enumerate()
            .flat_map(|(number, shared)| keys(shared.base, first(number), self.count(shared.base)))
            .collect()
    }
}

impl PageLoad<'_, '_> {
    /// Moves the staged twins behind those of earlier pages; returns the keys of the records in shared seconds.
    pub(super) async fn place_twins(
        &mut self,
        sql: &TwinsSql,
        reading: &Reading,
        batch: &Batch,
    ) -> Result<Vec<Uuid>, LoadError> {
        let is_first = reading.slice.position.pages == 0 && self.batches_merged == 0;
        let tallies: Vec<u128> = batch.shared.iter().map(|shared| shared.tally).collect();
        let mut shared_before = vec![0; tallies.len()];
        if !is_first {
            shared_before = self.count_taken(sql, reading, Places::Seen, &tallies).await?;
            let bases = self.bases_taken(sql, reading, batch).await?;
            let places = if reading.fresh { Places::Table } else { Places::Seen };
            let before = self.count_taken(sql, reading, places, &bases).await?;
            let shared = batch.shared.iter().map(|shared| shared.base).zip(shared_before.iter().copied());
            self.rename(sql, batch, bases.iter().copied().zip(before).chain(shared)).await?;
        }
        self.note_tallies(reading, batch, &shared_before).await?;
        Ok(batch.shared_keys(&shared_before))
    }

    /// Staged records that earlier pages had as well, less those in shared seconds.
    async fn bases_taken(&mut self, sql: &TwinsSql, reading: &Reading, batch: &Batch) -> Result<Vec<u128>, LoadError> {
        let query = if reading.fresh { sql.present_before.clone() } else { sql.seen_before.clone() };
        let query = sqlx::query_scalar::<_, Uuid>(AssertSqlSafe(query)).persistent(false);
        let query = if reading.fresh {
            query.bind(&self.loader.claim.connection).bind(reading.slice.window_start)
        } else {
            query.bind(reading.slice.id)
        };
        let taken = query.fetch_all(&mut *self.transaction).await?;
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let apart: HashSet<u128> = batch.shared.iter().map(|shared| shared.base).collect();
        let later: HashSet<u128> =
            batch.twins.iter().flat_map(|(base, count)| (1..*count).map(|place| row_key(*base, place))).collect();
        let is_base = |key: &u128| !apart.contains(key) && !later.contains(key);
        Ok(taken.iter().map(Uuid::as_u128).filter(is_base).collect())
    }

    /// How many places are taken behind each key: doubling, then halving, all keys at once.
    async fn count_taken(
        &mut self,
        sql: &TwinsSql,
        reading: &Reading,
        places: Places,
        bases: &[u128],
    ) -> Result<Vec<u32>, LoadError> {
        // (base, places known to be taken, a place that is free)
        let mut searches: Vec<(u128, u32, u32)> = bases.iter().map(|&base| (base, 0, TWINS_MAX)).collect();
        let next = |taken: u32, free: u32| match free {
            TWINS_MAX => (taken * 2).min(TWINS_MAX - 1),
            _ => taken.midpoint(free),
        };
        loop {
            let open = searches.iter().filter(|(_, taken, free)| taken < free);
            let probes: Vec<Uuid> =
                open.map(|&(base, taken, free)| Uuid::from_u128(row_key(base, next(taken, free)))).collect();
            if probes.is_empty() {
                return Ok(searches.into_iter().map(|(_, taken, _)| taken).collect());
            }
            let found = self.taken_among(sql, reading, places, &probes).await?;
            for ((_, taken, free), probe) in searches.iter_mut().filter(|(_, taken, free)| taken < free).zip(probes) {
                let place = next(*taken, *free);
                if found.contains(&probe) {
                    *taken = place + 1;
                } else {
                    *free = place;
                }
            }
        }
    }

    async fn taken_among(
        &mut self,
        sql: &TwinsSql,
        reading: &Reading,
        places: Places,
        keys: &[Uuid],
    ) -> Result<HashSet<Uuid>, LoadError> {
        let taken = match places {
            Places::Table => {
                sqlx::query_scalar(AssertSqlSafe(sql.present_among.clone()))
                    .persistent(false)
                    .bind(&self.loader.claim.connection)
                    .bind(reading.slice.window_start)
                    .bind(keys)
                    .fetch_all(&mut *self.transaction)
                    .await?
            }
            Places::Seen => {
                sqlx::query_scalar!(
                    "select row_key from tidegate.seen_row where slice_id = $1 and row_key = any($2)",
                    reading.slice.id,
                    keys,
                )
                .fetch_all(&mut *self.transaction)
                .await?
            }
        };
        Ok(taken.into_iter().collect())
    }

    /// Moves the staged copies of each record behind the number that is given with it.
    async fn rename(
        &mut self,
        sql: &TwinsSql,
        batch: &Batch,
        moves: impl Iterator<Item = (u128, u32)>,
    ) -> Result<(), LoadError> {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for (base, before) in moves.filter(|(_, before)| *before > 0) {
            old.extend(keys(base, 0, batch.count(base)));
            new.extend(keys(base, before, batch.count(base)));
        }
        if !old.is_empty() {
            self.renamed.extend(old.iter().map(Uuid::as_u128).zip(new.iter().map(Uuid::as_u128)));
            planned_each_time(&sql.rename_staged).bind(old).bind(new).execute(&mut *self.transaction).await?;
        }
        Ok(())
    }

    /// Notes how many copies this part of the slice has of the records in shared seconds.
    async fn note_tallies(&mut self, reading: &Reading, batch: &Batch, before: &[u32]) -> Result<(), LoadError> {
        if batch.shared.is_empty() {
            return Ok(());
        }
        let noted: Vec<Uuid> = batch
            .shared
            .iter()
            .zip(before)
            .flat_map(|(shared, before)| keys(shared.tally, *before, batch.count(shared.base)))
            .collect();
        let done = sqlx::query!(
            "
            insert into tidegate.seen_row (slice_id, row_key)
            select $1, noted.row_key
            from unnest($2::uuid[]) as noted (row_key)
            order by noted.row_key
            on conflict do nothing
            ",
            reading.slice.id,
            &noted,
        )
        .execute(&mut *self.transaction)
        .await?;
        self.seen += i64::try_from(done.rows_affected()).unwrap_or(i64::MAX);
        Ok(())
    }
}

/// The keys of `count` identical records behind the first `before`.
fn keys(base: u128, before: u32, count: u32) -> impl Iterator<Item = Uuid> {
    (before..before.saturating_add(count)).map(move |place| Uuid::from_u128(row_key(base, place)))
}
