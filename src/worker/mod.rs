//! Claims runs and works on them: the only place that knows vendors and SQL at once.
//!
//! A lease saves work, a fence gives correctness: every checkpoint verifies that the run and the stream are still held
//! under the number they were claimed with.

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
pub use run::Shared;
pub use slice::MemoryBudget;
pub use task::scope;

use crate::config::Config;
use crate::pulse::Loop;
use crate::store::run::claim;
use crate::store::session;

/// How often an idle worker looks for a run, besides being told.
const IDLE: Duration = Duration::from_secs(1);
const CANNOT_LOOK: &str = "workers cannot look for runs";
/// After a database fault a worker looks again this much later.
const FAULT_PAUSE: Duration = Duration::from_secs(3);

/// The workers of one process.
#[derive(Debug)]
pub struct Pool {
    pub shared: Arc<Shared>,
    pub config: watch::Receiver<Arc<Config>>,
    /// Rung when a run may have become due.
    pub wake: Arc<Notify>,
    /// Is rung when a run was left.
    pub left: Arc<Notify>,
    pub shutdown: CancellationToken,
    /// Only these runs; none for whatever is due.
    pub only: Option<Vec<i64>>,
}

impl Pool {
    /// Works until `shutdown`, then until every run under way has reached a checkpoint and was released.
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
                // The run's lease ends and another worker takes it over.
                tracing::error!(%error, "a worker died; this is a bug");
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
        let Shared { pool, owner, pulse, trouble, .. } = &*self.shared;
        let mut looking = Some(pulse.go(Loop::Claim));
        while !self.shutdown.is_cancelled() {
            let config = Arc::clone(&self.config.borrow());
            let jobs: Vec<String> = config.jobs.keys().cloned().collect();
            let claimed = claim(pool, owner, config.worker.lease, &jobs, self.only.as_deref()).await;
            pulse.beat(Loop::Claim, claimed.is_ok());
            let pause = match claimed {
                Ok(Some(claimed)) => {
                    drop(looking.take());
                    Box::pin(run::work(&self.shared, &config, claimed, &self.shutdown)).await;
                    self.left.notify_one();
                    looking = Some(pulse.go(Loop::Claim));
                    continue;
                }
                Ok(None) => {
                    trouble.over(CANNOT_LOOK);
                    IDLE
                }
                Err(error) => {
                    session::judge(pool, &error);
                    trouble.warn(CANNOT_LOOK, &error);
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
}
