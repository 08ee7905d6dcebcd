//! `tidegate.notification_target`: what all processes know of the targets of notifications. When each may receive the
//! next message, and how the last deliveries ended.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::run::interval;
use super::session::Deadline as _;

/// Records that these targets are configured.
pub async fn know(executor: impl PgExecutor<'_>, targets: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.notification_target (target)
        select named.target
        from unnest($1::text[]) as named (target)
        where not exists (select from tidegate.notification_target as known where known.target = named.target)
        order by named.target
        on conflict do nothing
        ",
        targets,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// The turn to send a target a message. A turn that lasted too long is another process's now.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// What is stored while nobody else has taken a turn.
    until: DateTime<Utc>,
}

/// Takes the turn to send `target` a message, for `longest` unless it is ended before, so that one process sends at a
/// time. Not while the target is paused, unless `also_paused`. `None` if the turn has not come. If the transaction is
/// rolled back, the turn is still free.
pub async fn take_turn(
    transaction: &mut PgConnection,
    target: &str,
    longest: Duration,
    also_paused: bool,
) -> Result<Option<Turn>, sqlx::Error> {
    know(&mut *transaction, &[target.to_owned()]).await?;
    let taken = sqlx::query_scalar!(
        r#"
        update tidegate.notification_target
        set next_at = clock_timestamp() + $2
        where
            target = $1
            -- A later time was stored while the clock was ahead.
            and (next_at <= clock_timestamp() or next_at > clock_timestamp() + $2)
            and (
                $3
                or paused_until is null
                or paused_until <= clock_timestamp()
                or paused_until > clock_timestamp() + interval '2 hours'
            )
        returning next_at as "until!"
        "#,
        target,
        interval(longest),
        also_paused,
    );
    let until = taken.fetch_optional(transaction).in_time().await?;
    Ok(until.map(|until| Turn { until }))
}

/// Ends the turn, unless another process has taken the next one. That comes `pause` later.
pub async fn end_turn(
    executor: impl PgExecutor<'_>,
    target: &str,
    turn: Turn,
    pause: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.notification_target
        set next_at = clock_timestamp() + $2
        where target = $1 and next_at = $3
        ",
        target,
        interval(pause),
        turn.until,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// What is known of the messages to a target.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub target: String,
    /// When the target last accepted a message.
    pub last_sent_at: Option<DateTime<Utc>>,
    /// When it last did not accept one, and why.
    pub last_failed_at: Option<DateTime<Utc>>,
    pub last_failure: Option<String>,
    /// How the last attempt ended, of those to send the newest message.
    pub last_outcome: Option<String>,
    /// Messages that wait, and when the oldest one was written.
    pub due: i64,
    pub oldest_due_at: Option<DateTime<Utc>>,
    /// For how long the target has accepted nothing although a message was due, or was given up. 0 if none was.
    pub stuck_seconds: f64,
    /// Messages of the last 30 days that the target accepted, and that were given up.
    pub sent: i64,
    pub given_up: i64,
}

impl Delivery {
    /// The state of the target: `never sent`, `waiting`, `failing` or `delivered`.
    pub fn state(&self) -> &'static str {
        match (self.last_sent_at, self.last_failed_at) {
            (sent, Some(failed)) if sent.is_none_or(|sent| sent < failed) => "failing",
            _ if self.due > 0 => "waiting",
            (None, _) => "never sent",
            (Some(_), _) => "delivered",
        }
    }
}

/// The messages to these targets, by target.
pub async fn deliveries(executor: impl PgExecutor<'_>, targets: &[String]) -> Result<Vec<Delivery>, sqlx::Error> {
    sqlx::query_as!(
        Delivery,
        r#"
        select
            named.target as "target!",
            max(known.sent_at) as last_sent_at,
            max(known.failed_at) as last_failed_at,
            max(known.failure) as last_failure,
            (array_agg(message.outcome order by message.created_at desc) filter (where message.outcome is not null))[1]
                as last_outcome,
            count(*) filter (where message.state = 'due') as "due!",
            min(message.created_at) filter (where message.state = 'due') as oldest_due_at,
            greatest(
                coalesce(
                    extract(
                        epoch from
                        now() - min(
                            greatest(
                                -- Before the first attempt, it is due when it has been collected.
                                case when message.attempts = 0 then message.due_at else message.created_at end,
                                -- A target that accepts one message after another is not stuck, however many wait.
                                known.sent_at
                            )
                        ) filter (
                            where
                                message.state = 'due'
                                or (
                                    message.state = 'given_up'
                                    and message.kind <> 'test'
                                    and message.due_at > coalesce(known.sent_at, '-infinity')
                                )
                        )
                    ),
                    0
                ),
                0
            )::double precision as "stuck_seconds!",
            count(*) filter (where message.state = 'sent') as "sent!",
            count(*) filter (where message.state = 'given_up' and message.kind <> 'test') as "given_up!"
        from unnest($1::text[]) as named (target)
        left join tidegate.notification_target as known on named.target = known.target
        left join tidegate.notification as message on named.target = message.target
        group by named.target
        order by named.target
        "#,
        targets,
    )
    .fetch_all(executor)
    .in_time()
    .await
}
