//! What did not fit, what the vendors changed, and what was sent: counts and changes, never a record.

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::parameters::{AFTER_ID, ANY_CONNECTION, ANY_JOB, parameter};
use super::{Document, Parameter, ParameterKind, Query, ROWS_MAX, ReadError, Reading};
use crate::store::push;
use crate::store::session::Deadline as _;

/// The newest rejected records that are counted.
const REJECTS_SEARCHED: i64 = 20_000;

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Rejects {
    pub at: DateTime<Utc>,
    /// By reason and day, the newest first.
    pub rejects: Vec<RejectedDay>,
    /// Whether there are more reasons or days than are shown.
    pub more: bool,
    /// At most so many records are counted, the newest ones of all.
    pub counted: i64,
}

/// Records that were rejected on a day for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RejectedDay {
    /// In UTC.
    pub day: NaiveDate,
    pub connection: String,
    pub stream: String,
    pub reason: String,
    pub records: i64,
    /// The newest run that rejected some.
    pub run_id: i64,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SchemaChanges {
    pub at: DateTime<Utc>,
    /// Newest first.
    pub changes: Vec<SchemaChange>,
    /// The parameter `after` of the next page.
    pub next: Option<i64>,
}

/// A change that the data made to a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SchemaChange {
    pub id: i64,
    pub changed_at: DateTime<Utc>,
    pub connection: Option<String>,
    pub table: String,
    pub column: Option<String>,
    /// The vendor's field.
    pub field: Option<String>,
    pub change: String,
    pub old_type: Option<String>,
    pub new_type: Option<String>,
    pub run_id: Option<i64>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Pushes {
    pub at: DateTime<Utc>,
    /// Those of which it is not known whether the vendor has them first, then the newest.
    pub batches: Vec<PushBatch>,
    /// Whether there are more.
    pub more: bool,
}

/// Rows that were sent with one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PushBatch {
    pub id: i64,
    pub job: String,
    pub connection: String,
    pub state: String,
    pub rows: i64,
    pub created_at: DateTime<Utc>,
    pub task_id: Option<String>,
    pub task_state: Option<String>,
    pub error: Option<String>,
}

fn limit() -> i64 {
    i64::try_from(ROWS_MAX + 1).unwrap_or(i64::MAX)
}

impl Document for Rejects {
    const PATH: &'static str = "/rejects";
    const MEANING: &'static str = "Rejected records, counted by day and reason.";
    const PARAMETERS: &'static [Parameter] =
        &[ANY_CONNECTION, parameter("stream", ParameterKind::AnyStream, "only of this stream")];

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let mut rejects = sqlx::query_as!(
            RejectedDay,
            r#"
            select
                (counted.day at time zone 'UTC')::date as "day!",
                counted.connection as "connection!",
                counted.stream as "stream!",
                counted.reason as "reason!",
                counted.records as "records!",
                counted.run_id as "run_id!"
            from (
                -- A zone would be applied to each record, and days of UTC are of one length.
                select
                    date_bin('1 day', rejected_at, 'epoch') as day,
                    connection,
                    stream,
                    reason,
                    count(*) as records,
                    max(run_id) as run_id
                from (
                    select rejected_at, connection, stream, reason, run_id
                    from tidegate.rejected_record
                    order by id desc
                    limit $3
                ) as newest
                where ($1::text is null or connection = $1) and ($2::text is null or stream = $2)
                group by day, connection, stream, reason
            ) as counted
            order by counted.day desc, counted.records desc, counted.connection, counted.stream, counted.reason
            limit $4
            "#,
            query.text("connection"),
            query.text("stream"),
            REJECTS_SEARCHED,
            limit(),
        )
        .fetch_all(&mut *reading.conn)
        .in_time()
        .await?;
        let more = rejects.len() > ROWS_MAX;
        rejects.truncate(ROWS_MAX);
        Ok(Some(Self { at: reading.now, rejects, more, counted: REJECTS_SEARCHED }))
    }
}

impl Document for SchemaChanges {
    const PATH: &'static str = "/schema";
    const MEANING: &'static str = "What the vendors' data changed in the tables, newest first.";
    const PARAMETERS: &'static [Parameter] = &[
        ANY_CONNECTION,
        parameter("table", ParameterKind::Table, "only of this table, named with its schema"),
        AFTER_ID,
    ];

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let mut changes = sqlx::query_as!(
            SchemaChange,
            r#"
            select
                id, changed_at, connection, table_schema || '.' || table_name as "table!", column_name as "column",
                field, change, old_type, new_type, run_id
            from tidegate.schema_change
            where
                ($1::text is null or connection = $1)
                and ($2::text is null or table_schema || '.' || table_name = $2)
                and ($3::bigint is null or id < $3)
            order by id desc
            limit $4
            "#,
            query.text("connection"),
            query.text("table"),
            query.number("after")?,
            limit(),
        )
        .fetch_all(&mut *reading.conn)
        .in_time()
        .await?;
        let more = changes.len() > ROWS_MAX;
        changes.truncate(ROWS_MAX);
        let next = changes.last().filter(|_| more).map(|change| change.id);
        Ok(Some(Self { at: reading.now, changes, next }))
    }
}

impl Document for Pushes {
    const PATH: &'static str = "/pushes";
    const MEANING: &'static str = "The batches of `tidegate push`, those whose outcome is not known first.";
    const PARAMETERS: &'static [Parameter] =
        &[ANY_JOB, parameter("state", ParameterKind::OneOf(&push::STATES), "only in this state")];

    async fn read(reading: &mut Reading<'_>, query: &Query) -> Result<Option<Self>, ReadError> {
        let mut batches = sqlx::query_as!(
            PushBatch,
            r#"
            select id, job, connection, state, rows, created_at, task_id, task_state, error
            from tidegate.push_batch
            where ($1::text is null or job = $1) and ($2::text is null or state = $2)
            order by state = 'unknown' desc, id desc
            limit $3
            "#,
            query.text("job"),
            query.text("state"),
            limit(),
        )
        .fetch_all(&mut *reading.conn)
        .in_time()
        .await?;
        let more = batches.len() > ROWS_MAX;
        batches.truncate(ROWS_MAX);
        Ok(Some(Self { at: reading.now, batches, more }))
    }
}
