//! One run that this process holds: its tasks one after another, under a lease that is kept alive.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use super::accounts::{self, Accounts};
use super::hint::{self, Subject};
use super::policy::{self, TaskError};
use super::report::Reporter;
use super::slice::Room;
use super::task::{TaskEnd, TaskRunner, carry_out};
use crate::clock;
use crate::config::{Config, Job};
use crate::connector::Connection;
use crate::metrics::{Metrics, RunOutcome};
use crate::pulse::{Loop, Pulse};
use crate::store::run::{self, Claim};
use crate::store::session;
use crate::store::session::Deadline as _;
use crate::store::task::{self, Task};
use crate::store::trouble::{Repeats, chain};

/// How often a run is gone on with whose state could not be stored, and after which pause.
const STORE_ATTEMPTS: u32 = 5;
const STORE_PAUSE: Duration = Duration::from_secs(3);
const CANNOT_RENEW: &str = "leases cannot be renewed";
/// The lease is renewed this many times before it would end.
const RENEWALS_PER_LEASE: u32 = 3;

/// What every run of a process shares.
#[derive(Debug)]
pub struct Shared {
    pub pool: sqlx::PgPool,
    pub accounts: Accounts,
    pub metrics: Arc<Metrics>,
    pub room: Room,
    pub pulse: Arc<Pulse>,
    /// What workers cannot do for now.
    pub trouble: Repeats,
    /// Name of this worker in `tidegate.run`.
    pub owner: String,
}

/// Works on a claimed run until it ends, waits, or passes to another worker.
pub async fn work(shared: &Shared, config: &Config, claim: Claim, shutdown: &CancellationToken) {
    let span = tracing::info_span!("run", run = claim.id, job = claim.job, connection = claim.connection);
    async {
        if claim.taken_over {
            tracing::warn!("taking over from a worker that fell silent");
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
}

/// Works on the run's tasks, and goes on when the database was lost in between: the run is still held.
async fn all_tasks(shared: &Shared, config: &Config, claim: &Claim, shutdown: &CancellationToken) {
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

/// Renews the lease until it turns out to be lost.
async fn keep_lease(shared: &Shared, claim: &Claim, lease: Duration) {
    let _going = shared.pulse.go(Loop::Renew);
    let mut beat = tokio::time::interval(lease / RENEWALS_PER_LEASE);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let renewed = run::renew(&shared.pool, claim.id, claim.fence, lease).await;
        shared.pulse.beat(Loop::Renew, renewed.is_ok());
        match renewed {
            Ok(true) => shared.trouble.over(CANNOT_RENEW),
            Ok(false) => return,
            // The fence decides, not the lease: a database that answers again in time has lost nothing.
            Err(error) => {
                session::judge(&shared.pool, &error);
                shared.trouble.warn(CANNOT_RENEW, &error);
            }
        }
    }
}

async fn tasks(
    shared: &Shared,
    config: &Config,
    claim: &Claim,
    shutdown: &CancellationToken,
) -> Result<(), sqlx::Error> {
    let deadline =
        tokio::time::Instant::now() + config.jobs.get(&claim.job).map_or(Duration::MAX / 4, |job| job.timeout);
    let mut is_idle = true;
    for task in task::of_run(&shared.pool, claim.id).await?.into_iter().filter(|task| task.due) {
        is_idle = false;
        if shutdown.is_cancelled() {
            break;
        }
        let span = tracing::info_span!("task", stream = task.stream);
        let end =
            match tokio::time::timeout_at(deadline, one(shared, config, claim, &task, shutdown)).instrument(span).await
            {
                Ok(end) => end,
                Err(_) => decided(&TaskError::Timeout, &task, Subject::default()),
            };
        let named = |hint| hint::named(hint, &claim.job, &task.stream, &claim.connection);
        let hint = match &end {
            TaskEnd::Held { .. } => named(policy::HELD_HINT),
            TaskEnd::Failed { hint, .. } => named(hint),
            _ => String::new(),
        };
        let stored = match &end {
            TaskEnd::Succeeded => task::TaskEnd::Succeeded,
            TaskEnd::Held { why } => task::TaskEnd::Held { why, hint: &hint },
            TaskEnd::Failed { error, .. } => task::TaskEnd::Failed { error, hint: &hint },
            TaskEnd::Waiting { until, waiting_for, attempt } => {
                task::TaskEnd::Waiting { until: *until, waiting_for, attempt: *attempt }
            }
            TaskEnd::Released => task::TaskEnd::Released,
            TaskEnd::Abandoned => {
                say_why_lost(shared, claim).await;
                return Ok(());
            }
        };
        if !task::end(&shared.pool, claim, &task.stream, stored).await? {
            say_why_lost(shared, claim).await;
            return Ok(());
        }
        // Other runs of the stream need not wait for this run's other streams.
        run::release_streams(&shared.pool, claim).await?;
        if matches!(end, TaskEnd::Released) {
            break;
        }
    }
    let mut transaction = shared.pool.begin().in_time().await?;
    run::release_streams(&mut *transaction, claim).await?;
    let state = run::end_run(&mut *transaction, claim, is_idle).await?;
    transaction.commit().in_time().await?;
    let Some(state) = state else {
        say_why_lost(shared, claim).await;
        return Ok(());
    };
    match state.as_str() {
        "succeeded" => shared.metrics.run_ended(&claim.job, RunOutcome::Succeeded),
        "held" => shared.metrics.run_ended(&claim.job, RunOutcome::Held),
        "failed" => shared.metrics.run_ended(&claim.job, RunOutcome::Failed),
        _ => {}
    }
    tracing::info!(state, "run left");
    Ok(())
}

/// Logs why this worker does not hold the run any more. A run that was cancelled has ended here, and is counted.
async fn say_why_lost(shared: &Shared, claim: &Claim) {
    match run::is_cancelled(&shared.pool, claim.id).await {
        Ok(true) => {
            shared.metrics.run_ended(&claim.job, RunOutcome::Cancelled);
            tracing::info!("the run was cancelled; the rows that were committed are kept");
        }
        Ok(false) => tracing::warn!("lost the run or its stream, another worker has taken over"),
        Err(error) => {
            session::judge(&shared.pool, &error);
            tracing::warn!(error = chain(&error), "lost the run; why could not be read");
        }
    }
}

/// What becomes of a task for an error that met it outside its stream.
fn decided(error: &TaskError, task: &Task, subject: Subject) -> TaskEnd {
    carry_out(policy::decide(error, task.attempts, clock::now()), error, subject)
}

/// One task, from the configuration in force.
async fn one(shared: &Shared, config: &Config, claim: &Claim, task: &Task, shutdown: &CancellationToken) -> TaskEnd {
    let Some((job, connection, stream)) = find(config, claim, task) else {
        return decided(&TaskError::UnknownStream, task, Subject::default());
    };
    let opened = async {
        // Each time: an operator may have forgotten the connection meanwhile.
        accounts::pin(&shared.pool, connection).await?;
        shared.accounts.get(&shared.pool, &shared.owner, connection).await
    };
    let account = match opened.await {
        Ok(account) => account,
        Err(error) => {
            let subject = Subject::stream(connection.vendor(), stream.stream.windowed());
            return decided(&error.into(), task, subject);
        }
    };
    let session = account.gate.session_for(waiter(claim, &task.stream), claim.priority, claim.due);
    let jobs: Vec<String> = config.jobs.keys().cloned().collect();
    let exported = connection.streams.iter().filter(|stream| stream.exported);
    let exported: Vec<&str> = exported.map(|stream| &*stream.name).collect();
    let reporter = Reporter { pool: &shared.pool, metrics: &shared.metrics, claim, stream: &task.stream };
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
        attempts: task.attempts,
        exported: &exported,
        jobs: &jobs,
        room: &shared.room,
        shutdown,
    };
    runner.run().await
}

fn find<'c>(
    config: &'c Config,
    claim: &Claim,
    task: &Task,
) -> Option<(&'c Job, &'c Connection, &'c crate::config::JobStream)> {
    let job = config.jobs.get(&claim.job).filter(|job| job.connection == claim.connection)?;
    let connection = config.connections.get(&job.connection)?;
    let stream = job.streams.iter().find(|stream| stream.stream.name == task.stream)?;
    Some((job, connection, stream))
}

/// Who waits for a quota: the same after a restart, so that a task keeps its place.
fn waiter(claim: &Claim, stream: &str) -> Uuid {
    Uuid::from_u128(xxhash_rust::xxh3::xxh3_128(format!("{} {stream}", claim.id).as_bytes()))
}
