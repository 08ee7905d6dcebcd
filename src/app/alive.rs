//! Records that this process is running, with its jobs and the quotas it configures.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;

use crate::quota::{self, Dispute, Stated};
use crate::store::instance::{self, About};
use crate::text::show_duration;

/// How often the process updates its row in `tidegate.instance`. A row expires after a minute.
pub(super) const PERIOD: Duration = Duration::from_secs(15);
/// How long a process that shuts down waits for the database.
const LEAVE_MAX: Duration = Duration::from_millis(500);

/// This process's record in the table of running processes.
#[derive(Debug)]
pub struct Alive {
    pool: PgPool,
    owner: String,
    /// Disputes already logged, so that each is logged once.
    known: Mutex<BTreeSet<Dispute>>,
}

impl Alive {
    pub const fn new(pool: PgPool, owner: String) -> Self {
        Self { pool, owner, known: Mutex::new(BTreeSet::new()) }
    }

    /// Records that the process is running with these jobs and connections, and applies the quotas that follow from
    /// what all running processes configure.
    pub async fn beat(&self, jobs: &[String], connections: &[String], about: &About) -> Result<(), sqlx::Error> {
        instance::beat(&self.pool, &self.owner, jobs, about).await?;
        let disputes = quota::renew(&self.pool, &self.owner, connections).await?;
        self.log(disputes.into_iter().collect());
        Ok(())
    }

    /// Renews the record periodically, so that a daemon without these jobs does not cancel their runs.
    pub async fn keep(&self, jobs: &[String], connections: &[String]) -> Infallible {
        loop {
            if let Err(error) = self.beat(jobs, connections, &About::default()).await {
                tracing::debug!(%error, "this process could not be recorded as running");
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Deletes the record. If that fails, the record expires.
    pub async fn leave(&self) {
        let left = instance::leave(&self.pool, &self.owner);
        let _ = tokio::time::timeout(LEAVE_MAX, left).await;
    }

    /// Runs `work` (a command's calls to vendors) while the process is recorded as running.
    pub async fn during<T>(&self, connection: &str, work: impl Future<Output = T>) -> T {
        let connections = [connection.to_owned()];
        let done = tokio::select! {
            done = work => done,
            never = self.keep(&[], &connections) => match never {},
        };
        // Record again, so that a dispute about quotas that the work has configured is reported.
        let _ = tokio::time::timeout(LEAVE_MAX, self.beat(&[], &connections, &About::default())).await;
        self.leave().await;
        done
    }

    /// Warns of new disputes and logs which have ended.
    fn log(&self, disputes: BTreeSet<Dispute>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for dispute in disputes.difference(&known) {
            tracing::warn!(
                limit = dispute.limit,
                connection = dispute.connection,
                process = self.owner,
                states = show(dispute.here),
                other_connection = dispute.other_connection,
                other_process = dispute.other_owner,
                other_states = show(dispute.there),
                in_force = show(dispute.in_force),
                "different quotas are configured for one credential; the smaller limit and the longer period apply"
            );
        }
        for Dispute { limit, connection, .. } in known.difference(&disputes) {
            tracing::info!(limit, connection, "resolved: one credential no longer has different quotas");
        }
        *known = disputes;
    }
}

/// As written in the configuration.
fn show(stated: Stated) -> String {
    format!("{{ limit: {}, per: {} }}", stated.amount, show_duration(stated.per))
}
