//! Runs that a command waits for: enqueued like any other, worked on here or by a daemon beside.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::owner;
use crate::config::Config;
use crate::server::Metrics;
use crate::store::progress::{self, TaskState};
use crate::worker::{Accounts, Pool, Room, Shared};

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// Runs under way may take this long to reach a checkpoint when the command is interrupted.
const DRAIN: Duration = Duration::from_secs(7);

/// Workers of this process for a few runs.
#[derive(Debug)]
pub struct Foreground {
    shutdown: CancellationToken,
    workers: JoinHandle<()>,
    owner: String,
    /// Keeps the configuration's channel open.
    _config: watch::Sender<Arc<Config>>,
}

impl Foreground {
    /// Sets workers going on `runs` and no other.
    pub fn start(config: Arc<Config>, pool: PgPool, runs: Vec<i64>) -> Self {
        let shutdown = CancellationToken::new();
        let owner = owner();
        let shared = Shared {
            pool,
            accounts: Accounts::default(),
            metrics: Arc::new(Metrics::default()),
            room: Room::of(config.worker.concurrency),
            owner: owner.clone(),
        };
        let (sender, receiver) = watch::channel(config);
        let pool = Pool {
            shared: Arc::new(shared),
            config: receiver,
            wake: Arc::new(Notify::new()),
            shutdown: shutdown.clone(),
            only: Some(runs),
        };
        Self { shutdown, workers: tokio::spawn(pool.run()), owner, _config: sender }
    }

    /// Lets runs under way reach a checkpoint; answers the name under which those are still held that did not in time.
    pub async fn stop(self) -> String {
        self.shutdown.cancel();
        let abort = self.workers.abort_handle();
        if tokio::time::timeout(DRAIN, self.workers).await.is_err() {
            abort.abort();
        }
        self.owner
    }
}

/// Looks at the tasks of `runs` until all have ended, showing each look to `show`; answers the last.
pub async fn follow(
    pool: &PgPool,
    runs: &[i64],
    mut show: impl FnMut(&[TaskState]),
) -> Result<Vec<TaskState>, sqlx::Error> {
    loop {
        let tasks = progress::tasks(pool, runs).await?;
        show(&tasks);
        if tasks.iter().all(|task| matches!(task.run_state.as_str(), "succeeded" | "failed" | "cancelled")) {
            return Ok(tasks);
        }
        tokio::time::sleep(LOOK).await;
    }
}
