//! Columns that a table should get while another session keeps it locked.
//!
//! Until it gets them, values of new fields go to `_extra`. The columns are tried again, ever more seldom: each attempt
//! waits for the lock, and all other sessions wait behind it.

use std::time::Duration;

use tokio::time::Instant;

use super::loader::Loader;
use super::table::{DDL_LOCK_TIMEOUT, run_ddl};
use super::{LOCK_TIMEOUT, LoadError, code};
use crate::rows::layout::Layout;
use crate::store::ident::table as qualified;
use crate::store::session::{self, Deadline as _, watched};

/// How long to wait after the first attempt. The time doubles with each further attempt.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_mins(5);

/// The columns that the table should get.
#[derive(Debug)]
pub(super) struct LockedOut {
    /// The fields that need them.
    layout: Layout,
    /// How often the table was locked.
    attempts: u32,
    next: Instant,
}

impl LockedOut {
    fn pause(attempts: u32) -> Duration {
        PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(PAUSE_MAX)
    }
}

impl Loader<'_> {
    /// Whether the table lacks columns because another session keeps it locked.
    pub const fn lacks_columns(&self) -> bool {
        self.locked_out.is_some()
    }

    /// When the columns should be tried again within a slice. `None` if the table lacks none.
    pub fn next_attempt(&self) -> Option<Instant> {
        self.locked_out.as_ref().map(|locked_out| locked_out.next)
    }

    /// Notes the outcome of an attempt to give the table columns for `layout`.
    pub(super) fn note_attempt(&mut self, layout: &Layout, outcome: &Result<(), LoadError>) {
        match outcome {
            Ok(()) => self.locked_out = None,
            Err(LoadError::Locked { .. }) => {
                let attempts = self.locked_out.as_ref().map_or(0, |locked_out| locked_out.attempts) + 1;
                let next = Instant::now() + LockedOut::pause(attempts);
                self.locked_out = Some(LockedOut { layout: layout.clone(), attempts, next });
            }
            Err(_) => {}
        }
    }

    /// Tries again to give the table the columns that it lacks, if it is time. Returns whether it has them now.
    /// `between_slices`: the second attempt does not wait.
    pub async fn try_columns(&mut self, between_slices: bool) -> Result<bool, LoadError> {
        let is_time =
            |locked_out: &&LockedOut| Instant::now() >= locked_out.next || (between_slices && locked_out.attempts == 1);
        let Some(locked_out) = self.locked_out.as_ref().filter(is_time) else { return Ok(false) };
        let layout = locked_out.layout.clone();
        let pool = self.pool;
        let mut connection = pool.acquire().await?;
        let backend = session::backend(&mut connection).await?;
        match watched(pool, backend, self.grow(&mut connection, &layout)).await {
            Ok(()) => Ok(true),
            Err(LoadError::Locked { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the table could get columns now.
    pub async fn can_get_columns(&self) -> Result<bool, LoadError> {
        let mut transaction = self.pool.begin().in_time().await?;
        let table = qualified(&self.table.schema, &self.table.name);
        let statements =
            format!("set local lock_timeout = '{DDL_LOCK_TIMEOUT}'; lock table {table} in access exclusive mode");
        let locked = run_ddl(&mut transaction, statements).in_time().await;
        // Also after an error of the statement.
        transaction.rollback().in_time().await?;
        match locked {
            Ok(()) => Ok(true),
            Err(error) if code(&error).as_deref() == Some(LOCK_TIMEOUT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_a_locked_table_is_tried_ever_more_seldom() {
        let pauses = [1, 2, 3, 7, 100].map(|attempts| LockedOut::pause(attempts).as_secs());
        assert_eq!(pauses, [5, 10, 20, 300, 300]);
    }
}
