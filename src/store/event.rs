//! `tidegate.event`: what happened, for people.

use std::time::Duration;

use sqlx::PgExecutor;

use super::run::interval;
use super::session::Deadline as _;
use super::task::without_nul;

/// The kinds of events.
pub const EVENT_KINDS: [&str; 6] = ["problem", "recovered", "action", "reload", "reload_refused", "table"];

/// The kind of an event of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    Applied,
    Refused,
}

/// Records that the process `actor` applied or refused a changed configuration.
pub async fn reload(
    executor: impl PgExecutor<'_>,
    reloaded: Reloaded,
    actor: &str,
    summary: &str,
) -> Result<(), sqlx::Error> {
    let kind = match reloaded {
        Reloaded::Applied => "reload",
        Reloaded::Refused => "reload_refused",
    };
    sqlx::query!(
        "insert into tidegate.event (kind, actor, summary) values ($1, $2, $3)",
        kind,
        actor,
        &*without_nul(summary),
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Records that a table was divided into partitions, or that old rows of it were dropped.
pub async fn of_table(executor: impl PgExecutor<'_>, summary: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("insert into tidegate.event (kind, summary) values ('table', $1)", summary)
        .execute(executor)
        .in_time()
        .await?;
    Ok(())
}

/// Deletes up to `limit` events that happened longer than `keep` ago. Returns how many.
pub async fn prune(executor: impl PgExecutor<'_>, keep: Duration, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        with past as (
            select id
            from tidegate.event
            where at < now() - $1::interval
            order by at
            limit $2
            for update skip locked
        )

        delete from tidegate.event
        using past
        where event.id = past.id
        ",
        interval(keep),
        limit,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected())
}
