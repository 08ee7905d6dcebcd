//! Takes old history away while the daemon runs, in short transactions with pauses between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, History};
use crate::schedule::timer::PeriodicTask;
use crate::store::trouble::chain;
use crate::store::{prune, session};

/// How often old history is looked for.
const PERIOD: Duration = Duration::from_mins(10);
/// How long it may take to take away what has grown old; the rest goes the next time.
const WORK_MAX: Duration = Duration::from_hours(1);
/// Runs that one transaction takes away; each has a task per stream.
const RUNS_AT_A_TIME: u32 = 500;
/// Refused records that one transaction takes away.
const REJECTS_AT_A_TIME: u32 = 5_000;

/// Prunes by the configuration in force.
pub(super) fn chore(pool: PgPool, config: watch::Receiver<Arc<Config>>, shutdown: CancellationToken) -> PeriodicTask {
    PeriodicTask::new("prune", PERIOD, move || {
        let (pool, history, shutdown) = (pool.clone(), config.borrow().history.clone(), shutdown.clone());
        async move {
            match prune(&pool, &history, &shutdown).await {
                Ok((0, 0)) => {}
                Ok((runs, rejects)) => tracing::info!(runs, rejects, "old history taken away"),
                Err(error) => {
                    session::judge(&pool, &error);
                    tracing::warn!(error = chain(&error), "old history could not be taken away; it is tried again");
                }
            }
        }
    })
    .within(WORK_MAX)
}

/// What grows old.
#[derive(Debug, Clone, Copy)]
enum Past {
    Runs,
    Rejects,
}

impl Past {
    /// How many rows of it one transaction takes away.
    const fn at_a_time(self) -> u32 {
        match self {
            Self::Runs => RUNS_AT_A_TIME,
            Self::Rejects => REJECTS_AT_A_TIME,
        }
    }
}

/// Takes away all that is too old; returns how many runs and refused records that were.
async fn prune(pool: &PgPool, history: &History, shutdown: &CancellationToken) -> Result<(u64, u64), sqlx::Error> {
    let runs = drain(pool, Past::Runs, history.keep_runs, shutdown).await?;
    let rejects = drain(pool, Past::Rejects, history.keep_rejects, shutdown).await?;
    Ok((runs, rejects))
}

async fn drain(
    pool: &PgPool,
    past: Past,
    keep: Option<Duration>,
    shutdown: &CancellationToken,
) -> Result<u64, sqlx::Error> {
    let Some(keep) = keep else { return Ok(0) };
    let mut sum = 0;
    while !shutdown.is_cancelled() {
        let began = Instant::now();
        let limit = past.at_a_time();
        let gone = match past {
            Past::Runs => prune::runs(pool, keep, limit.into()).await?,
            Past::Rejects => prune::rejects(pool, keep, limit.into()).await?,
        };
        sum += gone;
        if gone < u64::from(limit) {
            break;
        }
        // Loads go on meanwhile and have the database for themselves half of the time.
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(began.elapsed()) => {}
        }
    }
    Ok(sum)
}
