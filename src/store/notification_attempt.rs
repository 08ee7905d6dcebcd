//! `tidegate.notification`: the attempts to send what is due.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::activity::Range;
use super::notification::Kind;
use super::run::interval;
use super::session::Deadline as _;

/// The test message that is due to `target`.
pub async fn due_test(executor: impl PgExecutor<'_>, target: &str) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        select id
        from tidegate.notification
        where target = $1 and kind = 'test' and state = 'due' and due_at <= clock_timestamp()
        ",
        target,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}

/// A target to which a message is due.
#[derive(Debug)]
pub struct DueTarget {
    pub target: String,
    turn_in_secs: f64,
}

impl DueTarget {
    /// How soon the next turn to send to the target comes.
    pub fn turn_in(&self) -> Duration {
        // The turn may have come while it was read.
        Duration::try_from_secs_f64(self.turn_in_secs).unwrap_or_default()
    }
}

/// The targets among these to which a message is due, with turns that come within `soon`. A later turn is not waited
/// for: another process has the present one, or the clock was ahead when it was stored.
pub async fn due_targets(
    executor: impl PgExecutor<'_>,
    targets: &[String],
    soon: Duration,
) -> Result<Vec<DueTarget>, sqlx::Error> {
    sqlx::query_as!(
        DueTarget,
        r#"
        select
            due.target as "target!",
            case
                when known.next_at between clock_timestamp() and clock_timestamp() + $2::interval
                    then extract(epoch from known.next_at - clock_timestamp())
                else 0
            end::double precision as "turn_in_secs!"
        from (
            select distinct target
            from tidegate.notification
            where
                state = 'due'
                -- A later time was stored while the clock was ahead.
                and (due_at <= clock_timestamp() or due_at > clock_timestamp() + interval '15 hours')
                and target = any($1)
        ) as due
        left join tidegate.notification_target as known on due.target = known.target
        order by due.target
        "#,
        targets,
        interval(soon),
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// A message that this process sends now.
#[derive(Debug, Clone)]
pub struct Message {
    pub id: Uuid,
    pub kind: Kind,
    pub problems: Vec<i64>,
    /// What a message about activity covers.
    pub range: Option<Range>,
    /// `None` before the first attempt.
    pub body: Option<Value>,
    /// Including this one.
    pub attempts: i32,
    /// Attempts that the target did not accept.
    pub failures: i32,
    /// Earlier attempts without an outcome: their processes ended.
    pub cut_off: i32,
    pub created_at: DateTime<Utc>,
}

/// Claims the next message to `target`, until the end of `lease`: if the process ends before it has recorded an
/// outcome, any process sends the message again. After each time that this happened, the lease is twice as long, and at
/// most an hour. Beginnings come before ends, reminders and activity, but a message about a problem waits for earlier
/// ones about it. `only`: this message and no other.
pub async fn claim(
    executor: impl PgExecutor<'_>,
    target: &str,
    lease: Duration,
    only: Option<Uuid>,
) -> Result<Option<Message>, sqlx::Error> {
    let claimed = sqlx::query!(
        r#"
        with next as (
            select message.id
            from tidegate.notification as message
            where
                message.state = 'due'
                and (
                    message.due_at <= clock_timestamp()
                    or message.due_at > clock_timestamp() + interval '15 hours'
                )
                and message.target = $1
                and ($3::uuid is null or message.id = $3)
                and not exists (
                    select
                    from tidegate.notification as earlier
                    where
                        earlier.target = $1
                        and earlier.state = 'due'
                        and earlier.problems && message.problems
                        and earlier.created_at < message.created_at
                )
            order by
                message.kind in ('recovered', 'merged', 'reminder', 'activity'),
                message.due_at,
                message.created_at
            limit 1
            for update skip locked
        )

        update tidegate.notification as message
        -- Without an outcome, it is being sent.
        set
            attempts = message.attempts + 1,
            due_at = clock_timestamp() + least(
                $2::interval * power(2, least(message.attempts - message.failures, 20)),
                greatest($2, interval '1 hour')
            ),
            outcome = null
        from next
        where message.id = next.id
        returning
            message.id, message.kind, message.problems, message.body, message.attempts, message.failures,
            message.created_at, message.reported_from, message.reported_until
        "#,
        target,
        interval(lease),
        only,
    )
    .fetch_optional(executor)
    .in_time()
    .await?;
    Ok(claimed.map(|row| Message {
        id: row.id,
        kind: Kind::named(&row.kind),
        problems: row.problems,
        range: row.reported_from.zip(row.reported_until).map(|(from, until)| Range { from, until }),
        body: row.body,
        attempts: row.attempts,
        failures: row.failures,
        cut_off: row.attempts - 1 - row.failures,
        created_at: row.created_at,
    }))
}

/// Stores the document of a message, which is then the same at each attempt.
pub async fn compose(executor: impl PgExecutor<'_>, message: Uuid, body: &Value) -> Result<(), sqlx::Error> {
    sqlx::query!("update tidegate.notification set body = $2 where id = $1", message, body)
        .execute(executor)
        .in_time()
        .await?;
    Ok(())
}

/// Removes a message that has no content any more.
pub async fn remove(executor: impl PgExecutor<'_>, message: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from tidegate.notification where id = $1", message).execute(executor).in_time().await?;
    Ok(())
}

/// Gives up a message that was claimed.
pub async fn give_up(executor: impl PgExecutor<'_>, message: Uuid, outcome: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.notification
        set state = 'given_up', due_at = clock_timestamp(), attempts = attempts - 1, outcome = $2
        where id = $1
        ",
        message,
        outcome,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Records that the target accepted the message. Others that it did not accept before are tried again at once.
pub async fn sent(conn: &mut PgConnection, message: Uuid, target: &str, outcome: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with delivered as (
            update tidegate.notification
            set state = 'sent', sent_at = clock_timestamp(), outcome = $2
            where id = $1 and state = 'due'
        )

        update tidegate.notification_target
        set sent_at = clock_timestamp(), paused_until = null
        where target = $3
        ",
        message,
        outcome,
        target,
    )
    .execute(&mut *conn)
    .in_time()
    .await?;
    sqlx::query!(
        "
        with failed as (
            select id
            from tidegate.notification
            where
                target = $1
                and state = 'due'
                and due_at > clock_timestamp()
                and (
                    outcome is not null
                    -- It waits for one that is being retried.
                    or (
                        kind = 'activity'
                        and exists (
                            select
                            from tidegate.notification as retried
                            where
                                retried.target = $1
                                and retried.state = 'due'
                                and retried.kind = 'activity'
                                and retried.outcome is not null
                        )
                    )
                )
            for update skip locked
        )

        update tidegate.notification as message
        set due_at = clock_timestamp()
        from failed
        where message.id = failed.id
        ",
        target,
    )
    .execute(conn)
    .in_time()
    .await?;
    Ok(())
}

/// How long is waited after an attempt that failed.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// Before the message is tried again; `None`: it never is.
    pub message: Option<Duration>,
    /// Before the target receives any message. At most an hour.
    pub target: Duration,
}

/// Records that the attempt failed.
pub async fn failed(
    executor: impl PgExecutor<'_>,
    message: Uuid,
    target: &str,
    attempts: i32,
    outcome: &str,
    pauses: Pauses,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with failed as (
            update tidegate.notification
            set
                state = case when $4::interval is null then 'given_up' else state end,
                due_at = clock_timestamp() + coalesce($4, interval '0'),
                failures = failures + 1,
                outcome = $3
            where id = $1 and attempts = $2 and state = 'due'
        )

        update tidegate.notification_target
        set failed_at = clock_timestamp(), failure = $3, paused_until = clock_timestamp() + $6
        where target = $5
        ",
        message,
        attempts,
        outcome,
        pauses.message.map(interval) as _,
        target,
        interval(pauses.target),
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// The state of a message, the number of attempts, and the outcome of the last one.
pub async fn outcome(
    executor: impl PgExecutor<'_>,
    message: Uuid,
) -> Result<Option<(String, i32, Option<String>)>, sqlx::Error> {
    let found = sqlx::query!("select state, attempts, outcome from tidegate.notification where id = $1", message);
    let found = found.fetch_optional(executor).in_time().await?;
    Ok(found.map(|row| (row.state, row.attempts, row.outcome)))
}
