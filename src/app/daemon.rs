//! The daemon: periodic tasks, workers, status port, reload, and the only shutdown sequence.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::alive::{self, Alive};
use super::names::names;
use super::periodic::Periodic;
use super::streams::StoredPlan;
use super::{Database, Reload, notifying, pruning, totals, upkeep, views};
use crate::config::{Config, MetricsPer};
use crate::http::HttpError;
use crate::load::LockedTables;
use crate::mart;
use crate::metrics::{Detail, Metrics, RunOutcome};
use crate::notify::{Notifier, Timing};
use crate::pulse::Loop;
use crate::pulse::Pulse;
use crate::quota::Hours;
use crate::schedule::timer::{self, PeriodicTask, TimerError};
use crate::schedule::{Calendar, clock, end_waits};
use crate::server::{self, Health, ListenError, StatusSources};
use crate::store::trouble::Repeats;
use crate::store::{instance, migrate, session, stream};
use crate::worker::{Accounts, MemoryBudget, Pool, WorkerContext, accounts};

/// How often due firings are enqueued. A firing is at most this late.
const ENQUEUE_PERIOD: Duration = Duration::from_secs(1);
/// Passes within one period: if a firing comes before the next period, the second pass is at its time.
const PASSES: u32 = 2;
/// How long after its time a firing is looked for, so that the database's clock has reached it.
const FIRING_MARGIN: Duration = Duration::from_millis(5);
/// How long another process takes to enqueue what it has locked. After that, workers of this one check for runs.
const OTHERS_PAUSE: Duration = Duration::from_millis(100);
/// How long runs in progress may take to reach a checkpoint. The whole shutdown sequence stays within 10 s.
const DRAIN: Duration = Duration::from_secs(7);
/// How long the status port may take to end, at the same time.
const SERVER_DRAIN: Duration = server::STOP_MAX.saturating_add(Duration::from_secs(1));

/// Why the daemon could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Migrate(#[from] migrate::Error),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Timer(#[from] TimerError),
    #[error("no HTTP client for notifications could be made")]
    Http(#[from] HttpError),
    #[error("{0} ended unexpectedly; this is a bug")]
    Ended(&'static str),
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    shutdown: CancellationToken,
    alive: Arc<Alive>,
    address: SocketAddr,
    timer: JoinHandle<Result<(), TimerError>>,
    workers: JoinHandle<()>,
    server: JoinHandle<()>,
    reload: Option<JoinHandle<()>>,
    /// Makes the views of the mart again after runs.
    views: JoinHandle<()>,
    health: Arc<Health>,
}

/// The name of this process among the workers: readable for an operator and different at every start.
pub fn owner() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}/{}/{:08x}", std::process::id(), rand::random::<u32>())
}

impl Daemon {
    /// Migrates the database, opens the status port and starts all tasks.
    pub async fn start(config: Arc<Config>, reload: Option<Reload>, database: &Database) -> Result<Self, DaemonError> {
        let health = Arc::new(Health::default());
        health.config_loaded();
        for unread in &config.unread {
            tracing::warn!("{unread}");
        }
        let applied = migrate::migrate_or_wait(&database.pool, config.database.distribution).await?;
        if applied > 0 {
            tracing::info!(applied, "database migrated");
        }
        health.migrated();
        let listener = server::bind(config.server.listen).await?;
        let address = listener.local_addr().unwrap_or(config.server.listen);
        let shutdown = CancellationToken::new();
        let wake = Arc::new(Notify::new());
        let shared = Arc::new(worker_context(&config, database));
        let (sender, receiver) = watch::channel(config);
        let notifier = Arc::new(Notifier::new(Timing::default(), Arc::clone(&shared.metrics), shared.owner.clone())?);
        let sources = StatusSources {
            pool: database.pool.clone(),
            metrics: Arc::clone(&shared.metrics),
            health: Arc::clone(&health),
            pulse: Arc::clone(&shared.pulse),
            outgoing: notifier.outgoing(),
            config: receiver.clone(),
        };
        tracing::info!(listen = %address, owner = shared.owner, "daemon started");
        let enqueue = enqueue_task(Arc::clone(&shared), receiver.clone(), Arc::clone(&wake), shutdown.clone());
        let alive = Arc::new(Alive::new(database.pool.clone(), shared.owner.clone()));
        let beat = alive_task(
            Arc::clone(&shared),
            Arc::clone(&alive),
            receiver.clone(),
            Arc::clone(&health),
            shutdown.clone(),
        );
        let views = views::task(Arc::clone(&shared), receiver.clone(), shutdown.clone());
        let following = tokio::spawn(views::follow(Arc::clone(&shared), receiver.clone(), shutdown.clone()));
        let periodic =
            Periodic { pool: database.pool.clone(), pulse: Arc::clone(&shared.pulse), shutdown: shutdown.clone() };
        let totals = totals::task(&periodic);
        let [check, send] = notifying::tasks(&periodic, &notifier, &receiver);
        let prune = pruning::task(&periodic, receiver.clone());
        let upkeep = upkeep::task(database.pool.clone(), receiver.clone(), shutdown.clone());
        let (left, only) = (Arc::new(Notify::new()), None);
        let pool = Pool { shared: Arc::clone(&shared), config: receiver, wake, left, shutdown: shutdown.clone(), only };
        let reload = reload.map(|reload| {
            tokio::spawn(reload.follow(sender, Arc::clone(&shared), Arc::clone(&health), shutdown.clone()))
        });
        Ok(Self {
            timer: tokio::spawn(timer::run(
                vec![enqueue, beat, prune, upkeep, views, totals, check, send],
                shutdown.clone(),
            )),
            workers: tokio::spawn(pool.run()),
            server: tokio::spawn(server::serve(listener, sources.router(), shutdown.clone())),
            reload,
            views: following,
            alive,
            address,
            health,
            shutdown,
        })
    }

    /// The address of the status port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until a task ends that should never end.
    pub async fn ended(&mut self) -> DaemonError {
        tokio::select! {
            ended = &mut self.timer => match ended {
                Ok(Err(error)) => error.into(),
                _ => DaemonError::Ended("the periodic work"),
            },
            _ = &mut self.workers => DaemonError::Ended("the workers"),
            _ = &mut self.server => DaemonError::Ended("the status port"),
        }
    }

    /// Stops enqueuing and claiming, lets runs reach a checkpoint and actions of operators end, then stops the rest.
    /// Takes at most 10 s, even if a task hangs.
    pub async fn stop(self) {
        self.health.stopping();
        self.shutdown.cancel();
        let aborts = [self.workers.abort_handle(), self.timer.abort_handle(), self.server.abort_handle()];
        let drained = tokio::time::timeout(DRAIN, async {
            // Tasks that have already been awaited, and panics, were reported where they occurred.
            let _ = tokio::join!(self.workers, self.timer);
        });
        let (drained, _) = tokio::join!(drained, tokio::time::timeout(SERVER_DRAIN, self.server));
        if drained.is_err() {
            tracing::warn!(
                "runs in progress did not reach a checkpoint in time; they are taken over when their lease ends"
            );
        }
        self.alive.leave().await;
        for abort in aborts {
            abort.abort();
        }
        self.views.abort();
        if let Some(reload) = self.reload {
            reload.abort();
        }
        tracing::info!("daemon stopped");
    }
}

fn worker_context(config: &Config, database: &Database) -> WorkerContext {
    let owner = owner();
    let metrics = Arc::new(Metrics::new(detail(config)));
    metrics.configure(names(config));
    WorkerContext {
        hours: Hours::default(),
        pool: database.pool.clone(),
        accounts: Accounts::default(),
        metrics,
        memory: MemoryBudget::for_runs(config.worker.concurrency),
        locked_tables: LockedTables::default(),
        pulse: Arc::new(Pulse::default()),
        trouble: Repeats::default(),
        mart: Arc::new(mart::Views::of(mart::Role::Daemon, &owner)),
        owner,
        distribution: config.database.distribution,
    }
}

fn enqueue_task(
    shared: Arc<WorkerContext>,
    config: watch::Receiver<Arc<Config>>,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
) -> PeriodicTask {
    const TROUBLE: &str = "firings cannot be enqueued";
    let work = Arc::new(Mutex::new((Calendar::default(), Repeats::default())));
    shared.pulse.go_on(Loop::Enqueue);
    PeriodicTask::new(Loop::Enqueue.name(), ENQUEUE_PERIOD, move || {
        let (shared, config, wake) = (Arc::clone(&shared), config.clone(), Arc::clone(&wake));
        let (work, shutdown) = (Arc::clone(&work), shutdown.clone());
        async move {
            let (calendar, trouble) = &mut *work.lock().await;
            for pass in 1..=PASSES {
                // For each pass: a reload between them may have removed or paused a job.
                let current = Arc::clone(&config.borrow());
                let enqueued = enqueue(&shared.pool, &current, calendar).await;
                shared.pulse.beat(Loop::Enqueue, enqueued.is_ok());
                let now = match enqueued {
                    Ok((count, now)) => {
                        trouble.over(TROUBLE);
                        if count > 0 {
                            wake_workers(&wake);
                        }
                        now
                    }
                    Err(error) => {
                        if let Some(error) = error.downcast_ref::<sqlx::Error>() {
                            session::judge(&shared.pool, error);
                        }
                        trouble.warn(TROUBLE, &*error);
                        return;
                    }
                };
                if calendar.others_enqueue() && pause(&shutdown, OTHERS_PAUSE).await {
                    wake_workers(&wake);
                }
                // What came due since this pass began is due at once.
                let next = calendar.next_look(now);
                let wait = next.map(|next| (next - crate::clock::now()).to_std().unwrap_or_default());
                let Some(wait) = wait.filter(|wait| *wait < ENQUEUE_PERIOD) else { return };
                if pass == PASSES || !pause(&shutdown, wait + FIRING_MARGIN).await {
                    return;
                }
            }
        }
    })
}

/// Wakes the workers that wait, and the next one that begins to wait: it may have found nothing just before.
fn wake_workers(wake: &Notify) {
    wake.notify_waiters();
    wake.notify_one();
}

/// Waits. Returns false if the process shuts down.
async fn pause(shutdown: &CancellationToken, wait: Duration) -> bool {
    shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_some()
}

/// What has metrics of its own.
const fn detail(config: &Config) -> Detail {
    match config.server.metrics_per {
        MetricsPer::Stream => Detail::Streams,
        MetricsPer::Connection => Detail::Connections,
    }
}

/// Records the jobs and quotas of this process, cancels runs whose job is in no running process's configuration, and
/// retires the streams that only such jobs read.
fn alive_task(
    shared: Arc<WorkerContext>,
    alive: Arc<Alive>,
    config: watch::Receiver<Arc<Config>>,
    health: Arc<Health>,
    shutdown: CancellationToken,
) -> PeriodicTask {
    const TROUBLE: &str = "this process could not be recorded as running";
    const NO_PLAN: &str = "the streams of the configuration could not be stored, so their states may be out of date";
    const NO_HOURS: &str = "the use of quotas by the hour could not be stored";
    let stated = Arc::new(Mutex::new(None::<Weak<Config>>));
    let trouble = Arc::new(Repeats::default());
    let plan = Arc::new(Mutex::new(StoredPlan::default()));
    let digest = Arc::new(Mutex::new(None));
    shared.pulse.go_on(Loop::Alive);
    PeriodicTask::new(Loop::Alive.name(), alive::PERIOD, move || {
        let (trouble, plan, digest) = (Arc::clone(&trouble), Arc::clone(&plan), Arc::clone(&digest));
        let stated = Arc::clone(&stated);
        let (health, shutdown) = (Arc::clone(&health), shutdown.clone());
        let (shared, alive, config) = (Arc::clone(&shared), Arc::clone(&alive), Arc::clone(&config.borrow()));
        async move {
            let jobs: Vec<String> = config.jobs.keys().cloned().collect();
            let connections: Vec<String> = config.connections.keys().cloned().collect();
            let about = about(&shared, &config, &health, &mut *digest.lock().await);
            match shared.hours.store(&shared.pool).await {
                Ok(()) => trouble.over(NO_HOURS),
                Err(error) => trouble.warn(NO_HOURS, &error),
            }
            let orphans = match alive.beat(&jobs, &connections, &about).await {
                Ok(()) => instance::cancel_orphans(&shared.pool).await,
                Err(error) => Err(error),
            };
            // After the beat: another process retires the streams of jobs that no process has recorded.
            let planned = async {
                plan.lock().await.store(&shared.pool, &config, about.config_hash.as_deref()).await?;
                stream::retire(&shared.pool).await
            };
            if orphans.is_ok() {
                match planned.await {
                    Ok(_) => trouble.over(NO_PLAN),
                    Err(error) => {
                        session::judge(&shared.pool, &error);
                        trouble.warn(NO_PLAN, &error);
                    }
                }
            }
            shared.pulse.beat(Loop::Alive, orphans.is_ok());
            if orphans.is_ok() {
                // Hundreds of connections take seconds, for which the end of the process need not wait.
                let stating = async { state_limits(&shared, &config, &mut *stated.lock().await, &trouble).await };
                let _cut_off = Box::pin(shutdown.run_until_cancelled(stating)).await;
            }
            match orphans {
                Ok(orphans) => {
                    trouble.over(TROUBLE);
                    for orphan in orphans {
                        shared.metrics.run_ended(&orphan.job, RunOutcome::Cancelled);
                        tracing::warn!(
                            run = orphan.run,
                            job = orphan.job,
                            "cancelled: the job is no longer in the configuration"
                        );
                    }
                }
                Err(error) => {
                    session::judge(&shared.pool, &error);
                    trouble.warn(TROUBLE, &error);
                }
            }
        }
    })
}

/// States the limits of all connections, once for each configuration. `stated` keeps the last one that is done.
async fn state_limits(
    shared: &WorkerContext,
    config: &Arc<Config>,
    stated: &mut Option<Weak<Config>>,
    trouble: &Repeats,
) {
    const TROUBLE: &str = "the quotas of connections could not be stated, so pages and metrics may show old limits";
    if stated.as_ref().is_some_and(|stated| is_same(stated, config)) {
        return;
    }
    match accounts::state_limits(&shared.pool, &shared.owner, config.connections.values()).await {
        Ok(()) => {
            trouble.over(TROUBLE);
            *stated = Some(Arc::downgrade(config));
        }
        Err(error) => trouble.warn(TROUBLE, &error),
    }
}

/// What this process records about itself. `digest` keeps the hash of the configuration while that is the same.
fn about(
    shared: &WorkerContext,
    config: &Arc<Config>,
    health: &Health,
    digest: &mut Option<(Weak<Config>, String)>,
) -> instance::About {
    let known = digest.take().filter(|(of, _)| is_same(of, config));
    let (_, hash) = digest.insert(known.unwrap_or_else(|| (Arc::downgrade(config), config.digest())));
    let ages = Loop::ALL.into_iter().filter_map(|of| Some((of.name(), shared.pulse.age(of)?.as_secs_f64())));
    instance::About {
        config_hash: Some(hash.clone()),
        config_refused: health.is_reload_refused(),
        loops: ages.collect(),
    }
}

/// Whether `known` is this configuration. Weak, because a replaced configuration should not stay in memory.
pub(super) fn is_same(known: &Weak<Config>, config: &Arc<Config>) -> bool {
    std::ptr::eq(known.as_ptr(), Arc::as_ptr(config))
}

/// Returns the number of runs, and the time for which they were due.
async fn enqueue(pool: &PgPool, config: &Config, calendar: &mut Calendar) -> anyhow::Result<(usize, DateTime<Utc>)> {
    let mut connection = pool.acquire().await?;
    let now = clock(&mut connection).await?;
    if crate::clock::went_back() {
        tracing::warn!("the database's clock was set back; everything that waits for a point in time continues now");
        end_waits(&mut connection).await?;
        stream::forget_future(&mut connection).await?;
    }
    let jobs: Vec<_> = config.jobs.values().collect();
    let enqueued = calendar.enqueue_due(&mut connection, &jobs, now).await?;
    for firing in &enqueued {
        tracing::info!(run = firing.run_id, job = firing.job, scheduled_for = %firing.scheduled_for, "enqueued");
    }
    Ok((enqueued.len(), now))
}
