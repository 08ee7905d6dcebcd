//! Runs that finished and actions of operators, for targets of notifications that receive them. A message covers a
//! range of time, so any number of runs is one message.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::run::interval;
use super::session::Deadline as _;

/// What a target receives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub runs: bool,
    pub actions: bool,
    /// Only of these connections or of these jobs; `None` twice: of all.
    pub connections: Option<Vec<String>>,
    pub jobs: Option<Vec<String>>,
}

/// A range of time: after `from`, up to `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

/// Continues the range that was reported to `target` up to `lag` ago: transactions of runs that finished before are
/// committed by now. Returns the new part if something in it is selected.
pub async fn advance(
    transaction: &mut PgConnection,
    target: &str,
    selection: &Selection,
    lag: Duration,
) -> Result<Option<Range>, sqlx::Error> {
    let Selection { runs, actions, connections, jobs } = selection;
    let advanced = sqlx::query!(
        r#"
        with known as (
            select target, reported_until
            from tidegate.notification_target
            where target = $1
            for update
        ),

        advanced as (
            update tidegate.notification_target as current
            set
                reported_until = case
                    -- A time in the future was stored while the clock was ahead.
                    when known.reported_until > now() then now() - $2::interval
                    else greatest(known.reported_until, now() - $2::interval)
                end
            from known
            where current.target = known.target
            returning least(known.reported_until, current.reported_until) as since, current.reported_until as until
        )

        select
            since as "since!",
            until as "until!",
            (
                $3
                and exists (
                    select
                    from tidegate.run
                    where
                        run.finished_at > since
                        and run.finished_at <= until
                        and (
                            ($5::text[] is null and $6::text[] is null)
                            or run.connection = any($5)
                            or run.job = any($6)
                        )
                )
            )
            or (
                $4
                and exists (
                    select
                    from tidegate.event
                    where
                        event.kind = 'action'
                        and event.at > since
                        and event.at <= until
                        and (
                            ($5::text[] is null and $6::text[] is null)
                            or event.connection = any($5)
                            or event.job = any($6)
                        )
                )
            ) as "is_selected!"
        from advanced
        "#,
        target,
        interval(lag),
        runs,
        actions,
        connections.as_deref(),
        jobs.as_deref(),
    )
    .fetch_optional(&mut *transaction)
    .in_time()
    .await?;
    Ok(advanced.filter(|row| row.is_selected).map(|row| Range { from: row.since, until: row.until }))
}

/// Adds a range to the message to `target` that is not sent yet, or writes one. It is due `first` later, `pause` after
/// the last one that was sent, and not before one that is being retried.
pub async fn collect(
    executor: impl PgExecutor<'_>,
    target: &str,
    range: Range,
    first: Duration,
    pause: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with waiting as (
            update tidegate.notification
            set reported_until = $3
            where target = $1 and state = 'due' and kind = 'activity' and attempts = 0
            returning id
        )

        insert into tidegate.notification (target, kind, reported_from, reported_until, due_at)
        select
            $1,
            'activity',
            $2,
            $3,
            greatest(
                clock_timestamp() + $4,
                (
                    select max(sent_at)
                    from tidegate.notification
                    where target = $1 and kind = 'activity' and state = 'sent' and sent_at <= clock_timestamp()
                ) + $5,
                (
                    select max(due_at)
                    from tidegate.notification
                    where
                        target = $1
                        and kind = 'activity'
                        and state = 'due'
                        and due_at < clock_timestamp() + interval '15 hours'
                )
            )
        where not exists (select from waiting)
        ",
        target,
        range.from,
        range.until,
        interval(first),
        interval(pause),
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// What happened in a range of time.
#[derive(Debug, Clone, Default)]
pub struct Activity {
    /// How many runs finished, by state.
    pub states: Vec<(String, i64)>,
    /// Some of these runs: those that did not succeed first, then the newest.
    pub runs: Vec<FinishedRun>,
    pub actions_total: i64,
    /// The newest actions.
    pub actions: Vec<Action>,
}

/// A run that finished.
#[derive(Debug, Clone)]
pub struct FinishedRun {
    pub id: i64,
    pub job: String,
    pub connection: String,
    pub kind: String,
    pub state: String,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: DateTime<Utc>,
    pub error: Option<String>,
    pub hint: Option<String>,
}

/// What an operator did.
#[derive(Debug, Clone)]
pub struct Action {
    pub at: DateTime<Utc>,
    pub actor: Option<String>,
    pub connection: Option<String>,
    pub stream: Option<String>,
    pub job: Option<String>,
    pub run_id: Option<i64>,
    pub summary: String,
}

impl Activity {
    pub fn runs_total(&self) -> i64 {
        self.states.iter().map(|(_, runs)| runs).sum()
    }
}

/// What is selected in a range of time, with at most `limit` runs and `limit` actions.
pub async fn read(
    conn: &mut PgConnection,
    range: Range,
    selection: &Selection,
    limit: i64,
) -> Result<Activity, sqlx::Error> {
    let Selection { runs, actions, connections, jobs } = selection;
    let (connections, jobs) = (connections.as_deref(), jobs.as_deref());
    let mut activity = Activity::default();
    if *runs {
        activity.states = states(&mut *conn, range, connections, jobs).await?;
        activity.runs = sqlx::query_as!(
            FinishedRun,
            r#"
            select id, job, connection, kind, state, started_at, finished_at as "finished_at!", error, hint
            from tidegate.run
            where
                finished_at > $1
                and finished_at <= $2
                and (
                    ($3::text[] is null and $4::text[] is null)
                    or connection = any($3)
                    or job = any($4)
                )
            order by state = 'succeeded', finished_at desc, id desc
            limit $5
            "#,
            range.from,
            range.until,
            connections,
            jobs,
            limit,
        )
        .fetch_all(&mut *conn)
        .in_time()
        .await?;
    }
    if *actions {
        (activity.actions, activity.actions_total) = actions_of(conn, range, (connections, jobs), limit).await?;
    }
    Ok(activity)
}

/// How many of the selected runs ended in each state.
async fn states(
    conn: &mut PgConnection,
    range: Range,
    connections: Option<&[String]>,
    jobs: Option<&[String]>,
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let states = sqlx::query!(
        r#"
        select state as "state!", count(*) as "runs!"
        from tidegate.run
        where
            finished_at > $1
            and finished_at <= $2
            and (
                ($3::text[] is null and $4::text[] is null)
                or connection = any($3)
                or job = any($4)
            )
        group by state
        order by state
        "#,
        range.from,
        range.until,
        connections,
        jobs,
    );
    Ok(states.fetch_all(conn).in_time().await?.into_iter().map(|row| (row.state, row.runs)).collect())
}

/// The newest of the selected actions, and how many there are in all.
async fn actions_of(
    conn: &mut PgConnection,
    range: Range,
    (connections, jobs): (Option<&[String]>, Option<&[String]>),
    limit: i64,
) -> Result<(Vec<Action>, i64), sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select at, actor, connection, stream, job, run_id, summary, count(*) over () as "total!"
        from tidegate.event
        where
            kind = 'action'
            and at > $1
            and at <= $2
            and (
                ($3::text[] is null and $4::text[] is null)
                or connection = any($3)
                or job = any($4)
            )
        order by at desc, id desc
        limit $5
        "#,
        range.from,
        range.until,
        connections,
        jobs,
        limit,
    );
    let (mut actions, mut total) = (Vec::new(), 0);
    for row in found.fetch_all(conn).in_time().await? {
        total = row.total;
        actions.push(Action {
            at: row.at,
            actor: row.actor,
            connection: row.connection,
            stream: row.stream,
            job: row.job,
            run_id: row.run_id,
            summary: row.summary,
        });
    }
    Ok((actions, total))
}
