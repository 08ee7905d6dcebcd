//! Works on one run that this process holds: its tasks one after another, under a lease that is renewed.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::accounts::{self, Accounts};
use super::hint::Subject;
use super::policy::{self, TaskError};
use super::report::Reporter;
use super::slice::MemoryBudget;
use super::task::{TaskRunner, carry_out};
use crate::clock;
use crate::config::{Config, Job};
use crate::connector::Connection;
use crate::load::LockedTables;
use crate::mart;
use crate::metrics::{Metrics, RunOutcome};
use crate::pulse::{Loop, Pulse};
use crate::quota::{self, Hours, waiter_of_task};
use crate::store::distribution::Distribution;
use crate::store::run::{self, Claim, Left};
use crate::store::session;
use crate::store::session::Deadline as _;
use crate::store::stream::{self, Trouble};
use crate::store::task::{self, DueTask, TaskEnd};
use crate::store::trouble::{Repeats, chain};

/// Attempts at a run whose state cannot be stored, and the pause between them.
const STORE_ATTEMPTS: u32 = 5;
const STORE_PAUSE: Duration = Duration::from_secs(3);
const CANNOT_RENEW: &str = "leases cannot be renewed";
/// How often the lease is renewed within its length, …
const RENEWALS_PER_LEASE: u32 = 3;
/// … and at least this often, so that failures show soon, however long the lease.
const RENEWAL_MAX: Duration = Duration::from_secs(20);

/// Everything that the runs of a process share.
#[derive(Debug)]
pub struct WorkerContext {
    /// What was used of quotas by the hour, until it is stored.
    pub hours: Hours,
    pub pool: sqlx::PgPool,
    pub accounts: Accounts,
    pub metrics: Arc<Metrics>,
    pub memory: MemoryBudget,
    /// Tables that another session kept locked when they should get columns.
    pub locked_tables: LockedTables,
    pub pulse: Arc<Pulse>,
    /// Warnings about what fails repeatedly.
    pub trouble: Repeats,
    /// The views for analysts, which follow the columns that runs add.
    pub mart: Arc<mart::Views>,
    /// Name of this worker in `tidegate.run`.
    pub owner: String,
    /// Where the rows of reports are, since the start.
    pub distribution: Distribution,
}

/// Works on a claimed run until it ends, waits, or passes to another worker.
pub(crate) async fn work(shared: &WorkerContext, config: &Config, claim: Claim, shutdown: &CancellationToken) {
    let span = tracing::info_span!("run", run = claim.id, job = claim.job, connection = claim.connection);
    async {
        if claim.taken_over {
            tracing::warn!("taking over from a worker that stopped responding");
        }
        if claim.is_first {
            shared.metrics.run_started((clock::now() - claim.due).to_std().unwrap_or_default());
        }
        let lease = config.worker.lease;
        tokio::select! {
            () = all_tasks(shared, config, &claim, shutdown) => {}
            // Boxed, since the other branch is large.
            () = keep_lease(shared, &claim, lease) => {
                say_why_lost(shared, &claim).await;
            }
        }
    }
    .instrument(span)
    .await;
    // The views are not made here: a pass takes a tenth of a second, and the first run of every stream makes a table.
    // An error waits for the periodic check.
    if run::changed_columns(&shared.pool, claim.id).await.unwrap_or(false) {
        shared.mart.outdate();
    }
}

/// Works on the run's tasks. Continues after a loss of the database, because the run is still held.
async fn all_tasks(shared: &WorkerContext, config: &Config, claim: &Claim, shutdown: &CancellationToken) {
    for attempt in 1..=STORE_ATTEMPTS {
        let Err(error) = tasks(shared, config, claim, shutdown).await else { return };
        session::judge(&shared.pool, &error);
        if attempt == STORE_ATTEMPTS || shutdown.is_cancelled() {
            let error = chain(&error);
            tracing::error!(error, "the run's state could not be stored; it is taken over when its lease ends");
            return;
        }
        shared.trouble.warn("the run's state could not be stored, trying again", &error);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(STORE_PAUSE) => {}
        }
    }
}

/// Renews the lease, which begins with the claim. Returns when it is lost.
async fn keep_lease(shared: &WorkerContext, claim: &Claim, lease: Duration) {
    let _going = shared.pulse.go(Loop::Renew);
    // A short run ends before its first renewal. Workers that only have short runs must not seem to renew nothing.
    shared.pulse.begin_well(Loop::Renew);
    let period = renewal_period(lease);
    let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let renewed = run::renew(&shared.pool, claim.id, claim.fence, lease).await;
        shared.pulse.beat(Loop::Renew, renewed.is_ok());
        match renewed {
            Ok(true) => shared.trouble.over(CANNOT_RENEW),
            Ok(false) => return,
            // The fence decides, not the lease: if the database responds again in time, nothing is lost.
            Err(error) => {
                session::judge(&shared.pool, &error);
                shared.trouble.warn(CANNOT_RENEW, &error);
            }
        }
    }
}

fn renewal_period(lease: Duration) -> Duration {
    (lease / RENEWALS_PER_LEASE).min(RENEWAL_MAX)
}

async fn tasks(
    shared: &WorkerContext,
    config: &Config,
    claim: &Claim,
    shutdown: &CancellationToken,
) -> Result<(), sqlx::Error> {
    let deadline =
        tokio::time::Instant::now() + config.jobs.get(&claim.job).map_or(Duration::MAX / 4, |job| job.timeout);
    let due = task::due(&shared.pool, claim.id).await?;
    let is_idle = due.is_empty();
    let last = due.len().saturating_sub(1);
    for (place, task) in due.into_iter().enumerate() {
        if shutdown.is_cancelled() {
            break;
        }
        if task.waiting_for.as_deref().and_then(quota::limit_waited_for).is_some()
            && let Some(waited) = quota::end_wait(&shared.pool, (claim.id, claim.fence), &task.stream).await?
        {
            shared.metrics.quota_wait(&claim.connection, &waited.limit, waited.time);
        }
        let span = tracing::info_span!("task", stream = task.stream);
        let end =
            match tokio::time::timeout_at(deadline, one(shared, config, claim, &task, shutdown)).instrument(span).await
            {
                Ok(end) => end,
                Err(_) => decided(&TaskError::Timeout, claim, &task, Subject::default()),
            };
        let held = match &end {
            Some(end) => {
                note_trouble(shared, claim, &task.stream, end).await?;
                task::end(&shared.pool, claim, &task.stream, end).await?
            }
            None => false,
        };
        if !held {
            say_why_lost(shared, claim).await;
            return Ok(());
        }
        if place == last || matches!(end, Some(TaskEnd::Released)) {
            break;
        }
        // Other runs of the stream need not wait for this run's other streams.
        run::release_streams(&shared.pool, claim).await?;
    }
    let mut transaction = shared.pool.begin().in_time().await?;
    run::release_streams(&mut *transaction, claim).await?;
    let left = run::end_run(&mut *transaction, claim, is_idle).await?;
    transaction.commit().in_time().await?;
    let Some(Left { state, kind, seconds }) = left else {
        say_why_lost(shared, claim).await;
        return Ok(());
    };
    match state.as_str() {
        "succeeded" => shared.metrics.run_ended(&claim.job, RunOutcome::Succeeded),
        "held" => shared.metrics.run_ended(&claim.job, RunOutcome::Held),
        "failed" => shared.metrics.run_ended(&claim.job, RunOutcome::Failed),
        _ => {}
    }
    if let Some(seconds) = seconds {
        shared.metrics.run_took(&kind, seconds);
    }
    tracing::info!(state, "run left");
    Ok(())
}

/// Records why a task ended without success, for the state of its stream.
async fn note_trouble(shared: &WorkerContext, claim: &Claim, stream: &str, end: &TaskEnd) -> Result<(), sqlx::Error> {
    let trouble = match end {
        TaskEnd::Failed { error, needs_operator, .. } => {
            Trouble { error, failed: true, needs_operator: *needs_operator }
        }
        TaskEnd::Held { why, .. } => Trouble { error: why, failed: false, needs_operator: false },
        TaskEnd::Succeeded | TaskEnd::Waiting { .. } | TaskEnd::Released => return Ok(()),
    };
    stream::troubled(&shared.pool, (claim.id, claim.fence), stream, trouble).await
}

/// Logs why this worker does not hold the run any more. A run that was cancelled has ended here, and is counted.
async fn say_why_lost(shared: &WorkerContext, claim: &Claim) {
    match run::is_cancelled(&shared.pool, claim.id).await {
        Ok(true) => {
            shared.metrics.run_ended(&claim.job, RunOutcome::Cancelled);
            tracing::info!("the run was cancelled; the rows that were committed are kept");
        }
        Ok(false) => tracing::warn!("lost the run or its stream, another worker has taken over"),
        Err(error) => {
            session::judge(&shared.pool, &error);
            tracing::warn!(error = chain(&error), "lost the run, and could not read why");
        }
    }
}

/// How a task ends for an error that occurred before its stream was opened, or that is not the stream's.
fn decided(error: &TaskError, claim: &Claim, task: &DueTask, subject: Subject) -> Option<TaskEnd> {
    carry_out(policy::decide(error, task.attempts, clock::now()), error, subject, claim, &task.stream)
}

/// Works on one task, as the configuration in force has it. Returns `None` if the run or stream is lost.
async fn one(
    shared: &WorkerContext,
    config: &Config,
    claim: &Claim,
    task: &DueTask,
    shutdown: &CancellationToken,
) -> Option<TaskEnd> {
    let Some((job, connection, stream)) = find(config, claim, task) else {
        return decided(&TaskError::UnknownStream, claim, task, Subject::default());
    };
    let opened = async {
        // Each time, because an operator may have forgotten the connection in the meantime.
        accounts::pin(&shared.pool, connection).await?;
        shared.accounts.get(&shared.pool, &shared.owner, connection).await
    };
    let account = match opened.await {
        Ok(account) => account,
        Err(error) => {
            let subject = Subject::stream(connection.vendor(), stream.stream.windowed());
            return decided(&error.into(), claim, task, subject);
        }
    };
    let session = account.gate.session_for(waiter_of_task(claim.id, &task.stream), claim.priority, claim.due);
    let exported = connection.streams.iter().filter(|stream| stream.exported);
    let exported: Vec<&str> = exported.map(|stream| &*stream.name).collect();
    let readers: Vec<&Job> = config.readers(&claim.connection, &task.stream).collect();
    let reporter =
        Reporter { pool: &shared.pool, metrics: &shared.metrics, hours: &shared.hours, claim, stream: &task.stream };
    let runner = TaskRunner {
        pool: &shared.pool,
        claim,
        job,
        stream,
        source: &*account.source,
        session: &session,
        filter_zone: connection.settings.filter_zone(),
        reporter: &reporter,
        lease: config.worker.lease,
        distribution: shared.distribution,
        attempts: task.attempts,
        readers: &readers,
        exported: &exported,
        jobs: &config.jobs,
        memory: &shared.memory,
        locked_tables: &shared.locked_tables,
        shutdown,
    };
    runner.run().await
}

fn find<'c>(
    config: &'c Config,
    claim: &Claim,
    task: &DueTask,
) -> Option<(&'c Job, &'c Connection, &'c crate::config::JobStream)> {
    let job = config.jobs.get(&claim.job).filter(|job| job.connection == claim.connection)?;
    let connection = config.connections.get(&job.connection)?;
    let stream = job.streams.iter().find(|stream| stream.stream.name == task.stream)?;
    Some((job, connection, stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_a_lease_of_any_length_is_renewed_in_time_and_before_it_counts_as_failing() {
        for secs in [5, 60, 3_600] {
            let lease = Duration::from_secs(secs);
            let period = renewal_period(lease);
            assert!(period * 2 < lease && period * 2 < Loop::Renew.failing_after(), "{secs} s: every {period:?}");
        }
    }
}
