//! What is wrong, and what was wrong lately.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;

use super::{Document, Query, ROWS_MAX, ReadError, Reading, state};
use crate::store::session::Deadline as _;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Problems {
    pub at: DateTime<Utc>,
    /// Open ones, worst first, then those that were over within the last week, newest first.
    pub problems: Vec<Problem>,
    /// How many are open.
    pub open: i64,
    /// Whether there are more than are shown.
    pub more: bool,
}

/// Something that is or was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    pub id: i64,
    /// `failed`, `held`, `late`, `gap` and others.
    pub kind: String,
    /// What it concerns: a connection, `connection/stream`, a job, or `system`.
    pub scope: String,
    pub connection: Option<String>,
    pub stream: Option<String>,
    pub job: Option<String>,
    pub run_id: Option<i64>,
    /// How many streams it concerns.
    pub streams: i32,
    /// When it began. Problems that must last for a while are shown and sent later: `late` after 10 minutes, `gap`
    /// after an hour.
    pub opened_at: DateTime<Utc>,
    /// `None` while it is open.
    pub closed_at: Option<DateTime<Utc>>,
    pub summary: String,
    pub hint: Option<String>,
    /// Until when no reminder of it is sent.
    pub muted_until: Option<DateTime<Utc>>,
}

/// The open problems that are shown, and how many there are.
#[derive(Debug, Default)]
pub struct Open {
    pub problems: Vec<Problem>,
    pub total: i64,
    /// Those that need a person, as [`Surroundings`](super::Surroundings) count them.
    pub needing: i64,
    pub muted: i64,
}

/// The open problems, worst first, those that are muted last.
pub async fn open(conn: &mut PgConnection, limit: usize) -> Result<Open, sqlx::Error> {
    let (mut total, mut needing, mut muted) = (0, 0, 0);
    let problems = sqlx::query!(
        r#"
        select
            id as "id!", kind as "kind!", scope as "scope!", connection, stream, job, run_id, streams as "streams!",
            seen_first_at as "opened_at!", summary as "summary!", hint, muted_until,
            count(*) over () as "total!",
            count(*) filter (where needs_operator) over () as "needing!",
            count(muted_until) over () as "muted!"
        from tidegate.open_problem
        order by
            muted_until is not null,
            array_position($1::text[], kind) nulls last,
            seen_first_at,
            id
        limit $2
        "#,
        &state::names(),
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .fetch_all(conn)
    .in_time()
    .await?
    .into_iter()
    .map(|row| {
        (total, needing, muted) = (row.total, row.needing, row.muted);
        Problem {
            id: row.id,
            kind: row.kind,
            scope: row.scope,
            connection: row.connection,
            stream: row.stream,
            job: row.job,
            run_id: row.run_id,
            streams: row.streams,
            opened_at: row.opened_at,
            closed_at: None,
            summary: row.summary,
            hint: row.hint,
            muted_until: row.muted_until,
        }
    })
    .collect();
    Ok(Open { problems, total, needing, muted })
}

impl Document for Problems {
    const PATH: &'static str = "/problems";
    const MEANING: &'static str = "What is wrong, worst first, and what was within the last week.";

    async fn read(reading: &mut Reading<'_>, _query: &Query) -> Result<Option<Self>, ReadError> {
        let open = open(reading.conn, ROWS_MAX).await?;
        let mut problems = open.problems;
        let closed = sqlx::query_as!(
            Problem,
            r#"
            select
                id, kind, scope, connection, stream, job, run_id, streams, seen_first_at as opened_at, closed_at,
                summary, hint, null::timestamptz as muted_until
            from tidegate.problem
            where closed_at > statement_timestamp() - interval '7 days' and opened_at is not null
            order by closed_at desc, id desc
            limit $1
            "#,
            i64::try_from(ROWS_MAX + 1).unwrap_or(i64::MAX),
        )
        .fetch_all(&mut *reading.conn)
        .in_time()
        .await?;
        let all = usize::try_from(open.total).unwrap_or(usize::MAX).saturating_add(closed.len());
        problems.extend(closed);
        problems.truncate(ROWS_MAX);
        Ok(Some(Self { at: reading.now, more: all > problems.len(), problems, open: open.total }))
    }
}
