//! The overview: whether anything is wrong, what is going on, what comes next, and how complete the data are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Days, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;

use super::day::{DaySpan, spans};
use super::problems::{self, Problem};
use super::quotas::{self, LimitState, Urgency, current_uses};
use super::streams::StreamRow;
use super::{Daemon, Document, LastDaemon, Query, ReadError, Reading, Standing, headline, state};
use crate::config::{Config, Job};
use crate::cron::NextFirings;
use crate::quota::{LedgerUse, Usage};
use crate::store::pause::{self, Pause};
use crate::store::session::Deadline as _;
use crate::store::status::{LATE, Ongoing, RETIRED, firings_after};

/// Problems, runs and firings shown; there may be more.
const PROBLEMS_MAX: usize = 20;
const RUNS_MAX: i64 = 15;
const FIRINGS_MAX: usize = 10;
/// Connections shown because something is wrong with them, and because their quotas are nearly used up.
const CONNECTIONS_MAX: usize = 20;
const FULLEST_MAX: usize = 10;
/// Days of a connection's bar.
const DAYS: u64 = 30;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Overview {
    /// When it was read, by the database's clock.
    pub at: DateTime<Utc>,
    pub version: &'static str,
    /// Whether the configuration on disk is wrong; the previous one is then in force.
    pub config_refused: bool,
    /// Whether something needs a person, in a sentence. It says that nothing does only if no stream is failed, held or
    /// late or has a gap, no problem is open, the database can be written to, a daemon runs, and the configuration on
    /// disk is in force.
    pub headline: String,
    /// Whether the database can only be read, so that nothing is loaded.
    pub only_reads: bool,
    /// The daemons that run: those that were seen within the last minute.
    pub daemons: Vec<Daemon>,
    /// If none runs, the one that was seen last, within a week.
    pub last_daemon: Option<LastDaemon>,
    /// How many streams are in each state. Every state is there; streams that no job reads are not counted.
    pub streams: Vec<StateCount>,
    /// What needs a person, worst first.
    pub problems: Vec<Problem>,
    pub problems_total: i64,
    pub running: Vec<RunProgress>,
    pub running_total: i64,
    pub waiting: Vec<Waiting>,
    pub waiting_total: i64,
    /// Runs that wait for a worker.
    pub queued_total: i64,
    /// The next firings of the jobs' schedules.
    pub next: Vec<Firing>,
    /// Connections with a problem, and those whose quotas are used most.
    pub connections: Vec<ConnectionSummary>,
    pub connections_total: usize,
    /// Totals of vendors that differ from the number of our rows.
    pub differences: i64,
    /// Whether Tidegate works. The fields above state the same.
    #[serde(skip)]
    pub standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StateCount {
    pub state: &'static str,
    pub streams: i64,
}

/// A run that a worker has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunProgress {
    pub run_id: i64,
    pub job: String,
    pub connection: String,
    pub kind: String,
    pub started_at: Option<DateTime<Utc>>,
    pub streams: i64,
    pub streams_done: i64,
    pub slices_planned: i64,
    pub slices_done: i64,
    pub rows_read: i64,
}

/// A run that waits.
#[expect(clippy::struct_field_names, reason = "the names are those of the API")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Waiting {
    pub run_id: i64,
    pub job: String,
    pub connection: String,
    /// What for; `None` if it only waits for its time.
    pub waiting_for: Option<String>,
    pub until: DateTime<Utc>,
}

/// A firing to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Firing {
    pub job: String,
    pub at: DateTime<Utc>,
    pub timezone: String,
    /// The unfinished run of an earlier firing of the job. Until it has ended, no firing makes a run.
    pub after_run: Option<i64>,
}

/// A connection, and how complete its streams are.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConnectionSummary {
    pub connection: String,
    /// The worst state of its streams.
    pub state: String,
    pub streams: i64,
    /// Everything was read up to here, in every stream that has windows. Without any, when the list was read that was
    /// read first.
    pub complete_until: Option<DateTime<Utc>>,
    /// The last 30 days in UTC, as far as the streams with windows are read without a gap: `held` if a slice of the day
    /// is held, `complete` if every stream has all that its jobs ask for of the day, `missing` if none has any of it,
    /// else `partial`, as today. Days that no job asks for are left out, unless they were read.
    pub days: Vec<DaySpan>,
    /// The quota that matters most: one that is blocked, else the one that is used most.
    pub fullest: Option<LimitState>,
}

/// How many streams of a connection are in one state.
struct Part {
    connection: String,
    state: String,
    streams: i64,
}

/// What of a stream with windows its jobs ask for, and what was read.
#[derive(Debug, Clone, Copy)]
struct Extent {
    wanted_from: DateTime<Utc>,
    /// From when to when it is complete.
    read: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Extent {
    /// `None` for a list, of which no range is wanted.
    fn new(
        wanted_from: Option<DateTime<Utc>>,
        covers_from: Option<DateTime<Utc>>,
        complete_until: Option<DateTime<Utc>>,
    ) -> Option<Self> {
        wanted_from.map(|wanted_from| Self { wanted_from, read: covers_from.zip(complete_until) })
    }
}

/// A stream of a connection that is shown.
struct ShownStream {
    connection: String,
    state: String,
    /// `None` for a list.
    extent: Option<Extent>,
    /// Of a list, when it was read.
    complete_until: Option<DateTime<Utc>>,
    /// What was read of the held slices of the last days.
    held: Vec<Range>,
}

/// From when to when.
pub(super) type Range = (DateTime<Utc>, DateTime<Utc>);

/// From columns with the beginnings and the ends.
pub(super) fn ranges(from: Option<Vec<DateTime<Utc>>>, until: Option<Vec<DateTime<Utc>>>) -> Vec<Range> {
    from.unwrap_or_default().into_iter().zip(until.unwrap_or_default()).collect()
}

impl Document for Overview {
    const PATH: &'static str = "/";
    const MEANING: &'static str = "What needs a person, what goes on, what comes next, and how complete the data are.";

    async fn read(reading: &mut Reading<'_>, _query: &Query) -> Result<Option<Self>, ReadError> {
        let now = reading.now;
        let (parts, late_and_wait) = parts(reading.conn).await?;
        let problems = problems::open(reading.conn, PROBLEMS_MAX).await?;
        let uses = current_uses(reading, None).await?;
        let shown = shown(&parts, reading.config, &uses);
        let (streams, differences) = streams_and_differences(reading.conn, &shown).await?;
        let (mut running, mut waiting, mut queued) = (Vec::new(), Vec::new(), Vec::new());
        let mut ongoing = HashMap::new();
        for run in unfinished(reading.conn).await? {
            if run.kind == "schedule" {
                let until = (run.state == "waiting").then_some(run.due_at);
                ongoing.insert(run.job.clone(), Ongoing { run_id: run.run_id, until });
            }
            if !run.is_shown {
                continue;
            }
            match &*run.state {
                "running" => running.push(run),
                "waiting" => waiting.push(run),
                _ => queued.push(run),
            }
        }
        let total = |runs: &[Unfinished]| runs.first().map_or(0, |run| run.total);
        let counts = count_states(parts.iter().map(|part| (&*part.state, part.streams)));
        let standing = Standing::new(reading.surroundings, reading.config_refused, reading.in_daemon);
        Ok(Some(Self {
            at: now,
            version: env!("CARGO_PKG_VERSION"),
            config_refused: standing.config_refused,
            headline: headline(&standing, &problems, &counts, late_and_wait),
            only_reads: reading.surroundings.only_reads,
            daemons: reading.surroundings.daemons.clone(),
            last_daemon: reading.surroundings.last_daemon.clone(),
            streams: counts,
            problems: problems.problems,
            problems_total: problems.total,
            running_total: total(&running),
            running: running.into_iter().map(RunProgress::from).collect(),
            waiting_total: total(&waiting),
            waiting: waiting.into_iter().map(Waiting::from).collect(),
            queued_total: total(&queued),
            next: next_firings(reading.config, &reading.surroundings.pauses, &ongoing, now),
            connections: summaries(&shown, (&parts, &streams), &uses, (reading.config, now)),
            connections_total: reading.config.connections.len(),
            differences,
            standing,
        }))
    }
}

impl Overview {
    /// All streams that a job reads.
    pub fn streams_total(&self) -> i64 {
        self.streams.iter().map(|count| count.streams).sum()
    }

    /// Streams that are failed, held, late or have a gap.
    pub fn streams_unwell(&self) -> i64 {
        let unwell = |count: &&StateCount| headline::UNWELL.iter().any(|(state, ..)| *state == count.state);
        self.streams.iter().filter(unwell).map(|count| count.streams).sum()
    }
}

/// How many streams are in each state, without those that no job reads. Every other state is there.
pub fn count_states<'s>(streams: impl Iterator<Item = (&'s str, i64)>) -> Vec<StateCount> {
    let all = state::STATES.iter().filter(|state| state.name != RETIRED);
    let mut counts: Vec<StateCount> = all.map(|state| StateCount { state: state.name, streams: 0 }).collect();
    for (state, number) in streams {
        if let Some(count) = counts.iter_mut().find(|count| count.state == state) {
            count.streams += number;
        }
    }
    counts
}

/// The states of all streams, and how many of the late ones wait. Those that no job reads are left out.
async fn parts(conn: &mut PgConnection) -> Result<(Vec<Part>, i64), sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select
            connection as "connection!",
            state as "state!",
            count(*) as "streams!",
            count(*) filter (where is_waiting) as "waiting!"
        from tidegate.stream_state
        group by connection, state
        "#,
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    let late_and_wait = rows.iter().filter(|row| row.state == LATE).map(|row| row.waiting).sum();
    // In the statement, the state of each stream would be computed twice.
    let parts = rows.into_iter().filter(|row| row.state != RETIRED).map(|row| Part {
        connection: row.connection,
        state: row.state,
        streams: row.streams,
    });
    Ok((parts.collect(), late_and_wait))
}

/// The streams of these connections, without those that no job reads; and how many totals of vendors differ from the
/// number of our rows.
async fn streams_and_differences(
    conn: &mut PgConnection,
    connections: &[String],
) -> Result<(Vec<ShownStream>, i64), sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select
            total.differences as "differences!",
            state.connection as "connection?",
            state.state as "state?",
            state.wanted_from,
            state.covers_from,
            state.complete_until,
            case
                when state.held_slices > 0
                    then (
                        select array_agg(slice.window_start order by slice.window_start)
                        from tidegate.slice
                        where
                            slice.connection = state.connection
                            and slice.stream = state.stream
                            and slice.held_since is not null
                            and slice.window_start > 'epoch'
                            and slice.window_end > statement_timestamp() - interval '32 days'
                    )
            end as held_from,
            case
                when state.held_slices > 0
                    then (
                        select array_agg(least(slice.read_until, slice.window_end) order by slice.window_start)
                        from tidegate.slice
                        where
                            slice.connection = state.connection
                            and slice.stream = state.stream
                            and slice.held_since is not null
                            and slice.window_start > 'epoch'
                            and slice.window_end > statement_timestamp() - interval '32 days'
                    )
            end as held_until
        from (select coalesce(sum(differences), 0)::bigint as differences from tidegate.reconciliation) as total
        left join tidegate.stream_state as state on state.connection = any($1) and state.state <> 'retired'
        "#,
        connections,
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    let differences = rows.first().map_or(0, |row| row.differences);
    let streams = rows.into_iter().filter_map(|row| {
        Some(ShownStream {
            connection: row.connection?,
            state: row.state?,
            extent: Extent::new(row.wanted_from, row.covers_from, row.complete_until),
            complete_until: row.complete_until,
            held: ranges(row.held_from, row.held_until),
        })
    });
    Ok((streams.collect(), differences))
}

/// A run that has not ended.
struct Unfinished {
    /// Runs in the same state.
    total: i64,
    run_id: i64,
    job: String,
    connection: String,
    kind: String,
    state: String,
    started_at: Option<DateTime<Utc>>,
    streams: i64,
    streams_done: i64,
    slices_planned: i64,
    slices_done: i64,
    rows_read: i64,
    waiting_for: Option<String>,
    until: DateTime<Utc>,
    due_at: DateTime<Utc>,
    /// Whether it is listed. Others are read because the firings of their job make no run.
    is_shown: bool,
}

/// The runs that began first, those that wait for the shortest time, and the first that waits for a worker. Also all
/// runs of firings, of which each job has at most one.
async fn unfinished(conn: &mut PgConnection) -> Result<Vec<Unfinished>, sqlx::Error> {
    sqlx::query_as!(
        Unfinished,
        r#"
        select
            run.total as "total!",
            run.id as "run_id!",
            run.job as "job!",
            run.connection as "connection!",
            run.kind as "kind!",
            run.state as "state!",
            run.started_at,
            task.streams as "streams!",
            task.streams_done as "streams_done!",
            task.slices_planned as "slices_planned!",
            task.slices_done as "slices_done!",
            task.rows_read as "rows_read!",
            task.waiting_for,
            coalesce(task.waiting_until, run.due_at) as "until!",
            run.due_at as "due_at!",
            run.is_shown as "is_shown!"
        from (
            select *, place <= case state when 'queued' then 1 else $1::bigint end as is_shown
            from (
                select
                    id, job, connection, kind, state, started_at, due_at,
                    count(*) over (partition by state) as total,
                    row_number() over (
                        partition by state order by case state when 'running' then started_at else due_at end, id
                    ) as place
                from tidegate.run
                where state in ('queued', 'waiting', 'running')
            ) as unfinished
        ) as run
        cross join lateral (
            select
                count(*) as streams,
                count(*) filter (where finished_at is not null) as streams_done,
                coalesce(sum(slices_planned), 0)::bigint as slices_planned,
                coalesce(sum(slices_done), 0)::bigint as slices_done,
                coalesce(sum(rows_read), 0)::bigint as rows_read,
                min(waiting_until) filter (where state = 'waiting') as waiting_until,
                (array_agg(waiting_for order by waiting_until, stream) filter (where state = 'waiting'))[1]
                    as waiting_for
            from tidegate.task
            where task.run_id = run.id
        ) as task
        where run.is_shown or run.kind = 'schedule'
        order by run.state, run.place
        "#,
        RUNS_MAX,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

impl From<Unfinished> for RunProgress {
    fn from(run: Unfinished) -> Self {
        Self {
            run_id: run.run_id,
            job: run.job,
            connection: run.connection,
            kind: run.kind,
            started_at: run.started_at,
            streams: run.streams,
            streams_done: run.streams_done,
            slices_planned: run.slices_planned,
            slices_done: run.slices_done,
            rows_read: run.rows_read,
        }
    }
}

impl From<Unfinished> for Waiting {
    fn from(run: Unfinished) -> Self {
        Self {
            run_id: run.run_id,
            job: run.job,
            connection: run.connection,
            waiting_for: run.waiting_for,
            until: run.until,
        }
    }
}

/// The connections of these names.
pub(super) async fn summarize(
    reading: &mut Reading<'_>,
    names: &[String],
    uses: &[LedgerUse],
) -> Result<Vec<ConnectionSummary>, sqlx::Error> {
    let (streams, _) = streams_and_differences(reading.conn, names).await?;
    Ok(summaries(names, (&parts_of(&streams), &streams), uses, (reading.config, reading.now)))
}

/// The connection that has these streams.
pub(super) fn summarize_one(
    reading: &Reading<'_>,
    connection: &str,
    streams: &[StreamRow],
    uses: &[LedgerUse],
) -> Option<ConnectionSummary> {
    let shown = |row: &StreamRow| ShownStream {
        connection: connection.to_owned(),
        state: row.state.clone(),
        extent: Extent::new(row.wanted_from, row.covers_from, row.complete_until),
        complete_until: row.complete_until,
        held: row.held.clone(),
    };
    let streams: Vec<ShownStream> = streams.iter().map(shown).collect();
    let names = [connection.to_owned()];
    summaries(&names, (&parts_of(&streams), &streams), uses, (reading.config, reading.now)).pop()
}

/// How many of the streams are in each state.
fn parts_of(streams: &[ShownStream]) -> Vec<Part> {
    let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for stream in streams {
        *counts.entry((&stream.connection, &stream.state)).or_default() += 1;
    }
    let part = |((connection, state), streams): ((&str, &str), i64)| Part {
        connection: connection.to_owned(),
        state: state.to_owned(),
        streams,
    };
    counts.into_iter().map(part).collect()
}

/// The connections that are shown: those in the worst states, and those whose quotas are used most.
fn shown(parts: &[Part], config: &Config, uses: &[LedgerUse]) -> Vec<String> {
    let worst = worst_states(parts, config);
    let mut by_state: Vec<(usize, &str)> = worst.into_iter().map(|(name, position)| (position, name)).collect();
    by_state.sort_unstable();
    let mut fullest: Vec<&LedgerUse> = uses.iter().collect();
    fullest.sort_by_key(|one| Reverse(urgency(&one.usage)));
    let fullest = fullest.into_iter().flat_map(|one| &one.connections).map(String::as_str);
    let mut names: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    let worst = by_state.into_iter().map(|(_, name)| name).take(CONNECTIONS_MAX);
    for name in worst.chain(fullest.filter(|name| config.connections.contains_key(*name)).take(FULLEST_MAX)) {
        if seen.insert(name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The position of the worst state of each connection's streams. Without one, it was not read yet if a job reads it.
fn worst_states<'c>(parts: &[Part], config: &'c Config) -> BTreeMap<&'c str, usize> {
    let position = |name: &str| state::STATES.iter().position(|state| state.name == name);
    let read: BTreeSet<&str> = config.jobs.values().map(|job| &*job.connection).collect();
    let mut worst: BTreeMap<&str, usize> = BTreeMap::new();
    for part in parts {
        if let Some(at) = position(&part.state) {
            worst.entry(&part.connection).and_modify(|known| *known = at.min(*known)).or_insert(at);
        }
    }
    let of = |name: &'c String| {
        let without = if read.contains(&**name) { "pending" } else { "retired" };
        let at = worst.get(&**name).copied().or_else(|| position(without)).unwrap_or_default();
        (&**name, at)
    };
    config.connections.keys().map(of).collect()
}

fn summaries(
    shown: &[String],
    (parts, streams): (&[Part], &[ShownStream]),
    uses: &[LedgerUse],
    (config, now): (&Config, DateTime<Utc>),
) -> Vec<ConnectionSummary> {
    let worst = worst_states(parts, config);
    let summary = |name: &String| {
        let own_parts = parts.iter().filter(|part| part.connection == *name);
        let own_streams: Vec<&ShownStream> = streams.iter().filter(|stream| stream.connection == *name).collect();
        let extents: Vec<Extent> = own_streams.iter().filter_map(|stream| stream.extent).collect();
        let held: Vec<Range> = own_streams.iter().flat_map(|stream| stream.held.iter().copied()).collect();
        let own = uses.iter().filter(|one| one.connections.contains(name)).map(|one| &one.usage);
        ConnectionSummary {
            connection: name.clone(),
            state: state::STATES[worst.get(&**name).copied().unwrap_or_default()].name.to_owned(),
            streams: own_parts.map(|part| part.streams).sum(),
            complete_until: complete_until(&own_streams),
            days: days(&extents, &held, now),
            fullest: own.max_by_key(|usage| urgency(usage)).map(LimitState::from),
        }
    };
    shown.iter().map(summary).collect()
}

/// Up to when every stream was read. Lists count only if there is nothing else: they are read as a whole. `None` if one
/// that counts was not read yet.
fn complete_until(streams: &[&ShownStream]) -> Option<DateTime<Utc>> {
    let has_windows = streams.iter().any(|stream| stream.extent.is_some());
    let counted = streams.iter().filter(|stream| stream.extent.is_some() == has_windows);
    let until = |stream: &&ShownStream| match stream.extent {
        Some(extent) => extent.read.map(|(_, until)| until),
        None => stream.complete_until,
    };
    let until: Option<Vec<_>> = counted.map(until).collect();
    until.unwrap_or_default().into_iter().min()
}

fn urgency(usage: &Usage) -> Urgency {
    quotas::urgency(usage.blocked_until, usage.ratio(), usage.per.as_secs_f64())
}

/// The last days, and what of each was read. As in `mart.day_status`, a day is complete at its end, so that today never
/// is, and is missing only if it is wanted and nothing of it was read. A day of a held slice is held.
fn days(extents: &[Extent], held: &[Range], now: DateTime<Utc>) -> Vec<DaySpan> {
    let today = now.date_naive();
    let Some(first) = today.checked_sub_days(Days::new(DAYS - 1)) else { return Vec::new() };
    let days = first.iter_days().take_while(|day| *day <= today);
    spans(days.filter_map(|day| Some((day, day_state(extents, held, day)?))))
}

/// The state of a day. `None` if no job asks for it and nothing of it was read.
fn day_state(extents: &[Extent], held: &[Range], day: NaiveDate) -> Option<&'static str> {
    let begin = day.and_time(chrono::NaiveTime::MIN).and_utc();
    let end = begin + Days::new(1);
    if held.iter().any(|(from, until)| *from < end && begin < *until) {
        return Some("held");
    }
    let is_read = |one: &&Extent| one.read.is_some_and(|(from, until)| from < end && begin < until);
    let has_all =
        |one: &&Extent, since: DateTime<Utc>| one.read.is_some_and(|(from, until)| from <= since && end <= until);
    let wanted: Vec<&Extent> = extents.iter().filter(|one| one.wanted_from < end).collect();
    let is_complete = match wanted[..] {
        // What a backfill has read before the jobs' start.
        [] => extents.iter().filter(is_read).all(|one| has_all(&one, begin)),
        _ => wanted.iter().all(|one| has_all(one, begin.max(one.wanted_from))),
    };
    match (wanted.is_empty(), extents.iter().any(|one| is_read(&one))) {
        (true, false) => None,
        (false, false) => Some("missing"),
        (_, true) if is_complete => Some("complete"),
        (_, true) => Some("partial"),
    }
}

/// The next firings of all jobs, the earliest first.
fn next_firings(
    config: &Config,
    pauses: &[Pause],
    ongoing: &HashMap<String, Ongoing>,
    now: DateTime<Utc>,
) -> Vec<Firing> {
    let mut next: BTreeMap<(DateTime<Utc>, &str), &str> = BTreeMap::new();
    let mut firings = NextFirings::default();
    let run_of = |job: &str| ongoing.get(job).copied();
    let after = |job: &Job| firings_after(now, pause::of_job(pauses, &job.name), run_of(&job.name));
    for job in config.jobs.values().filter(|job| !job.paused) {
        if let Some(at) = job.schedule.as_ref().and_then(|schedule| firings.after(schedule, after(job))) {
            next.insert((at, &job.name), job.timezone.name());
            if next.len() > FIRINGS_MAX {
                next.pop_last();
            }
        }
    }
    next.into_iter()
        .map(|((at, job), timezone)| Firing {
            job: job.to_owned(),
            at,
            timezone: timezone.to_owned(),
            after_run: run_of(job).map(|run| run.run_id),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(wanted_from: &str, from: &str, until: &str) -> Extent {
        let read = (from.parse().unwrap(), until.parse().unwrap());
        Extent { wanted_from: wanted_from.parse().unwrap(), read: Some(read) }
    }

    /// The states of the last three days; empty for a day that is left out.
    fn lately(extents: &[Extent]) -> [String; 3] {
        lately_with(extents, &[])
    }

    fn lately_with(extents: &[Extent], held: &[Range]) -> [String; 3] {
        let spans = days(extents, held, "2026-11-30T10:00:00Z".parse().unwrap());
        ["2026-11-28", "2026-11-29", "2026-11-30"].map(|day| {
            let day: NaiveDate = day.parse().unwrap();
            let span = spans.iter().find(|span| span.from <= day && day <= span.to);
            span.map(|span| span.state.clone()).unwrap_or_default()
        })
    }

    #[test]
    fn p11_today_is_partial_and_a_day_is_missing_only_if_no_stream_has_read_of_it() {
        let begin = "2026-10-01T00:00:00Z";
        let healthy = extent(begin, begin, "2026-11-30T09:45:00Z");
        assert_eq!(lately(&[healthy, healthy]), ["complete", "complete", "partial"]);
        let behind = extent(begin, begin, "2026-11-28T12:00:00Z");
        assert_eq!(lately(&[behind]), ["partial", "missing", "missing"]);
        assert_eq!(lately(&[healthy, behind]), ["partial", "partial", "partial"]);
        let unread = Extent { read: None, ..healthy };
        assert_eq!(lately(&[healthy, unread]), ["partial", "partial", "partial"]);
        assert_eq!(lately(&[unread]), ["missing", "missing", "missing"]);
        let new = extent(begin, "2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z");
        assert_eq!(lately(&[new]), ["missing", "complete", "missing"]);
    }

    #[test]
    fn p11_a_day_of_a_held_slice_is_held() {
        let begin = "2026-10-01T00:00:00Z";
        let healthy = extent(begin, begin, "2026-11-30T09:45:00Z");
        let held = |from: &str, until: &str| (from.parse().unwrap(), until.parse().unwrap());
        let past = held("2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z");
        let today = held("2026-11-30T00:00:00Z", "2026-11-30T09:45:00Z");
        assert_eq!(lately_with(&[healthy, healthy], &[past, today]), ["held", "complete", "held"]);
        let of_zone = held("2026-11-28T03:00:00Z", "2026-11-29T03:00:00Z");
        assert_eq!(lately_with(&[healthy], &[of_zone]), ["held", "held", "partial"]);
    }

    #[test]
    fn a_connection_of_lists_is_complete_until_its_oldest_reading() {
        let at = |text: &str| Some(text.parse::<DateTime<Utc>>().unwrap());
        let list = |complete_until| ShownStream {
            connection: "demo-outbound".to_owned(),
            state: "on time".to_owned(),
            extent: None,
            complete_until,
            held: Vec::new(),
        };
        let (older, newer) = (list(at("2026-11-30T09:00:00Z")), list(at("2026-11-30T10:00:00Z")));
        assert_eq!(complete_until(&[&newer, &older]), at("2026-11-30T09:00:00Z"));
        assert_eq!(complete_until(&[&newer, &list(None)]), None, "one was never read");
        assert_eq!(complete_until(&[]), None);
        let begin = "2026-10-01T00:00:00Z";
        let windows = ShownStream {
            extent: Some(extent(begin, begin, "2026-11-30T09:45:00Z")),
            ..list(at("2026-11-30T09:45:00Z"))
        };
        assert_eq!(complete_until(&[&older, &windows]), at("2026-11-30T09:45:00Z"), "a list is read as a whole");
    }

    #[test]
    fn p11_a_day_that_no_job_asks_for_is_not_missing() {
        let (begin, until) = ("2026-11-29T03:00:00Z", "2026-11-30T09:45:00Z");
        let new = extent(begin, begin, until);
        assert_eq!(lately(&[new]), ["", "complete", "partial"], "the first day begins with what is asked for");
        assert_eq!(lately(&[Extent { read: None, ..new }]), ["", "missing", "missing"]);
        let old = extent("2026-10-01T00:00:00Z", "2026-10-01T00:00:00Z", until);
        assert_eq!(lately(&[new, old]), ["complete", "complete", "partial"], "one stream is newer than another");
        assert_eq!(lately(&[new, Extent { read: None, ..old }]), ["missing", "partial", "partial"]);
        assert_eq!(lately(&[extent(begin, "2026-11-28T12:00:00Z", until)]), ["partial", "complete", "partial"]);
        assert_eq!(lately(&[extent(begin, "2026-11-28T00:00:00Z", until)]), ["complete", "complete", "partial"]);
        assert_eq!(lately(&[]), ["", "", ""], "a connection of lists has no days");
    }
}
