//! Keys of identical records whose copies come in several pages or batches of one reading.
//!
//! Within a batch, the writer numbers the copies. Copies of a later batch get the numbers after those of earlier pages:
//! after the rows of a fresh slice, or after the keys in `tidegate.seen_row`. Records in a second that two parts of the
//! slice share are counted for each part separately, so that the copies of both parts become the same rows.

use std::collections::{HashMap, HashSet};

use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::LoadError;
use super::duplicate_sql::DuplicatesSql;
use super::loader::SliceReading;
use super::stage::StagedBatch;
use super::statement::{planned_each_time, signed};
use crate::rows::page::KeyForm;

/// Further identical records of one slice count as one record; this bounds the search for a free number.
const DUPLICATES_MAX: u32 = 1 << 24;

/// Where the existing copies of a record are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopiesIn {
    /// Rows of the slice, which was empty when its reading began.
    Table,
    /// `tidegate.seen_row`.
    Seen,
}

pub(super) struct Duplicates<'d> {
    pub(super) connection: &'d mut PgConnection,
    pub(super) sql: &'d DuplicatesSql,
    pub(super) account: &'d str,
    pub(super) reading: &'d SliceReading,
    pub(super) batch: &'d StagedBatch,
    pub(super) form: KeyForm,
}

pub(super) struct Moved {
    /// Keys of the records in shared seconds.
    pub(super) shared: Vec<Uuid>,
    pub(super) renamed: HashMap<u128, u128>,
    pub(super) noted: i64,
}

impl StagedBatch {
    /// How many identical records the batch has of the one whose key is `base`.
    fn count(&self, base: u128) -> u32 {
        self.duplicates.get(&base).copied().unwrap_or(1)
    }
}

/// The keys of the batch's records in shared seconds. `before`: how many copies of each earlier pages had.
pub(super) fn shared_keys(form: KeyForm, batch: &StagedBatch, before: &[u32]) -> Vec<Uuid> {
    let before = before.iter().copied().chain(std::iter::repeat(0));
    let shared = batch.shared.iter().zip(before);
    shared.flat_map(|(shared, before)| keys(form, shared.base, before, batch.count(shared.base))).collect()
}

impl Duplicates<'_> {
    /// Gives staged duplicates the numbers after those of earlier pages. `is_first`: there are no earlier pages.
    pub(super) async fn place(&mut self, is_first: bool) -> Result<Moved, LoadError> {
        let batch = self.batch;
        let part_keys: Vec<u128> = batch.shared.iter().map(|shared| shared.part_key).collect();
        let (mut shared_before, mut renamed) = (vec![0; part_keys.len()], HashMap::new());
        if !is_first {
            shared_before = self.count_copies(CopiesIn::Seen, &part_keys).await?;
            let bases = self.bases_before().await?;
            let source = if self.reading.fresh { CopiesIn::Table } else { CopiesIn::Seen };
            let before = self.count_copies(source, &bases).await?;
            let shared = batch.shared.iter().map(|shared| shared.base).zip(shared_before.iter().copied());
            renamed = self.rename(bases.iter().copied().zip(before).chain(shared)).await?;
        }
        let noted = self.note_part_copies(&shared_before).await?;
        Ok(Moved { shared: shared_keys(self.form, batch, &shared_before), renamed, noted })
    }

    /// Staged records that earlier pages had as well, without those in shared seconds.
    async fn bases_before(&mut self) -> Result<Vec<u128>, LoadError> {
        let (reading, batch, form) = (self.reading, self.batch, self.form);
        let query = if reading.fresh { &self.sql.present_before } else { &self.sql.seen_before };
        let query = sqlx::query_scalar::<_, Uuid>(AssertSqlSafe(query.clone())).persistent(false);
        let query = if reading.fresh {
            query.bind(self.account).bind(reading.slice.window_start)
        } else {
            query.bind(reading.slice.id)
        };
        let found = query.fetch_all(&mut *self.connection).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let shared: HashSet<u128> = batch.shared.iter().map(|shared| shared.base).collect();
        let copies: HashSet<u128> = batch
            .duplicates
            .iter()
            .flat_map(|(base, count)| (1..*count).map(|place| form.row_key(*base, place)))
            .collect();
        let is_base = |key: &u128| !shared.contains(key) && !copies.contains(key);
        Ok(found.iter().map(Uuid::as_u128).filter(is_base).collect())
    }

    /// How many copies exist of each record: a search by doubling, then halving, for all records at once.
    async fn count_copies(&mut self, source: CopiesIn, bases: &[u128]) -> Result<Vec<u32>, LoadError> {
        let form = self.form;
        // (base, number of copies that exist, a number that is free)
        let mut searches: Vec<(u128, u32, u32)> = bases.iter().map(|&base| (base, 0, DUPLICATES_MAX)).collect();
        let next = |existing: u32, free: u32| match free {
            DUPLICATES_MAX => (existing * 2).min(DUPLICATES_MAX - 1),
            _ => existing.midpoint(free),
        };
        loop {
            let open = searches.iter().filter(|(_, existing, free)| existing < free);
            let probes: Vec<Uuid> =
                open.map(|&(base, existing, free)| Uuid::from_u128(form.row_key(base, next(existing, free)))).collect();
            if probes.is_empty() {
                return Ok(searches.into_iter().map(|(_, existing, _)| existing).collect());
            }
            let found = self.existing_among(source, &probes).await?;
            let open = searches.iter_mut().filter(|(_, existing, free)| existing < free);
            for ((_, existing, free), probe) in open.zip(probes) {
                let place = next(*existing, *free);
                if found.contains(&probe) {
                    *existing = place + 1;
                } else {
                    *free = place;
                }
            }
        }
    }

    async fn existing_among(&mut self, source: CopiesIn, keys: &[Uuid]) -> Result<HashSet<Uuid>, LoadError> {
        let found = match source {
            CopiesIn::Table => {
                sqlx::query_scalar(AssertSqlSafe(self.sql.present_among.clone()))
                    .persistent(false)
                    .bind(self.account)
                    .bind(self.reading.slice.window_start)
                    .bind(keys)
                    .fetch_all(&mut *self.connection)
                    .await?
            }
            CopiesIn::Seen => {
                sqlx::query_scalar!(
                    "select row_key from tidegate.seen_row where slice_id = $1 and row_key = any($2)",
                    self.reading.slice.id,
                    keys,
                )
                .fetch_all(&mut *self.connection)
                .await?
            }
        };
        Ok(found.into_iter().collect())
    }

    /// Moves the staged copies of each record after the number that is given with it; returns the new keys by old key.
    async fn rename(&mut self, moves: impl Iterator<Item = (u128, u32)>) -> Result<HashMap<u128, u128>, LoadError> {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for (base, before) in moves.filter(|(_, before)| *before > 0) {
            old.extend(keys(self.form, base, 0, self.batch.count(base)));
            new.extend(keys(self.form, base, before, self.batch.count(base)));
        }
        let renamed = old.iter().map(Uuid::as_u128).zip(new.iter().map(Uuid::as_u128)).collect();
        if !old.is_empty() {
            planned_each_time(&self.sql.rename_staged).bind(old).bind(new).execute(&mut *self.connection).await?;
        }
        Ok(renamed)
    }

    /// Notes the copies that this part of the slice has of records in shared seconds; returns the number of new
    /// entries.
    async fn note_part_copies(&mut self, before: &[u32]) -> Result<i64, LoadError> {
        let (batch, form) = (self.batch, self.form);
        if batch.shared.is_empty() {
            return Ok(0);
        }
        let noted: Vec<Uuid> = batch
            .shared
            .iter()
            .zip(before)
            .flat_map(|(shared, before)| keys(form, shared.part_key, *before, batch.count(shared.base)))
            .collect();
        let done = sqlx::query!(
            "
            insert into tidegate.seen_row (slice_id, row_key)
            select $1, noted.row_key
            from unnest($2::uuid[]) as noted (row_key)
            order by noted.row_key
            on conflict do nothing
            ",
            self.reading.slice.id,
            &noted,
        )
        .execute(&mut *self.connection)
        .await?;
        Ok(signed(done.rows_affected()))
    }
}

/// The keys of `count` identical records after the first `before`.
fn keys(form: KeyForm, base: u128, before: u32, count: u32) -> impl Iterator<Item = Uuid> {
    (before..before.saturating_add(count)).map(move |place| Uuid::from_u128(form.row_key(base, place)))
}
