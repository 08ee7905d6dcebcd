//! `tidegate.notification`: the outbox. Each message is sent at least once, and always under the same id. Here are
//! messages written, withdrawn and deleted; `notification_attempt` has the attempts to send them.

use std::time::Duration;

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::run::interval;
use super::session::Deadline as _;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Opened,
    Recovered,
    /// The problem became part of another one.
    Merged,
    Reminder,
    Test,
    /// Several problems, some of them over.
    Digest,
    /// Runs that finished, and actions of operators.
    Activity,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Recovered => "recovered",
            Self::Merged => "merged",
            Self::Reminder => "reminder",
            Self::Test => "test",
            Self::Digest => "digest",
            Self::Activity => "activity",
        }
    }

    pub(super) fn named(name: &str) -> Self {
        match name {
            "opened" => Self::Opened,
            "recovered" => Self::Recovered,
            "merged" => Self::Merged,
            "reminder" => Self::Reminder,
            "test" => Self::Test,
            "activity" => Self::Activity,
            _ => Self::Digest,
        }
    }
}

/// Adds problems to the digest of `target` that waits, or begins one. It is due `first` later, and `pause` after the
/// last digest that was sent.
pub async fn collect(
    executor: impl PgExecutor<'_>,
    target: &str,
    problems: &[i64],
    first: Duration,
    pause: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with waiting as (
            update tidegate.notification
            set problems = problems || array(select id from unnest($2::bigint[]) as new (id) where id <> all(problems))
            where target = $1 and state = 'due' and kind = 'digest' and attempts = 0
            returning id
        )

        insert into tidegate.notification (target, kind, problems, due_at)
        select
            $1,
            'digest',
            $2,
            greatest(
                clock_timestamp() + $3,
                (
                    select max(sent_at)
                    from tidegate.notification
                    where target = $1 and kind = 'digest' and state = 'sent' and sent_at <= clock_timestamp()
                ) + $4
            )
        where not exists (select from waiting)
        ",
        target,
        problems,
        interval(first),
        interval(pause),
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Adds a message about these problems, which no other problem is added to. It is due `pause` later.
pub async fn add_together(
    executor: impl PgExecutor<'_>,
    target: &str,
    kind: Kind,
    problems: &[i64],
    pause: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.notification (target, kind, problems, due_at)
        values ($1, $2, $3, clock_timestamp() + $4)
        ",
        target,
        kind.name(),
        problems,
        interval(pause),
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Adds a message of its own for each problem.
pub async fn add(executor: impl PgExecutor<'_>, target: &str, kind: Kind, problems: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.notification (target, kind, problems)
        select $1, $2, array[id]
        from unnest($3::bigint[]) as problem (id)
        order by id
        ",
        target,
        kind.name(),
        problems,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Adds a test message. Returns its id, or `None` if one is due to the target already.
pub async fn add_test(executor: impl PgExecutor<'_>, target: &str) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        insert into tidegate.notification (target, kind)
        values ($1, 'test')
        on conflict (target) where kind = 'test' and state = 'due' do nothing
        returning id
        ",
        target,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}

/// The test message that is due to the target, or is being sent to it.
pub async fn waiting_test(executor: impl PgExecutor<'_>, target: &str) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from tidegate.notification where target = $1 and kind = 'test' and state = 'due'",
        target,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}

/// A problem about which a target has received a message, or may have.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    pub id: i64,
    /// Whether the target accepted everything about it.
    pub is_accepted: bool,
}

/// About which of these problems the target has received a message, or may have.
pub async fn received(
    executor: impl PgExecutor<'_>,
    target: &str,
    problems: &[i64],
) -> Result<Vec<Received>, sqlx::Error> {
    sqlx::query_as!(
        Received,
        r#"
        select named.id as "id!", bool_and(state = 'sent') as "is_accepted!"
        from tidegate.notification
        cross join unnest(problems) as named (id)
        where
            target = $1 and attempts > 0 and state <> 'given_up' and problems && $2 and named.id = any($2)
        group by named.id
        "#,
        target,
        problems,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// Removes problems from messages to `target` that were not sent yet, and messages that then have none.
pub async fn withdraw(transaction: &mut PgConnection, target: &str, problems: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.notification
        set problems = array(select id from unnest(problems) as kept (id) where id <> all($2))
        where target = $1 and state = 'due' and attempts = 0 and problems && $2
        ",
        target,
        problems,
    )
    .execute(&mut *transaction)
    .in_time()
    .await?;
    sqlx::query!(
        "
        delete from tidegate.notification
        where target = $1 and state = 'due' and attempts = 0 and kind not in ('test', 'activity') and problems = '{}'
        ",
        target,
    )
    .execute(transaction)
    .in_time()
    .await?;
    Ok(())
}

/// The open problems about which the last message to the target was sent, or given up, `repeat` ago or longer. None is
/// on its way.
pub async fn to_remind_of(
    executor: impl PgExecutor<'_>,
    target: &str,
    repeat: Duration,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        select problem.id
        from tidegate.problem
        where
            problem.closed_at is null
            and problem.opened_at <= now() - $2::interval
            and coalesce(problem.muted_until <= now(), true)
            and (
                -- A message that was given up was due when it was attempted for the last time.
                select
                    max(coalesce(message.sent_at, message.due_at)) <= now() - $2::interval
                    and bool_and(message.state <> 'due')
                from tidegate.notification as message
                where message.target = $1 and message.problems @> array[problem.id]
            )
        order by problem.id
        ",
        target,
        interval(repeat),
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// Deletes up to `limit` messages that were written longer than `keep` ago. Returns how many.
pub async fn prune(executor: impl PgExecutor<'_>, keep: Duration, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        with past as (
            select id
            from tidegate.notification
            where created_at < now() - $1::interval
            limit $2
            for update skip locked
        )

        delete from tidegate.notification
        using past
        where notification.id = past.id
        ",
        interval(keep),
        limit,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected())
}
