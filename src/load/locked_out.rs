//! Columns that a table should get while another session keeps it locked.
//!
//! Until it gets them, values of new fields go to `_extra`; [`fill`](super::fill) moves them to their columns later.
//! The columns are tried again, ever more seldom: each attempt waits for the lock, and all other sessions wait behind
//! it. All connections of the process share what is known of a locked table: between two attempts, they only check
//! whether the lock is free.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use super::loader::Loader;
use super::table::{Table, run_ddl};
use super::{LOCK_TIMEOUT, LoadError, code};
use crate::rows::layout::Layout;
use crate::store::ident::table as qualified;
use crate::store::session::{self, Deadline as _, watched};

/// How long to wait after the first attempt. The time doubles with each further attempt.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// An attempt does not take longer. Until then no other connection makes one.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);

/// The tables that were locked when they should get columns, by schema and name.
#[derive(Debug, Clone, Default)]
pub struct LockedTables(Arc<Mutex<HashMap<(String, String), Attempts>>>);

#[derive(Debug, Clone, Copy)]
struct Attempts {
    /// How often the table was locked.
    count: u32,
    /// When the last of them ended.
    last: Instant,
    next: Instant,
}

impl LockedTables {
    fn known(&self) -> MutexGuard<'_, HashMap<(String, String), Attempts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the table should be tried again. `None` if it is not known to be locked.
    fn next(&self, table: &Table) -> Option<Instant> {
        self.known().get(&key(table)).map(|attempts| attempts.next)
    }

    /// Whether an attempt may wait for the lock. If so, it is the only one for a while.
    pub(super) fn may_wait(&self, table: &Table) -> bool {
        let now = Instant::now();
        match self.known().get_mut(&key(table)) {
            None => true,
            Some(attempts) if attempts.next <= now => {
                attempts.next = now + ATTEMPT_MAX;
                true
            }
            Some(_) => false,
        }
    }

    /// Notes that an attempt that began at `begun` found the table locked. Attempts at the same time count once.
    fn failed(&self, table: &Table, begun: Instant) {
        let now = Instant::now();
        let mut known = self.known();
        let attempts = known.entry(key(table)).or_insert(Attempts { count: 0, last: begun, next: now });
        if attempts.count == 0 || attempts.last < begun {
            attempts.count = attempts.count.saturating_add(1);
            attempts.last = now;
            attempts.next = now + pause(attempts.count);
        }
    }

    fn over(&self, table: &Table) {
        self.known().remove(&key(table));
    }
}

fn key(table: &Table) -> (String, String) {
    (table.schema.clone(), table.name.clone())
}

fn pause(attempts: u32) -> Duration {
    PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(PAUSE_MAX)
}

impl Loader<'_> {
    /// Whether the table lacks columns because another session keeps it locked.
    pub const fn lacks_columns(&self) -> bool {
        self.locked_out.is_some()
    }

    /// When the columns should be tried again within a slice. `None` if the table lacks none.
    pub fn next_attempt(&self) -> Option<Instant> {
        // Another connection may have found the table free meanwhile.
        self.lacks_columns().then(|| self.locked_tables.next(&self.table).unwrap_or_else(Instant::now))
    }

    /// Notes the outcome of an attempt, which began at `begun`, to give the table columns for `layout`.
    pub(super) fn note_attempt(&mut self, layout: &Layout, begun: Instant, outcome: &Result<(), LoadError>) {
        match outcome {
            Ok(()) => {
                self.locked_out = None;
                self.locked_tables.over(&self.table);
            }
            Err(LoadError::Locked { .. }) => {
                self.locked_out = Some(layout.clone());
                self.locked_tables.failed(&self.table, begun);
            }
            Err(_) => {}
        }
    }

    /// Notes that the table is known to be locked, so that nothing was tried.
    pub(super) fn stay_locked_out(&mut self, layout: &Layout) -> LoadError {
        self.locked_out = Some(layout.clone());
        LoadError::Locked { table: format!("{}.{}", self.table.schema, self.table.name) }
    }

    /// Tries again to give the table the columns that it lacks, if it is time, or between two slices. Returns whether
    /// it has them now.
    pub async fn try_columns(&mut self, between_slices: bool) -> Result<bool, LoadError> {
        let Some(layout) = self.locked_out.clone() else { return Ok(false) };
        if !between_slices && self.next_attempt().is_some_and(|next| next > Instant::now()) {
            return Ok(false);
        }
        let pool = self.pool;
        let mut connection = pool.acquire().await?;
        let backend = session::backend(&mut connection).await?;
        match watched(pool, backend, self.grow(&mut connection, &layout)).await {
            Ok(()) => Ok(true),
            Err(LoadError::Locked { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether the table could be locked at once. Waits for nothing, so that no other session waits.
pub(super) async fn is_free(connection: &mut PgConnection, table: &Table) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().in_time().await?;
    let table = qualified(&table.schema, &table.name);
    let locked =
        run_ddl(&mut transaction, format!("lock table {table} in access exclusive mode nowait")).in_time().await;
    // Also after an error of the statement.
    transaction.rollback().in_time().await?;
    match locked {
        Ok(()) => Ok(true),
        Err(error) if code(&error).as_deref() == Some(LOCK_TIMEOUT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_a_locked_table_is_tried_ever_more_seldom() {
        let pauses = [1, 2, 3, 7, 100].map(|attempts| pause(attempts).as_secs());
        assert_eq!(pauses, [5, 10, 20, 300, 300]);
    }
}
