//! `tidegate.problem`: what is wrong. `problem_conditions.sql` finds what is not about streams; `problem_check.sql`
//! checks the streams, and opens and closes all problems.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::run::interval;
use super::session::Deadline as _;
use super::task::without_nul;
use super::topic::Topic;

/// The statement reads the state of every stream: 10,000 take a second.
const CHECK_MAX: Duration = Duration::from_secs(30);

/// When a kind of problem opens, and when it is over.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub topic: Topic,
    /// How long the condition must hold before the problem opens.
    pub delay: Duration,
    /// How long it must not have held before the problem is over. It is never over at the first check without it.
    pub quiet: Duration,
}

/// A problem that opened, or one that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub id: i64,
    pub kind: String,
    pub scope: String,
    pub connection: Option<String>,
    pub stream: Option<String>,
    pub job: Option<String>,
    pub run_id: Option<i64>,
    pub summary: String,
    pub is_over: bool,
    /// Whether its end is of no interest to people: it became part of another problem, or its stream is not read any
    /// more. A program that received its beginning receives its end.
    pub is_silent: bool,
    /// Whether it became part of another problem: it ended, and what it was about has not.
    pub is_merged: bool,
    /// The jobs that it concerns.
    pub jobs: Vec<String>,
}

/// Takes the turn to check, until the end of the transaction. Returns when a process last checked, or `None` if another
/// process checks now, or did so less than `pause` ago.
pub async fn take_turn(transaction: &mut PgConnection, pause: Duration) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query!("insert into tidegate.lock (name) values ('problem') on conflict do nothing")
        .execute(&mut *transaction)
        .in_time()
        .await?;
    let turn = sqlx::query_scalar!(
        r#"
        with turn as (
            select name, done_at
            from tidegate.lock
            where
                name = 'problem'
                and not current_setting('transaction_read_only')::boolean
                -- A time in the future was stored while the clock was ahead.
                -- Processes check every $1, and not always at the same moment of it.
                and coalesce(done_at <= now() - 0.8 * $1::interval or done_at > now(), true)
            for update skip locked
        )

        update tidegate.lock
        set done_at = now()
        from turn
        where lock.name = turn.name
        returning coalesce(least(turn.done_at, now()), now()) as "last_checked!"
        "#,
        interval(pause),
    );
    turn.fetch_optional(&mut *transaction).in_time().await
}

/// What a check takes into account.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub patience: &'a [Patience],
    /// What happened since then is new.
    pub since: DateTime<Utc>,
    /// So many streams of a connection are one problem.
    pub group_from: i64,
    /// The targets of notifications.
    pub targets: &'a [String],
    /// The loops of processes, and for how long each may be without success.
    pub loops: &'a [(&'static str, Duration)],
}

/// Something that is wrong and not about streams.
#[derive(Debug, Serialize)]
struct Condition {
    kind: String,
    scope: String,
    cause: String,
    connection: Option<String>,
    job: Option<String>,
    run_id: Option<i64>,
    streams: i32,
    summary: String,
    hint: Option<String>,
}

/// Checks everything that may be wrong. Opens problems and closes them, records both as events, and returns what
/// changed.
pub async fn check(transaction: &mut PgConnection, scope: &Scope<'_>) -> Result<Vec<Change>, sqlx::Error> {
    let Scope { patience, since, group_from, targets, loops } = *scope;
    let kinds: Vec<String> = patience.iter().map(|patience| patience.topic.name().to_owned()).collect();
    let delays: Vec<f64> = patience.iter().map(|patience| patience.delay.as_secs_f64()).collect();
    let quiet: Vec<f64> = patience.iter().map(|patience| patience.quiet.as_secs_f64()).collect();
    let (loops, limits): (Vec<String>, Vec<f64>) =
        loops.iter().map(|(name, limit)| ((*name).to_owned(), limit.as_secs_f64())).unzip();
    let others = sqlx::query_file_as!(Condition, "src/store/problem_conditions.sql", since, targets, &loops, &limits)
        .fetch_all(&mut *transaction)
        .within(CHECK_MAX)
        .await?;
    let changes = sqlx::query_file_as!(
        Change,
        "src/store/problem_check.sql",
        &kinds,
        &delays,
        &quiet,
        since,
        group_from,
        Json(&others) as _,
    )
    .fetch_all(&mut *transaction)
    .within(CHECK_MAX)
    .await?;
    record(transaction, &changes).await?;
    Ok(changes)
}

/// Records that the check itself fails, which is a problem of the kind `stalled` after `delay`. The next check that
/// succeeds ends it. `cause`: the loop that checks. Returns the problem if it opened now.
pub async fn check_failed(
    transaction: &mut PgConnection,
    cause: &str,
    summary: &str,
    delay: Duration,
) -> Result<Option<Change>, sqlx::Error> {
    let summary = without_nul(summary);
    let recorded = sqlx::query!(
        r#"
        insert into tidegate.problem as problem
            (kind, scope, cause, streams, summary, hint, seen_first_at, seen_last_at, opened_at)
        values (
            'stalled', 'system', $1, 0, $2,
            'see the log; until the check succeeds, problems neither open nor end',
            now(), now(), case when $3::interval <= interval '0' then now() end
        )
        on conflict (kind, scope, cause) where closed_at is null
        do update set
            summary = excluded.summary,
            hint = excluded.hint,
            seen_last_at = excluded.seen_last_at,
            missed = 0,
            opened_at = coalesce(problem.opened_at, case when problem.seen_first_at <= now() - $3::interval then now() end)
        returning id, kind, scope, coalesce(opened_at = now(), false) as "is_new!"
        "#,
        cause,
        &*summary,
        interval(delay),
    )
    .fetch_one(&mut *transaction)
    .in_time()
    .await?;
    if !recorded.is_new {
        return Ok(None);
    }
    let change = Change {
        id: recorded.id,
        kind: recorded.kind,
        scope: recorded.scope,
        connection: None,
        stream: None,
        job: None,
        run_id: None,
        summary: summary.into_owned(),
        is_over: false,
        is_silent: false,
        is_merged: false,
        jobs: Vec::new(),
    };
    record(transaction, std::slice::from_ref(&change)).await?;
    Ok(Some(change))
}

/// Records what changed as events.
async fn record(transaction: &mut PgConnection, changes: &[Change]) -> Result<(), sqlx::Error> {
    let shown: Vec<i64> = changes.iter().filter(|change| !change.is_over || !change.is_silent).map(|c| c.id).collect();
    if shown.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into tidegate.event (at, kind, connection, stream, job, run_id, summary)
        select
            now(),
            case when closed_at is null then 'problem' else 'recovered' end,
            connection,
            stream,
            job,
            run_id,
            replace(kind, '_', ' ') || case when streams > 1 then ' (' || streams || ' streams)' else '' end || ': ' || summary
        from tidegate.problem
        where id = any($1)
        order by id
        ",
        &shown,
    )
    .execute(transaction)
    .in_time()
    .await?;
    Ok(())
}

/// A problem, for a message.
#[derive(Debug, Clone)]
pub struct Problem {
    pub id: i64,
    pub kind: String,
    pub scope: String,
    pub connection: Option<String>,
    pub stream: Option<String>,
    /// The table that the stream fills, with its schema.
    pub table: Option<String>,
    pub job: Option<String>,
    pub run_id: Option<i64>,
    pub streams: i32,
    pub since: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    /// The problem that it became part of.
    pub merged_into: Option<i64>,
    pub complete_until: Option<DateTime<Utc>>,
    pub summary: String,
    pub hint: Option<String>,
    /// Whether the target has received a message about it before, or may have.
    pub is_known: bool,
    /// Whether the message would be a reminder of it, and it is muted.
    pub is_muted: bool,
}

/// These problems, in the order in which they opened. `target` and `message`: the target of a message, and its id.
pub async fn of_message(
    executor: impl PgExecutor<'_>,
    ids: &[i64],
    target: &str,
    message: uuid::Uuid,
) -> Result<Vec<Problem>, sqlx::Error> {
    sqlx::query_as!(
        Problem,
        r#"
        select
            problem.id,
            problem.kind,
            problem.scope,
            problem.connection,
            problem.stream,
            state.table_schema || '.' || state.table_name as "table?",
            problem.job,
            problem.run_id,
            problem.streams,
            problem.seen_first_at as since,
            problem.closed_at,
            problem.merged_into,
            state.complete_until as "complete_until?",
            problem.summary,
            problem.hint,
            coalesce(earlier.is_known, false) as "is_known!",
            problem.closed_at is null
            and coalesce(problem.muted_until > now(), false)
            and earlier.is_known is not null as "is_muted!"
        from tidegate.problem
        cross join lateral (
            -- Null if no other message about it was attempted.
            select bool_or(message.state <> 'given_up') as is_known
            from tidegate.notification as message
            where
                message.target = $2
                and message.id <> $3
                and message.attempts > 0
                and message.problems @> array[problem.id]
        ) as earlier
        left join tidegate.stream_state as state
            on problem.connection = state.connection and problem.stream = state.stream
        where problem.id = any($1)
        order by problem.id
        "#,
        ids,
        target,
        message,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// How many problems are open, by kind. Kinds without a problem are left out.
pub async fn open(executor: impl PgExecutor<'_>) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select kind as "kind!", count(*) as "count!"
        from tidegate.open_problem
        group by kind
        "#
    );
    Ok(found.fetch_all(executor).in_time().await?.into_iter().map(|row| (row.kind, row.count)).collect())
}

/// A stream with an open problem that it keeps although its state may not show it: `failed` or `held` during a pause,
/// and `late` while it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persistent {
    pub connection: String,
    pub stream: String,
    pub kind: String,
}

/// The streams whose problem a pause or a wait does not end, each once with the worst one. A problem of a connection
/// concerns those of its streams that fail, are held or are late.
pub async fn persistent(executor: impl PgExecutor<'_>) -> Result<Vec<Persistent>, sqlx::Error> {
    sqlx::query_as!(
        Persistent,
        r#"
        select distinct on (state.connection, state.stream)
            state.connection as "connection!",
            state.stream as "stream!",
            problem.kind
        from tidegate.problem
        inner join tidegate.stream_state as state
            on
                problem.connection = state.connection
                and (problem.stream is null or problem.stream = state.stream)
        where
            problem.closed_at is null
            and problem.opened_at is not null
            and (
                (problem.kind = 'failed' and state.is_failed)
                or (problem.kind = 'held' and state.is_held)
                or (problem.kind = 'late' and state.is_late)
            )
        -- 'failed' sorts before 'held', and that before 'late'.
        order by state.connection, state.stream, problem.kind
        "#
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// Deletes up to `limit` problems that were over longer than `keep` ago. Returns how many.
pub async fn prune(executor: impl PgExecutor<'_>, keep: Duration, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        with past as (
            select id
            from tidegate.problem
            where closed_at < now() - $1::interval
            order by closed_at
            limit $2
            for update skip locked
        )

        delete from tidegate.problem
        using past
        where problem.id = past.id
        ",
        interval(keep),
        limit,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected())
}
