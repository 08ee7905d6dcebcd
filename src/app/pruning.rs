//! Deletes old history while the daemon runs, in short transactions with pauses between them, and then old rows of the
//! warehouse.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::periodic::Periodic;
use super::retention::Retention;
use crate::config::{Config, History};
use crate::pulse::Loop;
use crate::schedule::timer::PeriodicTask;
use crate::store::{event, notification, problem, prune};

/// How often old history is deleted.
const PERIOD: Duration = Duration::from_mins(10);
const FAILING: &str = "old history could not be deleted; it is retried";
/// A pass ends after this; the rest is deleted in the next one.
const PASS_MAX: Duration = Duration::from_mins(30);
/// Longer than a pass and its last transaction.
const WORK_MAX: Duration = Duration::from_hours(1);
/// Runs per transaction; each has a task per stream.
const RUNS_AT_A_TIME: u32 = 500;
/// Events, problems or notifications per transaction.
const EVENTS_AT_A_TIME: u32 = 2_000;
/// How long notifications are kept. Reminders are sent more often than that.
const KEEP_NOTIFICATIONS: Duration = Duration::from_hours(30 * 24);
/// Rejected records per transaction.
const REJECTS_AT_A_TIME: u32 = 5_000;
/// Slices per transaction. A slice has fingerprints of 24 bytes for each of its rows.
const SLICES_AT_A_TIME: u32 = 200;
/// How long fingerprints are kept after the last reading of their slice. Slices within a job's lookback are read by
/// every run, so older ones are only read by a backfill.
const KEEP_FINGERPRINTS: Duration = Duration::from_hours(90 * 24);

/// Prunes by the current configuration.
pub(super) fn task(periodic: &Periodic, config: watch::Receiver<Arc<Config>>) -> PeriodicTask {
    let (pool, shutdown) = (periodic.pool.clone(), periodic.shutdown.clone());
    let retention = Arc::new(Mutex::new(Retention::default()));
    let work = move || {
        let (pool, config, shutdown) = (pool.clone(), config.clone(), shutdown.clone());
        let retention = Arc::clone(&retention);
        async move {
            let current = Arc::clone(&config.borrow());
            let gone = prune(&pool, &current.history, &shutdown).await?;
            if gone != Pruned::default() {
                let Pruned { runs, rejects, events, slices } = gone;
                tracing::info!(runs, rejects, events, slices, "old history deleted");
            }
            retention.lock().await.pass(&pool, &config, &shutdown).await
        }
    };
    periodic.task(Loop::Prune, PERIOD, FAILING, work).within(WORK_MAX)
}

/// Kinds of history that expire.
#[derive(Debug, Clone, Copy)]
enum Past {
    Runs,
    Rejects,
    Events,
    Problems,
    Notifications,
    Fingerprints,
    Readings,
}

impl Past {
    /// How many rows of this kind one transaction deletes.
    const fn at_a_time(self) -> u32 {
        match self {
            Self::Runs => RUNS_AT_A_TIME,
            Self::Rejects => REJECTS_AT_A_TIME,
            Self::Events | Self::Problems | Self::Notifications => EVENTS_AT_A_TIME,
            Self::Fingerprints | Self::Readings => SLICES_AT_A_TIME,
        }
    }
}

/// How much a pass deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Pruned {
    runs: u64,
    rejects: u64,
    /// Events, problems and notifications.
    events: u64,
    /// Slices whose fingerprints or unfinished readings were deleted.
    slices: u64,
}

/// Deletes everything that is too old.
async fn prune(pool: &PgPool, history: &History, shutdown: &CancellationToken) -> Result<Pruned, sqlx::Error> {
    let ends = Instant::now() + PASS_MAX;
    let runs = drain(pool, Past::Runs, history.keep_runs, ends, shutdown).await?;
    let rejects = drain(pool, Past::Rejects, history.keep_rejects, ends, shutdown).await?;
    let mut events = drain(pool, Past::Events, history.keep_events, ends, shutdown).await?;
    events += drain(pool, Past::Problems, history.keep_events, ends, shutdown).await?;
    events += drain(pool, Past::Notifications, Some(KEEP_NOTIFICATIONS), ends, shutdown).await?;
    let mut slices = drain(pool, Past::Fingerprints, Some(KEEP_FINGERPRINTS), ends, shutdown).await?;
    slices += drain(pool, Past::Readings, Some(KEEP_FINGERPRINTS), ends, shutdown).await?;
    Ok(Pruned { runs, rejects, events, slices })
}

async fn drain(
    pool: &PgPool,
    past: Past,
    keep: Option<Duration>,
    ends: Instant,
    shutdown: &CancellationToken,
) -> Result<u64, sqlx::Error> {
    let Some(keep) = keep else { return Ok(0) };
    let mut sum = 0;
    while !shutdown.is_cancelled() && Instant::now() < ends {
        let began = Instant::now();
        let limit = past.at_a_time();
        let gone = match past {
            Past::Runs => prune::runs(pool, keep, limit.into()).await?,
            Past::Rejects => prune::rejects(pool, keep, limit.into()).await?,
            Past::Events => event::prune(pool, keep, limit.into()).await?,
            Past::Problems => problem::prune(pool, keep, limit.into()).await?,
            Past::Notifications => notification::prune(pool, keep, limit.into()).await?,
            Past::Fingerprints => prune::fingerprints(&mut *pool.acquire().await?, keep, limit.into()).await?,
            Past::Readings => prune::readings(&mut *pool.acquire().await?, keep, limit.into()).await?,
        };
        sum += gone;
        if gone < u64::from(limit) {
            break;
        }
        // Pauses as long as it worked, so that loads have the database to themselves half of the time.
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(began.elapsed()) => {}
        }
    }
    Ok(sum)
}
