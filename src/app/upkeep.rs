//! Gives tables of earlier versions their index by time and their parameters of autovacuum while the daemon runs. It is
//! not part of the migration, because building an index takes long where a table is large.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::catalogue::Stream;
use crate::config::Config;
use crate::load::upkeep::{self, Upkeep};
use crate::schedule::timer::PeriodicTask;
use crate::store::session;
use crate::store::trouble::Repeats;

/// How often tables are searched that lack something, which takes one query.
const PERIOD: Duration = Duration::from_mins(10);
/// Longer than the longest build of an index.
const WORK_MAX: Duration = Duration::from_hours(24);
const FAILING: &str =
    "tables could not get their index by time or their parameters of autovacuum; loads go on, and it is retried";

/// Goes through the tables of the current configuration. Does not count as a loop that the process depends on: it may
/// wait for hours for a transaction to end, and nothing fails without it.
pub(super) fn task(pool: PgPool, config: watch::Receiver<Arc<Config>>, shutdown: CancellationToken) -> PeriodicTask {
    let trouble = Arc::new(Repeats::default());
    PeriodicTask::new("upkeep", PERIOD, move || {
        let (pool, config, shutdown) = (pool.clone(), Arc::clone(&config.borrow()), shutdown.clone());
        let trouble = Arc::clone(&trouble);
        async move {
            match shutdown.run_until_cancelled(keep_up(&pool, &config)).await {
                None => {}
                Some(Ok(_)) => trouble.over(FAILING),
                Some(Err(error)) => {
                    session::judge(&pool, &error);
                    trouble.warn(FAILING, &error);
                }
            }
        }
    })
    .within(WORK_MAX)
}

/// Gives the tables of a configuration what they lack.
async fn keep_up(pool: &PgPool, config: &Config) -> Result<Upkeep, sqlx::Error> {
    let done = upkeep::keep_up(pool, &streams(config)).await?;
    if done != Upkeep::default() {
        let Upkeep { indexes, parameters, busy } = done;
        tracing::info!(indexes, parameters, busy, "tables were given what they lacked for many rows");
    }
    Ok(done)
}

/// How many tables of a configuration have rows and wait for their index by time, which a daemon builds.
pub async fn tables_without_index(pool: &PgPool, config: &Config) -> Result<u64, sqlx::Error> {
    upkeep::tables_without_index(pool, &streams(config)).await
}

/// The streams of all jobs, one for each table.
fn streams(config: &Config) -> Vec<&Stream> {
    let entries = config.jobs.values().flat_map(|job| &job.streams);
    let by_table: BTreeMap<(&str, &str), &Stream> =
        entries.map(|entry| ((entry.stream.schema, &*entry.stream.name), &*entry.stream)).collect();
    by_table.into_values().collect()
}
