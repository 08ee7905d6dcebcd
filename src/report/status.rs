//! The data of the status page, `/status.json` and the `status` command: the state of jobs, streams and quotas.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;

use crate::config::{Config, Job};
use crate::connector::Connection;
use crate::cron::NextFirings;
use crate::quota::Usage;
use crate::store::held::{self, HeldSlice};
use crate::store::pause::{self, Pause};
use crate::store::reconciliation::{self, Reconciliation};
use crate::store::status::{
    self, Configured, Failure, LastRun, Ongoing, StreamState, Streams, Unfinished, firings_after,
};
use crate::store::stored_rows::{self, StoredRows};

/// Maximum number of failures shown.
const FAILURES_MAX: i64 = 20;
/// Maximum number of differing totals shown; `mart.reconciliation` has all.
const DIFFERENCES_MAX: i64 = 20;
/// Maximum number of held slices shown; `tidegate held` lists all.
const HELD_MAX: i64 = 100;

/// The state of everything that is configured, at one point in time.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StatusReport {
    pub at: DateTime<Utc>,
    pub version: &'static str,
    /// Whether the configuration on disk is wrong; the previous one is then in force.
    pub reload_refused: bool,
    pub jobs: Vec<JobState>,
    pub streams: Vec<StreamState>,
    pub quotas: Vec<QuotaUse>,
    pub unfinished: Vec<Unfinished>,
    pub failures: Vec<Failure>,
    /// Slices whose last reading was too doubtful to delete rows, up to a limit. `tidegate held` also lists those of
    /// streams that are no longer configured.
    pub held: Vec<HeldSlice>,
    /// Vendors' totals that differ from the number of rows, as of the last comparison.
    pub reconciliation: Reconciliation,
    /// How old the stored rows of the mart are. Empty if none are stored.
    pub stored: Vec<StoredRows>,
}

/// One configured job.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct JobState {
    pub job: String,
    pub connection: String,
    pub schedule: Option<String>,
    pub timezone: String,
    /// Whether the configuration pauses it, which has no end.
    pub paused: bool,
    /// The pause that an operator has set, of the job or of everything.
    pub pause: Option<Pause>,
    /// `None` for a job that is paused, has no schedule, or never fires.
    pub next_firing: Option<DateTime<Utc>>,
    /// The unfinished run of an earlier firing. Until it has ended, no firing makes a run.
    pub after_run: Option<i64>,
    pub last_run: Option<LastRun>,
}

/// How much of one limit of a connection is used now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuotaUse {
    pub connection: String,
    pub limit: String,
    /// Calls or bytes within the limit's period.
    pub used: u64,
    pub allowed: u64,
    pub blocked_until: Option<DateTime<Utc>>,
}

/// The jobs of a configuration and the streams that they read. A stream that no job reads is left out, since it only
/// grows older.
pub fn configured(config: &Config) -> Configured {
    let streams = config.streams_read().into_iter();
    let (connections, names) = streams.map(|(connection, stream)| (connection.to_owned(), stream.to_owned())).unzip();
    Configured { jobs: config.jobs.keys().cloned().collect(), streams: Streams { connections, names } }
}

impl QuotaUse {
    fn new((connection, usage): &(&Connection, Usage)) -> Self {
        Self {
            connection: connection.name.clone(),
            limit: usage.limit.clone(),
            used: usage.used,
            allowed: usage.amount,
            blocked_until: usage.blocked_until,
        }
    }
}

impl StatusReport {
    /// Builds the report from the configuration, what connections use of their limits, and Postgres.
    pub async fn gather(
        conn: &mut PgConnection,
        config: &Config,
        used: &[(&Connection, Usage)],
        reload_refused: bool,
        now: DateTime<Utc>,
    ) -> Result<Self, sqlx::Error> {
        let configured = configured(config);
        let mut last_runs = last_runs(conn, &configured.jobs).await?;
        let pauses = pause::list(&mut *conn).await?;
        // To plan a statement with thousands of names takes longer than to read the runs of all jobs.
        let ongoing = status::ongoing(conn, None).await?;
        let mut firings = NextFirings::default();
        let job = |job| {
            JobState::new(
                job,
                (last_runs.remove(&job.name), ongoing.get(&job.name).copied()),
                &pauses,
                (now, &mut firings),
            )
        };
        let jobs = config.jobs.values().map(job).collect();
        Ok(Self { reload_refused, jobs, ..Self::of(conn, &configured, used, now).await? })
    }

    /// The same of the jobs and streams that running processes have stored, while the configuration on disk is refused.
    /// Which schedules are in force is not known.
    pub async fn gather_stored(
        conn: &mut PgConnection,
        used: &[(&Connection, Usage)],
        now: DateTime<Utc>,
    ) -> Result<Self, sqlx::Error> {
        let readers = status::readers(conn).await?;
        let connections: BTreeMap<String, String> =
            readers.iter().map(|reader| (reader.job.clone(), reader.connection.clone())).collect();
        // Several jobs may read a stream.
        let read: BTreeSet<(String, String)> =
            readers.into_iter().map(|reader| (reader.connection, reader.stream)).collect();
        let (of, names) = read.into_iter().unzip();
        let streams = Streams { connections: of, names };
        let configured = Configured { jobs: connections.keys().cloned().collect(), streams };
        let mut last_runs = last_runs(conn, &configured.jobs).await?;
        let pauses = pause::list(&mut *conn).await?;
        let job = |(job, connection): (String, String)| JobState {
            connection,
            schedule: None,
            timezone: chrono_tz::Tz::UTC.name().to_owned(),
            paused: false,
            pause: pause::of_job(&pauses, &job).cloned(),
            next_firing: None,
            after_run: None,
            last_run: last_runs.remove(&job),
            job,
        };
        let jobs = connections.into_iter().map(job).collect();
        Ok(Self { jobs, reload_refused: true, ..Self::of(conn, &configured, used, now).await? })
    }

    /// The state of these jobs and streams, without the jobs themselves.
    async fn of(
        conn: &mut PgConnection,
        configured: &Configured,
        used: &[(&Connection, Usage)],
        now: DateTime<Utc>,
    ) -> Result<Self, sqlx::Error> {
        Ok(Self {
            at: now,
            version: env!("CARGO_PKG_VERSION"),
            reload_refused: false,
            jobs: Vec::new(),
            streams: status::streams(conn, &configured.streams).await?,
            quotas: used.iter().map(QuotaUse::new).collect(),
            unfinished: status::unfinished(conn, &configured.jobs).await?,
            failures: status::failures(conn, configured, FAILURES_MAX).await?,
            held: held::list(&mut *conn, Some(&configured.streams), HELD_MAX).await?,
            reconciliation: reconciliation::last(conn, &configured.connections(), DIFFERENCES_MAX).await?,
            stored: stored_rows::list(conn).await?,
        })
    }
}

/// The newest run of each of these jobs.
async fn last_runs(conn: &mut PgConnection, jobs: &[String]) -> Result<HashMap<String, LastRun>, sqlx::Error> {
    let runs = status::last_runs(conn, jobs).await?;
    Ok(runs.into_iter().map(|run| (run.job.clone(), run)).collect())
}

impl JobState {
    fn new<'c>(
        job: &'c Job,
        (last_run, ongoing): (Option<LastRun>, Option<Ongoing>),
        pauses: &[Pause],
        (now, firings): (DateTime<Utc>, &mut NextFirings<'c>),
    ) -> Self {
        let pause = pause::of_job(pauses, &job.name).cloned();
        let after = firings_after(now, pause.as_ref(), ongoing);
        Self {
            job: job.name.clone(),
            connection: job.connection.clone(),
            schedule: job.schedule.as_ref().map(|schedule| schedule.expression().to_owned()),
            timezone: job.timezone.name().to_owned(),
            paused: job.paused,
            next_firing: job
                .schedule
                .as_ref()
                .filter(|_| !job.paused)
                .and_then(|schedule| firings.after(schedule, after)),
            pause,
            after_run: ongoing.map(|run| run.run_id),
            last_run,
        }
    }
}
