//! What happened, for people: failures, recoveries, actions, reloads.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::parameters::{AFTER_ID, ANY_CONNECTION, FROM, parameter};
use super::{Document, Parameter, ParameterKind, Query, ROWS_MAX, ReadError, Reading};
use crate::store::event::EVENT_KINDS;
use crate::store::session::Deadline as _;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Events {
    pub at: DateTime<Utc>,
    /// Newest first.
    pub events: Vec<Event>,
    /// The parameter `after` of the next page.
    pub next: Option<i64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub id: i64,
    pub at: DateTime<Utc>,
    pub kind: String,
    pub connection: Option<String>,
    pub stream: Option<String>,
    pub job: Option<String>,
    pub run_id: Option<i64>,
    /// Who caused it, if somebody did.
    pub actor: Option<String>,
    pub summary: String,
}

/// Which events are listed. `None` does not restrict.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EventFilter<'a> {
    pub(super) kind: Option<&'a str>,
    pub(super) connection: Option<&'a str>,
    pub(super) run: Option<i64>,
    /// At this moment or later.
    pub(super) from: Option<DateTime<Utc>>,
    /// Older than the event with this id.
    pub(super) before: Option<i64>,
    pub(super) limit: i64,
}

impl Document for Events {
    const PATH: &'static str = "/events";
    const MEANING: &'static str = "What happened, newest first.";
    const PARAMETERS: &'static [Parameter] = &[
        parameter("kind", ParameterKind::OneOf(&EVENT_KINDS), "only of this kind"),
        ANY_CONNECTION,
        parameter("run", ParameterKind::Run, "only of this run"),
        FROM,
        AFTER_ID,
    ];

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let filter = EventFilter {
            kind: query.text("kind"),
            connection: query.text("connection"),
            run: query.number("run")?,
            from: query.moment("from")?,
            before: query.number("after")?,
            limit: i64::try_from(ROWS_MAX + 1).unwrap_or(i64::MAX),
        };
        let mut events = list(reading.conn, filter).await?;
        let more = events.len() > ROWS_MAX;
        events.truncate(ROWS_MAX);
        let next = events.last().filter(|_| more).map(|event| event.id);
        Ok(Some(Self { at: reading.now, events, next }))
    }
}

/// The newest events, newest first.
pub(super) async fn list(conn: &mut PgConnection, filter: EventFilter<'_>) -> Result<Vec<Event>, sqlx::Error> {
    sqlx::query_as!(
        Event,
        r#"
        select id, at, kind, connection, stream, job, run_id, actor, summary
        from tidegate.event
        where
            ($1::text is null or kind = $1)
            and ($2::text is null or connection = $2)
            and ($3::bigint is null or run_id = $3)
            and ($4::timestamptz is null or at >= $4)
            and ($5::bigint is null or id < $5)
        order by id desc
        limit $6
        "#,
        filter.kind,
        filter.connection,
        filter.run,
        filter.from,
        filter.before,
        filter.limit,
    )
    .fetch_all(conn)
    .in_time()
    .await
}
