//! Locks for which a process that is tested waits.

use std::time::Duration;

use sqlx::{Postgres, Transaction};
use tokio::time::sleep;

use super::{World, eventually};

/// Waits until a session waits for a lock on this table of the schema `tidegate`.
pub async fn is_waited_for(world: &World, table: &str) {
    let waiting = format!(
        "select exists (
            select from pg_locks
            where
                relation = 'tidegate.{table}'::regclass
                and not granted
                and database = (select oid from pg_database where datname = current_database())
        )"
    );
    eventually(Duration::from_secs(30), async || world.scalar::<bool>(&waiting).await.then_some(())).await;
}

/// Frees the lock after longer than requests that are no actions may take at a shutdown; or keeps it.
pub async fn free_late(lock: Transaction<'_, Postgres>, frees: bool) -> Option<Transaction<'_, Postgres>> {
    if !frees {
        return Some(lock);
    }
    sleep(Duration::from_millis(1_500)).await;
    lock.rollback().await.unwrap();
    None
}
