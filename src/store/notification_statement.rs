//! `tidegate.notification_statement`: what the running processes say of their targets of notifications. The process
//! that checks for problems writes the messages to all of these targets; each process sends to its own.

use std::time::Duration;

use serde::Serialize;
use sqlx::PgExecutor;
use sqlx::types::Json;

use super::session::Deadline as _;

/// What a target receives. Its URL, headers and secret are credentials, and are not stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statement {
    pub target: String,
    /// The name of the form of its messages. A newer version may have others.
    pub format: String,
    /// The names of the topics that it receives. A newer version may have others.
    pub topics: Vec<String>,
    /// Only of these connections or of these jobs; `None` twice: of all.
    pub connections: Option<Vec<String>>,
    pub jobs: Option<Vec<String>>,
    /// After so many seconds, it receives a reminder of a problem that stays open.
    pub repeat_seconds: f64,
}

impl Statement {
    /// Whether it receives what has this name: a kind of problem, or another topic.
    pub fn receives(&self, topic: &str) -> bool {
        self.topics.iter().any(|one| one == topic)
    }

    /// After how long it receives a reminder.
    pub fn repeat(&self) -> Duration {
        const DAY: Duration = Duration::from_hours(24);
        Duration::try_from_secs_f64(self.repeat_seconds).unwrap_or(DAY)
    }
}

/// Replaces what the process `owner` states, or repeats it: a statement counts for ten minutes. Deletes those of
/// processes that ended a day ago.
pub async fn state(executor: impl PgExecutor<'_>, owner: &str, statements: &[Statement]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with silent as (
            select past.owner, past.target
            from tidegate.notification_statement as past
            where
                past.owner <> $1
                and (
                    past.seen_at < clock_timestamp() - interval '1 day'
                    -- A time in the future was stored while the clock was ahead.
                    or past.seen_at > clock_timestamp() + interval '1 day'
                )
            for update skip locked
        ),

        withdrawn as (
            delete from tidegate.notification_statement as past
            where
                (past.owner, past.target) in (select silent.owner, silent.target from silent)
                or (
                    past.owner = $1
                    and past.target not in (
                        select kept.target
                        from jsonb_to_recordset($2) as kept (target text)
                    )
                )
        )

        insert into tidegate.notification_statement as stated (owner, target, format, topics, connections, jobs, repeat)
        select
            $1,
            new.target,
            new.format,
            new.topics,
            new.connections,
            new.jobs,
            make_interval(secs => new.repeat_seconds)
        from jsonb_to_recordset($2) as new (
            target text,
            format text,
            topics text[],
            connections text[],
            jobs text[],
            repeat_seconds double precision
        )
        on conflict on constraint notification_statement_pkey do update
        set
            format = excluded.format,
            topics = excluded.topics,
            connections = excluded.connections,
            jobs = excluded.jobs,
            repeat = excluded.repeat,
            stated_at = case
                when
                    (stated.format, stated.topics, stated.connections, stated.jobs, stated.repeat)
                    is distinct from
                    (excluded.format, excluded.topics, excluded.connections, excluded.jobs, excluded.repeat)
                    then excluded.stated_at
                else stated.stated_at
            end,
            seen_at = excluded.seen_at
        ",
        owner,
        Json(statements) as _,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// The targets to which messages are written: those that a process states, or stated in the last ten minutes. Of
/// different statements of one target, the newest counts.
pub async fn agreed(executor: impl PgExecutor<'_>) -> Result<Vec<Statement>, sqlx::Error> {
    sqlx::query_as!(
        Statement,
        r#"
        select
            target as "target!",
            format as "format!",
            topics as "topics!",
            connections as "connections?",
            jobs as "jobs?",
            extract(epoch from repeat)::double precision as "repeat_seconds!"
        from tidegate.notification_agreed
        order by target
        "#,
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// The targets of the process `owner` that another running process states differently.
pub async fn differing(executor: impl PgExecutor<'_>, owner: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        select distinct here.target
        from tidegate.notification_statement as here
        inner join tidegate.notification_statement as there on here.target = there.target
        inner join tidegate.instance as alive on there.owner = alive.owner
        where
            here.owner = $1
            and there.owner <> here.owner
            and alive.seen_at > clock_timestamp() - interval '1 minute'
            and (here.format, here.topics, here.connections, here.jobs, here.repeat)
            is distinct from (there.format, there.topics, there.connections, there.jobs, there.repeat)
        order by here.target
        ",
        owner,
    )
    .fetch_all(executor)
    .in_time()
    .await
}
