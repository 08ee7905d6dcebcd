//! Turns due firings into runs, each exactly once however many replicas try (promise 8).
//!
//! What is due follows from Postgres alone: firings after the newest one that has a run and after
//! `tidegate.job.due_after`, which is when the job was first seen, its schedule last changed, or the last firing that
//! passed while it was paused.
//! So a restart loses nothing, a new job or expression does not fire for the past, the firings of a pause are not made
//! up for, and pruned runs do not come back.
//!
//! **A job never has two unfinished scheduled runs.** While one is queued, running or waiting, nothing is enqueued.
//! When the run has ended, `catch_up` decides: `latest` enqueues the newest firing that came due meanwhile, `none` only
//! one of the last minute, `all` the oldest, then the others one after another. So a job slower than its schedule does
//! not accumulate runs and takes only its share from other jobs. Manual runs and backfills are not firings: they
//! neither block the schedule nor wait for it.
//!
//! **Pauses.** `paused: true` in the configuration has no end, so its firings pass and are not made up for. A pause
//! that an operator sets (`tidegate.pause`) has an end: until then firings wait, and afterwards `catch_up` decides
//! about them as about any others that were missed.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};
use sqlx::{Connection as _, PgConnection};

use super::calendar::{Calendar, Candidate};
use crate::config::Job;
use crate::cron::Schedule;
use crate::store::session::{self, Deadline as _};
use crate::store::{lock, progress};

/// How much lower a backfill's priority is than its job's, so that past ranges do not starve scheduled runs.
const BACKFILL_PRIORITY_BELOW: i32 = 1_000;
/// Firings that are enqueued in one transaction. Each commit waits for the disk.
const BATCH: usize = 200;
/// How long a process may keep its batch locked without a statement.
const SILENCE_MAX: std::time::Duration = std::time::Duration::from_secs(10);
/// Jobs that are stored by one statement when they are first seen.
const MET_AT_ONCE: usize = 1_000;
/// Firings this recent still count when an expression changes. While replicas are being replaced, each sees the other's
/// expression as a change, and without this a firing could be lost between them.
const CHANGE_GRACE: Duration = Duration::seconds(10);
/// Replicas share one clock. A settled time further ahead than this was written while the clock was wrong.
const SETTLED_AHEAD_MAX: Duration = Duration::seconds(60);

/// A firing that became a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    pub run_id: i64,
    pub job: String,
    pub scheduled_for: DateTime<Utc>,
}

/// A run that was requested by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHand {
    /// As the schedule would run it.
    Manual,
    /// Reads a past range again, end exclusive.
    Backfill { from: DateTime<Utc>, to: DateTime<Utc> },
}

/// The run of a request by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requested {
    pub run_id: i64,
    /// Whether it was there before.
    pub is_resumed: bool,
}

/// The stored state of one job.
struct Known {
    schedule: String,
    timezone: String,
    /// Firings up to this time need no run any more.
    settled_until: DateTime<Utc>,
    unfinished: bool,
    /// Whether an operator has paused the job, or everything.
    paused: bool,
}

/// The database's clock, the only one that replicas share: the `now` for [`enqueue_due`]. Also updates
/// [`crate::clock`].
pub async fn clock(conn: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(conn).in_time().await?;
    crate::clock::note(now);
    Ok(now)
}

/// Enqueues what is due at `now`, at most one firing of each job, and returns what this caller enqueued.
///
/// Ignores jobs without a schedule; firings of paused jobs pass. Firings are enqueued in transactions of their own:
/// `conn` must not be inside a transaction that others wait for.
pub async fn enqueue_due(
    conn: &mut PgConnection,
    jobs: &[&Job],
    now: DateTime<Utc>,
) -> Result<Vec<Enqueued>, sqlx::Error> {
    Calendar::default().enqueue_due(conn, jobs, now).await
}

impl Calendar {
    /// As [`enqueue_due`], with the schedules known from before: reads only jobs that may be due.
    pub async fn enqueue_due(
        &mut self,
        conn: &mut PgConnection,
        jobs: &[&Job],
        now: DateTime<Utc>,
    ) -> Result<Vec<Enqueued>, sqlx::Error> {
        self.others_enqueue = false;
        let candidates = self.candidates(jobs, now);
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = candidates.iter().map(|candidate| candidate.job.name.clone()).collect();
        let known = known_jobs(conn, &names, now).await?;
        let (mut new, mut due) = (Vec::new(), Vec::new());
        for candidate in candidates {
            let job = candidate.job;
            let Some(known) = known.get(&job.name) else {
                new.push(candidate);
                continue;
            };
            match look(conn, &candidate, known, now).await {
                Ok(Look::Nothing) => self.rests(job, now),
                Ok(Look::Unfinished) => {}
                Ok(Look::Elsewhere) => self.others_enqueue = true,
                Ok(Look::Due(at)) => due.push(Firing { job, at }),
                // An error that Postgres returns for one job must not stop the others.
                Err(error) if is_refusal(&error) => self.cannot_enqueue(job, &error),
                Err(error) => return Err(error),
            }
        }
        // A job that was refused before must not spoil a batch, and comes last.
        let (apart, together): (Vec<_>, Vec<_>) = due.into_iter().partition(|firing| self.is_in_trouble(firing.job));
        let mut enqueued = Vec::new();
        for batch in together.chunks(BATCH).chain(apart.chunks(1)) {
            match self.enqueue(conn, batch).await {
                Ok(more) => enqueued.extend(more),
                Err(error) if enqueued.is_empty() => return Err(error),
                // The runs that are there can begin. The next pass returns the error, if it persists.
                Err(_) => return Ok(enqueued),
            }
        }
        match self.meet_all(conn, &new, now).await {
            Err(error) if enqueued.is_empty() => Err(error),
            Ok(()) | Err(_) => Ok(enqueued),
        }
    }

    /// Enqueues firings. If Postgres refuses them, each by itself, so that an error of one job does not stop others.
    async fn enqueue(&mut self, conn: &mut PgConnection, due: &[Firing<'_>]) -> Result<Vec<Enqueued>, sqlx::Error> {
        match enqueue_firings(conn, due).await {
            Ok(enqueued) => {
                self.others_enqueue |= enqueued.len() < due.len();
                for firing in due {
                    self.can_enqueue(firing.job);
                }
                return Ok(enqueued);
            }
            Err(error) if !is_refusal(&error) => return Err(error),
            Err(error) if due.len() == 1 => {
                for firing in due {
                    self.cannot_enqueue(firing.job, &error);
                }
                return Ok(Vec::new());
            }
            Err(_) => {}
        }
        let mut enqueued = Vec::new();
        for firing in due {
            match enqueue_firings(conn, std::slice::from_ref(firing)).await {
                Ok(one) => {
                    self.others_enqueue |= one.is_empty();
                    enqueued.extend(one);
                }
                Err(error) if is_refusal(&error) => self.cannot_enqueue(firing.job, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(enqueued)
    }

    /// Stores jobs that were not seen before. If Postgres refuses them, each by itself.
    async fn meet_all(
        &mut self,
        conn: &mut PgConnection,
        new: &[Candidate<'_>],
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        for new in new.chunks(MET_AT_ONCE) {
            match meet(conn, new, now).await {
                Ok(()) => {}
                Err(error) if is_refusal(&error) => {
                    for one in new.chunks(1) {
                        match meet(conn, one, now).await {
                            Ok(()) => {}
                            Err(error) if is_refusal(&error) => self.cannot_enqueue(one[0].job, &error),
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether Postgres refused a statement and can go on with others.
fn is_refusal(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some() && !session::is_lost(error)
}

/// A firing that is to become a run.
#[derive(Debug, Clone, Copy)]
struct Firing<'a> {
    job: &'a Job,
    at: DateTime<Utc>,
}

/// The outcome for one job.
enum Look {
    /// Nothing is due.
    Nothing,
    /// Its last scheduled run has not ended, or an operator has paused it, so the next firing waits.
    Unfinished,
    /// Another replica enqueues it now, or has done so.
    Elsewhere,
    /// The firing that is due.
    Due(DateTime<Utc>),
}

async fn look(
    conn: &mut PgConnection,
    Candidate { job, schedule }: &Candidate<'_>,
    known: &Known,
    now: DateTime<Utc>,
) -> Result<Look, sqlx::Error> {
    let mut settled_until = known.settled_until;
    if known.schedule != schedule.expression() || known.timezone != schedule.timezone().name() {
        settled_until = settled_until.max(now - CHANGE_GRACE);
        settle(conn, job, schedule, settled_until).await?;
    }
    if job.paused {
        if let Some(passed) = schedule.newest(settled_until, now) {
            settle(conn, job, schedule, passed).await?;
        }
        return Ok(Look::Nothing);
    }
    if known.unfinished || known.paused {
        return Ok(Look::Unfinished);
    }
    if settled_until > now + SETTLED_AHEAD_MAX {
        tracing::warn!(
            job = job.name,
            %settled_until,
            "the database's clock was ahead when the job was last looked at; its firings count from now on"
        );
        forget_future(conn, job, now).await?;
        return Ok(Look::Elsewhere);
    }
    // Another replica has read the job a moment later.
    if settled_until > now {
        return Ok(Look::Elsewhere);
    }
    let firing = schedule.due(Some(settled_until), now, job.catch_up, 1).first().copied();
    Ok(firing.map_or(Look::Nothing, Look::Due))
}

/// Resets the settled time of a job that was written while the clock was ahead.
async fn forget_future(conn: &mut PgConnection, job: &Job, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with firing as (
            update tidegate.run
            set scheduled_for = null
            where job = $1 and scheduled_for > $2
        )

        update tidegate.job
        set due_after = $2
        where name = $1
        ",
        job.name,
        now,
    )
    .execute(conn)
    .in_time()
    .await?;
    Ok(())
}

/// Makes everything that waits for a point in time due now: the database's clock was set back by an unknown amount.
pub async fn end_waits(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = conn.begin().in_time().await?;
    sqlx::query!(
        "
        with task as (
            update tidegate.task
            set waiting_until = clock_timestamp()
            where state = 'waiting' and waiting_until > clock_timestamp()
        )

        update tidegate.run
        set due_at = clock_timestamp()
        where state in ('queued', 'waiting') and due_at > clock_timestamp()
        "
    )
    .execute(&mut *transaction)
    .in_time()
    .await?;
    // Used quota counts as if it had been used just now.
    sqlx::query!(
        "
        with future as (
            delete from tidegate.quota_use
            using tidegate.quota_limit
            where quota_limit.id = quota_use.limit_id
                and quota_use.ends_at > clock_timestamp() + quota_limit.width + interval '1 minute'
            returning quota_use.limit_id, quota_use.used
        )

        insert into tidegate.quota_use as present (limit_id, ends_at, used)
        select limit_id, clock_timestamp(), sum(used)::bigint
        from future
        group by limit_id
        on conflict (limit_id, ends_at) do update
        set used = present.used + excluded.used
        "
    )
    .execute(&mut *transaction)
    .in_time()
    .await?;
    sqlx::query!(
        "
        update tidegate.quota_limit
        set blocked_until = clock_timestamp() + per
        where blocked_until > clock_timestamp() + per + interval '1 minute'
        "
    )
    .execute(&mut *transaction)
    .in_time()
    .await?;
    transaction.commit().in_time().await
}

/// Enqueues a requested run, or goes on with the backfill of the same range and streams that is unfinished. `conn` is
/// in a transaction: of several backfills at once, those that wait for it find its run.
pub async fn enqueue_by_hand(
    conn: &mut PgConnection,
    job: &Job,
    streams: &[&str],
    by_hand: ByHand,
) -> Result<Requested, sqlx::Error> {
    if let ByHand::Backfill { from, to } = by_hand {
        lock::hold(conn, &format!("backfill of {}", job.name)).await?;
        let mut names: Vec<String> = streams.iter().map(|stream| (*stream).to_owned()).collect();
        names.sort();
        if let Some(run_id) = progress::resume_backfill(&mut *conn, &job.name, (from, to), &names).await? {
            return Ok(Requested { run_id, is_resumed: true });
        }
    }
    let run_id = enqueue_manual(conn, job, streams, by_hand).await?;
    Ok(Requested { run_id, is_resumed: false })
}

/// Enqueues a requested run of `streams` of `job` and returns its id. Independent of firings, pauses and other runs.
pub async fn enqueue_manual(
    conn: &mut PgConnection,
    job: &Job,
    streams: &[&str],
    by_hand: ByHand,
) -> Result<i64, sqlx::Error> {
    let (kind, priority, range) = match by_hand {
        ByHand::Manual => ("manual", job.priority, None),
        ByHand::Backfill { from, to } => {
            ("backfill", job.priority.saturating_sub(BACKFILL_PRIORITY_BELOW), Some((from, to)))
        }
    };
    let streams: Vec<String> = streams.iter().map(|stream| (*stream).to_owned()).collect();
    sqlx::query_scalar!(
        r#"
        with inserted as (
            insert into tidegate.run (job, connection, kind, priority, range_start, range_end)
            values ($1, $2, $3, $4, $5, $6)
            returning id
        ),
        task as (
            insert into tidegate.task (run_id, stream)
            select inserted.id, streams.stream
            from inserted, (select distinct unnest($7::text[]) as stream) as streams
        )
        select id as "id!" from inserted
        "#,
        job.name,
        job.connection,
        kind,
        priority,
        range.map(|(from, _)| from),
        range.map(|(_, to)| to),
        &streams,
    )
    .fetch_one(conn)
    .in_time()
    .await
}

async fn known_jobs(
    conn: &mut PgConnection,
    names: &[String],
    now: DateTime<Utc>,
) -> Result<HashMap<String, Known>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select
            job.name,
            job.schedule,
            job.timezone,
            greatest(job.due_after, (select max(scheduled_for) from tidegate.run where run.job = job.name))
                as "settled_until!",
            job.name in (
                select run.job from tidegate.run
                where run.kind = 'schedule' and run.state in ('queued', 'running', 'waiting')
            ) as "unfinished!",
            job.name in (select pause.job from tidegate.pause where pause.until > $2)
            or exists (select from tidegate.pause where pause.job = '' and pause.until > $2) as "paused!"
        from tidegate.job
        where job.name = any($1)
        "#,
        names,
        now,
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let known = Known {
                schedule: row.schedule,
                timezone: row.timezone,
                settled_until: row.settled_until,
                unfinished: row.unfinished,
                paused: row.paused,
            };
            (row.name, known)
        })
        .collect())
}

/// Stores jobs that were not seen before: their firings count from `now`. The first replica to insert one decides.
async fn meet(conn: &mut PgConnection, new: &[Candidate<'_>], now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    let names: Vec<String> = new.iter().map(|new| new.job.name.clone()).collect();
    let schedules: Vec<String> = new.iter().map(|new| new.schedule.expression().to_owned()).collect();
    let timezones: Vec<String> = new.iter().map(|new| new.schedule.timezone().name().to_owned()).collect();
    sqlx::query!(
        r#"
        insert into tidegate.job (name, schedule, timezone, due_after)
        select seen.name, seen.schedule, seen.timezone, $4::timestamptz
        from unnest($1::text[], $2::text[], $3::text[]) as seen (name, schedule, timezone)
        -- The same order in all replicas, which wait for each other's rows.
        order by seen.name
        on conflict on constraint job_pkey do nothing
        "#,
        &names,
        &schedules,
        &timezones,
        now,
    )
    .execute(conn)
    .in_time()
    .await?;
    Ok(())
}

/// Stores the job's expression, and that its firings up to `until` need no run. The time never goes backward.
async fn settle(
    conn: &mut PgConnection,
    job: &Job,
    schedule: &Schedule,
    until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        update tidegate.job
        set schedule = $2, timezone = $3, due_after = greatest(due_after, $4)
        where name = $1
        "#,
        job.name,
        schedule.expression(),
        schedule.timezone().name(),
        until,
    )
    .execute(conn)
    .in_time()
    .await?;
    Ok(())
}

/// Enqueues firings, at most one of each job, in one transaction. Returns those that became runs. Another replica is
/// enqueuing the others or has done so, or the job's last scheduled run is unfinished.
async fn enqueue_firings(conn: &mut PgConnection, firings: &[Firing<'_>]) -> Result<Vec<Enqueued>, sqlx::Error> {
    let names: Vec<String> = firings.iter().map(|firing| firing.job.name.clone()).collect();
    let times: Vec<DateTime<Utc>> = firings.iter().map(|firing| firing.at).collect();
    let mut transaction = conn.begin().in_time().await?;
    // If this process falls silent, Postgres must release the jobs for the others soon.
    let silence = SILENCE_MAX.as_millis().to_string();
    sqlx::query!("select set_config('idle_in_transaction_session_timeout', $1, true)", silence)
        .fetch_one(&mut *transaction)
        .in_time()
        .await?;
    // A separate statement, so that the next one sees everything that the previous lock holders committed. A replica
    // that finds a row locked has nothing to do: the holder enqueues.
    let locked = sqlx::query_scalar!(
        r#"
        select job.name
        from tidegate.job
        inner join unnest($1::text[], $2::timestamptz[]) as firing (job, at) on job.name = firing.job
        where job.due_after < firing.at
        for update of job skip locked
        "#,
        &names,
        &times,
    )
    .fetch_all(&mut *transaction)
    .in_time()
    .await?;
    if locked.is_empty() {
        transaction.rollback().in_time().await?;
        return Ok(Vec::new());
    }
    let locked: HashSet<String> = locked.into_iter().collect();
    let mine: Vec<&Firing<'_>> = firings.iter().filter(|firing| locked.contains(&firing.job.name)).collect();
    let names: Vec<String> = mine.iter().map(|firing| firing.job.name.clone()).collect();
    let connections: Vec<String> = mine.iter().map(|firing| firing.job.connection.clone()).collect();
    let priorities: Vec<i32> = mine.iter().map(|firing| firing.job.priority).collect();
    let times: Vec<DateTime<Utc>> = mine.iter().map(|firing| firing.at).collect();
    let streams: Vec<String> = mine.iter().map(|firing| streams_of(firing.job)).collect();
    let runs = sqlx::query_file!("src/schedule/enqueue.sql", &names, &connections, &priorities, &times, &streams)
        .fetch_all(&mut *transaction)
        .in_time()
        .await?;
    transaction.commit().in_time().await?;
    let runs: HashMap<String, i64> = runs.into_iter().map(|run| (run.job, run.id)).collect();
    let enqueued = |firing: &Firing<'_>| {
        let run_id = *runs.get(&firing.job.name)?;
        Some(Enqueued { run_id, job: firing.job.name.clone(), scheduled_for: firing.at })
    };
    Ok(firings.iter().filter_map(enqueued).collect())
}

/// The names of the job's streams, one a line.
fn streams_of(job: &Job) -> String {
    let names: Vec<&str> = job.streams.iter().map(|entry| &*entry.stream.name).collect();
    names.join("\n")
}
