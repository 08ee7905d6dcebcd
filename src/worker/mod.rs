//! Claims runs and works on them. The only folder that knows both vendors and SQL.
//!
//! The lease avoids duplicate work; the fence guarantees correctness: every checkpoint verifies that the run and the
//! stream are still held under the fencing number they were claimed with.

pub mod accounts;
pub mod grid;
pub mod hint;
pub mod policy;
mod report;
mod run;
mod slice;
mod task;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use accounts::{Account, AccountError, Accounts};
pub use run::WorkerContext;
pub use slice::MemoryBudget;
pub use task::{scope, wanted_from};

use crate::config::Config;
use crate::pulse::Loop;
use crate::store::run::{Claim, claim};
use crate::store::session;

/// How often an idle worker checks for a run without being notified.
const IDLE: Duration = Duration::from_secs(1);
const CANNOT_CLAIM: &str = "workers cannot check for runs";
/// Pause after an error of the database.
const FAULT_PAUSE: Duration = Duration::from_secs(3);

/// The workers of one process.
#[derive(Debug)]
pub struct Pool {
    pub shared: Arc<WorkerContext>,
    pub config: watch::Receiver<Arc<Config>>,
    /// Notified when a run may have become due.
    pub wake: Arc<Notify>,
    /// Notified when the work on a run has ended for now.
    pub left: Arc<Notify>,
    pub shutdown: CancellationToken,
    /// If set, only these runs are claimed.
    pub only: Option<Vec<i64>>,
}

impl Pool {
    /// Works until `shutdown`, then until every run under way has reached a checkpoint and is released.
    pub async fn run(self) {
        let workers = self.config.borrow().worker.concurrency;
        let pool = Arc::new(self);
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            tasks.spawn(Arc::clone(&pool).worker());
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                // When the run's lease expires, another worker takes it over.
                tracing::error!(%error, "a worker panicked; this is a bug");
                tokio::select! {
                    () = pool.shutdown.cancelled() => {}
                    () = tokio::time::sleep(FAULT_PAUSE) => {}
                }
                if !pool.shutdown.is_cancelled() {
                    tasks.spawn(Arc::clone(&pool).worker());
                }
            }
        }
    }

    async fn worker(self: Arc<Self>) {
        let WorkerContext { pool, pulse, trouble, .. } = &*self.shared;
        let mut checking = Some(pulse.go(Loop::Claim));
        while !self.shutdown.is_cancelled() {
            let config = Arc::clone(&self.config.borrow());
            let claimed = self.claim(&config).await;
            pulse.beat(Loop::Claim, claimed.is_ok());
            let pause = match claimed {
                Ok(Some(claimed)) => {
                    drop(checking.take());
                    // Where one run is due, there may be others: an idle worker checks now, and then wakes the next.
                    self.wake.notify_one();
                    Box::pin(run::work(&self.shared, &config, claimed, &self.shutdown)).await;
                    self.left.notify_one();
                    checking = Some(pulse.go(Loop::Claim));
                    continue;
                }
                Ok(None) => {
                    trouble.over(CANNOT_CLAIM);
                    IDLE
                }
                Err(error) => {
                    session::judge(pool, &error);
                    trouble.warn(CANNOT_CLAIM, &error);
                    FAULT_PAUSE
                }
            };
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn claim(&self, config: &Config) -> Result<Option<Claim>, sqlx::Error> {
        let mut connection = self.shared.pool.acquire().await?;
        let is_ours = |job: &str| config.jobs.contains_key(job);
        let only = self.only.as_deref();
        claim(&mut connection, &self.shared.owner, config.worker.lease, is_ours, only).await
    }
}
