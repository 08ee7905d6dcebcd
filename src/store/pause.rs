//! Pauses that operators set: of a job, or of everything, until a time.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};

use super::session::Deadline as _;

/// The name of every job in `tidegate.pause`. No job has it.
pub const EVERYTHING: &str = "";

/// A pause that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pause {
    /// The job; empty for every job.
    pub job: String,
    pub until: DateTime<Utc>,
    pub reason: String,
    /// Who set it.
    pub actor: String,
    pub since: DateTime<Utc>,
}

/// The pauses that have not ended, that of everything first.
pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<Pause>, sqlx::Error> {
    sqlx::query_as!(
        Pause,
        "
        select job, until, reason, actor, since
        from tidegate.pause
        where until > statement_timestamp()
        order by job
        "
    )
    .fetch_all(executor)
    .in_time()
    .await
}

/// The pause of a job that ends last: its own, or that of everything.
pub fn of_job<'p>(pauses: &'p [Pause], job: &str) -> Option<&'p Pause> {
    pauses.iter().filter(|pause| pause.job == job || pause.job == EVERYTHING).max_by_key(|pause| pause.until)
}

/// Pauses a job, or with [`EVERYTHING`] all, until then. Replaces an earlier pause, and deletes those that have ended.
pub async fn set(
    conn: &mut PgConnection,
    job: &str,
    until: DateTime<Utc>,
    reason: &str,
    actor: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from tidegate.pause where until <= clock_timestamp()").execute(&mut *conn).in_time().await?;
    sqlx::query!(
        "
        insert into tidegate.pause (job, until, reason, actor)
        values ($1, $2, $3, $4)
        on conflict on constraint pause_pkey do update
        set until = excluded.until, reason = excluded.reason, actor = excluded.actor, since = excluded.since
        ",
        job,
        until,
        reason,
        actor,
    )
    .execute(conn)
    .in_time()
    .await?;
    Ok(())
}

/// Ends a pause. Returns false if there was none.
pub async fn end(executor: impl PgExecutor<'_>, job: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("delete from tidegate.pause where job = $1 and until > clock_timestamp()", job);
    Ok(done.execute(executor).in_time().await?.rows_affected() > 0)
}
