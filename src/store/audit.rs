//! Actions in the journal of events: who did what, written in the transaction of the action.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::session::Deadline as _;

/// The actor of what a command does.
pub const COMMAND: &str = "command";

/// What an action concerns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    pub connection: Option<&'a str>,
    pub stream: Option<&'a str>,
    pub job: Option<&'a str>,
    pub run_id: Option<i64>,
}

/// Begins the action that `request` asks for, and returns its event. `None` if it was done before; another transaction
/// that does it at the same moment is waited for. `digest` identifies what is asked for.
pub async fn begin(
    executor: impl PgExecutor<'_>,
    actor: &str,
    request: Uuid,
    digest: &[u8],
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        insert into tidegate.event (kind, actor, request, request_digest, summary)
        values ('action', $1, $2, $3, '')
        on conflict on constraint event_request_key do nothing
        returning id
        ",
        actor,
        request,
        digest,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}

/// Stores what the action did, in the transaction that began it.
pub async fn end(
    executor: impl PgExecutor<'_>,
    event: i64,
    subject: Subject<'_>,
    summary: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.event
        -- The time of its end: an action that waited for a lock belongs to what is reported next.
        set at = clock_timestamp(), connection = $2, stream = $3, job = $4, run_id = $5, summary = $6
        where id = $1
        ",
        event,
        subject.connection,
        subject.stream,
        subject.job,
        subject.run_id,
        summary,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// Records an action that needs no request id, such as that of a command.
pub async fn record(
    executor: impl PgExecutor<'_>,
    actor: &str,
    subject: Subject<'_>,
    summary: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.event (kind, actor, connection, stream, job, run_id, summary)
        values ('action', $1, $2, $3, $4, $5, $6)
        ",
        actor,
        subject.connection,
        subject.stream,
        subject.job,
        subject.run_id,
        summary,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(())
}

/// What a request did that was done before: its run, if it made one, and the sentence about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    pub run_id: Option<i64>,
    pub summary: String,
}

/// What a request did that was done before. `None` if it asked for something else than `digest`.
pub async fn done(executor: impl PgExecutor<'_>, request: Uuid, digest: &[u8]) -> Result<Option<Done>, sqlx::Error> {
    sqlx::query_as!(
        Done,
        "
        select run_id, summary
        from tidegate.event
        -- Events of earlier versions do not say what was asked for.
        where request = $1 and coalesce(request_digest = $2, true)
        ",
        request,
        digest,
    )
    .fetch_optional(executor)
    .in_time()
    .await
}
