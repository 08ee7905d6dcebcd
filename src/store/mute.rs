//! Problems that an operator does not want to be reminded of for a while.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::session::Deadline as _;

/// For how many days a problem can be muted.
pub const DAYS_MAX: i64 = 7;

/// An open problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenProblem {
    pub kind: String,
    pub scope: String,
    pub connection: Option<String>,
    pub stream: Option<String>,
    pub job: Option<String>,
    pub summary: String,
    /// Until when and by whom it is muted at present.
    pub muted_until: Option<DateTime<Utc>>,
    pub muted_by: Option<String>,
}

/// The open problem with this id.
pub async fn find(executor: impl PgExecutor<'_>, problem: i64) -> Result<Option<OpenProblem>, sqlx::Error> {
    sqlx::query_as!(
        OpenProblem,
        "
        select
            kind,
            scope,
            connection,
            stream,
            job,
            summary,
            case when muted_until > now() then muted_until end as muted_until,
            muted_by
        from tidegate.problem
        where id = $1 and closed_at is null and opened_at is not null
        ",
        problem,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}

/// Mutes an open problem until then.
pub async fn mute(
    executor: impl PgExecutor<'_>,
    problem: i64,
    until: DateTime<Utc>,
    actor: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update tidegate.problem set muted_until = $2, muted_by = $3 where id = $1 and closed_at is null",
        problem,
        until,
        actor,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}
