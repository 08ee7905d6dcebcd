//! Runs that a command waits for: enqueued like any other run, processed by this process or by a daemon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Alive, owner, views};
use crate::config::Config;
use crate::load::LockedTables;
use crate::mart;
use crate::metrics::Metrics;
use crate::pulse::Pulse;
use crate::quota::Hours;
use crate::store::progress::{self, TaskState};
use crate::store::session;
use crate::store::trouble::Repeats;
use crate::worker::{Accounts, MemoryBudget, Pool, WorkerContext};

/// How long a command waits for a lost database connection.
const LOST_MAX: Duration = Duration::from_mins(1);
/// How often progress is read.
const LOOK: Duration = Duration::from_millis(300);
/// How long runs in progress may take to reach a checkpoint when the command is interrupted.
const DRAIN: Duration = Duration::from_secs(7);

/// The workers of this process, for a few runs only.
#[derive(Debug)]
pub struct Foreground {
    pool: PgPool,
    runs: Vec<i64>,
    /// Notified when a worker has left a run.
    left: Arc<Notify>,
    shutdown: CancellationToken,
    workers: JoinHandle<()>,
    alive: Arc<Alive>,
    beats: JoinHandle<()>,
    owner: String,
    /// Has the quotas that were used, until they are stored.
    shared: Arc<WorkerContext>,
    /// Makes the views of the mart again after runs.
    following: JoinHandle<()>,
    /// Keeps the configuration channel open.
    config: watch::Sender<Arc<Config>>,
}

impl Foreground {
    /// Starts workers for `runs` only, which make the views of the mart with `views`.
    pub fn start(config: Arc<Config>, pool: PgPool, runs: Vec<i64>, views: Arc<mart::Views>) -> Self {
        let shutdown = CancellationToken::new();
        let (owner, left) = (owner(), Arc::new(Notify::new()));
        let shared = Arc::new(WorkerContext {
            hours: Hours::default(),
            pool: pool.clone(),
            accounts: Accounts::default(),
            metrics: Arc::new(Metrics::default()),
            memory: MemoryBudget::for_runs(config.worker.concurrency),
            locked_tables: LockedTables::default(),
            pulse: Arc::new(Pulse::default()),
            trouble: Repeats::default(),
            mart: views,
            owner: owner.clone(),
            distribution: config.database.distribution,
        });
        let jobs: Vec<String> = config.jobs.keys().cloned().collect();
        let connections: Vec<String> = config.connections.keys().cloned().collect();
        let alive = Arc::new(Alive::new(pool.clone(), owner.clone()));
        let beating = Arc::clone(&alive);
        let beats = tokio::spawn(async move {
            let _never = beating.keep(&jobs, &connections).await;
        });
        let (sender, receiver) = watch::channel(config);
        let following = tokio::spawn(views::follow(Arc::clone(&shared), receiver.clone(), shutdown.clone()));
        let workers = Pool {
            shared: Arc::clone(&shared),
            config: receiver,
            wake: Arc::new(Notify::new()),
            left: Arc::clone(&left),
            shutdown: shutdown.clone(),
            only: Some(runs.clone()),
        };
        let workers = tokio::spawn(workers.run());
        Self { pool, runs, left, shutdown, workers, alive, beats, owner, shared, following, config: sender }
    }

    /// Reads the tasks of the runs until all have ended and passes each state to `show`. Makes the views of the mart
    /// over the columns that the runs added. Returns the last state.
    pub async fn follow(&self, show: impl FnMut(&[TaskState])) -> Result<Vec<TaskState>, sqlx::Error> {
        let tasks = look(&self.pool, &self.runs, &self.left, show).await?;
        let settings = self.config.borrow().mart.clone();
        self.shared.mart.refresh(&self.pool, &settings).await;
        Ok(tasks)
    }

    /// Lets runs in progress reach a checkpoint. Returns the owner name of the runs that did not reach one in time, if
    /// any.
    pub async fn stop(self) -> String {
        self.shutdown.cancel();
        let abort = self.workers.abort_handle();
        if tokio::time::timeout(DRAIN, self.workers).await.is_err() {
            abort.abort();
        }
        self.beats.abort();
        self.following.abort();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.shared.hours.store(&self.pool)).await;
        self.alive.leave().await;
        self.owner
    }
}

/// Reads progress periodically, and when a worker has left a run.
async fn look(
    pool: &PgPool,
    runs: &[i64],
    left: &Notify,
    mut show: impl FnMut(&[TaskState]),
) -> Result<Vec<TaskState>, sqlx::Error> {
    let mut seen = Instant::now();
    loop {
        let tasks = match progress::tasks(pool, runs).await {
            Ok(tasks) => tasks,
            // Workers continue when the database is back, so reading continues too.
            Err(error) if session::is_lost(&error) && seen.elapsed() < LOST_MAX => {
                session::purge(pool);
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        seen = Instant::now();
        show(&tasks);
        if tasks.iter().all(TaskState::has_ended) {
            return Ok(tasks);
        }
        // Or this process has no workers for them.
        let _ = tokio::time::timeout(LOOK, left.notified()).await;
    }
}
