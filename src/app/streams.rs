//! Stores which jobs read which streams and when each is late, so that the state of a stream can be queried in SQL.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use super::daemon::is_same;
use crate::config::{Config, Job};
use crate::schedule;
use crate::store::instance;
use crate::store::stream::{self, Planned, Readers};
use crate::worker::wanted_from;

/// Streams that one statement stores: it locks their rows. No more are in memory with all that is stored of them.
const AT_ONCE: usize = 500;
/// How often a configuration is stored that has not changed, in case another process has forgotten a stream of it, or
/// has read one until now that is in none of its jobs.
const AGAIN: TimeDelta = TimeDelta::minutes(5);

/// What of the configuration was stored last.
#[derive(Debug, Default)]
pub(super) struct StoredPlan {
    stored: Option<(Weak<Config>, DateTime<Utc>)>,
}

impl StoredPlan {
    /// Stores the streams of `config`, if it is new, if it was stored long ago, or if the clock was set back since. In
    /// the last case the summaries are written again of streams that were read in what is now the future. `hash` is
    /// that of the configuration, with which the process is recorded as running.
    pub(super) async fn store(
        &mut self,
        pool: &PgPool,
        config: &Arc<Config>,
        hash: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        let mut conn = pool.acquire().await?;
        let now = schedule::clock(&mut conn).await?;
        stream::forget_future(&mut conn).await?;
        let is_recent = |at: DateTime<Utc>| at <= now && now < at + AGAIN;
        if self.stored.as_ref().is_some_and(|(last, at)| is_same(last, config) && is_recent(*at)) {
            return Ok(());
        }
        let readers = store(&mut conn, config, now).await?;
        let jobs: Vec<String> = config.jobs.keys().cloned().collect();
        stream::take_out(&mut *conn, &jobs, &readers, hash).await?;
        self.stored = Some((Arc::downgrade(config), now));
        Ok(())
    }
}

/// Stores the streams of the configuration of a command, so that those that were never read are known. While a daemon
/// runs, only its configuration counts. A command takes no stream out of a job: the job of this name in the
/// configuration of a daemon that is stopped may read it.
pub async fn plan(pool: &PgPool, config: &Config) -> Result<(), sqlx::Error> {
    let mut conn = pool.acquire().await?;
    if instance::has_daemon(&mut *conn).await? {
        return Ok(());
    }
    let now = schedule::clock(&mut conn).await?;
    store(&mut conn, config, now).await.map(|_| ())
}

/// Stores some streams at a time, and returns who reads them all.
async fn store(conn: &mut PgConnection, config: &Config, now: DateTime<Utc>) -> Result<Readers, sqlx::Error> {
    let successes = stream::successes(&mut *conn).await?;
    let successes: Successes =
        successes.into_iter().map(|(connection, stream, at)| ((connection, stream), at)).collect();
    let mut readers = Readers::default();
    for some in streams_read(config).chunks(AT_ONCE) {
        let planned: Vec<Planned> = some.iter().filter_map(|read| planned(read, &successes, now)).collect();
        stream::plan(&mut *conn, &planned).await?;
        readers.note(&planned);
    }
    Ok(readers)
}

/// A stream, by connection and name, and the jobs that read it.
type Read<'c> = ((&'c str, &'c str), Vec<&'c Job>);

/// The time of a stream's last success, by connection and name.
type Successes = HashMap<(String, String), DateTime<Utc>>;

/// The streams that the jobs of a configuration read, sorted.
fn streams_read(config: &Config) -> Vec<Read<'_>> {
    let mut readers: BTreeMap<(&str, &str), Vec<&Job>> = BTreeMap::new();
    for job in config.jobs.values() {
        for entry in &job.streams {
            readers.entry((&job.connection, &entry.stream.name)).or_default().push(job);
        }
    }
    readers.into_iter().collect()
}

fn planned(((connection, name), jobs): &Read<'_>, successes: &Successes, now: DateTime<Utc>) -> Option<Planned> {
    let first = jobs.first()?;
    let entry = first.streams.iter().find(|entry| entry.stream.name == *name)?;
    let last_success_at = successes.get(&((*connection).to_owned(), (*name).to_owned())).copied();
    Some(Planned {
        connection: (*connection).to_owned(),
        stream: (*name).to_owned(),
        schema: entry.stream.schema,
        table: entry.stream.name.clone().into_owned(),
        anchor: first.start,
        timezone: first.timezone.name().to_owned(),
        slice: entry.slice.to_string(),
        wanted_from: jobs.iter().map(|job| wanted_from(job, now)).min().filter(|_| entry.stream.windowed()),
        jobs: jobs.iter().map(|job| job.name.clone()).collect(),
        active_jobs: jobs.iter().filter(|job| !job.paused).map(|job| job.name.clone()).collect(),
        last_success_at,
        // A success in the future was stored while the clock was ahead.
        expected: last_success_at.and_then(|at| schedule::expected(jobs, at.min(now))),
    })
}
